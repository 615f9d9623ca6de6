"""Disks and folders that refuse: full, read-only, gone, without permission; and values that name no folder.

    python -m tools.safety.disks            # the short form
    python -m tools.safety.disks --long     # all cases

Every case runs commands of clbench on small file systems in memory. It requires one clear message, which names the disk and a
remedy, the right exit status, and that nothing is lost or trained in vain. Mounting needs Linux; a user without the right to
mount gets a namespace of his own (`unshare`). Cases that cannot be tried here are counted as skipped. Exit status 1 if a rule was
violated.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tools.safety import folder_cases, full_cases
from tools.safety.report import Report
from tools.safety.small_disks import Case, Place, can_drop, can_mount

INSIDE = "CLBENCH_SAFETY_INSIDE"
"""Set in the namespace."""


def cases(long: bool) -> list[Case]:
    """Return the cases of the short form or of the long form."""
    return [case for case in (*folder_cases.CASES, *full_cases.CASES) if long or case.short]


def try_all(chosen: list[Case], at_once: int) -> Report:
    """Try cases, several at once, and return the report."""
    report = Report()
    able = {"": True, "mount": can_mount(), "drop": can_drop()}
    with ThreadPoolExecutor(at_once) as pool:
        found = list(pool.map(lambda case: _try(case) if able[case.needs] else None, chosen))
    for case, wrong in zip(chosen, found, strict=True):
        if wrong is None:
            report.counts[f"skipped, since this user cannot {'mount' if case.needs == 'mount' else 'drop privileges'}"] += 1
        else:
            report.counts[case.kind] += case.count
            report.violations += [f"{case.kind}: {case.name}: {text}" for text in wrong]
    return report


def _try(case: Case) -> list[str]:
    place = Place(Path(tempfile.mkdtemp(prefix="clbench-disks-")))
    try:
        return case.run(place)
    except Exception as error:
        return [f"the case ended with {type(error).__name__}: {error}"]
    finally:
        place.close()
        shutil.rmtree(place.folder, ignore_errors=True)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--long", action="store_true", help="all cases")
    parser.add_argument("--seed", type=int, default=0, help="of no effect: the cases are always the same")
    parser.add_argument("--only", default="", help="only cases with this text in their kind or name")
    args = parser.parse_args()
    if not can_mount() and INSIDE not in os.environ:
        again = ["unshare", "-rm", sys.executable, "-m", "tools.safety.disks", *sys.argv[1:]]
        if subprocess.run(["unshare", "-rm", "true"], check=False, capture_output=True).returncode == 0:
            os.execvpe(again[0], again, {**os.environ, INSIDE: "1"})
    chosen = [case for case in cases(args.long) if args.only in f"{case.kind} {case.name}"]
    report = try_all(chosen, max(1, len(os.sched_getaffinity(0))))
    print(report.text())
    sys.exit(report.status)


if __name__ == "__main__":
    main()
