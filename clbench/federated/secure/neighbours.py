"""The graph of neighbours: clients share masks and seeds with their neighbours."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence

Graph = dict[int, tuple[int, ...]]
"""The neighbours of every client, ascending."""


def complete(clients: Sequence[int]) -> Graph:
    """Return the graph in which all clients are neighbours (Bonawitz et al., CCS 2017)."""
    return {client: tuple(sorted(other for other in clients if other != client)) for client in clients}


def ring(clients: Sequence[int], neighbours: int, seed: int | None) -> Graph:
    """Return a circle of the clients in random order, each with the `neighbours / 2` on either side (Bell et al., CCS 2020).

    Args:
        clients: the participants.
        neighbours: even number. If it is at least the number of other clients, the graph is complete.
        seed: seed of the order; None: randomness of the operating system.
    """
    if neighbours >= len(clients) - 1:
        return complete(clients)
    order = sorted(clients)
    (random.SystemRandom() if seed is None else random.Random(seed)).shuffle(order)
    graph = {}
    for position, client in enumerate(order):
        around = (order[(position + far) % len(order)] for far in range(-neighbours // 2, neighbours // 2 + 1) if far)
        graph[client] = tuple(sorted(around))
    return graph


def connected(graph: Mapping[int, Collection[int]], among: Collection[int]) -> bool:
    """Return whether the clients `among` form a connected graph. Otherwise the server could learn the sum of each part."""
    left = set(among)
    border = [left.pop()] if left else []
    while border:
        found = left.intersection(graph[border.pop()])
        left -= found
        border.extend(found)
    return not left
