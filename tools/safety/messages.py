"""Hostile messages to a Flower client, and hostile replies to a federated server: refused in one line, and nothing else happens.

    python -m tools.safety.messages            # the short form
    python -m tools.safety.messages --long     # thousands of random changes, and a run for every wrong reply

A violation: foreign code runs, a wrong message or reply is taken, an error is no clean refusal, or the record of a run with wrong
replies differs from the record without them.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from flwr.app import Array

from clbench.errors import RefusedError
from clbench.execution import Execution
from clbench.federated.messages import Reply
from clbench.federated.reply_checks import Checks, Expected
from clbench.flower.client_app import reply_to
from clbench.flower.description import accepted, describe
from clbench.flower.installation import Installation
from clbench.flower.wire_format import TRAIN, arrays, numbers, pack
from clbench.run_spec import RunSpec
from clbench.testing.make_run import make_spec
from tools.safety.grid_cases import OPTIONS, compare
from tools.safety.message_cases import wrong_contents
from tools.safety.report import Report

HOSTILE: tuple[Any, ...] = (
    10**12,
    -(10**12),
    float("nan"),
    float("inf"),
    "/etc/passwd",
    "../../x",
    "~/x",
    "http://x.org/y",
    "\0",
)
"""Values that no client takes anywhere."""
ODD: tuple[Any, ...] = (float("nan"), 10**15, -1, "x", b"x", [1], {"w": 1}, 1.5, True, object())
"""Values that no field of a reply may have."""
COUNT = {False: 200, True: 5000}
"""Random changes of each kind in the short and the long form."""
EVERY = {False: 8, True: 1}
"""Of the wrong replies, each such one gets a run of its own."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program and return its exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--long", action="store_true", help="thousands of random changes, and a run for every wrong reply")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    rng, count, report = random.Random(given.seed), COUNT[given.long], Report()
    with tempfile.TemporaryDirectory() as scratch:
        canary = Path(scratch, "canary")
        client = Installation(Execution(search=[scratch], device="cpu"))
        spec = make_spec("naive", OPTIONS, results_dir=scratch)
        descriptions(rng, count, spec, client, canary, report)
        messages(spec, client, canary, report)
        array_bytes(rng, count, report)
        replies(rng, count, report)
        compare(Path(scratch), canary, EVERY[given.long], report)
        if canary.exists():
            report.violations.append("a message or a reply ran foreign code")
    print(report.text())
    return report.status


def places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of all values in a tree."""
    pairs = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [place for key, each in pairs for place in ((*path, key), *places(each, (*path, key)))]


def changed(text: str, place: tuple[Any, ...], value: Any) -> str:
    """Return a description with another value at a place."""
    found = json.loads(text)
    node = found
    for key in place[:-1]:
        node = node[key]
    node[place[-1]] = value
    return json.dumps(found)


def descriptions(rng: random.Random, count: int, spec: RunSpec, client: Installation, canary: Path, report: Report) -> None:
    """Describe runs with foreign classes at every place, and with values that no client takes."""
    text = describe(spec)
    spots = [spot for spot in places(json.loads(text)["config"]) if spot[-1] != "order_seed"]  # any number is a seed
    cases = [(("config", *spot), {"_target_": "os.system", "command": f"touch {canary}"}) for spot in spots]
    cases += [(("config", *rng.choice(spots)), rng.choice(HOSTILE)) for _ in range(count)]
    for place, value in cases:
        name = f"description with {'.'.join(map(str, place))}={value!r}"
        try:
            accepted(changed(text, place, value), client)
            report.violations.append(f"{name} is taken")
        except RefusedError:
            report.counts["description refused"] += 1
        except Exception as error:
            report.violations.append(f"{name}: {type(error).__name__}")


def messages(spec: RunSpec, client: Installation, canary: Path, report: Report) -> None:
    """Send whole messages with wrong fields and arrays to a client."""
    about = {"spec": describe(spec), "task": 0, "client": 0, "round": 0, "names": [], "rides": False, "work": 1.0}
    name, weight = next(iter(_model(spec, client).items()))
    content = pack({**about, "names": [name]}, {name: weight}, {})
    sent: Any = SimpleNamespace(content=content)
    if reply_to(TRAIN, client, sent).client != 0:
        report.violations.append("a right message has no reply")
    for what, wrong in wrong_contents(content, canary):
        sent = SimpleNamespace(content=wrong)
        try:
            reply_to(TRAIN, client, sent)
            report.violations.append(f"message {what} is taken")
        except RefusedError:
            report.counts["message refused"] += 1
        except Exception as error:
            report.violations.append(f"message {what}: {type(error).__name__}: {error}")


def _model(spec: RunSpec, client: Installation) -> dict[str, torch.Tensor]:
    """Return the weights of the client's own model."""
    from clbench.flower.client_app import side

    return dict(side(describe(spec), client).clients.learner.model.state_dict())


def array_bytes(rng: random.Random, count: int, report: Report) -> None:
    """Change bytes in the header of an array: it is refused, or the same array."""
    right = arrays({"w": torch.arange(6.0).reshape(2, 3)})["w"]
    header = len(right.data) - 24
    for _ in range(count):
        data = bytearray(right.data)
        for _ in range(rng.randint(1, 3)):
            data[rng.randrange(header)] = rng.randrange(256)
        try:
            found = numbers(Array(right.dtype, right.shape, right.stype, bytes(data[: rng.choice((len(data), header, 9))])), "w")
            report.counts["array the same"] += 1
            if found.dtype != "float32" or found.shape != (2, 3):
                report.violations.append(f"array read as {found.dtype} {found.shape} from {bytes(data[:header])!r}")
        except RefusedError:
            report.counts["array refused"] += 1
        except Exception as error:
            report.violations.append(f"array from {bytes(data[:header])!r}: {type(error).__name__}")


def replies(rng: random.Random, count: int, report: Report) -> None:
    """Give replies with wrong fields to the server's checks."""
    right = Reply(1, {"w": torch.ones(2, 3)}, 10, 20, 0.5)
    for _ in range(count):
        field, value = rng.choice(("client", "samples", "seen", "tensors", "answer")), rng.choice(ODD)
        try:
            if Checks(Expected({1: 10}, {"w": torch.ones(2, 3)}, {}, (0, 2)))(replace(right, **{field: value}))[1] is None:
                report.violations.append(f"reply with {field}={value!r} is taken")
            report.counts["reply refused"] += 1
        except Exception as error:
            report.violations.append(f"reply with {field}={value!r}: {type(error).__name__}")


if __name__ == "__main__":
    sys.exit(main())
