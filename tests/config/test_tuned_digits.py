"""The retained share of OSFT on the digits streams: small networks get less than the paper's mean of 0.8."""

import pytest

from clbench.config.hydra_compose import new_composer
from clbench.config.job import make_job


def method(*words):
    composer = new_composer()
    return make_job(composer([*words, "results_dir=nowhere"]), composer).specs()[0].config["method"]


@pytest.mark.parametrize("scenario", ["split_digits", "permuted_digits", "rotated_digits"])
def test_where_tasks_share_a_head_half_of_the_ranks_or_more_stay_free(scenario):
    found = method("method=osft", f"scenario={scenario}", "scenario.setting=domain")
    assert found["schedule"] == "fixed"
    assert found["fraction"] <= 0.5


@pytest.mark.parametrize("setting", ["task", "domain", "class"])
def test_adam_nscl_does_not_start_at_a_ratio_that_leaves_only_empty_pixels(setting):
    assert method("method=adam_nscl", "scenario=split_digits", f"scenario.setting={setting}")["ratio"] >= 1e3


def test_the_published_values_stay_the_defaults_elsewhere():
    assert method("method=osft", "scenario=split_mnist")["schedule"] == "importance"
    assert method("method=osft", "scenario=split_mnist")["trr"] == 0.8
    assert method("method=adam_nscl", "scenario=split_kmnist")["ratio"] == 10
