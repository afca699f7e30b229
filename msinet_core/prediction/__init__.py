"""Predict images: the network on a device, many images at once, and files."""
