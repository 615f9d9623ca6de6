"""Federated runs on a simulated device beside the same runs on the CPU; prints what each case came to, as JSON.

python -m tests.federated.simulated fot:1 fot:4 fedsvd:1      # server rule : clients side by side
"""

from __future__ import annotations

import json
import sys
from functools import partial

import torch
from torch import Tensor

from clbench.engine.learner.learner import Learner
from clbench.engine.optimizers import SGD
from clbench.federated.secure.options import Secure
from clbench.methods.naive import Naive
from clbench.models import build_model
from clbench.scenarios.placement import place_stream
from tests import simulated_device
from tests.federated.servers.rounds import federate, federated_stream
from tests.federated.servers.shipped import shipped
from tests.methods import shipped as methods
from tests.streams import blob_stream

MODEL = {"_target_": "clbench.models.mlp.MLP", "hidden": [16], "bias": True, "dropout": 0.0, "head": {"bias": True}}
SECURE = Secure(bits=20, clip=None, threshold=0.67, neighbours=None)


def weights_after(case: str, device: torch.device) -> dict[str, Tensor]:
    """Return the weights after two tasks, on the CPU."""
    rule, chunk, *secure = case.split(":")
    adapters = rule == "fedsvd"
    stream = place_stream(blob_stream("domain" if adapters else "task"), device, "device", 0.5)
    stream = federated_stream(stream, 4)
    learner = Learner(stream, lambda: build_model(MODEL, stream, 0), SGD(0.05), device, 0)
    make = partial(methods.shipped, "seq_lora", rank=2, alpha=4.0, dropout=0.0) if adapters else Naive
    more = {"secure": SECURE} if secure else {}
    federate(shipped(rule), stream, make, tasks=2, learner=learner, chunk=int(chunk), **more)
    return {name: value.detach().cpu() for name, value in learner.model.state_dict().items()}


def compared(case: str, device: torch.device) -> str:
    """Return `equal`, or what is wrong."""
    try:
        there, here = weights_after(case, device), weights_after(case, torch.device("cpu"))
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    moved = [name for name in here if not torch.equal(here[name], there[name])]
    return f"differs from the CPU's in {', '.join(moved)}" if moved else "equal"


if __name__ == "__main__":
    simulated = simulated_device.install()
    print(json.dumps({case: compared(case, simulated) for case in sys.argv[1:]}))
