"""Run a script that times itself by `time.perf_counter`, with the process's CPU time instead of wall time.

    python on_cpu_clock.py plain_loop.py --batch 64

With one thread, the two clocks agree on an idle machine. On a busy machine, CPU time leaves out waiting for a core. It still
contains the effect of other processes on caches and memory.
"""

from __future__ import annotations

import runpy
import sys
import time


def main() -> None:
    sys.argv = sys.argv[1:]
    time.perf_counter = time.process_time
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
