"""Prediction: the network over many images, where the results go, and folders as a whole."""
