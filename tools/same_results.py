"""Show that a change of the code leaves every number as it was: run a little of everything before and after, and compare.

    python tools/same_results.py make /tmp/before          # with the code as it is
    python tools/same_results.py make /tmp/after           # with the changed code
    python tools/same_results.py compare /tmp/before /tmp/after

`make` starts the command `clbench` beside this Python once per name in `same_results.yaml`: the sweep `quick`, every method of
`conf/method` once, and a short run of each kind of stream, model, server and option. It takes about four minutes on two cores and
needs no data from outside. Names after the folder choose among the runs. A failed run is named, the other runs continue, and the
status is 1. To run the code of a folder other than the installed one, put that folder into PYTHONPATH.

`compare` takes two folders of records, those of `make` or any others. Both must have records of the same names, whose `result` is
equal bit for bit. Each difference is one line, and the status is 1 if there is any. Make both folders on one machine: the kind of
processor and the versions of the libraries decide how numbers are rounded.

Nothing of clbench is imported, so that this file works with every version of it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

LIMIT = 600.0
"""Seconds after which a run counts as failed."""
TOPICS = {
    "kitchen": "bread soup salt onion pepper",
    "mail": "offer prize cash click winner",
    "sea": "wave ship salt tide harbour",
    "sky": "cloud star wind kite thunder",
}
"""Words that the texts of each class are made of."""

RUNS: dict[str, list[str]] = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
"""What `make` runs, by name: the overrides of one command each."""


@dataclass(frozen=True)
class Difference:
    """What is not the same in two folders.

    Args:
        record: path of the record below either folder.
        text: what about it, in words.
    """

    record: str
    text: str

    def __str__(self) -> str:
        """Return it as one line."""
        return f"{self.record}: {self.text}"


def make(folder: Path, names: Sequence[str] = ()) -> list[str]:
    """Run what `names` say, all if there are none, with a folder of records each.

    Args:
        folder: is made; what the runs said is there too, in a file each.
        names: keys of `RUNS`.

    Returns:
        The names of the runs that failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / ".data"  # new, so that no pre-trained model of other code is taken
    _own_texts(data / "topics")
    _own_images(data / "colours.npz")
    return [name for name in names or RUNS if not _run(name, folder, data)]


def compare(first: Path, second: Path) -> tuple[int, list[Difference]]:
    """Return how many records both folders have, and how their records differ."""
    before, after = dict(_results(first)), dict(_results(second))
    found = [Difference(name, f"only in {first}") for name in before if name not in after]
    found += [Difference(name, f"only in {second}") for name in after if name not in before]
    shared = [name for name in before if name in after]
    for name in shared:
        leaves = list(_differing(before[name], after[name], "result"))
        if leaves:
            more = f", and {len(leaves) - 1} more" if len(leaves) > 1 else ""
            found.append(Difference(name, f"{leaves[0]}{more}"))
    return len(shared), found


def command() -> str:
    """Return the path of the command `clbench` of this Python's environment.

    Raises:
        FileNotFoundError: it is not installed.
    """
    beside = Path(sys.executable).parent / "clbench"
    path = str(beside) if beside.is_file() else shutil.which("clbench")
    if path is None:
        raise FileNotFoundError(f"there is no command clbench beside {sys.executable}, nor on PATH; install clbench")
    return path


def _run(name: str, folder: Path, data: Path) -> bool:
    """Run one command, tell how it went, and return whether it went well."""
    words = ["-m", *RUNS[name], "device=cpu", f"results_dir={name}", f"data.root={data}"]
    environment = {key: value for key, value in os.environ.items() if key != "CLBENCH_DATA"}
    begun = time.monotonic()
    with open(folder / f"{name}.txt", "w", encoding="utf-8") as said:
        try:
            status: object = subprocess.run(
                [command(), *words],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                timeout=LIMIT,
            ).returncode
        except subprocess.TimeoutExpired:
            status = f"none after {LIMIT:.0f} s"
    number = len(dict(_results(folder / name)))
    print(f"{name}: {number} records in {time.monotonic() - begun:.0f} s", flush=True)
    if status != 0 or not number:
        lines = Path(said.name).read_text(encoding="utf-8").splitlines()
        print(f"FAILED {name}: status {status}; {lines[-1] if lines else 'nothing said'} [{said.name}]", flush=True)
    return status == 0 and number > 0


def _results(folder: Path) -> Iterator[tuple[str, Any]]:
    """Yield (path below `folder`, result) of each record; other JSON files and hidden folders are passed over."""
    for path in sorted(folder.rglob("*.json")):
        inner = path.relative_to(folder)
        if not any(part.startswith(".") for part in inner.parts):
            body = json.loads(path.read_text(encoding="utf-8"))
            if isinstance(body, dict) and "identity" in body and "result" in body:
                yield inner.as_posix(), body["result"]


def _differing(before: Any, after: Any, place: str) -> Iterator[str]:
    """Yield `place: value is now value` for each leaf that differs; numbers are equal only if they are written alike."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted({*before, *after}):
            if key not in after or key not in before:
                yield f"{place}.{key}: is {'gone' if key in before else 'new'}"
            else:
                yield from _differing(before[key], after[key], f"{place}.{key}")
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from _differing(one, other, f"{place}[{index}]")
    elif (old := _canonical(before)) != (new := _canonical(after)):
        yield f"{place}: {old:.60} is now {new:.60}"


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _own_texts(folder: Path) -> None:
    """Write a data set of short texts."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(0)
    for part, number in (("train", 20), ("test", 8)):
        rows = [(label, [rng.choice(words.split()) for _ in range(5)]) for label, words in TOPICS.items() for _ in range(number)]
        lines = [json.dumps({"text": " ".join(words), "label": label}) for label, words in rows]
        (folder / f"{part}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _own_images(path: Path) -> None:
    """Write a data set of small noisy images in four colours."""
    rng = np.random.default_rng(0)
    colours = np.array([[220, 40, 40], [40, 220, 40], [40, 40, 220], [200, 200, 40]])
    arrays: dict[str, Any] = {}
    for part, number in (("train", 40), ("test", 12)):
        labels = np.repeat(np.arange(len(colours)), number)
        noise = rng.integers(-40, 40, (len(labels), 8, 8, 3))
        arrays[f"x_{part}"] = np.clip(colours[labels][:, None, None, :] + noise, 0, 255).astype(np.uint8)
        arrays[f"y_{part}"] = labels
    np.savez(path, **arrays)


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tasks = parser.add_subparsers(dest="task", required=True)
    making = tasks.add_parser("make", help="run a little of everything")
    making.add_argument("folder", type=Path)
    making.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(RUNS)} (default: all)")
    comparing = tasks.add_parser("compare", help="compare two folders of records")
    comparing.add_argument("first", type=Path)
    comparing.add_argument("second", type=Path)
    args = parser.parse_args()
    if args.task == "make":
        unknown = [name for name in args.names if name not in RUNS]
        if unknown:
            parser.error(f"there is no run {unknown[0]}; choose from {', '.join(RUNS)}")
        there = [name for name in args.names or RUNS if (args.folder / name).exists()]
        if there:  # its runs would count as done
            parser.error(f"{args.folder / there[0]} is there already; name a new folder")
        failed = make(args.folder.absolute(), args.names)
        print(f"failed: {', '.join(failed)}" if failed else "all runs went through")
        sys.exit(bool(failed))
    for folder in (args.first, args.second):
        if not folder.is_dir():
            parser.error(f"there is no folder {folder}")
    number, differences = compare(args.first, args.second)
    for difference in differences:
        print(difference)
    print(f"{number} records in both folders, {len(differences)} differences")
    sys.exit(bool(differences) or not number)


if __name__ == "__main__":
    main()
