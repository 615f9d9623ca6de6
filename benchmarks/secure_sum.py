"""Cost of a secure sum: its steps, and its masks and shares compared with those of Flower's SecAgg+, if installed."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

import torch

from clbench.federated.secure import shamir
from clbench.federated.secure.aggregator import Aggregator
from clbench.federated.secure.field import Masks
from clbench.federated.secure.keys import X25519, Simulated
from clbench.federated.secure.options import Secure
from clbench.federated.secure.participant import Participant


def steps(clients: int, entries: int, neighbours: int | None, real: bool) -> dict[str, float]:
    """Return seconds of a sum of `clients` messages of `entries` each: setting up, all clients' masks, the server's unmasking."""
    secure, suite = Secure(20, 8.0, 0.6, neighbours), X25519() if real else Simulated()
    message = {"a": torch.randn(entries)}
    marks = [time.perf_counter()]
    people = {client: Participant.make(client, 1) for client in range(clients)}
    server = Aggregator(secure, suite, clients, 1)
    keys = server.publish({client: each.advertise(secure, suite, None) for client, each in people.items()})
    sealed = server.route({client: each.share(secure, suite, keys[client]) for client, each in people.items()})
    marks.append(time.perf_counter())
    for client, each in people.items():
        server.add(client, each.mask(secure, suite, sealed[client], message))
    marks.append(time.perf_counter())
    asked = server.requests()
    server.unmask(asked, {client: people[client].reveal(secure, question) for client, question in asked.items()})
    marks.append(time.perf_counter())
    return {name: round(b - a, 3) for name, a, b in zip(("setup", "mask", "unmask"), marks, marks[1:])}


def quickest(what: Callable[[], object], turns: int) -> float:
    """Return the seconds of the quickest of several calls."""
    found = []
    for _ in range(turns):
        start = time.perf_counter()
        what()
        found.append(time.perf_counter() - start)
    return min(found)


def parts(entries: int, turns: int) -> dict[str, float]:
    """Return nanoseconds for an entry of one mask, and milliseconds for 21 shares of a secret, 13 of them needed."""
    seed, points = b"k" * 32, list(range(1, 22))
    contenders: dict[str, tuple[Callable[[], object], float]] = {
        "mask_aes_ns": (lambda: Masks(seed, "aes").take(entries), 1e9 / entries),
        "mask_shake_ns": (lambda: Masks(seed, "shake").take(entries), 1e9 / entries),
        "shares_ms": (lambda: shamir.split(seed, points, 13, seed), 1e3),
    }
    try:
        from flwr.common.secure_aggregation.crypto.shamir import create_shares
        from flwr.common.secure_aggregation.secaggplus_utils import pseudo_rand_gen
    except ImportError:
        pass
    else:
        contenders["flower_mask_ns"] = (lambda: pseudo_rand_gen(seed, 2**32, [(entries,)]), 1e9 / entries)
        contenders["flower_shares_ms"] = (lambda: create_shares(seed, 13, 21), 1e3)
    return {name: round(quickest(what, turns) * scale, 3) for name, (what, scale) in contenders.items()}


def main() -> None:
    """Print one line of JSON for the parts, and one for each sum."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--entries", type=int, default=1_000_000, help="of a message")
    options.add_argument("--clients", type=int, nargs="+", default=[64, 1000])
    options.add_argument("--turns", type=int, default=5)
    given = options.parse_args()
    torch.set_num_threads(1)
    print(json.dumps(parts(min(given.entries, 1 << 17), given.turns)), flush=True)
    for clients in given.clients:
        for neighbours in (None, 20) if clients <= 100 else (20,):
            entries = given.entries if clients <= 100 else given.entries // 10
            for real in (False, True):
                told = {
                    "clients": clients,
                    "entries": entries,
                    "neighbours": neighbours,
                    "keys": "x25519" if real else "simulated",
                }
                print(json.dumps({**told, **steps(clients, entries, neighbours, real)}), flush=True)


if __name__ == "__main__":
    main()
