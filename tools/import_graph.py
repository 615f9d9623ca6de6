"""The graph of imports, file by file: rooms, floors, circles and arrows that point up.

    python tools/import_graph.py            # prints the floors, and every circle and arrow up; exit status 1 if there is one

Imports inside functions and for the type checker count like any other. The order of `FLOORS` is the architecture
(docs/architecture.md); `tests/test_structure.py` checks it.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "clbench"
FLOORS = [
    ["errors"],
    ["utils"],
    ["store.schema"],
    ["records", "instantiate", "subspace"],
    ["execution", "sources", "store"],
    ["run_spec", "data"],
    ["stream", "metrics"],
    ["models", "scenarios", "leaderboard", "loggers"],
    ["plots"],
    ["engine.learner", "engine.replay", "engine.fast", "engine.optimizers", "engine.schedules"],
    ["contract"],
    ["method"],
    ["engine"],
    ["toolkit"],
    ["detection"],
    ["methods"],
    ["federated"],
    ["runs"],
    ["config"],
    [
        "flower.simulation",
        "flower.client_app",
        "flower.grid_transport",
        "flower.wire_format",
        "flower.description",
        "flower.installation",
    ],
    ["runner"],
    ["tuning"],
    ["flower", "reproduction", "testing"],
    ["api"],
    ["cli"],
]
"""Rooms from the ground up. A file may import files of lower floors and of its own floor's room. The contract of a method stands
between the learner, which its hooks get, and the loops, which call them; Flower's server app starts runs as a command does."""


def modules() -> dict[str, Path]:
    """Return every module of the package by its dotted name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path, known: dict[str, Path]) -> list[tuple[str, int]]:
    """Return (module, line) for each module of the package that a file imports."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names if alias.name in known]
        elif isinstance(node, ast.ImportFrom) and node.module in known:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.append((inner if inner in known else node.module, node.lineno))
    return found


def graph() -> dict[str, dict[str, int]]:
    """Return for each module the modules that it imports, with the line."""
    known = modules()
    return {name: {other: line for other, line in imports(path, known) if other != name} for name, path in known.items()}


def room(module: str) -> str:
    """Return the room of a module: the longest name in `FLOORS` with which the module's name begins."""
    parts = module.split(".")[1:]
    names = {name for floor in FLOORS for name in floor}
    found = [".".join(parts[:n]) for n in range(len(parts), 0, -1)]
    return next((name for name in found if name in names), parts[0] if parts else "")


def arrows_up(edges: dict[str, dict[str, int]]) -> list[str]:
    """Return imports of a higher floor, and of another room on the same floor."""
    height = {name: floor for floor, names in enumerate(FLOORS) for name in names}
    return [
        f"{module} imports {other} (line {line})"
        for module, others in edges.items()
        for other, line in others.items()
        if room(module) and room(other) and _rises(room(module), room(other), height)
    ]


def _rises(here: str, there: str, height: dict[str, int]) -> bool:
    same_house = here.partition(".")[0] == there.partition(".")[0]
    if height[here] == height[there]:
        return here != there and not same_house
    return height[there] > height[here]


def circles(edges: dict[str, dict[str, int]]) -> list[list[str]]:
    """Return the groups of modules that import each other in a circle (strongly connected components; Tarjan, 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(module: str) -> None:
        index[module] = low[module] = len(index)
        stack.append(module)
        for other in edges[module]:
            if other not in index:
                visit(other)
                low[module] = min(low[module], low[other])
            elif other in stack:
                low[module] = min(low[module], index[other])
        if low[module] == index[module]:
            first = stack.index(module)
            group = stack[first:]
            del stack[first:]
            if len(group) > 1:
                found.append(sorted(group))

    for module in edges:
        if module not in index:
            visit(module)
    return found


def main() -> int:
    """Print the graph's shape and return 1 if it has a circle or an arrow up."""
    edges = graph()
    for floor, names in enumerate(FLOORS):
        counts = [f"{name} ({sum(room(module) == name for module in edges)})" for name in names]
        print(f"floor {floor:2}: {', '.join(counts)}")
    up, round_ = arrows_up(edges), circles(edges)
    print(f"{len(edges)} files, {sum(map(len, edges.values()))} imports, {len(round_)} circles, {len(up)} arrows up")
    print("\n".join([*(f"circle: {', '.join(group)}" for group in round_), *(f"up: {text}" for text in up)]))
    return int(bool(up or round_))


if __name__ == "__main__":
    sys.exit(main())
