"""What the suite itself costs."""
