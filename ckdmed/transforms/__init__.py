"""Array transforms and their dictionary twins that MONAI lacks."""
