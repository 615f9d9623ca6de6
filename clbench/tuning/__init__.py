"""Choosing hyper-parameters without looking at the test stream: search spaces, protocols, searches."""
