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
    """One client in one sum. Its fields are plain values: what a process has to keep from one message to the next.

    Every step takes what came down and returns what goes up, both sets of tensors. A client that has refused a step takes part no
    more; neither may a participant serve a second sum, or the difference of two messages would be told.

    Args:
        index: the client's number, not negative.
        root: 32 secret bytes that all its secrets are made of.
        done: steps so far.
        publics: the neighbours' keys, for the seal and for the mask.
        held: shares of each neighbour's and its own self-mask's seed, and of each neighbour's secret key.
        ranges: exponents of the tensors' ranges by name, where no `clip` is given.
        clipped: entries that lay outside the range.
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
        """Return a client that nothing has been asked yet; `seed` None: secrets from the operating system, as they should be."""
        root = os.urandom(KEY) if seed is None else hashlib.sha256(f"{seed}/secure sum/{index}".encode()).digest()
        return cls(index, root)

    def advertise(self, secure: Secure, suite: Suite, message: Mapping[str, Tensor] | None) -> Tensors:
        """Return public keys, and the exponents of the message's ranges where no clip is given.

        Returns:
            `keys` uint8 `[3, 32]`: for the seal, for the mask, and the hash by which the self-mask's seed is known again;
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
        """Return sealed shares of both secrets for every neighbour.

        Args:
            secure: the options.
            suite: the cryptography.
            down: `clients` int64 `[k]`, `keys` uint8 `[k, 2, 32]`, `ranges` int16 as agreed.

        Returns:
            `shares` uint8 `[k, 82]`.
        """
        self._enter("share")
        neighbours = down["clients"].tolist()
        self.publics = {client: (seal, mask) for client, (seal, mask) in zip(neighbours, _pairs(down["keys"]), strict=True)}
        if self.index in self.publics or len(self.publics) < len(neighbours):
            raise RefusedError(f"client {self.index} got neighbours {neighbours}, itself among them or one twice")
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
        """Return the message in whole steps, plus the mask of its own and those it has in common with each neighbour.

        Args:
            secure: the options.
            suite: the cryptography.
            down: `clients` int64 `[m]`: neighbours who are still there; `shares` uint8 `[m, 82]`: theirs for this client.
            message: real tensors.

        Returns:
            Uniform elements of the field, int32, of the same names and shapes.
        """
        self._enter("mask")
        present = down["clients"].tolist()
        needed = secure.needed(len(self.publics) + 1)
        if len(present) + 1 < needed or not self.publics.keys() >= set(present):
            raise RefusedError(
                f"client {self.index} is offered {len(present)} neighbours of {len(self.publics)}; with itself it takes {needed}"
            )
        seeds = [(self._secret("self"), 1)]
        for client, sealed in zip(present, _split(down["shares"]), strict=True):
            seal, mask = self.publics[client]
            plain = suite.open(suite.agree(self._secret("seal"), seal, "seal"), client, self.index, sealed)
            self.held[client] = (plain[: shamir.SHARE], plain[shamir.SHARE :])
            seeds.append((suite.agree(self._secret("mask"), mask, "mask"), sign(self.index, client)))
        return add_masks(self._quantised(secure, message), seeds, suite.generator)

    def reveal(self, secure: Secure, down: Mapping[str, Tensor]) -> Tensors:
        """Return shares: of the seeds of those who answered, and of the keys of those who did not; never both of one client.

        Args:
            secure: the options.
            down: `survivors` and `dropped` int64: of the neighbours and this client.

        Returns:
            `shares` uint8 `[survivors + dropped, 33]`.

        Raises:
            RefusedError: both are asked of one client, or again; fewer have answered than `threshold` takes; this client is said
                to have dropped out, which it knows better.
        """
        self._enter("reveal")
        survivors, dropped = down["survivors"].tolist(), down["dropped"].tolist()
        both = set(survivors) & set(dropped)
        if both:
            raise RefusedError(f"client {self.index} was asked both secrets of client {min(both)}: its message would be told")
        needed = secure.needed(len(self.publics) + 1)
        if self.index not in survivors or len(set(survivors)) < needed:
            raise RefusedError(
                f"client {self.index} was told that {sorted(survivors)} have answered: it takes {needed} of "
                f"{len(self.publics) + 1}, itself among them"
            )
        unknown = {*survivors, *dropped} - self.held.keys()
        if unknown:
            raise RefusedError(f"client {self.index} was asked about client {min(unknown)}, whose shares it does not hold")
        return {"shares": rows([self.held[client][0] for client in survivors] + [self.held[client][1] for client in dropped])}

    def _enter(self, step: str) -> None:
        """Go on to a step. Whatever was asked before is over, also what was refused."""
        place = STEPS.index(step)
        if place != self.done:
            was = "was asked to already" if place < self.done else "has something else to do before"
            raise RefusedError(f"client {self.index} {was}: {step}", "every step of a secure sum is taken once, in order")
        self.done += 1

    def _secret(self, purpose: str) -> bytes:
        return hashlib.sha256(self.root + purpose.encode()).digest()

    def _quantised(self, secure: Secure, message: Mapping[str, Tensor]) -> Tensors:
        if secure.clip is None and message.keys() != self.ranges.keys():
            raise RefusedError(f"client {self.index} masks {sorted(message)}, having reported ranges of {sorted(self.ranges)}")
        out = {}
        for name, tensor in message.items():
            if not bool(tensor.isfinite().all()):
                raise ClbenchError(f"{name} of client {self.index} holds values that are not finite", "no sum can take them")
            clip = secure.clip_of(name, self.ranges.get(name))
            self.clipped += int((tensor.abs() > clip).sum())
            out[name] = quantise(tensor, clip, secure.bits)
        return out


def sign(client: int, neighbour: int) -> int:
    """Return the sign with which a client adds the mask it shares with a neighbour: theirs is the opposite."""
    return 1 if client < neighbour else -1


def rows(parts: list[bytes]) -> Tensor:
    """Return byte strings of one length as a tensor, uint8 `[parts, length]`."""
    if not parts:
        return torch.zeros(0, 0, dtype=torch.uint8)
    return torch.frombuffer(bytearray(b"".join(parts)), dtype=torch.uint8).view(len(parts), -1)


def _split(tensor: Tensor) -> list[bytes]:
    return [bytes(row) for row in tensor.cpu().flatten(1).numpy()]


def _pairs(keys: Tensor) -> list[tuple[bytes, bytes]]:
    return [(both[:KEY], both[KEY:]) for both in _split(keys)]
