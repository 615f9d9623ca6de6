"""Building loggers, keeping failures from the info, and metrics on the way."""

import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from clbench.errors import ConfigError
from clbench.instantiate import locate, parameters
from clbench.loggers import build_loggers
from clbench.loggers.base import Logger, Loggers, RunInfo, accuracies, metrics_after
from clbench.loggers.console import Console
from clbench.loggers.wandb import Wandb
from clbench.metrics.matrix import summary
from clbench.records import config_hash

CONF = Path(__file__).parents[2] / "conf"
CONSOLE = {"_target_": "clbench.loggers.console.Console", "summary": "auto", "matrix": "auto"}


def shipped(choice):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = OmegaConf.to_container(compose(overrides=[f"+logger={choice}"]))
    return config.get("logger", {})


class Noted(Logger):
    """Keeps its events, and fails in a given hook."""

    def __init__(self, log, fail_at=None):
        self.log, self.fail_at = log, fail_at

    def __getattribute__(self, hook):
        if hook not in ("begin", "event", "end", "fail"):
            return super().__getattribute__(hook)

        def noted(argument):
            self.log.append((hook, argument))
            if hook == self.fail_at:
                raise OSError("no space left")

        return noted


class Mute:
    """Not a logger."""


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("none", []),
        ("console", [Console]),
        ("wandb", [Console, Wandb]),
        ("[console,wandb]", [Console, Wandb]),
    ],
)
def test_choices_of_the_group(choice, expected, said):
    assert [type(logger) for logger in build_loggers(shipped(choice), said.append)] == expected


def test_keys_are_the_parameters_of_the_targets():
    for name, node in shipped("wandb").items():
        accepted, _ = parameters(locate(node["_target_"], name))
        assert set(node) - {"_target_"} == set(accepted) - {"say"}


def test_heavy_packages_are_not_imported_before_they_are_needed():
    code = (
        "import sys, clbench.models, clbench.loggers, clbench.loggers.console, clbench.loggers.wandb\n"
        "print([name for name in ('torch', 'wandb', 'rich', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=CONF.parent, timeout=120)
    assert done.stdout.strip() == "[]", done.stderr


def test_wandb_is_offline_unless_asked():
    assert shipped("wandb")["wandb"]["mode"] == "offline"


def test_ones_own_logger_gets_its_arguments(said):
    (logger,) = build_loggers({"mine": {"_target_": f"{__name__}.Noted", "log": [], "fail_at": "end"}}, said.append)
    assert (logger.log, logger.fail_at) == ([], "end")


@pytest.mark.parametrize(
    ("config", "what"),
    [
        ({"console": True}, "logger.console=True is not a logger"),
        ({"mute": {"_target_": f"{__name__}.Mute"}}, "is not a Logger"),
        ({"console": CONSOLE | {"matrix": "sometimes"}}, "logger.console.matrix='sometimes'"),
        ({"console": {"_target_": CONSOLE["_target_"], "matrix": "auto"}}, "missing key logger.console.summary"),
        ({"x": {"_target_": "clbench.loggers.nothing.X"}}, "clbench.loggers.nothing"),
    ],
)
def test_what_is_no_logger_is_refused(config, what, said):
    with pytest.raises(ConfigError) as caught:
        build_loggers(config, said.append)
    assert what in caught.value.what
    assert caught.value.remedy


@pytest.mark.parametrize("hook", ["begin", "event", "end"])
def test_a_logger_that_fails_is_reported_once_and_the_others_go_on(hook, info, record, said):
    bad, good = [], []
    loggers = Loggers([Noted(bad, hook), Noted(good)], info, said.append)
    loggers.event(record.result)
    loggers.end(record)
    assert good == [("begin", info), ("event", record.result), ("end", record)]
    assert bad[-2][0] == hook
    assert bad[-1] == ("fail", "OSError: no space left")
    assert len(said) == 1
    assert f"Noted stopped at {hook}" in said[0]
    assert "no space left" in said[0]


def test_a_logger_that_fails_at_fail(info, said):
    loggers = Loggers([Noted([], "fail")], info, said.append)
    loggers.fail("diverged")
    loggers.fail("diverged")
    assert len(said) == 1


def test_an_interrupt_is_no_failure_of_the_logger(info, said):
    class Interrupted(Logger):
        def event(self, result):
            raise KeyboardInterrupt

    loggers = Loggers([Interrupted()], info, said.append)
    with pytest.raises(KeyboardInterrupt):
        loggers.event({})
    assert said == []


def test_description_of_a_run(info, record):
    assert info.label == "split_digits class er (buffer_size=50) seed 7"
    assert info.config_id == config_hash(record.identity) == record.config_id
    assert RunInfo.of(record.identity, record.id, "", "runs", 1, False).label == "split_digits class er seed 7"


def test_earlier_names_still_work_with_a_warning(info):
    import clbench.loggers.base as base

    with pytest.warns(FutureWarning, match="RunInfo"):
        assert base.TrialInfo is RunInfo
    with pytest.warns(FutureWarning, match="n_runs"):
        assert info.n_cells == info.n_runs


def test_accuracies_are_percent_and_none_where_not_measured():
    assert accuracies({"matrix": [[[1, 4], None, [0, 0]]]}) == [[25.0, None, None]]


def test_metrics_on_the_way(so_far, record):
    assert metrics_after(so_far(1), 0) == {}
    assert metrics_after(so_far(2), 1) == {}
    first = metrics_after(so_far(3), 2)
    assert first["acc"] == first["learning_accuracy"] == 92
    assert not {"forgetting", "bwt"} & set(first), "undefined after one task"
    second = metrics_after(so_far(4), 3)
    assert second["acc"] == pytest.approx(87.5)
    assert second["forgetting"] == pytest.approx(7) == -second["bwt"]
    last = metrics_after(record.result, 5)
    assert last == pytest.approx({k: v for k, v in summary(record.result).items() if v is not None})


def test_metrics_on_the_way_do_not_depend_on_what_came_later(so_far, record):
    assert all(metrics_after(record.result, n - 1) == metrics_after(so_far(n), n - 1) for n in range(1, 7))


def test_metrics_of_a_method_that_learns_all_at_once(record):
    events = [{"kind": "untrained", "task": -1, "step": None}, {"kind": "task", "task": 2, "step": None}]
    matrix = [record.result["matrix"][i] for i in (0, 5)]
    joint = record.result | {"sequential": False, "events": events, "matrix": matrix}
    assert metrics_after(joint, 1) == {"acc": pytest.approx((87 + 94 + 88) / 3)}
