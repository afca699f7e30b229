"""The version of msinet."""

__version__ = "0.2.0.dev0"
