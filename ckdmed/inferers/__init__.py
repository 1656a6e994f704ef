"""Inferers that MONAI lacks."""
