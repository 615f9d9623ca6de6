"""The parts of a secure sum: shares, masks, graphs; and who refuses what when somebody does not keep to the protocol."""

from __future__ import annotations

import sys
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clbench.errors import ConfigError, RefusedError
from clbench.federated.secure import field, shamir
from clbench.federated.secure.aggregator import Aggregator
from clbench.federated.secure.keys import X25519, Simulated
from clbench.federated.secure.neighbours import complete, connected, ring
from clbench.federated.secure.options import Secure, UnmaskError
from clbench.federated.secure.participant import Participant
from clbench.federated.secure.quantise import dequantise, quantise, step
from clbench.federated.secure.sums import secure_sum
from clbench.utils.notify import redirect

SECURE = Secure(bits=20, clip=8.0, threshold=0.6, neighbours=None)
GENERATORS = ["aes", "shake"]


def messages(clients, shape=(6, 5), seed=0):
    g = torch.Generator().manual_seed(seed)
    return {client: {"a": torch.randn(shape, generator=g).clamp(-7, 7)} for client in clients}


class Talk:
    """A sum up to the masked messages, of all but those `lost`, with everything within reach of a test."""

    def __init__(self, sent, lost=(), secure=SECURE, suite=None, seed=3):
        self.secure, self.suite, self.sent = secure, suite or Simulated(), sent
        self.people = {client: Participant.make(client, seed) for client in sent}
        self.server = Aggregator(secure, self.suite, len(sent), seed)
        adverts = {client: each.advertise(secure, self.suite, None) for client, each in self.people.items()}
        keys = self.server.publish(adverts)
        self.people = {client: Participant(**vars(each)) for client, each in self.people.items()}  # kept from step to step
        self.sealed = self.server.route({c: each.share(secure, self.suite, keys[c]) for c, each in self.people.items()})
        self.masked = {c: self.mask(c) for c in sent if c not in lost}
        for client, masked in self.masked.items():
            self.server.add(client, masked)

    def mask(self, client):
        return self.people[client].mask(self.secure, self.suite, self.sealed[client], self.sent[client])

    def reveal(self, asked, silent=()):
        return {c: self.people[c].reveal(self.secure, question) for c, question in asked.items() if c not in silent}

    def finish(self, silent=()):
        asked = self.server.requests()
        return self.server.unmask(asked, self.reveal(asked, silent))


def near(found, sent, there):
    exact = sum(sent[client]["a"].double() for client in there)
    return (found["a"] - exact).abs().max() <= len(there) * step(8.0, 20) / 2 * (1 + 1e-9)


# ---- shares
@settings(max_examples=40, deadline=None)
@given(st.binary(min_size=32, max_size=32), st.integers(2, 6), st.integers(0, 3))
def test_any_shares_enough_bring_the_secret_back(secret, needed, more):
    points = [7 * n + 1 for n in range(needed + more)]
    shares = shamir.split(secret, points, needed, b"r" * 32)
    for chosen in combinations(points, needed):
        assert shamir.combine({point: shares[point] for point in chosen}) == secret


def test_one_share_fewer_fits_every_secret():
    shares = shamir.split(b"s" * 32, [1, 2, 3], 3, b"r" * 32)
    for other in (bytes(32), b"\xff" * 32):  # some third share makes any secret of these two: they say nothing
        prime, w = shamir._PRIME, shamir._lagrange((1, 2, 3))
        known = w[0] * int.from_bytes(shares[1]) + w[1] * int.from_bytes(shares[2])
        third = (int.from_bytes(other) - known) * pow(w[2], -1, prime) % prime
        assert shamir.combine({1: shares[1], 2: shares[2], 3: third.to_bytes(33)}) == other
    assert shamir.combine({1: shares[1], 2: shares[2]}) != b"s" * 32


def test_the_field_of_shares_is_one():
    n, odd, twos = shamir._PRIME, shamir._PRIME - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for base in (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37):  # Miller and Rabin
        x = pow(base, odd, n)
        powers = [pow(x, 2**k, n) for k in range(twos)]
        assert x == 1 or n - 1 in powers


# ---- masks
@pytest.mark.parametrize("generator", GENERATORS)
def test_a_stream_does_not_depend_on_the_portions_it_is_taken_in(generator):
    whole = field.Masks(b"k" * 32, generator).take(5000)
    stream = field.Masks(b"k" * 32, generator)
    parts = np.concatenate([stream.take(count) for count in (1, 0, 7, 1500, 3492)])
    np.testing.assert_array_equal(whole, parts)
    assert not np.array_equal(whole, field.Masks(b"l" * 32, generator).take(5000))


def test_the_stream_is_that_of_aes_in_counter_mode():
    ciphers = pytest.importorskip("cryptography.hazmat.primitives.ciphers")
    blocks = b"".join(n.to_bytes(16) for n in range(100))
    encrypted = ciphers.Cipher(ciphers.algorithms.AES(b"k" * 32), ciphers.modes.ECB()).encryptor().update(blocks)
    np.testing.assert_array_equal(field.Masks(b"k" * 32, "aes").take(400), np.frombuffer(encrypted, "<u4") & 0x7FFFFFFF)


@pytest.mark.parametrize("generator", GENERATORS)
def test_words_that_are_no_elements_are_left_out(generator, monkeypatch):
    whole = field.Masks(b"k" * 32, generator).take(80_000) & 0x7  # the same bits, of a field of five
    monkeypatch.setattr(field, "PRIME", 5)
    stream = field.Masks(b"k" * 32, generator)
    found = np.concatenate([stream.take(17_000), stream.take(23_000)])
    np.testing.assert_array_equal(found, whole[whole < 5][:40_000])
    counts = np.bincount(found)
    assert ((counts - 8000) ** 2 / 8000).sum() < 33  # chi square, 4 degrees of freedom: the 99.9999 % quantile


def test_two_inputs_far_apart_look_alike():
    low, high = ({c: {"a": torch.full((50_000,), value)} for c in range(3)} for value in (-8.0, 8.0))
    counts = [torch.histc(Talk(sent, seed=s).masked[0]["a"].double(), 64, 0, field.PRIME) for s, sent in ((1, low), (2, high))]
    assert float(((counts[0] - counts[1]) ** 2 / (counts[0] + counts[1])).sum()) < 130  # two samples, 63 degrees of freedom


def test_masks_cancel_to_the_integer():
    sent = {client: {"a": torch.randint(-(2**15), 2**15, (300,), dtype=torch.int64)} for client in range(40)}
    found = Talk(sent, secure=Secure(17, 2.0**16, 0.6, None)).finish()["a"]
    torch.testing.assert_close(found, sum(message["a"] for message in sent.values()).double(), rtol=0, atol=0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_on_the_gpu_the_sum_is_the_same_to_the_last_bit():
    sent = messages(range(5), (1000, 300))
    there = {client: {name: tensor.cuda() for name, tensor in message.items()} for client, message in sent.items()}
    found = Talk(there, lost=(2,)).finish()["a"]
    assert found.is_cuda
    assert torch.equal(found.cpu(), Talk(sent, lost=(2,)).finish()["a"])


@given(st.lists(st.floats(-4, 4), min_size=1, max_size=20), st.integers(2, 30), st.sampled_from([4.0, 5.3]))
def test_an_entry_is_right_to_half_a_step(entries, bits, clip):
    values = torch.tensor(entries, dtype=torch.float64)
    back = dequantise(field.centred(quantise(values, clip, bits)), clip, bits)
    assert (back - values).abs().max() <= step(clip, bits) / 2 * (1 + 1e-9)


# ---- graphs
@settings(deadline=None)
@given(st.integers(2, 40), st.integers(1, 20), st.integers(0, 99))
def test_a_ring_is_mutual_regular_and_connected(clients, half, seed):
    names = [3 * n for n in range(clients)]
    graph = ring(names, 2 * half, seed)
    for client, others in graph.items():
        assert len(set(others)) == min(2 * half, clients - 1)
        assert all(client in graph[other] for other in others)
        assert client not in others
    assert connected(graph, names)
    if 2 * half >= clients - 1:
        assert graph == complete(names)


def test_groups_apart_are_seen():
    graph = {0: (1, 3), 1: (0, 2), 2: (1, 3), 3: (2, 0)}
    assert connected(graph, [0, 1, 2])
    assert not connected(graph, [0, 2])


# ---- the protocol
@pytest.mark.parametrize("neighbours", [None, 4])
@pytest.mark.parametrize(("lost", "silent"), [((), ()), ((2,), ()), ((), (5,)), ((2,), (5,))])
def test_with_real_keys_the_sum_is_that_of_those_who_answered(neighbours, lost, silent):
    pytest.importorskip("cryptography")
    sent = messages(range(9))
    talk = Talk(sent, lost, Secure(20, 8.0, 0.51, neighbours), X25519(), seed=None)
    assert near(talk.finish(silent), sent, [client for client in sent if client not in lost])


def test_without_the_package_of_ciphers_the_sum_is_the_same(monkeypatch):
    sent = messages(range(5))
    found = Talk(sent, lost=(1,)).finish()["a"]
    monkeypatch.setitem(sys.modules, "cryptography", None)  # importing it fails
    talk = Talk(sent, lost=(1,))
    assert talk.suite.generator == "shake"
    assert torch.equal(talk.finish()["a"], found)
    with pytest.raises(ConfigError, match=r"need the package cryptography"):
        X25519()


def test_real_keys_leave_nothing_in_the_clear():
    pytest.importorskip("cryptography")
    talk = Talk(messages(range(3)), suite=X25519())
    secret = talk.people[1].held[1][0]
    for down in talk.sealed.values():
        assert secret[:16] not in bytes(down["shares"].numpy())
    for client, each in talk.people.items():
        assert each._secret("mask") not in bytes(talk.server.keys[client].numpy())
    with pytest.raises(RefusedError, match=r"weak public key"):
        X25519().agree(b"s" * 32, bytes(32), "mask")


def test_shares_too_few_after_the_messages_are_no_sum():
    talk = Talk(messages(range(5)))
    with pytest.raises(UnmaskError, match=r"client 0 and its 4 neighbours 2 sent their shares, 3 are needed"):
        talk.finish(silent=(1, 3, 4))


def test_a_wrong_share_is_an_error_and_no_wrong_sum():
    for lost in ((), (4,)):
        talk = Talk(messages(range(5)), lost)
        asked = talk.server.requests()
        answers = talk.reveal(asked)
        answers[0]["shares"][-1, 5] ^= 1  # of the last survivor's seed, or of the key of the one who dropped out
        with pytest.raises(UnmaskError, match=r"client 4's secret do not belong together"):
            talk.server.unmask(asked, answers)


def test_a_server_that_tells_clients_different_things_gets_too_few_of_one_secret():
    talk = Talk(messages(range(6)))
    one, other = torch.tensor([0, 1, 2, 3, 4, 5]), torch.tensor([0, 1, 2, 3, 4])
    seed, key = {}, {}
    for client in (0, 1, 2, 3, 4):  # client 5 would not believe that it has dropped out
        fair = client in (0, 1, 2)
        question = {"survivors": one if fair else other, "dropped": torch.tensor([5])[: 0 if fair else 1]}
        shares = talk.people[client].reveal(SECURE, question)["shares"]
        (seed if fair else key)[client + 1] = bytes(shares[-1].numpy())
    assert min(len(seed), len(key)) < SECURE.needed(6)
    assert 2 * SECURE.needed(6) > 6


@pytest.mark.parametrize(
    ("survivors", "dropped", "named"),
    [
        ([0, 1, 2, 3], [3], "both secrets of client 3"),
        ([0, 1], [2, 3, 4], "needs 3 of 5"),
        ([1, 2, 3, 4], [0], "with itself it needs"),
        ([0, 1, 2, 9], [], "client 9"),
    ],
)
def test_what_a_client_does_not_reveal(survivors, dropped, named):
    question = {"survivors": torch.tensor(survivors), "dropped": torch.tensor(dropped)}
    with pytest.raises(RefusedError, match=named):
        Talk(messages(range(5))).people[0].reveal(SECURE, question)


def test_nobody_masks_or_reveals_twice():
    talk = Talk(messages(range(4)))
    with pytest.raises(RefusedError, match=r"client 1 was asked again: mask"):
        talk.mask(1)  # two messages under one mask: they would reveal their difference
    talk.finish()
    with pytest.raises(RefusedError, match=r"again: reveal"):
        talk.people[1].reveal(SECURE, {"survivors": torch.tensor([0, 1, 2]), "dropped": torch.tensor([3])})
    with pytest.raises(RefusedError, match=r"too early: mask"):
        Participant.make(0, 1).mask(SECURE, Simulated(), {}, {})


def test_a_masked_message_unlike_the_others_is_left_out():
    sent = messages(range(5))
    talk = Talk(sent, lost=(4,))
    fine = talk.mask(4)["a"]
    for odd in ({"a": fine[:2]}, {"b": fine}, {"a": fine.float()}):
        with pytest.raises(RefusedError, match=r"client 4's masked message"):
            talk.server.add(4, odd)
    with pytest.raises(RefusedError, match=r"client 3 sent a masked message again"):
        talk.server.add(3, talk.masked[3])
    assert near(talk.finish(), sent, [0, 1, 2, 3])


def test_survivors_in_two_groups_are_no_sum():
    names = range(12)
    order = list(ring(names, 2, 3))  # around the circle
    talk = Talk(messages(names), lost=(order[0], order[6]), secure=Secure(20, 8.0, 0.51, 2))
    with pytest.raises(UnmaskError, match=r"10 clients that have answered form groups"):
        talk.server.requests()


def test_what_was_clipped_is_told():
    sent = {client: {"a": torch.tensor([0.5, 3.0, -9.0])} for client in range(3)}
    heard = []
    with redirect(heard.append):
        for clip in (1.0, 16.0):
            secure = Secure(20, clip, 0.6, None)
            secure_sum(secure, list(sent), lambda clients: ((c, sent[c]) for c in clients), 1, lambda way, amount: None)
    assert heard == ["6 entries of 3 clients' answers were clipped to federated.secure.clip=1.0"]


def test_a_range_by_name_needs_every_name():
    with pytest.raises(ConfigError, match=r"no entry for 'a'"):
        Talk(messages(range(3)), secure=Secure(20, {"b": 1.0}, 0.6, None))
    sent = {client: {"a": torch.tensor([0.25]), "n": torch.tensor(100.0 + client)} for client in range(3)}
    found = Talk(sent, secure=Secure(20, {"a": 1.0, "n": 1024.0}, 0.6, None)).finish()
    assert (float(found["a"]), float(found["n"])) == (0.75, 303.0)
