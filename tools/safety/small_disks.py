"""Small file systems, and commands of clbench on them, for `tools.safety.disks`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
QUICK = ("method=naive", "trainer.epochs=1", "device=cpu", "logger=none")
"""The quickest run: two seconds with the start of the process."""
OBEDIENT = ("setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner")
"""Start of a command for which permissions count, even if the user is root."""
LIMIT = 120.0
"""Seconds after which a command counts as hanging."""
MESSAGE_LINES = 12
"""Lines that the standard error of a failed command has at most."""


@dataclass
class Said:
    """What a command said.

    Args:
        status: of its exit.
        out: standard output.
        err: standard error.
    """

    status: int
    out: str
    err: str

    @property
    def text(self) -> str:
        """Both outputs, in one line."""
        return " ".join(f"{self.out} {self.err}".split())


@dataclass
class Place:
    """A folder for one case, and the disks that are mounted in it.

    Args:
        folder: empty, exists.
    """

    folder: Path
    mounted: list[Path] = field(default_factory=list)

    def disk(self, name: str = "disk", size: str = "1m", options: str = "") -> Path:
        """Mount a new file system in memory, and return its folder."""
        where = self.folder / name
        where.mkdir()
        given = f"size={size}" + (f",{options}" if options else "")
        subprocess.run(["mount", "-t", "tmpfs", "-o", given, "clbench-safety", str(where)], check=True, capture_output=True)
        self.mounted.append(where)
        return where

    def close(self) -> None:
        """Unmount everything, and make all folders writable again."""
        for where in reversed(self.mounted):
            subprocess.run(["umount", "-l", str(where)], check=False, capture_output=True)
        for path, folders, _ in os.walk(self.folder):
            for name in folders:
                with suppress(OSError):
                    os.chmod(os.path.join(path, name), 0o755)

    def clbench(
        self, *words: str, module: str = "main", before: Sequence[str] = (), env: Mapping[str, str] | None = None, shell: str = ""
    ) -> Said:
        """Run a command of clbench in the folder.

        Args:
            words: its arguments; `QUICK` follows for the command `clbench`.
            module: of `clbench.cli`; or a program for `python -c`.
            before: start of the command line, for example `OBEDIENT`.
            env: further variables.
            shell: text for the shell in front of the command, for example `ulimit -f 10;`, with `%` in place of the command.
        """
        command = [*before, sys.executable, "-P"]
        command += ["-m", f"clbench.cli.{module}"] if module.isidentifier() else ["-c", module]
        command += [*words, *(QUICK if module == "main" else ())]
        path = os.pathsep.join([str(ROOT), *(entry for entry in sys.path if entry)])
        given = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **(env or {})}
        if shell:
            command = ["bash", "-c", shell.replace("%", '"$@"'), "bash", *command]
        try:
            done = subprocess.run(
                command, cwd=self.folder, env=given, capture_output=True, text=True, errors="replace", timeout=LIMIT, check=False
            )
        except subprocess.TimeoutExpired:
            return Said(-1, "", "does not end")
        return Said(done.returncode, done.stdout, done.stderr)


def fill(disk: Path, leave: int = 0) -> None:
    """Fill a disk, up to `leave` bytes."""
    free = os.statvfs(disk)
    with suppress(OSError), open(disk / "filling", "wb") as file:
        file.write(bytes(max(0, free.f_bavail * free.f_frsize - leave)))


def wrong(said: Said, status: int, *words: str, never: Sequence[str] = ()) -> list[str]:
    """Return what is wrong with the end of a command: another status, a traceback, a missing word, or too many lines.

    Args:
        said: by the command.
        status: expected.
        words: texts that must be there.
        never: texts that must not be there.
    """
    found = [] if said.status == status else [f"status {said.status}, expected {status}"]
    found += [f"says {text!r}" for text in ("Traceback", "Error:", "by itself", *never) if text in said.text]
    found += [f"does not say {word!r}" for word in words if word not in said.text]
    if len(said.err.splitlines()) > MESSAGE_LINES:
        found.append(f"{len(said.err.splitlines())} lines of errors")
    return [f"{'; '.join(found)}: {said.text[-600:]}"] if found else []


def can_mount() -> bool:
    """Return whether this process may mount file systems."""
    return subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True).returncode == 0


def can_drop() -> bool:
    """Return whether commands can be started for which permissions count."""
    with suppress(OSError):
        command = [*OBEDIENT, sys.executable, "-c", "import os; os.access"]
        return subprocess.run(command, check=False, capture_output=True).returncode == 0
    return False


@dataclass(frozen=True)
class Case:
    """One case.

    Args:
        kind: for the counts.
        name: of the case.
        run: gets a folder, and returns what is wrong.
        short: whether the short form has the case.
        needs: `mount` or `drop` (a command for which permissions count); empty: nothing.
        count: how many inputs the case tries.
    """

    kind: str
    name: str
    run: Callable[[Place], list[str]]
    short: bool = False
    needs: str = ""
    count: int = 1
