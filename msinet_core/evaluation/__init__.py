"""Evaluate a network on a dataset."""
