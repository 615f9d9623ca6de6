"""Sums of clients' answers of which the server sees the sum alone: pairwise masks over a prime field."""
