"""The source of classes of a notebook, a script or a prompt. A module without a file stands for the session."""

from __future__ import annotations

import importlib
import itertools
import linecache
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from clbench.errors import ConfigError
from clbench.sources.trace import sources

NAMES = itertools.count()
CLASS = """
from dataclasses import dataclass

class Base:
    def rate(self):
        return RATE

@dataclass
class Here(Base):
    strength: float = 0.1
    kinds = ("a", "b")

    def edit(self, gradients):
        results = [scale(each) for each in gradients]
        return results, self.rate()
"""
HELPERS = """
RATE = 0.5
TABLE = {"a": [1, 2]}
LOG = []

def inner(x):
    return x * TABLE["a"][0]

def scale(x):
    LOG.append(x)
    return inner(x) * 2  # why
"""
Cell = Callable[[str], None]


class Session:
    """A session that cells are executed in, as a notebook does; `kept`: whether their text can be found again."""

    def __init__(self, kept: bool) -> None:
        self.module, self.kept = ModuleType(f"session_{next(NAMES)}"), kept
        sys.modules[self.module.__name__] = self.module

    def cell(self, text: str) -> None:
        place = f"<cell {next(NAMES)}>" if self.kept else "<string>"
        if self.kept:
            linecache.cache[place] = (len(text), None, text.splitlines(keepends=True), place)
        exec(compile(text, place, "exec", dont_inherit=True), vars(self.module))

    @property
    def source(self) -> dict[str, str]:
        found = sources({"method": {"_target_": f"{self.module.__name__}.Here"}})["method"]
        return {name.replace(self.module.__name__, "session"): text for name, text in found.items()}


@pytest.fixture(params=[True, False], ids=["with text", "without text"])
def session(request: pytest.FixtureRequest) -> Session:
    made = Session(request.param)
    made.cell(HELPERS)
    made.cell(CLASS)
    return made


def test_the_same_cells_again_are_the_same_source(session: Session) -> None:
    before = session.source
    session.cell(HELPERS)
    session.cell(CLASS)
    assert session.source == before
    assert list(before) == ["session"]


@pytest.mark.parametrize(
    "cell",
    [
        CLASS.replace("self.rate()", "self.rate() + 1"),
        CLASS.replace("return RATE", "return 2 * RATE"),
        CLASS.replace("strength: float = 0.1", "strength: float = 0.2"),
        CLASS.replace('("a", "b")', '("a", "c")'),
        HELPERS.replace("inner(x) * 2", "inner(x) * 3"),
        HELPERS.replace("x * TABLE", "x + TABLE"),
        "RATE = 0.6",
        "TABLE['a'][0] = 3",
        "Here.edit = lambda self, gradients: None",
        "Here.kinds = ('b',)",
    ],
)
def test_what_the_class_reaches_by_name_counts(session: Session, cell: str) -> None:
    before = session.source
    session.cell(cell)
    assert session.source != before


@pytest.mark.parametrize(
    "cell",
    [
        "results = 3\ngradients = 4",
        "unrelated = 3\nclass Other: pass",
        HELPERS.replace("# why", "# for another reason"),
        "LOG = []",
    ],
)
def test_what_it_does_not_reach_does_not_count(session: Session, cell: str) -> None:
    before = session.source
    session.cell(cell)
    assert session.source == before


def test_a_list_that_the_code_itself_fills_does_not_count() -> None:
    session = Session(kept=True)
    session.cell(HELPERS)
    session.cell(CLASS)
    before = session.source
    vars(session.module)["scale"](1)
    assert vars(session.module)["LOG"] == [1]
    assert session.source == before


def test_tensors_arrays_sets_and_objects_count_by_their_content() -> None:
    session = Session(kept=True)
    session.cell(CLASS + "\n    def more(self):\n        return W, A, S, O\n")
    session.cell("import torch, numpy\nclass Thing:\n    def __init__(self, x): self.x = x\n    def f(self): return 1\n")
    cells = [
        "W = torch.ones(2)\nA = numpy.ones(2)\nS = {'a', 'b', 'c'}\nO = Thing(1)\nRATE = 1\nscale = abs",
        "W = torch.zeros(2)",
        "A = numpy.zeros(2)",
        "S = {'a', 'b'}",
        "O = Thing(2)",
        "class Thing:\n    def __init__(self, x): self.x = x\n    def f(self): return 2\nO = Thing(2)",
    ]
    found = []
    for cell in cells:
        session.cell(cell)
        found.append(session.source["session"])
        assert session.source["session"] == found[-1]
    assert len(set(found)) == len(cells)


def test_modules_that_a_session_uses_count_wholly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "ses_helper.py").write_text("def scale(x):\n    return x\n")
    (tmp_path / "ses_other.py").write_text("x = 1\n")
    session = Session(kept=True)
    session.cell("RATE = 1\nfrom ses_helper import scale\nimport ses_other, math")
    session.cell(CLASS + "\n    def more(self):\n        import ses_helper\n        return math.pi\n")
    before = session.source
    assert list(before) == ["ses_helper", "session"]
    (tmp_path / "ses_helper.py").write_text("def scale(x):\n    return 2 * x\n")
    after = session.source
    assert after["session"] == before["session"]
    assert after["ses_helper"] != before["ses_helper"]


def test_a_function_from_before_its_module_was_loaded_again_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "ses_again.py").write_text("def scale(x):\n    return x\n")
    session = Session(kept=True)
    session.cell("RATE = 1\nfrom ses_again import scale")
    session.cell(CLASS)
    first = session.source
    importlib.reload(sys.modules["ses_again"])
    with pytest.raises(ConfigError, match=r"run the import again: from ses_again import scale"):
        _ = session.source
    session.cell("from ses_again import scale")
    assert session.source == first


def test_a_script_that_was_edited_after_its_start_counts_as_it_was_loaded(tmp_path: Path) -> None:
    session = Session(kept=False)
    script = tmp_path / "script.py"
    script.write_text(HELPERS + CLASS)
    exec(compile(script.read_text(), str(script), "exec", dont_inherit=True), vars(session.module))
    told = session.source
    script.write_text(HELPERS + CLASS.replace("self.rate()", "0"))
    assert session.source != told  # the text is not that of the loaded code, so that the compiled code counts
    once = session.source
    script.write_text(HELPERS + CLASS.replace("self.rate()", "1"))
    assert session.source == once
