"""Tuning looks at validation splits alone."""

import re
import subprocess
import sys

import pytest
import torch

from clbench.data.pool import Pool
from clbench.data.sources import Digits
from clbench.errors import ConfigError
from tools.on_validation import measure

ASKED = ["method=ewc", "scenario=split_digits", "scenario.setting=task", "trainer.epochs=1", "seeds=[10]", "device=cpu"]


def test_the_test_split_does_not_matter(monkeypatch):
    torch.set_num_threads(1)
    honest = measure(ASKED)
    original = Digits.read

    def blank_test(self, search, download):
        data = original(self, search, download)
        return type(data)(data.train, Pool(torch.zeros_like(data.test.inputs), data.test.targets))

    monkeypatch.setattr(Digits, "read", blank_test)
    assert measure(ASKED) == honest
    assert honest[0] > 60


def test_without_a_validation_split_it_says_so():
    with pytest.raises(ConfigError, match="valid_fraction"):
        measure([*ASKED, "scenario.valid_fraction=0"])


def test_several_seeds_have_an_interval_and_noise_a_largest_change():
    words = ["method=naive", "scenario.n_tasks=2", "trainer.epochs=1", "device=cpu", "--noise", "1e-6"]
    done = [
        subprocess.run(
            [sys.executable, "tools/on_validation.py", *words, seeds], capture_output=True, text=True, check=True
        ).stdout
        for seeds in ("seeds=[10,11]", "seeds=[10]")
    ]
    pattern = r"accuracy \d+\.\d{interval}  learning accuracy \d+\.\d  \(validation\)  largest change \d+\.\d\d\n"
    assert re.fullmatch(pattern.replace("{interval}", r" ± \d+\.\d"), done[0])
    assert re.fullmatch(pattern.replace("{interval}", ""), done[1])


def test_joint_training_has_no_learning_accuracy():
    assert measure(["method=joint", "trainer.epochs=1", "seeds=[10]"])[1] is None
