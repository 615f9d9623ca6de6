"""Kill this process in the middle of a file: after a random number of bytes of a checkpoint, a record, or the table.

`python -m tools.cut_file WORDS` is the command `clbench` with that; the workers of a sweep install it through their logger.
"""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import Any

VARIABLE = "CLBENCH_CUT"
"""Environment variable: kind of the file, share of its bytes that are written, and a file that says that it happened."""
KINDS = {
    "checkpoint": re.compile(r"\.task-\d+\.pt\.tmp"),
    "digest of a checkpoint": re.compile(r"\.task-\d+\.sha256\.tmp"),
    "record": re.compile(r"\.[0-9a-f]{32}\.json\.[0-9a-f]+\.tmp"),
    "leaderboard.md": re.compile(r"\.leaderboard\.md\.tmp"),
}
"""Names of temporary files."""


def install() -> None:
    """Have the next fitting file cut and this process killed, if the environment says so."""
    given = os.environ.get(VARIABLE)
    if not given:
        return
    kind, share, flag = given.split("|")
    flush = os.fsync

    def cut(file: Any) -> None:
        name = os.path.basename(os.readlink(f"/proc/self/fd/{file}"))
        if KINDS[kind].fullmatch(name) and not os.path.exists(flag):
            Path(flag).touch()
            os.ftruncate(file, int(float(share) * os.fstat(file).st_size))
            os.kill(os.getpid(), signal.SIGKILL)
        flush(file)

    os.fsync = cut  # type: ignore[assignment]


if __name__ == "__main__":
    from clbench.cli.main import main

    install()
    main()
