"""Write a device plugin to start from: with parts to be filled in, or a complete example."""
