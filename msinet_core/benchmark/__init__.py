"""Measure how fast devices are."""
