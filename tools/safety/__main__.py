"""All programs that try to break clbench from outside, one after the other, and one table.

    python -m tools.safety            # the short forms: what continuous integration runs
    python -m tools.safety --long     # the long forms, with 1,000 kills: hours

Exit status 1 if a program found a violation, or could not be started.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = {
    "records": "tools.safety.records",
    "messages": "tools.safety.messages",
    "inputs": "tools.safety.inputs",
    "disks": "tools.safety.disks",
    "limits": "tools.safety.limits",
    "kills": "tools.kill_sweep",
}
"""Name and module of each program. All take `--long` and `--seed`."""
ONLY_LONG = {"pairs": "tools.safety.pairs"}
"""Programs without a short form here: `tests/tools/test_pairs.py` does the same in few steps."""


@dataclass(frozen=True)
class Outcome:
    """The end of a program.

    Args:
        name: of the program.
        status: of its exit; 0 without a violation.
        seconds: it took.
        last: last line of its output.
    """

    name: str
    status: int
    seconds: float
    last: str


def run(name: str, module: str, arguments: list[str]) -> Outcome:
    """Run a program, pass its output on, and return its end."""
    print(f"== {name}: python -m {' '.join([module, *arguments])}", flush=True)
    begun = monotonic()
    command = [sys.executable, "-m", module, *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, errors="replace") as process:
        assert process.stdout is not None
        last = "no output"
        for line in process.stdout:
            print(line, end="", flush=True)
            last = line.strip() or last
    return Outcome(name, process.returncode, monotonic() - begun, last)


def table(outcomes: list[Outcome]) -> str:
    """Return one line for each program."""
    lines = [
        f"{each.name:<10}{'good' if each.status == 0 else 'VIOLATED':<10}{each.seconds:7.0f} s  {each.last}" for each in outcomes
    ]
    return "\n".join(lines)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--long", action="store_true", help="the long forms")
    parser.add_argument("--seed", type=int, default=0, help="of the random choices")
    parser.add_argument("programs", nargs="*", choices=[*PROGRAMS, *ONLY_LONG, []], help="only these (default: all)")
    args = parser.parse_args()
    every = {**PROGRAMS, **ONLY_LONG}
    arguments = [*(["--long"] if args.long else []), "--seed", str(args.seed)]
    chosen = args.programs or (every if args.long else PROGRAMS)
    outcomes = [run(name, every[name], arguments) for name in chosen]
    print(f"\n{table(outcomes)}")
    sys.exit(any(each.status for each in outcomes))


if __name__ == "__main__":
    main()
