"""Operating-system helpers: files, locks, signals, progress."""
