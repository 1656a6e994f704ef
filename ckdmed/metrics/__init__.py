"""Measures of segmentation and classification, and their intervals."""
