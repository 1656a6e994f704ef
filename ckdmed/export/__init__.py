"""Writing a trained bundle in the layout of the MONAI Model Zoo."""
