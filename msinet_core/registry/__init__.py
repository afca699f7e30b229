"""Which devices exist, and what is wrong with the ones that do not work."""
