"""A whole secure sum in one process: every step and every byte of the protocol, with secrets that only seem to be ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from clbench.federated.messages import Tensors, size
from clbench.federated.secure.aggregator import Aggregator
from clbench.federated.secure.keys import Simulated
from clbench.federated.secure.options import Secure
from clbench.federated.secure.participant import Participant
from clbench.utils.notify import tell

Answers = Callable[[Sequence[int]], Iterator[tuple[int, Tensors]]]
"""Ask clients once more for the same answers; who has none is passed over."""
Count = Callable[[str, int], None]
"""Told of bytes sent: `up` or `down`, and how many."""


def secure_sum(secure: Secure, clients: Sequence[int], answers: Answers, seed: int, count: Count) -> Tensors:
    """Return the sum of the clients' answers, float64, as a server would get it that sees masked messages alone.

    Answers are asked for twice where the range is to be agreed on first (`clip` None), so that never more than one is held. Who
    gives none the first time is not among those who mask; who gives one and then no more is one of those who drop out. If entries
    lie outside of the range, that is told: only whoever runs all clients can know it.

    Args:
        secure: the options.
        clients: who is asked.
        answers: gives their answers.
        seed: of everything that is drawn; the secrets of real clients are drawn by their own operating systems.
        count: told of the bytes of every message.

    Raises:
        ConfigError: the field does not hold the sum of so many clients.
        UnmaskError: so many have dropped out that the sum cannot be unmasked.
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
        tell(f"{clipped} entries of {len(server.survivors)} clients' answers were clipped to federated.secure.clip={secure.clip}")
    asked = _sent("down", server.requests(), count)
    return server.unmask(
        asked, _sent("up", {client: people[client].reveal(secure, down) for client, down in asked.items()}, count)
    )


def _sent(way: str, messages: dict[int, Tensors], count: Count) -> dict[int, Tensors]:
    for message in messages.values():
        count(way, size(message))
    return messages
