"""Methods for a mask or overlapping regions with one teacher, one a file."""
