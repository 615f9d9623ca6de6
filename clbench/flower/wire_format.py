"""Conversion between the messages of clbench and the records of Flower. What arrives is data from outside, and is checked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from io import BytesIO
from typing import Any

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from numpy.lib import format as npy

from clbench.errors import RefusedError
from clbench.federated.messages import Reply, Tensors
from clbench.federated.reply_checks import one_line

ABOUT, MODEL, MORE = "about", "model", "more"
"""Names of the records in a message: plain values, the model, and further tensors (of a question or an answer)."""
TRAIN, QUERY = "train", "query"
"""Types of messages."""
Fields = Mapping[str, type]
FIELDS: dict[str, Fields] = {
    TRAIN: {"spec": str, "task": int, "client": int, "round": int, "names": list, "rides": bool, "work": float},
    QUERY: {"spec": str, "task": int, "client": int, "kind": str},
}
"""Fields of the plain values in a message, by its type; all must be there."""
REPLY: Fields = {"client": int, "samples": int, "seen": int}
"""Fields of the plain values in a reply; all must be there."""
REPLY_MORE: Fields = {"loss": float, "error": str}
"""Further fields of a reply, which may be absent."""
TYPES = ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool")
"""Types of numbers in an array."""
ARRAYS, DIMENSIONS = 20_000, 16
"""Arrays of a record, dimensions of an array; our choice."""


def pack(about: Mapping[str, Any], model: Mapping[str, torch.Tensor], more: Mapping[str, torch.Tensor]) -> RecordDict:
    """Return the content of a message; plain values that are None are left out."""
    plain = ConfigRecord({key: value for key, value in about.items() if value is not None})
    return RecordDict({ABOUT: plain, MODEL: arrays(model), MORE: arrays(more)})


def unpack(
    content: RecordDict, device: torch.device, required: Fields, optional: Fields | None = None, most: float = math.inf
) -> tuple[dict[str, Any], Tensors, Tensors]:
    """Return the arguments of `pack`, with tensors on `device`.

    Args:
        content: of a message.
        device: of the tensors.
        required: names and types of the plain values.
        optional: of those that may be absent.
        most: largest number of bytes in all arrays together.

    Raises:
        RefusedError: a record or a field is missing, one more is there, a type is wrong, or bytes are no array.
    """
    about = plain_values(content, required, optional)
    records = [content[name] for name in (MODEL, MORE)]
    if not all(isinstance(record, ArrayRecord) for record in records):
        raise refused(f"{MODEL} or {MORE} is no record of arrays")
    total = sum(len(array.data) for record in records for array in record.values())
    if total > most or any(len(record) > ARRAYS for record in records):
        raise refused(f"its arrays have {total} bytes, and at most {most:.0f} are expected")
    model, more = (tensors(record, device) for record in records)
    return about, model, more


def plain_values(content: RecordDict, required: Fields, optional: Fields | None = None) -> dict[str, Any]:
    """Return the plain values of a message; arguments and errors as of `unpack`."""
    if set(content) != {ABOUT, MODEL, MORE}:
        raise refused(f"it has the records {', '.join(sorted(one_line(name, 40) for name in content)[:10])}")
    found = content[ABOUT]
    if not isinstance(found, ConfigRecord):
        raise refused(f"{ABOUT} is no record of plain values")
    known = {**required, **(optional or {})}
    missing, more = required.keys() - found.keys(), found.keys() - known.keys()
    if missing:
        raise refused(f"it lacks the field {', '.join(sorted(missing))}")
    if more:
        raise refused(f"it has the unknown field {', '.join(sorted(one_line(name, 40) for name in more)[:10])}")
    for name, value in found.items():
        if type(value) is not known[name] and not (known[name] is float and type(value) is int):
            raise refused(f"{name}={one_line(value, 40)} is no {known[name].__name__}")
        if isinstance(value, list) and not all(isinstance(each, str) for each in value):
            raise refused(f"{name} is no list of texts")
    return dict(found)


def arrays(found: Mapping[str, torch.Tensor]) -> ArrayRecord:
    """Return tensors as Flower's arrays of the same type and shape."""
    return ArrayRecord({name: Array(tensor.detach().cpu().numpy()) for name, tensor in found.items()})


def tensors(record: ArrayRecord, device: torch.device) -> Tensors:
    """Return Flower's arrays as tensors.

    Raises:
        RefusedError: an array's bytes are not what its header says, or its header names objects. Nothing is ever unpickled.
    """
    return {name: torch.from_numpy(numbers(array, name).copy()).to(device) for name, array in record.items()}


def numbers(array: Array, name: str) -> np.ndarray[Any, Any]:
    """Return the numbers of a Flower array: those of a .npy file, whose header is checked against its bytes first."""
    what = one_line(name, 80)
    if array.stype != "numpy.ndarray":
        raise refused(f"array {what} is stored as {one_line(array.stype, 40)}")
    data = BytesIO(array.data)
    try:
        version = npy.read_magic(data)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, in_columns, dtype = read(data)
    except Exception as error:
        raise refused(f"array {what} is no .npy file: {one_line(error, 100)}") from error
    if dtype.hasobject or dtype.name not in TYPES or not dtype.isnative or dtype.subdtype is not None:
        raise refused(f"array {what} has the type {one_line(dtype.str, 40)}")
    start, count = data.tell(), math.prod(shape)
    if len(shape) > DIMENSIONS or min(shape, default=0) < 0 or count * dtype.itemsize != len(array.data) - start:
        raise refused(f"array {what} has the shape {one_line(list(shape), 80)} and {len(array.data) - start} bytes")
    if tuple(array.shape) != tuple(shape) or array.dtype != dtype.name:
        raise refused(f"array {what} is announced as {one_line(array.dtype, 40)} {one_line(list(array.shape), 80)}")
    return np.frombuffer(array.data, dtype, count, start).reshape(shape, order="F" if in_columns else "C")


def pack_reply(reply: Reply) -> RecordDict:
    """Return the content of a client's reply."""
    about = {key: getattr(reply, key) for key in ("client", "samples", "seen", "loss", "error")}
    return pack(about, reply.tensors, reply.answer)


def unpack_reply(content: RecordDict, device: torch.device, node: str = "") -> Reply:
    """Return a client's reply; errors as of `unpack`."""
    about, model, more = unpack(content, device, REPLY, REPLY_MORE)
    return Reply(tensors=model, answer=more, node=node, **about)


def refused(what: str) -> RefusedError:
    """Return the error of a message that is not what it should be."""
    return RefusedError(f"the message is refused: {what}", "server and clients need one version of clbench")
