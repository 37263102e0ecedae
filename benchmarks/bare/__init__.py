"""Bare loops, one a client: what a client does without the harness."""
