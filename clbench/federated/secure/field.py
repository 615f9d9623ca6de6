"""Masks: streams of uniform elements of a prime field from a seed. They are added to integers modulo the prime."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

PRIME = 2**31 - 1
"""The largest prime below 2^31: an element takes four bytes, and the sum of 2^32 elements fits into int64."""
CHUNK = 1 << 17
"""Entries per block: a block stays in the cache while all masks are added."""
_BLOCK = 1 << 12  # bytes of SHAKE per block: a stream stores the rest of its block; a short stream wastes it
Words = np.ndarray[Any, np.dtype[np.uint32]]
Generator = Literal["aes", "shake"]
"""AES-256 in counter mode (package `cryptography`, uses the processor's instructions), or SHAKE-256 (standard library, about ten
times slower). Both are cryptographic; the generators of numpy and torch are not."""


class Masks:
    """The stream of field elements of a seed."""

    def __init__(self, seed: bytes, generator: Generator) -> None:
        """Start at the stream's first element. A seed has 32 bytes; use it for one stream only."""
        self._draw = _aes(seed) if generator == "aes" else _shake(seed)

    def take(self, count: int) -> Words:
        """Return the next elements, `[count]`.

        Each is uniform. A word has as many random bits as the largest element; a word that is not an element is skipped (here one
        word in 2^31).
        """
        words = np.frombuffer(self._draw(4 * count), dtype="<u4") & np.uint32((1 << PRIME.bit_length()) - 1)
        if words.max(initial=0) < PRIME:
            return words
        words = words[words < PRIME]
        return np.concatenate([words, self.take(count - len(words))])


def available() -> Generator:
    """Return the fastest installed generator."""
    try:
        import cryptography  # noqa: F401
    except ImportError:
        return "shake"
    return "aes"


def add_masks(values: Mapping[str, Tensor], seeds: Sequence[tuple[bytes, int]], generator: Generator) -> dict[str, Tensor]:
    """Return `values + sum of sign * stream(seed)` in the field.

    Args:
        values: integers of any size, int64, on any device. A stream covers the tensors in the order of their names.
        seeds: (seed, sign 1 or -1).
        generator: generator of the streams.

    Returns:
        Elements of the field, int32, of the same shapes.
    """
    streams = [(Masks(seed, generator), sign) for seed, sign in seeds]
    out = {}
    for name in sorted(values):
        flat = values[name].reshape(-1)
        masked = torch.empty(flat.shape, dtype=torch.int32, device=flat.device)
        for start in range(0, len(flat), CHUNK):
            part = slice(start, start + CHUNK)
            masked[part] = _masked(flat[part], streams)
        out[name] = masked.reshape(values[name].shape)
    return out


def centred(elements: Tensor) -> Tensor:
    """Return the integers, int64, between -PRIME/2 and PRIME/2 that elements of the field represent."""
    elements = elements.to(torch.int64)
    return torch.where(elements > PRIME // 2, elements - PRIME, elements)


def _masked(values: Tensor, streams: Sequence[tuple[Masks, int]]) -> Tensor:
    # The CPU makes the streams and their sum, so that there is one copy to the values' device.
    total = np.zeros(len(values), dtype=np.int64)
    for stream, sign in streams:
        (np.add if sign > 0 else np.subtract)(total, stream.take(len(values)), out=total)
    return torch.from_numpy(total).to(values.device).add_(values).remainder_(PRIME)


def _aes(seed: bytes) -> Callable[[int], bytearray]:
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    encryptor = Cipher(
        algorithms.AES(seed), modes.CTR(bytes(16))
    ).encryptor()  # counter 0 is safe: no two streams have the same key

    def draw(count: int) -> bytearray:
        drawn = bytearray(count)
        encryptor.update_into(drawn, drawn)
        return drawn

    return draw


def _shake(seed: bytes) -> Callable[[int], bytes]:
    block, left = 0, b""

    def draw(count: int) -> bytes:
        nonlocal block, left
        parts, held = [left], len(left)
        while held < count:  # SHAKE cannot continue a stream, so every block has a number
            parts.append(hashlib.shake_256(seed + block.to_bytes(8)).digest(_BLOCK))
            block, held = block + 1, held + _BLOCK
        whole = b"".join(parts)
        left = whole[count:]
        return whole[:count]

    return draw
