"""MSI-Net, trained and run on any device through plugins; this package imports no framework."""

__version__ = "0.1.0"
