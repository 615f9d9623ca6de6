"""Metrics: pure functions of the accuracy matrix, other libraries' variants of them, and intervals over seeds."""
