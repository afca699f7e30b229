"""The metrics of saliency maps, as functions of NumPy arrays."""
