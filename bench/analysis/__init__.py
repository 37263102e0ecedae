"""Pure functions over a results folder."""
