"""Federated streams: many clients learn each task, a server makes one model of what they send."""
