"""The network as data: ops, graphs, MSI-Net, its loss and its optimizer."""
