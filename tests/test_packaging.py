"""Dependencies: the core without Avalanche, versions within their bounds, and the private names of Hydra that are used."""

from __future__ import annotations

import ast
import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from clbench.config import hydra_cache
from tools.import_graph import PACKAGE, ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONSTRAINTS = dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
EXTRAS = PROJECT["optional-dependencies"]


def requirements(lines: list[str]) -> list[Requirement]:
    return [Requirement(line) for line in lines]


def imported(path: Path) -> set[str]:
    """Return the top-level names of a file's imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


def test_the_core_does_not_import_avalanche() -> None:
    assert "avalanche-lib" not in {each.name for each in requirements(PROJECT["dependencies"])}
    assert [path for path in PACKAGE.rglob("*.py") if "avalanche" in imported(path)] == []
    assert [each.name for each in requirements(EXTRAS["avalanche"])] == ["avalanche-lib"]
    assert all("avalanche" in requirements(EXTRAS[extra])[0].extras for extra in ("dev", "all"))


@pytest.mark.parametrize("requirement", requirements(PROJECT["dependencies"]), ids=str)
def test_installed_and_constrained_versions_are_within_the_bounds(requirement: Requirement) -> None:
    for found in (version(requirement.name), CONSTRAINTS[requirement.name]):
        assert requirement.specifier.contains(Version(found).base_version), f"{requirement.name} {found}"


def test_hydra_has_an_upper_bound_because_private_names_are_used() -> None:
    (hydra,) = [each for each in requirements(PROJECT["dependencies"]) if each.name == "hydra-core"]
    assert any(each.operator == "<" for each in hydra.specifier)
    used = {
        (node.value.id, node.attr)
        for node in ast.walk(ast.parse(Path(hydra_cache.__file__).read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id.startswith("Config")
    }
    assert used, "imports alone are checked by the import of the file"
    assert [pair for pair in used if not hasattr(getattr(hydra_cache, pair[0]), pair[1])] == []
