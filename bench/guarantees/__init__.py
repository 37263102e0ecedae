"""What each system and mode does under each fault: cells, expectations, verdicts, the run."""
