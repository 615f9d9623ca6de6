"""Every test of this folder runs offline: an attempt to reach the network is refused and noted."""

import socket

import pytest


@pytest.fixture(autouse=True)
def network(monkeypatch):
    """Attempts to reach the network; empty as long as nothing tried."""
    attempts = []

    def refuse(*args, **kwargs):
        attempts.append(args)
        raise OSError("the network is out of bounds in tests")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    return attempts
