"""What the results folder holds besides records: notes of failed runs."""
