"""Changes of a message's content between server and clients that none of both may take."""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from clbench.flower.wire_format import ABOUT, MODEL, MORE

WRONG: dict[str, tuple[Any, ...]] = {
    "samples": (float("nan"), 10**15, -1, "ten", True),
    "seen": (float("nan"), 10**15, -1, "ten"),
    "client": (10**9, -1, "1", 1.0, True),
    "loss": ("low", b"x"),
    "task": (10**9, -1, "0", 0.0),
    "round": (10**9, -1, "0"),
    "work": (float("nan"), float("inf"), 0.0, -1.0, 2.0, "1"),
    "names": ([], "w", ["no_such_tensor"], [1]),
    "spec": ("", "{}", "[" * 100_000, 3, "null"),
    "rides": (1, "yes", True),
}
"""Values that are wrong for a field, wherever the field stands."""
STRANGE = {"samples_": 1, "_target_": "os.system", "results_dir": "/tmp"}
"""Fields that no message has."""


class Evil:
    """An object whose pickle makes a file when it is read."""

    def __init__(self, canary: Path) -> None:
        """Take the file."""
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        """Return what `pickle` calls."""
        return (Path.touch, (self.canary,))


def evil_bytes(canary: Path) -> list[bytes]:
    """Return bytes that make a file where somebody unpickles them: a pickle, and .npy files of objects."""
    found = [pickle.dumps(Evil(canary))]
    for array in (np.array([Evil(canary)], dtype=object), np.array(Evil(canary), dtype=object)):
        data = io.BytesIO()
        np.save(data, array, allow_pickle=True)
        found.append(data.getvalue())
    return found


def wrong_contents(content: RecordDict, canary: Path) -> Iterator[tuple[str, RecordDict]]:
    """Yield changed copies of a right content, each with the name of the change."""
    about, model, more = dict(content[ABOUT]), dict(content[MODEL]), dict(content[MORE])
    records = {ABOUT: content[ABOUT], MODEL: content[MODEL], MORE: content[MORE]}
    for name in records:
        yield f"without the record {name}", RecordDict({key: each for key, each in records.items() if key != name})
        other: Any = ArrayRecord({}) if name == ABOUT else ConfigRecord({})
        yield f"another kind of record as {name}", RecordDict({**records, name: other})
    yield "one more record", RecordDict({**records, "extra": ConfigRecord({"x": 1})})
    for name in about:
        if name not in ("loss", "error"):
            yield f"without {name}", _with(records, {key: each for key, each in about.items() if key != name})
    for name, value in STRANGE.items():
        yield f"with {name}", _with(records, {**about, name: value})
    for name, values in WRONG.items():
        for value in values if name in about else ():
            if name == "names" and not value:
                continue  # a message may ask for no tensor
            yield f"{name}={value!r}"[:60], _with(records, {**about, name: value})
    yield from _wrong_arrays(records, model, canary)
    yield "one more question", RecordDict({**records, MORE: ArrayRecord({**more, "extra": Array(np.ones(3, np.float32))})})


def _with(records: dict[str, Any], about: dict[str, Any]) -> RecordDict:
    return RecordDict({**records, ABOUT: ConfigRecord(about)})


def _wrong_arrays(records: dict[str, Any], model: dict[str, Array], canary: Path) -> Iterator[tuple[str, RecordDict]]:
    name, right = next(iter(model.items()))
    numbers = right.numpy()

    def put(array: Array, key: str = name) -> RecordDict:
        return RecordDict({**records, MODEL: ArrayRecord({**model, key: array})})

    for data in (b"", b"garbage", right.data[:-1], right.data + b"x", right.data[:20], *evil_bytes(canary)):
        yield f"array of the bytes {data[:20]!r}", put(Array(right.dtype, right.shape, right.stype, data))
    for data in evil_bytes(canary):
        yield "array of objects", put(Array("object", (1,), right.stype, data))
        yield "array stored as a pickle", put(Array(right.dtype, right.shape, "pickle", data))
    yield "array stored as torch", put(Array(right.dtype, right.shape, "torch.Tensor", right.data))
    yield "array announced with another shape", put(Array(right.dtype, (10**9, 10**9), right.stype, right.data))
    yield "array announced with another type", put(Array("float64", right.shape, right.stype, right.data))
    yield "array of another shape", put(Array(np.zeros((3, 1, 2), numbers.dtype)))
    yield "array of another type", put(Array(numbers.astype(np.float64)))
    yield "array of texts", put(Array(np.array(["a", "b"])))
    yield "array of complex numbers", put(Array(numbers.astype(np.complex64)))
    yield "one more array", put(right, "no_such_tensor")
    yield "an array with a strange name", put(right, "\x1b[2J\n" * 1000)
