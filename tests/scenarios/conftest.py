"""Small data sets made up on the spot, and scenarios called with every option filled in."""

from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch

from clbench.data.pool import Pool
from tests.streams import stream_from

OWN = {
    "split": {},
    "permuted": {"first_identity": False},
    "rotated": {"angles": None, "min_angle": 0.0, "max_angle": 180.0},
    "sequence": {"size": 8, "channels": 3, "fit": "pad", "mean": [0.5], "std": [0.25], "crop": 0, "flip": False},
}


@dataclass
class FakeSource:
    """Random images; `train` and `test` samples of each class, in mixed order."""

    name: str = "fake"
    n_classes: int = 10
    train: int = 6
    test: int = 3
    shape: tuple[int, ...] = (1, 8, 8)
    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.25,)
    crop: int = 0
    flip: bool = False
    image: bool = True
    draw: int = 0

    def load(self, search, download):
        return SimpleNamespace(train=self._pool(self.train, 1), test=self._pool(self.test, 2))

    def _pool(self, per_class, part):
        generator = torch.Generator().manual_seed(1000 * self.draw + part)
        targets = torch.arange(self.n_classes).repeat(per_class)
        targets = targets[torch.randperm(len(targets), generator=generator)]
        return Pool(torch.randint(256, (len(targets), *self.shape), generator=generator, dtype=torch.uint8), targets)


@pytest.fixture(scope="session")
def fake():
    """Return the class of made-up data sets."""
    return FakeSource


@pytest.fixture(scope="session")
def stream_of():
    """Return a function that calls a scenario by name; what is not said has its usual value."""
    torch.set_num_threads(1)

    def make(name, **said):
        data = {} if name == "sequence" else {"dataset": FakeSource()}
        return stream_from(name, **({"n_tasks": 5} | OWN[name] | data | said))

    return make
