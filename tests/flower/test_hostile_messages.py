"""A client takes classes and files of its own installation alone, and reads no objects from bytes."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest

pytest.importorskip("flwr", reason="Flower is not installed (pip install 'clbench[federated]')")

from flwr.app import Array

from clbench.errors import RefusedError
from clbench.execution import Execution
from clbench.flower.description import accepted, describe
from clbench.flower.installation import Installation
from clbench.flower.wire_format import numbers
from tests.federated.common import federated_spec


@pytest.fixture(scope="module")
def text():
    return describe(federated_spec())


@pytest.fixture
def client(tmp_path):
    return Installation(Execution(search=[str(tmp_path)]))


def changed(text, path, value):
    found = json.loads(text)
    *parts, last = path.split(".")
    node = found
    for part in parts:
        node = node[part]
    node[last] = value
    return json.dumps(found)


def test_an_honest_description_is_accepted(text, client):
    spec = accepted(text, client)
    assert spec.config == federated_spec().config
    assert spec.execution is client.execution


PLACES = ["method", "scenario", "scenario.dataset", "model", "optimizer", "trainer", "trainer.schedule", "federated"]


@pytest.mark.parametrize("place", [*PLACES, "federated.server", "federated.partition"])
@pytest.mark.parametrize("target", ["os.system", "builtins.eval", "clbench.loggers.console.Console", 3, None])
def test_a_foreign_class_is_refused(text, client, place, target):
    with pytest.raises(RefusedError, match="_target_"):
        accepted(changed(text, f"config.{place}._target_", target), client)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("config.method.parts", {"a": {"_target_": "os.system", "command": "true"}}),
        ("config.scenario.dataset.of", {"_target_": "os.system"}),
        ("config.eval.ability", {"a": {"_target_": "os.system"}}),
        ("config.scenario.dataset.path", "/etc/passwd"),
        ("config.scenario.dataset.path", "../x"),
        ("config.scenario.dataset.files", {"/etc/passwd": "0" * 64}),
        ("config.model.weights", "~/secret"),
        ("config.scenario.dataset.url", "http://example.org/x"),
        ("config.model.architecture", {"attn_implementation": "someone/kernel"}),
        ("config.scenario.n_tasks", 10**9),
        ("config.federated.clients", 10**9),
        ("config.trainer.batch_size", 10**12),
        ("config.model.hidden", [10**9]),
        ("config.optimizer.lr", float("nan")),
        ("config.logger", {}),
        ("execution", {"search": ["/"]}),
        ("results_dir", "/etc"),
        ("seed", -1),
        ("seed", 1 << 70),
        ("names", 3),
        ("sources", {"method": {"../x": "0"}}),
    ],
)
def test_what_a_client_does_not_take_is_refused(text, client, path, value):
    with pytest.raises(RefusedError):
        accepted(changed(text, path, value), client)


@pytest.mark.parametrize("bad", ["", "{", "[" * 100_000, "null", "1" * 10_000, None, 3, "x" * (1 << 21)])
def test_no_json_is_refused(bad, client):
    with pytest.raises(RefusedError):
        accepted(bad, client)


def npy(array, **options):
    data = io.BytesIO()
    np.save(data, array, **options)
    return data.getvalue()


def test_bytes_that_are_no_numbers_are_refused():
    objects = npy(np.array([{}], dtype=object), allow_pickle=True)
    header = npy(np.zeros(2, dtype=np.float32)).replace(b"(2,)", b"(9,)")
    for data in (b"", b"garbage", objects, header, npy(np.zeros(2, dtype=np.float32))[:-1]):
        with pytest.raises(RefusedError):
            numbers(Array("float32", (2,), "numpy.ndarray", data), "w")
    right = npy(np.ones(2, dtype=np.float32))
    assert numbers(Array("float32", (2,), "numpy.ndarray", right), "w").tolist() == [1, 1]
