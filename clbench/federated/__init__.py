"""Federated streams: many clients learn each task, and a server combines their models into one."""
