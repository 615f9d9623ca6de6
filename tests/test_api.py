"""clbench from Python."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import clbench
from clbench.errors import ClbenchError, ConfigError
from clbench.leaderboard.results import Results
from clbench.method import Method
from clbench.methods.naive import Naive

QUICK = ["trainer.epochs=1", "device=cpu"]


@dataclass
class Own(Method):
    """Naive under another name, with a number."""

    number: int = 3


@dataclass
class NoMethod:
    """A dataclass of another kind."""

    number: int = 3


def run(folder: Path, **given: object) -> Results:
    usual = {"results_dir": folder, "workers": 0, "progress": False, "overrides": QUICK}
    return clbench.run(**{**usual, **given})  # type: ignore[arg-type]


def test_importing_clbench_imports_neither_torch_nor_hydra() -> None:
    heavy = {"torch", "hydra", "omegaconf", "pandas"}
    check = f"import sys, clbench; clbench.__version__; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True, cwd=Path(clbench.__file__).parent.parent)


def test_what_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        _ = clbench.nonsense  # type: ignore[attr-defined]


def test_run_returns_the_records_of_the_seeds(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    results = run(tmp_path, scenario="split_digits", method="naive", model="mlp", seeds=[2, 0])
    assert [record.seed for record in results] == [2, 0]
    assert run(tmp_path, seeds=3)[2].seed == 2
    assert run(tmp_path, seeds=3)[2].result == results[0].result
    assert len(clbench.load(tmp_path)) == 3
    assert (tmp_path / "leaderboard.md").exists()
    assert capfd.readouterr().out == ""


def test_a_hydra_application_around_it_is_left_alone(tmp_path: Path) -> None:
    from hydra import compose, initialize_config_dir

    (tmp_path / "config.yaml").write_text("mine: 1")
    with initialize_config_dir(str(tmp_path), version_base="1.3"):
        run(tmp_path / "out", seeds=1)
        assert compose("config") == {"mine": 1}


def test_a_method_may_be_given_as_itself(tmp_path: Path) -> None:
    as_class, as_instance = run(tmp_path, method=Own), run(tmp_path, method=Own(number=3))
    as_mapping = run(tmp_path, method={"_target_": f"{__name__}.Own", "number": 4, "name": "mine"})
    assert as_class[0].identity["names"]["method"] == "Own"
    assert as_mapping[0].identity["names"]["method"] == "mine"
    assert as_instance[0].identity["method"]["number"] == 3
    assert as_mapping[0].result["matrix"] == run(tmp_path, method=Naive)[0].result["matrix"]


def test_a_method_of_a_script_runs_in_its_process(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import clbench, sys\nfrom dataclasses import dataclass\nfrom clbench.method import Method\n"
        "@dataclass\nclass Here(Method):\n    x: int = 1\n"
        "r = clbench.run(method=Here(2), seeds=2, results_dir='out', progress=False, overrides=['trainer.epochs=1'])\n"
        "print(len(r), r[0].identity['method'])\n"
    )
    root = str(Path(clbench.__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": root},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("2 {'_target_': '__main__.Here', 'x': 2}")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"method": "nonsense"}, "method=nonsense"),
        ({"seeds": 0}, "seeds=0"),
        ({"method": 3}, "method=3"),
        ({"method": {"strength": 1}}, "_target_"),
        ({"overrides": ["nonsense=1"]}, "nonsense"),
        ({"overrides": "trainer.epochs=1 device=cpu"}, r"give a list: overrides=\['trainer.epochs=1', 'device=cpu'\]"),
        (
            {"overrides": {"trainer.epochs": 1, "seeds": [1, 2]}},
            r"give a list: overrides=\['trainer.epochs=1', 'seeds=\[1,2\]'\]",
        ),
        ({"overrides": [3]}, "overrides: 3 is no text"),
        ({"overrides": None}, "overrides=None is no list"),
        ({"overrides": ["-m"]}, "'-m' is a flag"),
        ({"overrides": ["method=er,gpm"]}, "call clbench.run once for each value"),
        ({"overrides": ["seeds=42,43"]}, r"seeds=\[42,43\]"),
        ({"method": Own, "overrides": ["method=er"]}, "leave one of them out"),
        ({"method": Own, "overrides": ["method._target_=clbench.methods.er.ER"]}, "leave one of them out"),
        ({"method": Path("er")}, "a method is a class derived from clbench.method.Method"),
        ({"method": NoMethod}, "a method is a class derived from clbench.method.Method"),
        ({"scenario": Own}, "is not a name"),
        ({"model": Own}, "model._target_=package.module.Name"),
        ({"seeds": "2"}, r"seeds='2' is no count"),
        ({"seeds": True}, "seeds=True is no count"),
        ({"seeds": 2.0}, "seeds=2.0 is no count"),
        ({"seeds": [1, "a"]}, "is no count and no list"),
        ({"workers": "many"}, "workers='many'"),
        ({"workers": -1}, "workers=-1"),
        ({"methd": "er"}, "did you mean method="),
        ({"lr": 0.1}, r'overrides=\["optimizer.lr=0.1"\]'),
        ({"epochs": 3}, r'overrides=\["trainer.epochs=3"\]'),
        ({"config_dir": "plugin"}, r'overrides=\["hydra.searchpath=\[file://plugin\]"\]'),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, given: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        run(tmp_path, **given)


@pytest.mark.parametrize("seeds", [range(1, 3), (1, 2), [np.int64(1), 2], np.arange(1, 3), iter([1, 2])])
def test_any_sequence_of_integers_gives_seeds(tmp_path: Path, seeds: Any) -> None:
    assert [record.seed for record in run(tmp_path, seeds=seeds)] == [1, 2]
    assert len(run(tmp_path, seeds=np.int64(3))) == 3


def test_overrides_change_the_values_of_a_method_given_as_itself(tmp_path: Path) -> None:
    for method in (Own, Own(7), {"_target_": f"{__name__}.Own"}):
        (record,) = run(tmp_path, method=method, overrides=[*QUICK, "method.number=4"])
        assert record.identity["method"]["number"] == 4
        assert "number=4" in record.provenance["variant"]
    assert len(clbench.load(tmp_path)) == 1
    with pytest.raises(ClbenchError, match=r"did you mean method.number"):
        run(tmp_path, method=Own, overrides=[*QUICK, "method.numbr=4"])


def test_a_failed_run_is_an_error_that_tells_why(tmp_path: Path) -> None:
    with pytest.raises(ClbenchError, match="n_tasks=7"):
        run(tmp_path, overrides=[*QUICK, "scenario.n_tasks=7"])


SCRIPT = """
import sys
import clbench
from dataclasses import dataclass
from clbench.method import Method

SEEDS = int(sys.argv[1])

@dataclass
class Here(Method):
    def edit_gradients(self, learner, batch):
        for gradient in learner.gradients.values():
            gradient *= 1.0

found = clbench.run(method=Here, seeds=SEEDS, results_dir="out", progress=False, overrides=["trainer.epochs=1"])
print(len(found), len(clbench.load("out")))
"""


def of_script(folder: Path, text: str, seeds: int) -> str:
    (folder / "script.py").write_text(text)
    path = {"PYTHONPATH": str(Path(clbench.__file__).parent.parent)}
    words = [sys.executable, "script.py", str(seeds)]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False, env={**os.environ, **path})
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_script_may_change_around_its_class_and_an_edited_class_is_trained_again(tmp_path: Path) -> None:
    assert of_script(tmp_path, SCRIPT, 1) == "1 1"
    assert of_script(tmp_path, f"{SCRIPT}\nprint('a plot')\n", 2).startswith("2 2")
    assert of_script(tmp_path, SCRIPT.replace("1.0", "0.5"), 1) == "1 3"


def test_a_redefined_class_of_this_process_is_trained_again_or_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    text = "from clbench.method import Method\nclass Mine(Method):\n    x = 1\n"
    path = tmp_path / "redefined.py"
    path.write_text(text)
    node = {"_target_": "redefined.Mine"}
    run(tmp_path / "out", method=node)
    path.write_text(text.replace("x = 1", "x = 22"))
    with pytest.raises(ConfigError, match=r"redefined.py was changed after this Python process imported it"):
        run(tmp_path / "out", method=node)
    assert len(clbench.load(tmp_path / "out")) == 1
    importlib.reload(sys.modules["redefined"])
    run(tmp_path / "out", method=node)
    path.write_text(text)
    run(tmp_path / "out", method=node)  # finished: nothing is trained, and the loaded class does not matter
    assert len(clbench.load(tmp_path / "out")) == 2


def test_a_model_of_the_calling_program_runs_in_its_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    init = "    def __init__(self):\n        super().__init__(nn.Flatten(), nn.Linear(64, {}))\n"
    cell = f"from torch import nn\nclass Net(nn.Sequential):\n{init}"
    main = sys.modules["__main__"]
    for width in (8, 9):
        monkeypatch.setitem(vars(main), "__name__", "__main__")
        names: dict[str, Any] = {"__name__": "__main__"}
        exec(cell.format(width), names)
        monkeypatch.setitem(vars(main), "Net", names["Net"])
        assert len(run(tmp_path, workers=None, overrides=[*QUICK, "model._target_=__main__.Net"])) == 1
    assert len(clbench.load(tmp_path)) == 2
