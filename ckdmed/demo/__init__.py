"""A page on this machine alone: a slice or a series goes in, the mask is seen. Needs ``pip install 'ckdmed[demo]'``."""
