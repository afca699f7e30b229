"""Training: settings, run folder, initial weights, the loop, and starting or resuming a run."""
