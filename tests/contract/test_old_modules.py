"""Modules of an earlier layout are found by their earlier names."""

import importlib
import subprocess
import sys

import pytest

from clbench.contract.old_modules import MODULES, NAMES, REPLACED


@pytest.mark.parametrize(("old", "new"), MODULES.items())
def test_a_module_is_found_by_its_earlier_name(old, new, monkeypatch):
    monkeypatch.delitem(sys.modules, old, raising=False)
    with pytest.warns(FutureWarning, match=f"{old} is now called {new}"):
        found = importlib.import_module(old)
    assert found is importlib.import_module(new)
    assert found.__spec__.name == found.__name__ == new


def test_names_are_imported_from_an_earlier_module(monkeypatch):
    monkeypatch.delitem(sys.modules, "clbench.engine.curvature", raising=False)
    with pytest.warns(FutureWarning, match="importance"):
        from clbench.engine.curvature import diagonal_fisher
    assert diagonal_fisher.__module__ == "clbench.toolkit.importance"


def test_other_names_are_not_found():
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("clbench.engine.nothing")


@pytest.mark.parametrize(("old", "new"), NAMES.items())
def test_a_renamed_class_or_function_is_found_by_its_earlier_name(old, new):
    (module, name), (place, today) = old.rsplit(".", 1), new.rsplit(".", 1)
    with pytest.warns(FutureWarning, match=f"{old} is now called {new}"):
        found = getattr(importlib.import_module(module), name)
    assert found is getattr(importlib.import_module(place), today)


@pytest.mark.parametrize(("old", "new"), REPLACED.items())
def test_a_replaced_name_fails_with_what_serves_instead(old, new):
    module, name = old.rsplit(".", 1)
    with pytest.raises(ImportError, match=f"{name} was replaced: use .*{new.split(',')[0].split('(')[0]}"):
        exec(f"from {module} import {name}")
    with pytest.raises(AttributeError, match="nothing"):
        importlib.import_module(module).nothing  # noqa: B018


def test_an_earlier_module_runs_as_a_program():
    done = subprocess.run([sys.executable, "-m", "clbench.superlink", "--help"], capture_output=True, text=True, timeout=60)
    assert "clbench.superlink is now called clbench.flower.flower_server" in done.stderr
    assert "get_code" not in done.stderr
