"""Imports go down only, file by file; nothing below imports what stands above, and no files import each other in a circle."""

import subprocess
import sys

import pytest

from tools.import_graph import FLOORS, PACKAGE, arrows_up, circles, graph, room

EDGES = graph()
LIGHT = ["clbench", "clbench.config.resolve", "clbench.cli.leaderboard", "clbench.records", "clbench.runner.run_specs"]


def test_every_room_has_a_floor():
    assert {room(module) for module in EDGES if "." in module} <= {name for floor in FLOORS for name in floor}


def test_imports_go_down_only():
    assert arrows_up(EDGES) == []


def test_no_files_import_each_other_in_a_circle():
    assert circles(EDGES) == []


def test_the_package_has_few_modules_at_its_root():
    assert len([path for path in PACKAGE.glob("*.py") if path.stem != "__init__"]) <= 8


@pytest.mark.parametrize("module", LIGHT)
def test_what_must_start_fast_imports_nothing_heavy(module):
    heavy = ("torch", "torchvision", "wandb", "avalanche", "pandas", "scipy")
    code = f"import sys, {module}; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
