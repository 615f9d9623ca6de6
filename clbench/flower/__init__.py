"""Federated runs over Flower: the same server and the same clients, with Flower's messages between them."""
