"""Shamir's secret sharing (CACM 1979): any `needed` shares recover a secret, fewer shares reveal nothing about it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache

SECRET = 32
"""Bytes of a secret."""
SHARE = 33
"""Bytes of a share."""
_PRIME = 2**256 + 297  # the smallest prime above all secrets


def split(secret: bytes, points: Sequence[int], needed: int, randomness: bytes) -> dict[int, bytes]:
    """Return shares of a secret.

    Args:
        secret: 32 bytes.
        points: one number per share, from 1, all different.
        needed: number of shares that recover the secret.
        randomness: 32 secret bytes; use them for nothing else.

    Returns:
        33 bytes for each point.
    """
    # 512 random bits per coefficient: modulo the prime they are uniform up to 2^-255.
    drawn = hashlib.shake_256(randomness).digest(64 * (needed - 1))
    coefficients = [int.from_bytes(drawn[start : start + 64]) % _PRIME for start in range(0, len(drawn), 64)]
    shares = {}
    for point in points:
        value = 0
        for coefficient in coefficients:
            value = (value + coefficient) * point % _PRIME
        shares[point] = ((value + int.from_bytes(secret)) % _PRIME).to_bytes(SHARE)
    return shares


def combine(shares: Mapping[int, bytes]) -> bytes | None:
    """Return the secret of exactly as many shares as are needed, by point; None if they do not belong to one secret.

    >>> shares = split(bytes(31) + b"x", points=[1, 2, 3], needed=2, randomness=bytes(32))
    >>> combine({point: shares[point] for point in (1, 3)})[-1:]
    b'x'
    """
    points = tuple(sorted(shares))
    total = sum(weight * int.from_bytes(shares[point]) for point, weight in zip(points, _lagrange(points), strict=True))
    secret = total % _PRIME
    return secret.to_bytes(SECRET) if secret < 1 << 8 * SECRET else None


@lru_cache(maxsize=256)  # on a complete graph without dropouts, all clients have the same points
def _lagrange(points: tuple[int, ...]) -> tuple[int, ...]:
    """Return the weights that give a polynomial's value at 0 from its values at `points`."""
    weights = []
    for point in points:
        above = below = 1
        for other in points:
            if other != point:
                above = above * other % _PRIME
                below = below * (other - point) % _PRIME
        weights.append(above * pow(below, -1, _PRIME) % _PRIME)
    return tuple(weights)
