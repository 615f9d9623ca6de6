"""A client's side of a secure sum (Bonawitz et al., CCS 2017, figure 4, the version against an honest but curious server)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from clbench.errors import ClbenchError, RefusedError
from clbench.federated.messages import Tensors
from clbench.federated.secure import shamir
from clbench.federated.secure.field import add_masks
from clbench.federated.secure.keys import KEY, Suite
from clbench.federated.secure.options import Secure
from clbench.federated.secure.quantise import exponent, quantise

STEPS = ("advertise", "share", "mask", "reveal")
"""In this order, each at most once."""


@dataclass
class Participant:
    """One client in one sum. Its fields are plain values: the state between two messages.

    Every step takes the server's message and returns the client's, both as tensors by name. A client that refused a step takes no
    further part. Use a participant for one sum only: two sums would reveal the difference of two messages.

    Args:
        index: the client's number, not negative.
        root: 32 secret bytes, from which all secrets of the client are derived.
        done: number of steps so far.
        publics: the neighbours' public keys, for the seal and for the mask.
        held: shares of the self-mask seeds of each neighbour and of this client, and of each neighbour's secret key.
        ranges: exponents of the tensors' ranges by name, if there is no `clip`.
        clipped: number of entries outside the range.
    """

    index: int
    root: bytes
    done: int = 0
    publics: dict[int, tuple[bytes, bytes]] = field(default_factory=dict)
    held: dict[int, tuple[bytes, bytes]] = field(default_factory=dict)
    ranges: dict[str, int] = field(default_factory=dict)
    clipped: int = 0

    @classmethod
    def make(cls, index: int, seed: int | None) -> Participant:
        """Return a client before its first step. `seed` None: secrets from the operating system, as a real client needs."""
        root = os.urandom(KEY) if seed is None else hashlib.sha256(f"{seed}/secure sum/{index}".encode()).digest()
        return cls(index, root)

    def advertise(self, secure: Secure, suite: Suite, message: Mapping[str, Tensor] | None) -> Tensors:
        """Return public keys; without a clip also the exponents of the message's ranges.

        Returns:
            `keys` uint8 `[3, 32]`: for the seal, for the mask, and the hash that identifies the self-mask's seed;
            `ranges` int16 `[tensors]` by name.
        """
        self._enter("advertise")
        seed = hashlib.sha256(self._secret("self")).digest()
        up = {"keys": rows([suite.public(self._secret("seal")), suite.public(self._secret("mask")), seed])}
        if secure.clip is None:
            assert message is not None
            self.ranges = {name: exponent(name, message[name]) for name in sorted(message)}
            up["ranges"] = torch.tensor(list(self.ranges.values()), dtype=torch.int16)
        return up

    def share(self, secure: Secure, suite: Suite, down: Mapping[str, Tensor]) -> Tensors:
        """Return sealed shares of both secrets, for every neighbour.

        Args:
            secure: the options.
            suite: the cryptography.
            down: `clients` int64 `[k]`, `keys` uint8 `[k, 2, 32]`, the common `ranges` int16.

        Returns:
            `shares` uint8 `[k, 82]`.
        """
        self._enter("share")
        neighbours = down["clients"].tolist()
        self.publics = {client: (seal, mask) for client, (seal, mask) in zip(neighbours, _pairs(down["keys"]), strict=True)}
        if self.index in self.publics or len(self.publics) < len(neighbours):
            raise RefusedError(f"client {self.index} got neighbours {neighbours}, with itself or with one of them twice")
        if "ranges" in down:
            self.ranges = dict(zip(self.ranges, down["ranges"].tolist(), strict=True))
        needed = secure.needed(len(neighbours) + 1)
        points = [client + 1 for client in sorted([*neighbours, self.index])]
        seeds = shamir.split(self._secret("self"), points, needed, self._secret("shares of self"))
        keys = shamir.split(self._secret("mask"), points, needed, self._secret("shares of mask"))
        self.held = {self.index: (seeds[self.index + 1], b"")}
        sealed = []
        for client in neighbours:
            key = suite.agree(self._secret("seal"), self.publics[client][0], "seal")
            sealed.append(suite.seal(key, self.index, client, seeds[client + 1] + keys[client + 1]))
        return {"shares": rows(sealed)}

    def mask(self, secure: Secure, suite: Suite, down: Mapping[str, Tensor], message: Mapping[str, Tensor]) -> Tensors:
        """Return the quantised message, plus the client's self-mask and the masks that it shares with each neighbour.

        Args:
            secure: the options.
            suite: the cryptography.
            down: `clients` int64 `[m]`: the remaining neighbours; `shares` uint8 `[m, 82]`: their shares for this client.
            message: real tensors.

        Returns:
            Uniform elements of the field, int32, with the same names and shapes.
        """
        self._enter("mask")
        present = down["clients"].tolist()
        needed = secure.needed(len(self.publics) + 1)
        if len(present) + 1 < needed or not self.publics.keys() >= set(present):
            raise RefusedError(
                f"client {self.index} has {len(present)} of {len(self.publics)} neighbours left; with itself it needs {needed}"
            )
        seeds = [(self._secret("self"), 1)]
        for client, sealed in zip(present, _split(down["shares"]), strict=True):
            seal, mask = self.publics[client]
            plain = suite.open(suite.agree(self._secret("seal"), seal, "seal"), client, self.index, sealed)
            self.held[client] = (plain[: shamir.SHARE], plain[shamir.SHARE :])
            seeds.append((suite.agree(self._secret("mask"), mask, "mask"), sign(self.index, client)))
        return add_masks(self._quantised(secure, message), seeds, suite.generator)

    def reveal(self, secure: Secure, down: Mapping[str, Tensor]) -> Tensors:
        """Return shares of the seeds of clients that answered, and of the keys of clients that did not. Never both of one client.

        Args:
            secure: the options.
            down: `survivors` and `dropped` int64, among the neighbours and this client.

        Returns:
            `shares` uint8 `[survivors + dropped, 33]`.

        Raises:
            RefusedError: both secrets of one client are asked, or the question comes again, or fewer clients have answered than
                `threshold` requires, or the server says that this client dropped out.
        """
        self._enter("reveal")
        survivors, dropped = down["survivors"].tolist(), down["dropped"].tolist()
        both = set(survivors) & set(dropped)
        if both:
            raise RefusedError(f"client {self.index} was asked both secrets of client {min(both)}: they would reveal its message")
        needed = secure.needed(len(self.publics) + 1)
        if self.index not in survivors or len(set(survivors)) < needed:
            raise RefusedError(
                f"client {self.index} got the survivors {sorted(survivors)}: with itself it needs {needed} "
                f"of {len(self.publics) + 1}"
            )
        unknown = {*survivors, *dropped} - self.held.keys()
        if unknown:
            raise RefusedError(f"client {self.index} was asked about client {min(unknown)}, but holds no shares of this client")
        return {"shares": rows([self.held[client][0] for client in survivors] + [self.held[client][1] for client in dropped])}

    def _enter(self, step: str) -> None:
        """Enter a step. It counts as done, even if the client then refuses it."""
        position = STEPS.index(step)
        if position != self.done:
            when = "again" if position < self.done else "too early"
            raise RefusedError(f"client {self.index} was asked {when}: {step}", "take every step of a secure sum once, in order")
        self.done += 1

    def _secret(self, purpose: str) -> bytes:
        return hashlib.sha256(self.root + purpose.encode()).digest()

    def _quantised(self, secure: Secure, message: Mapping[str, Tensor]) -> Tensors:
        if secure.clip is None and message.keys() != self.ranges.keys():
            raise RefusedError(f"client {self.index} masks {sorted(message)}, but reported ranges of {sorted(self.ranges)}")
        out = {}
        for name, tensor in message.items():
            if not bool(tensor.isfinite().all()):
                raise ClbenchError(
                    f"{name} of client {self.index} holds values that are not finite", "a secure sum needs finite values"
                )
            clip = secure.clip_of(name, self.ranges.get(name))
            self.clipped += int((tensor.abs() > clip).sum())
            out[name] = quantise(tensor, clip, secure.bits)
        return out


def sign(client: int, neighbour: int) -> int:
    """Return the sign with which a client adds the mask that it shares with a neighbour. The neighbour has the opposite sign."""
    return 1 if client < neighbour else -1


def rows(parts: list[bytes]) -> Tensor:
    """Return byte strings of equal length as a tensor, uint8 `[parts, length]`."""
    if not parts:
        return torch.zeros(0, 0, dtype=torch.uint8)
    return torch.frombuffer(bytearray(b"".join(parts)), dtype=torch.uint8).view(len(parts), -1)


def _split(tensor: Tensor) -> list[bytes]:
    return [bytes(row) for row in tensor.cpu().flatten(1).numpy()]


def _pairs(keys: Tensor) -> list[tuple[bytes, bytes]]:
    return [(both[:KEY], both[KEY:]) for both in _split(keys)]
