"""What is computed, as data: ops, the graph, MSI-Net, its loss and its optimizer."""
