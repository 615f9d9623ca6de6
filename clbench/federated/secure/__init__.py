"""Secure sums: the server learns only the sum of the clients' answers. Pairwise masks over a prime field hide each answer."""
