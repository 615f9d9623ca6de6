"""Streams: the order in which data comes, as tasks."""
