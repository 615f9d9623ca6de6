"""One thread per test process: tests run side by side, and small tensors only lose by threads. CLBENCH_TEST_THREADS sets more.

CLBENCH_TEST_NOISE adds noise to every matrix product of the test processes (`clbench.testing.product_noise`), for example 1e-6:
no test may depend on rounding.
"""

import os
import sys
from contextlib import ExitStack

import pytest

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = os.environ.get("CLBENCH_TEST_THREADS", "1")  # before torch and numpy are imported; subprocesses inherit it


def pytest_configure(config):
    """Add the noise that CLBENCH_TEST_NOISE asks for until the last test has ended."""
    amount = float(os.environ.get("CLBENCH_TEST_NOISE", "0"))
    if amount:
        from clbench.testing.product_noise import product_noise

        stack = ExitStack()
        stack.enter_context(product_noise(amount))
        config.add_cleanup(stack.close)


PLUGIN = {
    "scenario/stream.yaml": "defaults: [split_digits]",
    "protocol/stream.yaml": "trainer: {epochs: 7, batch_size: 70}\noptimizer: {lr: 0.7}\nmodel: {hidden: [7, 7]}",
    "tuned/stream/er.yaml": (
        "# @package _global_\n"
        "tuned:\n"
        "  class: {method: {buffer_size: 71}, optimizer: {lr: 0.71}}\n"
        "  task: {method: {buffer_size: 72}}\n"
    ),
    "tuned/stream/ewc.yaml": "# @package _global_\ntuned: {class: {method: {strenth: 1.0}}}",
    "experiment/table.yaml": (
        "# @package _global_\ndefaults: [{override /scenario: stream}, {override /method: er}]\ntrainer: {epochs: 1}\nseeds: 3\n"
    ),
}


@pytest.fixture(scope="module")
def composer(tmp_path_factory):
    """Return a composer of clbench's configuration and of `PLUGIN`'s files."""
    from clbench.config.hydra_compose import new_composer

    folder = tmp_path_factory.mktemp("plugin")
    for name, text in PLUGIN.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return new_composer([folder])


@pytest.fixture
def own_folder(tmp_path, monkeypatch):
    """A test of the command line in a folder of its own, with nothing of it left behind in the module search path."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    monkeypatch.setenv("COLUMNS", "200")
