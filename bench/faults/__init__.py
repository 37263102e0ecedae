"""Faults of a trial: what can be broken, when, and how it is carried out and healed."""
