"""Federated averaging."""

from __future__ import annotations

from dataclasses import dataclass

from clbench.federated.servers.base import Server


@dataclass
class FedAvg(Server):
    """The next model is the mean of the clients' models (McMahan et al., AISTATS 2017, algorithm 1)."""
