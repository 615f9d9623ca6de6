"""Naive fine-tuning: the lower bound."""

from __future__ import annotations

from dataclasses import dataclass

from clbench.method import Method


@dataclass
class Naive(Method):
    """Train on each task's own data, without protection of earlier tasks: fine-tuning, SGD. Requests to forget are ignored."""

    stackable = True
    requests = "ignored"
    supports_generation = True
    data_free = True
