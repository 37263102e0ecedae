"""Bare loops, one a client: what a client does without the harness. ``loop`` is the process, ``step`` what the others share."""
