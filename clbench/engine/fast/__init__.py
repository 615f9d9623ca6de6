"""Faster ways to the same numbers: without a graph, compiled, replayed."""
