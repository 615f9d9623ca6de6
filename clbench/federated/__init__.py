"""Federated streams: many clients, each with a share of every task, and a server that joins what they learn."""
