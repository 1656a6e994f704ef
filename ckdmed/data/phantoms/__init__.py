"""Generators of brain-like test data with tumours."""
