"""Pictures and tables made from run records."""
