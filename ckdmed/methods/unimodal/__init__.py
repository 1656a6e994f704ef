"""Methods for a student of few modalities with several teachers, one a file."""
