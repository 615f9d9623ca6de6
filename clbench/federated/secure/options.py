"""Options of a secure sum, checked."""

from __future__ import annotations

import math
from dataclasses import dataclass

from clbench.errors import ClbenchError, ConfigError
from clbench.federated.secure.field import PRIME


class UnmaskError(ClbenchError):
    """A secure sum that cannot be unmasked. The server learns nothing of it."""


@dataclass(frozen=True)
class Secure:
    """The node `federated.secure`: sums of the clients' answers, of which the server learns only the sum.

    Args:
        bits: bits of an entry: the range has `2 ** bits` equal steps. More bits are more exact, but the sum of fewer clients fits
            into the field.
        clip: c of the range [-c, c] to which entries are clipped: one number, or one by tensor name. None: for each tensor, the
            smallest power of two that is not below any client's largest absolute entry. For this, every client first reports
            the exponent of its own largest entry: the server learns one small integer per client and tensor.
        threshold: fraction of a client's shares that is needed to unmask the sum, above 1/2. With less, a dishonest server could
            get both seeds of a client: it could tell some clients that this client answered, and others that it did not.
        neighbours: number of other clients with which each client shares masks and seeds (Bell et al., CCS 2020), even. None: all
            clients (Bonawitz et al., CCS 2017), at a cost that grows with the square of their number.

    Raises:
        ConfigError: a value is outside its range.
    """

    bits: int
    clip: float | dict[str, float] | None
    threshold: float
    neighbours: int | None

    def __post_init__(self) -> None:
        where = "federated.secure"
        if not 2 <= self.bits <= 30:
            raise ConfigError(f"{where}.bits={self.bits}", "give 2 to 30; 20 is exact to a millionth of the range")
        clips = self.clip.values() if isinstance(self.clip, dict) else [] if self.clip is None else [self.clip]
        if not all(0 < clip < math.inf for clip in clips):
            raise ConfigError(f"{where}.clip={self.clip}", "give positive numbers, or null for a power of two that fits")
        if not 0.5 < self.threshold <= 1:
            raise ConfigError(f"{where}.threshold={self.threshold}", "give a share above 0.5 and up to 1")
        if self.neighbours is not None and (self.neighbours < 2 or self.neighbours % 2):
            raise ConfigError(f"{where}.neighbours={self.neighbours}", "give an even number from 2, or null for all clients")

    def check(self, clients: int) -> None:
        """Check that the sum of so many clients fits into the field and hides each client.

        Raises:
            ConfigError: the sum does not fit, or there is only one client.
        """
        if clients < 2:
            raise ConfigError(
                f"a secure sum of {clients} client{'s' * (clients != 1)} is not secret",
                "ask two or more clients, or set federated.secure=null",
            )
        if clients << self.bits >= PRIME:
            most = ((PRIME - 1) // clients).bit_length() - 1
            raise ConfigError(
                f"federated.secure.bits={self.bits} with {clients} clients: sums take {clients} x 2^{self.bits} values, "
                f"the field has {PRIME}",
                f"set federated.secure.bits={most} or less, or ask at most {(PRIME - 1) >> self.bits} clients",
            )

    def needed(self, shares: int) -> int:
        """Return the number of shares, of so many, that recover a secret."""
        return math.ceil(self.threshold * shares - 1e-9)

    def clip_of(self, name: str, exponent: int | None) -> float:
        """Return c of a tensor's range [-c, c].

        Args:
            name: name of the tensor.
            exponent: the common exponent, if `clip` is None.
        """
        if self.clip is None:
            assert exponent is not None
            return 2.0**exponent
        if not isinstance(self.clip, dict):
            return self.clip
        if name not in self.clip:
            raise ConfigError(
                f"federated.secure.clip has no entry for {name!r}",
                f"its entries are {', '.join(self.clip)}; add one, or set null",
            )
        return self.clip[name]
