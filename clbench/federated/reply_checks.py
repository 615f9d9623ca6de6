"""Checks of clients' replies, the same for every transport. A reply is data from outside: any part of it may be wrong."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from clbench.federated.messages import DIVERGED, Reply, Tensors, finite

LONGEST = 200
"""Characters of a reason that are shown and stored."""
LINES = 20
"""Lines about rejected replies in a task, and different reasons in its record; our choice. Further ones are counted together."""
OTHER = "other reasons"
"""The entry of a record's counts for reasons beyond `LINES`."""
REACH = torch.finfo(torch.float32).max
"""Largest magnitude of a number in a reply: a sum of such numbers stays finite in double precision."""


@dataclass(frozen=True)
class Fault:
    """The fault of a reply.

    Args:
        text: the reason, in one line.
        formed: whether fields, names, shapes and types are right: only values are not finite. Such a reply of a client that
            diverged counts as sent and trained, but not in the mean.
    """

    text: str
    formed: bool = False


@dataclass(frozen=True)
class Expected:
    """What the server expects of the replies to one message.

    Args:
        sizes: the clients that were asked, with their numbers of samples of the task.
        tensors: names, shapes and types of a right reply's tensors; None: those of the first right reply.
        answer: the same of the answer that rides on a reply; None as for `tensors`.
        seen: largest number of samples that a client of one sample, and of one sample more, can train on; None: no training.
    """

    sizes: Mapping[int, int]
    tensors: Mapping[str, Tensor] | None
    answer: Mapping[str, Tensor] | None
    seen: tuple[int, int] | None = None

    def most_seen(self, client: int) -> int:
        """Return the largest number of samples that a client can have trained on."""
        if self.seen is None:
            return 0
        base, each = self.seen
        return base + each * self.sizes[client]


class Checks:
    """The checks of all replies to one message."""

    def __init__(self, expected: Expected) -> None:
        """Start without a reply."""
        self.expected = expected
        self.tensors, self.answer = expected.tensors, expected.answer
        self._answered: set[int] = set()

    def __call__(self, reply: Any) -> tuple[Reply, Fault | None]:
        """Return the reply and its fault, or None if it is right. Waits for the device.

        A reply that is not even a `Reply` is replaced by an empty one. Unprintable characters of an error are removed.
        """
        if not isinstance(reply, Reply):
            return Reply(-1), Fault(f"it is a {type(reply).__name__}, not a reply")
        reply = replace(reply, node=one_line(reply.node))
        fault = self._sender(reply) or self._fields(reply) or self._content(reply)
        return reply, fault

    def _sender(self, reply: Reply) -> Fault | None:
        if reply.error is not None:
            text = one_line(reply.error) or "it failed without a reason"
            if _is_count(reply.client):
                self._answered.add(reply.client)
            return Fault(text)
        if not _is_count(reply.client) or reply.client not in self.expected.sizes:
            return Fault(f"it answers for client {one_line(reply.client, 40)}, which was not asked")
        if reply.client in self._answered:
            return Fault("it is a second reply to one message")
        self._answered.add(reply.client)
        return None

    def _fields(self, reply: Reply) -> Fault | None:
        size, most = self.expected.sizes[reply.client], self.expected.most_seen(reply.client)
        if not _is_count(reply.samples) or reply.samples != size:
            return Fault(f"it reports {one_line(reply.samples, 40)} samples, and its client owns {size}")
        if not _is_count(reply.seen) or not 0 <= reply.seen <= most:
            return Fault(f"it reports {one_line(reply.seen, 40)} trained samples, and at most {most} are possible")
        if reply.loss is None:
            return None
        if self.expected.seen is None or isinstance(reply.loss, bool) or not isinstance(reply.loss, (int, float)):
            return Fault(f"it reports the loss {one_line(reply.loss, 40)}")
        return None

    def _content(self, reply: Reply) -> Fault | None:
        found = _misshaped(reply.tensors, self.tensors, "")
        if found is None and self.tensors is None and not reply.tensors:
            found = "it is empty"
        found = found or _misshaped(reply.answer, self.answer, "the answer's ")
        if found is not None:
            return Fault(found)
        if (reply.loss is not None and not abs(reply.loss) <= REACH) or not finite({**reply.tensors, **_apart(reply.answer)}):
            return Fault(DIVERGED, formed=True)
        if not _within(reply.tensors) or not _within(reply.answer):
            return Fault(f"it holds values beyond {REACH:.2g}")
        if self.tensors is None:
            self.tensors = _like(reply.tensors)
        if self.answer is None:
            self.answer = _like(reply.answer)
        return None


def checked(replies: Iterator[Any], expected: Expected) -> Iterator[tuple[Reply, Fault | None]]:
    """Yield every reply with its fault, or None."""
    check = Checks(expected)
    for reply in replies:
        yield check(reply)


def counted(counts: Counter[str], fault: Fault) -> str | None:
    """Count a rejected reply by its reason; return the reason if `LINES` has room for a line about it."""
    known = fault.text in counts or len(counts) < LINES
    counts[fault.text if known else OTHER] += 1
    return fault.text if known else None


def one_line(value: Any, longest: int = LONGEST) -> str:
    """Return a value from outside as printable text in one line: no control characters, no more than `longest` characters."""
    try:
        text = value if isinstance(value, str) else repr(value)
    except Exception:
        text = f"a {type(value).__name__}"
    text = " ".join("".join(each if each.isprintable() or each.isspace() else "?" for each in text[: 10 * longest]).split())
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _misshaped(found: Any, wanted: Mapping[str, Tensor] | None, whose: str) -> str | None:
    """Return what is wrong with the names, types and shapes of tensors, or None; `whose` begins the message."""
    if not isinstance(found, dict) or not all(isinstance(name, str) and isinstance(each, Tensor) for name, each in found.items()):
        return f"{whose or 'it has '}tensors are no tensors by name"
    if wanted is not None and found.keys() != wanted.keys():
        missing, more = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
        if missing:
            return one_line(f"it lacks {whose}{', '.join(missing)}")
        return one_line(f"it holds {whose}{', '.join(more)}, which nobody asked for")
    for name, tensor in found.items():
        if tensor.layout is not torch.strided or tensor.is_complex() or tensor.is_quantized:
            return one_line(f"{whose}{name} is no plain tensor")
        if wanted is None:
            continue
        if tensor.shape != wanted[name].shape:
            return one_line(f"{whose}{name} has the shape {list(tensor.shape)}, not {list(wanted[name].shape)}")
        if tensor.dtype != wanted[name].dtype:
            return f"{whose}{name} is {tensor.dtype}, not {wanted[name].dtype}"
    return None


def _apart(answer: Tensors) -> Tensors:
    return {f"answer/{name}": tensor for name, tensor in answer.items()}


def _within(tensors: Tensors) -> bool:
    """Return whether all values in double precision are within `REACH`; others cannot be beyond."""
    double = [tensor for tensor in tensors.values() if tensor.dtype is torch.float64 and tensor.numel()]
    return all(bool(tensor.abs().max() <= REACH) for tensor in double)


def _like(tensors: Tensors) -> Tensors:
    """Return tensors without values, of the same shapes and types."""
    return {name: torch.empty_like(tensor, device="meta") for name, tensor in tensors.items()}


def seen_by(epochs: int, iterations: int | None, batch_size: int, own_fit: bool) -> tuple[int, int]:
    """Return (base, each): a client of n samples trains on at most base + each * n samples in a round.

    Args:
        epochs: passes over its samples.
        iterations: or so many steps.
        batch_size: samples of a step.
        own_fit: whether the method has its own way to train, which may take more passes: a thousand times as many are allowed.
    """
    factor = 1000 if own_fit else 1
    return (factor * iterations * batch_size, 0) if iterations is not None else (0, factor * math.ceil(epochs))
