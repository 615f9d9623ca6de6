"""How a secure sum is made: its options, checked."""

from __future__ import annotations

import math
from dataclasses import dataclass

from clbench.errors import ClbenchError, ConfigError
from clbench.federated.secure.field import PRIME


class UnmaskError(ClbenchError):
    """A secure sum that cannot be unmasked: nothing of it is known, and nothing is returned."""


@dataclass(frozen=True)
class Secure:
    """The node `federated.secure`: sums of what clients answer, of which the server sees the sum alone.

    Args:
        bits: of an entry: the range is cut into `2 ** bits` equal steps. More are more exact, and fewer clients fit into the
            field.
        clip: c of the range [-c, c] that entries are clipped to: one number, or one by the tensor's name. None: for each tensor,
            the smallest power of two that no client's largest absolute entry exceeds. To agree on it every client reports the
            exponent of its own, before anything is masked: the server learns that one small integer per client and tensor.
        threshold: share of a client's shares that must come back to unmask the sum, above 1/2: with less, a server that tells
            some clients that a client has answered, and others that it has not, could have both of its seeds.
        neighbours: with how many others every client shares masks and seeds (Bell et al., CCS 2020), even; None: with all
            (Bonawitz et al., CCS 2017), which costs the square of the number of clients.

    Raises:
        ConfigError: a value out of its range.
    """

    bits: int
    clip: float | dict[str, float] | None
    threshold: float
    neighbours: int | None

    def __post_init__(self) -> None:
        where = "federated.secure"
        if not 2 <= self.bits <= 30:
            raise ConfigError(f"{where}.bits={self.bits}", "give 2 to 30; 20 is right to a millionth of the range")
        clips = self.clip.values() if isinstance(self.clip, dict) else [] if self.clip is None else [self.clip]
        if not all(0 < clip < math.inf for clip in clips):
            raise ConfigError(f"{where}.clip={self.clip}", "give positive numbers, or null: a power of two that fits")
        if not 0.5 < self.threshold <= 1:
            raise ConfigError(f"{where}.threshold={self.threshold}", "give a share above 0.5 and up to 1")
        if self.neighbours is not None and (self.neighbours < 2 or self.neighbours % 2):
            raise ConfigError(f"{where}.neighbours={self.neighbours}", "give an even number from 2, or null: all")

    def check(self, clients: int) -> None:
        """See whether the sum of so many clients fits into the field, and hides each.

        Raises:
            ConfigError: it does not.
        """
        if clients < 2:
            raise ConfigError(
                f"a secure sum of {clients} client{'s' * (clients != 1)} is no secret",
                "have two or more clients answer, or set federated.secure=null",
            )
        if clients << self.bits >= PRIME:
            most = ((PRIME - 1) // clients).bit_length() - 1
            raise ConfigError(
                f"federated.secure.bits={self.bits} with {clients} clients: sums take {clients} x 2^{self.bits} values, "
                f"the field has {PRIME}",
                f"set federated.secure.bits={most} or less, or ask at most {(PRIME - 1) >> self.bits} clients",
            )

    def needed(self, shares: int) -> int:
        """Return how many of so many shares bring a seed back."""
        return math.ceil(self.threshold * shares - 1e-9)

    def clip_of(self, name: str, exponent: int | None) -> float:
        """Return c of a tensor's range [-c, c].

        Args:
            name: of the tensor.
            exponent: agreed on, where `clip` is None.
        """
        if self.clip is None:
            assert exponent is not None
            return 2.0**exponent
        if not isinstance(self.clip, dict):
            return self.clip
        if name not in self.clip:
            raise ConfigError(
                f"federated.secure.clip has no entry for {name!r}", f"it has {', '.join(self.clip)}; add it, or set null"
            )
        return self.clip[name]
