"""Conversion between the messages of clbench and the records of Flower."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from clbench.federated.messages import Reply, Tensors

ABOUT, MODEL, MORE = "about", "model", "more"
"""Names of the records in a message: plain values, the model, and further tensors (of a question or an answer)."""


def pack(about: Mapping[str, Any], model: Mapping[str, torch.Tensor], more: Mapping[str, torch.Tensor]) -> RecordDict:
    """Return the content of a message; plain values that are None are left out."""
    plain = ConfigRecord({key: value for key, value in about.items() if value is not None})
    return RecordDict({ABOUT: plain, MODEL: arrays(model), MORE: arrays(more)})


def unpack(content: RecordDict, device: torch.device) -> tuple[dict[str, Any], Tensors, Tensors]:
    """Return the arguments of `pack`, with tensors on `device`."""
    about, model, more = content[ABOUT], content[MODEL], content[MORE]
    return dict(about), tensors(model, device), tensors(more, device)


def arrays(found: Mapping[str, torch.Tensor]) -> ArrayRecord:
    """Return tensors as Flower's arrays of the same type and shape."""
    return ArrayRecord({name: Array(tensor.detach().cpu().numpy()) for name, tensor in found.items()})


def tensors(record: ArrayRecord, device: torch.device) -> Tensors:
    """Return Flower's arrays as tensors."""
    return {name: torch.from_numpy(array.numpy().copy()).to(device) for name, array in record.items()}


def pack_reply(reply: Reply) -> RecordDict:
    """Return the content of a client's reply."""
    about = {key: getattr(reply, key) for key in ("client", "samples", "seen", "loss", "error")}
    return pack(about, reply.tensors, reply.answer)


def unpack_reply(content: RecordDict, device: torch.device) -> Reply:
    """Return a client's reply."""
    about, model, more = unpack(content, device)
    return Reply(tensors=model, answer=more, **about)
