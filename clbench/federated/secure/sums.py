"""A whole secure sum in one process: every step and every byte of the protocol, but without real secrets."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence

from clbench.federated.messages import Tensors, size
from clbench.federated.secure.aggregator import Aggregator
from clbench.federated.secure.keys import Simulated
from clbench.federated.secure.options import Secure
from clbench.federated.secure.participant import Participant

LOG = logging.getLogger(__name__)

Answers = Callable[[Sequence[int]], Iterator[tuple[int, Tensors]]]
"""Ask clients again for the same answers. Clients without an answer are skipped."""
Count = Callable[[str, int], None]
"""Counts bytes sent: `up` or `down`, and their number."""


def secure_sum(secure: Secure, clients: Sequence[int], answers: Answers, seed: int, count: Count) -> Tensors:
    """Return the sum of the clients' answers, float64, as a server computes it from masked messages alone.

    If clients must first agree on the range (`clip` None), answers are asked twice, so that only one answer is in memory at a
    time. A client without an answer at first does not mask. A client with an answer at first and none later counts as dropped.
    A message reports entries outside the range; only a program that runs all clients can know their number.

    Args:
        secure: the options.
        clients: clients to ask.
        answers: returns their answers.
        seed: seed of every draw. Real clients draw their secrets from their operating systems.
        count: called with the bytes of every message.

    Raises:
        ConfigError: the sum of so many clients does not fit into the field.
        UnmaskError: too many clients dropped out to unmask the sum.
    """
    suite = Simulated()
    server = Aggregator(secure, suite, len(clients), seed)
    people = {client: Participant.make(client, seed) for client in clients}
    if secure.clip is None:
        adverts = {client: people[client].advertise(secure, suite, message) for client, message in answers(clients)}
    else:
        adverts = {client: people[client].advertise(secure, suite, None) for client in clients}
    keys = _sent("down", server.publish(_sent("up", adverts, count)), count)
    shares = _sent("up", {client: people[client].share(secure, suite, down) for client, down in keys.items()}, count)
    sealed = _sent("down", server.route(shares), count)
    for client, message in answers(sorted(sealed)):
        masked = people[client].mask(secure, suite, sealed[client], message)
        count("up", size(masked))
        server.add(client, masked)
    clipped = sum(each.clipped for each in people.values())
    if clipped:
        LOG.warning(
            f"{clipped} entries of {len(server.survivors)} clients' answers were clipped to federated.secure.clip={secure.clip}"
        )
    asked = _sent("down", server.requests(), count)
    return server.unmask(
        asked, _sent("up", {client: people[client].reveal(secure, down) for client, down in asked.items()}, count)
    )


def _sent(way: str, messages: dict[int, Tensors], count: Count) -> dict[int, Tensors]:
    for message in messages.values():
        count(way, size(message))
    return messages
