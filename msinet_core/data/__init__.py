"""Images and datasets on the host: NumPy arrays, NHWC, float32, the same for every device."""
