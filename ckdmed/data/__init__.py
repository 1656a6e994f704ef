"""Readers, datalists, splits and phantoms."""
