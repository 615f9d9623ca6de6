"""Memories of earlier samples, and what stays in them."""
