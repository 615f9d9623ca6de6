"""The experiments of the projection family, judged or not: they compose, fit their networks, and run."""

import pytest
import torch

from clbench.config.hydra_compose import conf_dir, new_composer
from clbench.engine.learner.learner import Learner
from clbench.engine.training.loop import Trainer, Training
from clbench.instantiate import instantiate
from clbench.models import build_model
from tests.streams import Blobs, blob_stream

COMPOSER = new_composer()
FOLDER = conf_dir() / "experiment"
FAMILY = ("gpm", "sgp", "trgp", "rogo", "adam_nscl")
NAMES = sorted(
    path.relative_to(FOLDER).with_suffix("").as_posix() for source in FAMILY for path in (FOLDER / source).glob("*.yaml")
)
SIDES = {
    "p_mnist": (1, 28),
    "cifar100": (3, 32),
    "cifar100_20": (3, 32),
    "superclass": (3, 32),
    "five_datasets": (3, 32),
    "miniimagenet": (3, 84),
}


def composed(name, *overrides):
    return COMPOSER([f"+experiment={name}", *overrides])


def learner_of(config, name):
    """Return the experiment's network, optimiser and method on a few images as large as its own."""
    channels, side = SIDES[name.partition("/")[2]]
    images = Blobs(shape=(channels, side, side), per_class=12)
    setting = config["scenario"]["setting"]
    stream = blob_stream(setting, dataset=images, kind="permuted" if setting == "domain" else "split", valid_fraction=0.2)
    learner = Learner(
        stream,
        lambda: build_model(config["model"], stream, 0),
        instantiate(config["optimizer"], "optimizer"),
        torch.device("cpu"),
        0,
    )
    return stream, learner, instantiate(config["method"], "method")


def test_every_method_of_the_family_has_its_streams():
    assert {name.partition("/")[0] for name in NAMES} == set(FAMILY)
    assert {name.partition("/")[2] for name in NAMES} == SIDES.keys()


@pytest.mark.parametrize("name", NAMES)
def test_it_composes_and_its_values_fit_the_network(name):
    made = composed(name)
    assert made.config["seeds"] >= 5
    stream, learner, method = learner_of(made.config, name)
    assert stream.setting in method.settings
    method.setup(learner, stream)  # a list with a value per layer must be as long as the network is deep
    assert set(method._matrices) == {
        n for n, p in learner.parameters.items() if p.dim() > 1 and (stream.setting != "task" or "heads" not in n)
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("rogo/p_mnist", []),
        ("gpm/superclass", []),
        ("adam_nscl/cifar100", ["model.filters=4"]),  # narrow: null spaces of the full width take minutes on a CPU
        ("sgp/miniimagenet", ["model.filters=4"]),
    ],
)
def test_it_runs(name, overrides):
    config = composed(name, *overrides).config
    stream, learner, method = learner_of(config, name)
    method.setup(learner, stream)
    schedule = instantiate(config["trainer"]["schedule"], "trainer.schedule")
    training = Training(learner, method, Trainer(2, 16, 10, schedule, None))
    starts = []
    for task in stream.tasks[:2]:
        starts.append({n: p.detach().clone() for n, p in learner.parameters.items()})
        training.learn(task)
    assert all(torch.isfinite(p).all() for p in learner.model.parameters())
    assert any(not torch.equal(starts[1][n], learner.parameters[n]) for n in method._matrices), "the second task is learned"
    assert any(entry["removed"] for entry in method.diagnostics().values()), "and its steps are projected"
