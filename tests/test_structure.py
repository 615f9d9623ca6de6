"""Imports go down only: app -> runner -> trial -> rooms -> nouns; nothing below imports what stands above."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "clbench"
FLOORS = [
    {"errors", "machine", "products", "randomness", "telling", "values"},
    {"records", "build", "subspace", "loading"},
    {"data", "cells"},
    {"stream", "metrics"},
    {"models", "scenarios", "results", "leaderboard", "plots"},
    {"engine", "methods", "detection", "loggers", "provenance"},
    {"federated"},
    {"assembly", "trial", "stacked", "flower", "compose", "config", "variant", "job", "help"},
    {"runner"},
    {"command", "testing", "superlink"},
    {"api", "app", "reproduction"},
]
"""From the ground up; rooms of one floor may know each other."""


def room(path):
    """Return the first part of a module's name below the package."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path):
    """Yield (room imported, line); an import for the type checker alone counts too, one inside a function as well."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module] if node.module != "clbench" else [f"clbench.{alias.name}" for alias in node.names]
        for name in names:
            if name.startswith("clbench."):
                yield name.split(".")[1], node.lineno


def test_every_room_has_a_floor():
    rooms = {room(path) for path in PACKAGE.rglob("*.py")} - {"__init__"}
    assert rooms == set().union(*FLOORS)


def test_imports_go_down_only():
    height = {name: floor for floor, names in enumerate(FLOORS) for name in names}
    wrong = [
        f"{path.relative_to(PACKAGE)}:{line} imports {other}"
        for path in PACKAGE.rglob("*.py")
        if room(path) != "__init__"
        for other, line in imports(path)
        if height.get(other, -1) > height[room(path)]
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("module", ["clbench", "clbench.config", "clbench.leaderboard.app", "clbench.records", "clbench.runner"])
def test_what_must_start_fast_imports_nothing_heavy(module):
    heavy = ("torch", "torchvision", "wandb", "avalanche", "pandas", "scipy")
    code = f"import sys, {module}; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
