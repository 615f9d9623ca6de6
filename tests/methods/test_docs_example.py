"""The example of docs/methods.md, run as it stands, and its tables."""

import re
from pathlib import Path

import pytest

from clbench.contract.old_names import FLAGS, HOOKS, SWITCHES
from clbench.contract.protocols import OPTIONAL_HOOKS
from clbench.contract.traits import Trait
from clbench.method import Method
from clbench.testing import check_method

PAGE = (Path(__file__).parents[2] / "docs" / "methods.md").read_text(encoding="utf-8")
INTERNAL = {"overrides", "owners", "state", "load_state", "diagnostics"}
DECLARED = {"settings", "access", "requests", "supports_generation", "stackable", "host_sync", "data_free", "traits"}


def test_the_example_keeps_the_suites_promises(tmp_path, monkeypatch):
    ((name, code),) = re.findall(r"<!-- example: (\S+) -->\n```python\n(.*?)```", PAGE, re.S)
    (tmp_path / "method").mkdir()
    (tmp_path / name).write_text(code)
    (tmp_path / "method" / "task_average.yaml").write_text("_target_: task_average.TaskAverage\nversion: 1\nshare: 0.5\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    check_method("task_average", config_dirs=[tmp_path], neutral={"share": 0.0})


def test_every_hook_and_declaration_has_one_row():
    rows = re.findall(r"^\| `(\w+)(?:\(.*?\))?` \|", PAGE, re.M)
    public = {name for name in vars(Method) if not name.startswith("_")} - INTERNAL
    assert {name: rows.count(name) for name in public | set(OPTIONAL_HOOKS) | DECLARED if rows.count(name) != 1} == {}


@pytest.mark.parametrize("word", [*(trait.name for trait in Trait), *FLAGS, *HOOKS, *SWITCHES])
def test_every_trait_and_earlier_name_is_told(word):
    assert re.search(rf"`(Trait\.)?{word}\b", PAGE)
