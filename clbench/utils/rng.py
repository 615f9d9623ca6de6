"""Independent random streams, each named by (seed, purpose, ...): a draw in one stream never shifts another."""

from __future__ import annotations

import hashlib

import torch


def derive(seed: int, *purpose: str | int) -> int:
    """Return a 63-bit seed that depends on the arguments alone."""
    text = "/".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *purpose: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a generator for one purpose, for example `generator(seed, "batches", task, epoch)`."""
    return torch.Generator(device=device).manual_seed(derive(seed, *purpose))
