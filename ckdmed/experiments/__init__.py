"""Comparisons of trainings over seeds: what is compared, the runs, their records, tables and pictures."""
