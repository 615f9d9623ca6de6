"""Shipped model nodes and the part of a stream that a model depends on."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

CONF = Path(__file__).parents[2] / "conf"


@pytest.fixture(autouse=True)
def _same_draws():
    torch.manual_seed(0)
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def node():
    """Return the shipped node of a model as a plain dictionary, with overrides of its keys."""

    def make(name, **overrides):
        with initialize_config_dir(str(CONF), version_base="1.3"):
            config = compose(overrides=[f"+model={name}"])
        return OmegaConf.to_container(config.model) | overrides

    return make


@pytest.fixture(scope="session")
def stream():
    """Return something with the two attributes of a stream that a model depends on."""
    return lambda input_shape, head_sizes=(10,): SimpleNamespace(
        vocabulary=None, pad=None, input_shape=input_shape, head_sizes=head_sizes
    )
