"""Mutation check: would the tests notice, if a method or a metric were wrong in a way that matters?

    python tools/mutations.py                  # all
    python tools/mutations.py ewc-sign si-step # some, by name
    python tools/mutations.py check            # list the entries that no longer fit the source; runs no test

A mutation (`tools/mutation_tables/`) is a small change of the source, with the tests that must fail under it. First the tests
run on the unchanged source, where they must pass. Then they run once per mutation, in copies of the tree: the files that git
tracks or would track. The tree itself is never changed. Prints `caught` or `SURVIVED` for each mutation. Exit
status 1 if one survived, if its text is no longer found exactly once, or if its tests could not run.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from tools.mutation_table import MUTATIONS, Mutation

ROOT = Path(__file__).resolve().parent.parent
GREEN, RED = 0, 1
"""Exit statuses of pytest: all passed, some failed. Any other status means that pytest could not run the tests."""
LARGE = (
    *("torch", "torch.fx.experimental.symbolic_shapes", "numpy", "scipy.stats", "sklearn.metrics"),
    *("hypothesis", "pydantic", "omegaconf", "hydra", "pytest", "_pytest.runner"),
)
"""Packages that many tests need and no mutation changes; their import takes most of the time of a short test."""
CHECK = "check"
"""The word on the command line that asks only whether every mutation fits the source."""


class MutationError(Exception):
    """The mutations cannot be tried; the message gives the reason."""


def misfits(tree: Path, mutations: Sequence[Mutation]) -> list[str]:
    """Return one line for each mutation whose file, text or test is not found; a text must occur exactly once."""
    found = []
    for mutation in mutations:
        try:
            mutated(tree, mutation)
        except MutationError as error:
            found.append(str(error))
        for test in mutation.tests:
            file, _, name = test.partition("::")
            path = tree / file
            if not path.exists() or (name and f"def {name.partition('[')[0]}(" not in path.read_text(encoding="utf-8")):
                found.append(f"{mutation.name}: there is no test {test}")
    return found


def check(tree: Path, mutations: Sequence[Mutation]) -> list[Mutation]:
    """Try every mutation, print its outcome, and return the mutations that survived.

    Args:
        tree: root of a git work tree that contains the package `clbench`.
        mutations: to try.

    Raises:
        MutationError: a text does not occur exactly once, the tests fail on the unchanged source, or they could not run.
    """
    for mutation in mutations:
        mutated(tree, mutation)
    files, survivors = tracked(tree), []
    everything = list(dict.fromkeys(test for mutation in mutations for test in mutation.tests))
    with ExitStack() as open_copies:
        idle: SimpleQueue[Copy] = SimpleQueue()
        first = open_copies.enter_context(Copy(tree, files))
        if first.red(everything):  # the first run, and the only one that stores compiled files
            raise MutationError("the tests fail before anything is mutated")
        idle.put(first)
        for _ in range(min(os.cpu_count() or 1, len(mutations)) - 1):
            idle.put(open_copies.enter_context(Copy(first.root, first.files())))

        def red(mutation: Mutation) -> bool:
            copy = idle.get()
            try:
                return copy.red(mutation.tests, mutation)
            finally:
                idle.put(copy)

        with ThreadPoolExecutor(os.cpu_count()) as pool:  # each waits for a process
            for mutation, caught in zip(mutations, pool.map(red, mutations), strict=True):
                print(f"{'caught' if caught else 'SURVIVED':9} {mutation.name}", flush=True)
                if not caught:
                    survivors.append(mutation)
    return survivors


def mutated(tree: Path, mutation: Mutation) -> str:
    """Return the text of the mutation's file with the mutation applied.

    Raises:
        MutationError: the file is missing, or the old text is not found in it exactly once.
    """
    path = tree / mutation.file
    if not path.is_file():
        raise MutationError(f"{mutation.name}: there is no {mutation.file}")
    text = path.read_text(encoding="utf-8")
    found = text.count(mutation.old)
    if found != 1:
        raise MutationError(f"{mutation.name}: found {found} times, not once, in {mutation.file}: {mutation.old!r}")
    return text.replace(mutation.old, mutation.new)


def tracked(tree: Path) -> list[str]:
    """Return the files that git tracks or would track, as paths below `tree`.

    Raises:
        MutationError: `tree` is not a git work tree.
    """
    command = ["git", "-C", str(tree), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, capture_output=True, text=True)
    if listed.returncode != 0:
        raise MutationError(f"the tree must be a git work tree: {listed.stderr.strip()}")
    return [name for name in dict.fromkeys(listed.stdout.split("\0")) if name and (tree / name).is_file()]


class Copy:
    """A copy of a tree in a folder of its own, with a process that runs tests there (`tools/mutation_worker.py`)."""

    def __init__(self, tree: Path, files: Iterable[str]) -> None:
        """Copy `files`, paths below `tree`, and start the process."""
        self._folder = tempfile.TemporaryDirectory()
        self.root = Path(self._folder.name).resolve()
        for file in files:
            (self.root / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(tree / file, self.root / file)
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
        environment |= {"PYTHONPATH": str(self.root), "OMP_NUM_THREADS": "1"}
        environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # these tests need no plugins; takes a third of the time
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(Path(__file__).with_name("mutation_worker.py")), str(self.root), *LARGE],
            cwd=self.root,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Copy:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.communicate()  # closes its input, which ends it
        self._folder.cleanup()

    def files(self) -> list[str]:
        """Return the files of the copy, compiled ones included, as paths below its root."""
        return [str(path.relative_to(self.root)) for path in self.root.rglob("*") if path.is_file()]

    def red(self, tests: Sequence[str], mutation: Mutation | None = None) -> bool:
        """Return whether one of `tests` fails in the copy; the mutation, if given, is in place while they run.

        Raises:
            MutationError: pytest could not run the tests, or they would import another package than the copy.
        """
        request: dict[str, Any] = {"tests": list(tests), "file": None, "text": None}
        if mutation is not None:
            request |= {"file": mutation.file, "text": mutated(self.root, mutation)}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(request), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        what = "the tests" if mutation is None else mutation.name
        if not line:
            raise MutationError(f"{what}: the process that runs the tests has ended")
        done = json.loads(line)
        if not Path(done["package"]).resolve().is_relative_to(self.root):
            raise MutationError(f"the tests would import {done['package'] or 'nothing'} instead of the copy")
        if done["status"] not in (GREEN, RED):
            raise MutationError(f"{what}: pytest ended with status {done['status']}\n{done['output']}")
        return bool(done["status"] == RED)


def main() -> None:
    """Try the mutations that the command line names, or all; with `check`, only say which do not fit the source."""
    names = set(sys.argv[1:])
    if CHECK in names:
        found = misfits(ROOT, MUTATIONS)
        print("\n".join([*found, f"{len(found)} of the {len(MUTATIONS)} mutations' texts and tests are not found"]))
        sys.exit(1 if found else 0)
    unknown = names - {mutation.name for mutation in MUTATIONS}
    if unknown:
        sys.exit(f"no such mutation: {', '.join(sorted(unknown))}; there are {', '.join(m.name for m in MUTATIONS)}")
    try:
        survivors = check(ROOT, [mutation for mutation in MUTATIONS if not names or mutation.name in names])
    except MutationError as error:
        sys.exit(str(error))
    if survivors:
        sys.exit(f"{len(survivors)} survived: no test notices them")


if __name__ == "__main__":
    main()
