"""Help with the operating system: files, signals, progress and installation."""
