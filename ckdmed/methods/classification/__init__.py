"""Methods for one class of an image, one a file."""
