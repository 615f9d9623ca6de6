"""Naive fine-tuning: the lower bound."""

from __future__ import annotations

from dataclasses import dataclass

from clbench.method import Method


@dataclass
class Naive(Method):
    """Learn each task on its own data and do nothing about the others, nor about requests to forget: fine-tuning, SGD."""

    stackable = True
    requests = "skipped"
    answers = True
    data_free = True
