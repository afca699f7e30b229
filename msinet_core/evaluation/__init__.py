"""Score saliency maps against fixations and ground-truth maps."""
