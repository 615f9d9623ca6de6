"""The search for old words finds them where they name the old thing, and leaves plain English alone."""

import pytest

from tools.vocabulary import ROOT, findings, in_file, prose, searched
from tools.vocabulary_table import MODULES

IN_ENGINE, IN_RUNNER, IN_PLOTS = "clbench/engine/x.py", "clbench/runner/x.py", "clbench/plots/x.py"


def old(file, text):
    return [(finding.line, finding.old) for finding in in_file(file, text)]


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        (IN_ENGINE, "def between_epochs(self):\n    pass\n", [(1, "between_epochs")]),
        (IN_ENGINE, "x = 1\nlearner._bare = x\n", [(2, "bare")]),
        (IN_ENGINE, "class A:\n    holds: bool = True\n", [(2, "holds")]),
        (IN_ENGINE, "f(renews=1)\n", [(1, "renews")]),
        (IN_ENGINE, "def f(hindrance_of):\n    pass\n", [(1, "hindrance")]),
        (IN_ENGINE, "class StackObstacle: pass\n", [(1, "obstacle")]),
        (IN_PLOTS, '"""One line.\n\nOne trial.\n"""\n', [(3, "trial")]),
        (IN_PLOTS, "x = 1  # of all trials\n", [(1, "trial")]),
        (IN_PLOTS, 'f"{x} of the trial"\n', [(1, "trial")]),
        (IN_RUNNER, "n_cells = 3\n", [(1, "cell")]),
        (IN_RUNNER, '"""Runs `Chain` and `elsewhere`."""\n', [(1, "Chain"), (1, "elsewhere")]),
        (IN_PLOTS, "from clbench import telling\n", [(1, "clbench.telling")]),
        (IN_PLOTS, "import clbench.engine.curvature\n", [(1, "clbench.engine.curvature")]),
        ("clbench/engine/curvature.py", "", [(0, "clbench.engine.curvature"), (0, "curvature")]),
        ("docs/a.md", "x\nSee `clbench.trial.run` and engine/chain.py.\n", [(2, "clbench.trial"), (2, "clbench.engine.chain")]),
        ("docs/a.md", "Set `learner.bare`, call `learner.snapshot()`.\n", [(1, "bare"), (1, "snapshot")]),
    ],
)
def test_an_old_word_is_found(file, text, expected):
    assert set(expected) <= set(old(file, text))


@pytest.mark.parametrize(
    ("file", "text"),
    [
        (IN_PLOTS, "cells = [cell for cell in table]\n"),
        (
            IN_PLOTS,
            '"""It holds what is kept beside the table; the answers met together, with bare arrays and a wide chain."""\n',
        ),
        (IN_PLOTS, "kept, chosen, told = beside\n"),
        (IN_ENGINE, "import itertools\nx = itertools.islice(y, 2)\nbare = x\n"),
        (IN_PLOTS, "from clbench.engine.training.trainer import Trainer\n"),
        ("docs/a.md", "`clbench.engine.training.Trainer` and `tests/engine/test_trial_run.py`: industrial trialing.\n"),
    ],
)
def test_plain_english_and_new_names_are_left_alone(file, text):
    assert old(file, text) == []


def test_what_stays_on_purpose_is_no_finding(tmp_path):
    for name in ("clbench/contract/old_names.py", "clbench/methods/x.py"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("class A:\n    leans = True\n")
    assert [finding.file for finding in findings(tmp_path, ["clbench/contract/old_names.py", "clbench/methods/x.py"])] == [
        "clbench/methods/x.py"
    ]


def test_prose_is_docstrings_messages_and_comments():
    assert list(prose("x = 1  # one\n'''two\nthree'''\n")) == [(1, "# one"), (2, "'''two"), (3, "three'''")]


def test_every_module_that_moved_has_a_new_place():
    for old_name, new_name in MODULES.items():
        assert old_name != new_name
        assert old_name.startswith("clbench.")
        assert new_name.startswith("clbench.")


def test_the_tree_has_no_old_words():
    assert [str(finding) for finding in findings(ROOT, searched(ROOT))] == []
