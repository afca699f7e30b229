"""Measure how fast devices train and predict."""
