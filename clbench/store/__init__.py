"""The results folder: whether it can be written, and what it holds besides records: notes of failed runs."""
