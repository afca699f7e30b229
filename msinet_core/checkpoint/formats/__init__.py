"""Foreign formats, one module each: how a file is recognized, read and written."""
