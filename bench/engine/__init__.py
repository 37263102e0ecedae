"""Where endpoints run: engines place and supervise them."""
