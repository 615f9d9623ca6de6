"""Secure sums: right to half a step a client, uniform to look at, and never wrong when clients drop out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clbench.errors import ClbenchError, ConfigError, RefusedError
from clbench.federated.messages import Tensors
from clbench.federated.secure import field
from clbench.federated.secure.aggregator import Aggregator
from clbench.federated.secure.field import PRIME
from clbench.federated.secure.keys import X25519, Simulated
from clbench.federated.secure.options import Secure, UnmaskError
from clbench.federated.secure.participant import Participant
from clbench.federated.secure.quantise import exponent, step
from clbench.federated.secure.sums import secure_sum
from clbench.federated.servers.base import Ask, Server
from clbench.stream import Task
from clbench.testing.make_run import run
from tests.federated.common import federated_spec, ready
from tests.federated.servers.rounds import federate
from tests.streams import blob_stream

PLAIN = Secure(bits=20, clip=None, threshold=0.67, neighbours=None)


def messages(clients: int, seed: int = 0, scale: float = 3.0) -> dict[int, Tensors]:
    g = torch.Generator().manual_seed(seed)
    return {
        client: {"a": scale * torch.randn(4, 5, generator=g), "b": torch.rand(7, generator=g, dtype=torch.float64)}
        for client in range(clients)
    }


def summed(secure: Secure, sent: dict[int, Tensors], lost: Any = (), late: Any = (), count: Any = None) -> Tensors:
    """Return the secure sum; those `lost` never answer, those `late` do not send their masked message."""
    calls = []

    def answers(clients):
        calls.append(clients)
        gone = {*lost, *(late if len(calls) == (2 if secure.clip is None else 1) else ())}
        yield from ((client, sent[client]) for client in clients if client not in gone)

    return secure_sum(secure, sorted(sent), answers, 5, count or (lambda way, amount: None))


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 12), st.integers(4, 24), st.integers(0, 1000), st.floats(1e-3, 1e3))
def test_the_sum_is_right_to_half_a_step_for_each_client(clients, bits, seed, scale):
    secure = Secure(bits, None, 0.67, None)
    sent = messages(clients, seed, scale)
    found = summed(secure, sent)
    for name in ("a", "b"):
        exact = sum(message[name].double() for message in sent.values())
        clip = 2.0 ** max(exponent(name, message[name]) for message in sent.values())
        reach = clip - step(clip, bits)  # the range's upper end is a step short
        bound = clients * step(clip, bits) / 2
        assert (found[name] - exact).abs().max() <= bound * (1 + 1e-9) + (step(clip, bits) * clients if reach <= 0 else 0)


def test_a_given_range_clips():
    secure = Secure(16, 1.0, 0.67, None)
    found = summed(secure, {0: {"a": torch.tensor([5.0, 0.25])}, 1: {"a": torch.tensor([0.5, 0.25])}})
    torch.testing.assert_close(found["a"], torch.tensor([1.5, 0.5], dtype=torch.float64), atol=1e-4, rtol=0)


def masked(value: float, secure: Secure = PLAIN, n: int = 20_000) -> torch.Tensor:
    """Return what client 0 of three sends if all its entries are `value`."""
    people = {client: Participant.make(client, 11) for client in range(3)}
    message = {"a": torch.full((n,), value)}
    server, suite = Aggregator(secure, Simulated(), 3, 11), Simulated()
    keys = server.publish({client: each.advertise(secure, suite, message) for client, each in people.items()})
    sealed = server.route({client: each.share(secure, suite, keys[client]) for client, each in people.items()})
    return people[0].mask(secure, suite, sealed[0], message)["a"].long()


def chi_square(values: torch.Tensor, buckets: int = 64) -> float:
    """Return the statistic of counts in equal parts of the field, against uniform ones."""
    counts = torch.bincount(values * buckets // PRIME, minlength=buckets).double()
    expected = len(values) / buckets
    return float(((counts - expected) ** 2 / expected).sum())


LIMIT = 130.0  # the 99.9999 % quantile of chi square with 63 degrees of freedom is 129


@pytest.mark.parametrize("value", [0.0, 1.0, -0.7])
def test_one_masked_message_is_uniform(value):
    found = masked(value)
    assert found.min() >= 0
    assert found.max() < PRIME
    assert chi_square(found) < LIMIT


def test_it_would_not_be_without_masks(monkeypatch):
    monkeypatch.setattr(field, "_masked", lambda values, streams: values.remainder(PRIME))
    assert chi_square(masked(1.0)) > 1000 * LIMIT


def test_masks_of_two_purposes_have_nothing_in_common():
    first, second = (torch.from_numpy(field.Masks(bytes([n]) * 32, "shake").take(4000).astype("int64")) for n in (1, 2))
    assert (first == second).sum() < 3
    assert abs(float(torch.corrcoef(torch.stack([first, second]).double())[0, 1])) < 0.08


@pytest.mark.parametrize("neighbours", [None, 6])
@pytest.mark.parametrize(("lost", "late"), [((), ()), ((3,), ()), ((), (1,)), ((0,), (4, 7))])
def test_who_drops_out_is_not_in_the_sum_and_nothing_else_changes(neighbours, lost, late):
    sent = messages(12)
    found = summed(Secure(22, None, 0.55, neighbours), sent, lost, late)
    there = [message for client, message in sent.items() if client not in (*lost, *late)]
    for name, total in found.items():
        torch.testing.assert_close(total, sum(message[name].double() for message in there), atol=1e-4, rtol=0)


def test_too_few_are_no_sum_at_all():
    with pytest.raises(UnmaskError, match=r"needed"):
        summed(PLAIN, messages(6), late=(0, 1, 2, 3))


def test_what_the_field_cannot_hold_is_refused():
    with pytest.raises(ConfigError, match=r"federated\.secure\.bits=30 with 3 clients"):
        summed(Secure(30, None, 0.67, None), messages(3))
    with pytest.raises(ConfigError, match=r"is not secret"):
        summed(PLAIN, messages(1))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"bits": 40}, "bits=40"),
        ({"clip": -1.0}, "clip=-1.0"),
        ({"threshold": 0.5}, "threshold=0.5"),
        ({"neighbours": 3}, "neighbours=3"),
    ],
)
def test_options_are_checked(changes, named):
    with pytest.raises(ConfigError, match=named):
        Secure(**{"bits": 20, "clip": None, "threshold": 0.67, "neighbours": None, **changes})


def test_a_server_that_asks_both_secrets_of_a_client_is_refused():
    suite, people = Simulated(), {client: Participant.make(client, 1) for client in range(4)}
    message = {"a": torch.ones(3)}
    server = Aggregator(PLAIN, suite, 4, 1)
    keys = server.publish({client: each.advertise(PLAIN, suite, message) for client, each in people.items()})
    sealed = server.route({client: each.share(PLAIN, suite, keys[client]) for client, each in people.items()})
    for client, each in people.items():
        server.add(client, each.mask(PLAIN, suite, sealed[client], message))
    with pytest.raises(RefusedError, match=r"both secrets of client 2"):
        people[0].reveal(PLAIN, {"survivors": torch.tensor([0, 1, 2, 3]), "dropped": torch.tensor([2])})
    with pytest.raises(RefusedError, match=r"again"):
        people[0].reveal(PLAIN, {"survivors": torch.tensor([0, 1, 2, 3]), "dropped": torch.tensor([])})


def test_values_that_are_not_finite_are_refused():
    sent = messages(3)
    sent[1]["a"][0, 0] = float("nan")
    with pytest.raises(ClbenchError, match=r"a"):
        summed(PLAIN, sent)


def test_real_keys_agree_and_seal():
    pytest.importorskip("cryptography")
    suite = X25519()
    first, second = bytes(range(32)), bytes(range(32, 64))
    key = suite.agree(first, suite.public(second), "mask")
    assert key == suite.agree(second, suite.public(first), "mask") != suite.agree(first, suite.public(second), "seal")
    sealed = suite.seal(key, 1, 2, b"share")
    assert b"share" not in sealed
    assert suite.open(key, 1, 2, sealed) == b"share"
    with pytest.raises(RefusedError):
        suite.open(key, 1, 2, sealed[:-1] + bytes([sealed[-1] ^ 1]))
    with pytest.raises(RefusedError):
        suite.open(key, 2, 1, sealed)


def test_four_bytes_an_entry_and_every_message_counted():
    sent, bytes_ = messages(5), {"up": 0, "down": 0}

    def count(way, amount):
        bytes_[way] += amount

    summed(PLAIN, sent, count=count)
    masked_bytes = 5 * 4 * (4 * 5 + 7)
    keys, shares, revealed, ranges = 5 * 3 * 32, 5 * 4 * 82, 5 * 5 * 33, 5 * 2 * 2
    assert bytes_["up"] == masked_bytes + keys + shares + revealed + ranges
    assert bytes_["down"] > 5 * 4 * (2 * 32 + 82)


# ---- in a federated stream
@dataclass
class Norms(Server):
    """A rule that asks for a sum: of ones, and of the inputs."""

    def end_task(self, learner: Any, task: Task, ask: Ask) -> None:
        self.found = ask("norms", {})

    def client_message(self, learner: Any, task: Task, kind: str, payload: Tensors) -> Tensors:
        return {"count": torch.tensor([float(len(task.train))]), "sum": task.train.raw().float().mean((0, 1, 2))}


def test_a_rules_sums_are_those_of_plain_adding():
    rules = []
    for secure in (None, PLAIN):
        rule = Norms("samples")
        training = federate(rule, blob_stream("task"), clients=4, tasks=1, secure=secure)
        rules.append(rule)
    plain, secured = (rule.found for rule in rules)
    assert float(plain["count"]) == float(secured["count"]) == 80  # counts are whole steps: exact
    torch.testing.assert_close(secured["sum"], plain["sum"], atol=4 * 256 / 2**19, rtol=0)
    report = training.diagnostics()["federated"]
    assert report["up"]["secure"] > 4 * (4 * 5 + 96)
    assert "norms" not in report["up"]


def test_fot_under_masks(tmp_path):
    options = ("federated/server=fot", "federated.rounds=3")
    plain = run(federated_spec(*options, folder=tmp_path / "plain"))
    secure = run(federated_spec(*options, "+federated/secure=masked", folder=tmp_path / "secure"))
    away = torch.tensor(plain.result["matrix"]) - torch.tensor(secure.result["matrix"])
    assert away.abs().max() <= 3  # samples: the bases differ by millionths
    assert secure.cost["bytes_sent"] > plain.cost["bytes_sent"]


def test_what_rides_along_cannot_be_masked(tmp_path):
    with pytest.raises(ConfigError, match=r"sketch_on=global"):
        ready(federated_spec("federated/server=fot_authors", "+federated/secure=masked", folder=tmp_path))
