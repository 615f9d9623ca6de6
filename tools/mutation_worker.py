"""Runs tests on mutated sources in one copy of the tree, for `tools/mutations.py`.

    python -P tools/mutation_worker.py COPY PACKAGE...

Reads one request per line from standard input and answers each with one line on standard output, both JSON. The process imports
the packages once, where they are installed. For each request it forks a child. The child imports clbench anew, mutated or not.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

OPTIONS = ("-q", "-p", "xdist.plugin", "-n", "0", "-x", "-p", "no:cacheprovider")


def main() -> None:
    """Answer requests until standard input ends."""
    copy = Path(sys.argv[1])
    for name in sys.argv[2:]:
        with suppress(ImportError):
            importlib.import_module(name)
    for line in sys.stdin:
        print(json.dumps(_answer(copy, json.loads(line))), flush=True)


def _answer(copy: Path, request: dict[str, Any]) -> dict[str, Any]:
    """Run the tests of a request.

    Args:
        copy: root of the copy of the tree.
        request: `tests`; `file` and `text`, its content while they run, or None for the unchanged source.

    Returns:
        `status`: exit status of pytest. `package`: file from which the child imported clbench. `output`: of pytest.
    """
    if request["file"] is None:
        return _in_child(request["tests"])
    path = copy / request["file"]
    before, times = path.read_bytes(), path.stat()
    path.write_text(request["text"], encoding="utf-8")
    os.utime(path, (0, 0))  # compiled files are recognised by time and size: this time fits none
    try:
        return _in_child(request["tests"], store=False)
    finally:
        path.write_bytes(before)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def _in_child(tests: list[str], store: bool = True) -> dict[str, Any]:
    """Return the answer to a request; only with `store` are compiled files stored, for later children."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile("w+") as package:
        child = os.fork()
        if child == 0:
            status = 70  # not one of pytest's
            try:
                if not store:
                    sys.dont_write_bytecode, os.environ["PYTHONDONTWRITEBYTECODE"] = True, "1"
                status = _test(tests, output.fileno(), package.fileno())
            finally:
                os._exit(status)
        _, ended = os.waitpid(child, 0)
        for file in (output, package):
            file.seek(0)
        status = os.waitstatus_to_exitcode(ended)
        return {"status": status, "package": package.read(), "output": output.read().decode(errors="replace")}


def _test(tests: list[str], output: int, package: int) -> int:
    """Run `tests` and return pytest's exit status; what they print goes to the file `output`."""
    for stream in (1, 2):
        os.dup2(output, stream)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    import pytest

    try:
        os.write(package, str(importlib.import_module("clbench").__file__).encode())
    except Exception as error:
        print(f"clbench cannot be imported: {error!r}")
    status = int(pytest.main([*OPTIONS, *tests]))
    sys.stdout.flush()
    sys.stderr.flush()
    return status


if __name__ == "__main__":
    main()
