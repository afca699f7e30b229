"""Training runs: their settings, their folder, the loop, and how one begins or is resumed."""
