"""Hostile files of a results folder, by kind: each must cost one line, and nothing else."""

from __future__ import annotations

import copy
import json
import os
import random
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tools.safety.record_mutations import Body, sealed, store

Make = Callable[[Path, Body], None]
"""Makes a file at a path that does not exist yet, from the content of a good record."""
Place = tuple[str | int, ...]
"""Keys and positions that lead to a value."""


def _text(change: Callable[[str], str | bytes]) -> Make:
    def make(path: Path, body: Body) -> None:
        content = change(json.dumps(body))
        path.write_bytes(content.encode() if isinstance(content, str) else content)

    return make


def _link(target: str) -> Make:
    return lambda path, _: path.symlink_to(target)


def _socket(path: Path, _: Body) -> None:
    short = path.with_name("s")  # the name of a socket has 107 bytes at most
    with socket.socket(socket.AF_UNIX) as end:
        where = os.open(path.parent, os.O_RDONLY)
        try:
            end.bind(f"/proc/self/fd/{where}/s")
        finally:
            os.close(where)
    short.rename(path)


def _sparse(path: Path, _: Body) -> None:
    with open(path, "wb") as file:
        file.truncate(2**40)


def _number(text: str) -> Make:
    return _text(lambda whole: whole.replace('"seed": ', f'"seed": {text}, "other": ', 1))


def _with(**changes: Any) -> Make:
    return _text(lambda whole: json.dumps({**json.loads(whole), **changes}))


def _without(name: str) -> Make:
    return _text(lambda whole: json.dumps({key: value for key, value in json.loads(whole).items() if key != name}))


FILES: dict[str, Make] = {
    "pipe": lambda path, _: os.mkfifo(path),
    "socket": _socket,
    "folder": lambda path, _: path.mkdir(),
    "link to an endless device": _link("/dev/zero"),
    "link to random numbers": _link("/dev/urandom"),
    "link to a full device": _link("/dev/full"),
    "link to nothing": _link("/nowhere/at/all"),
    "link to itself": lambda path, _: path.symlink_to(path.name),
    "link to a folder": _link("/tmp"),
    "link to memory": _link("/proc/self/mem"),
    "a terabyte of zeros": _sparse,
    "empty": _text(lambda _: ""),
    "white space": _text(lambda _: " " * 10_000),
    "too much white space": _text(lambda whole: whole + " " * (65 * 2**20)),
    "cut": _text(lambda whole: whole[: len(whole) // 2]),
    "without its last sign": _text(lambda whole: whole[:-1]),
    "two records": _text(lambda whole: whole + whole),
    "zeros": _text(lambda _: bytes(5000)),
    "noise": _text(lambda _: random.Random(0).randbytes(50_000)),
    "not UTF-8": _text(lambda whole: whole.replace('"names"', '"n\\udcff"').encode().replace(b"\\udcff", b"\xff")),
    "UTF-16": _text(lambda whole: whole.encode("utf-16")),
    "byte order mark": _text(lambda whole: b"\xef\xbb\xbf" + whole.encode()),
    "half a surrogate pair": _text(lambda whole: whole.replace('"names": {', '"names": {"x": "\\ud800", ', 1)),
    "encoded surrogate": _text(lambda whole: whole.encode().replace(b'"names"', b'"n\xed\xa0\x80"')),
    "open lists": _text(lambda _: "[" * 100_000),
    "deep lists": _text(lambda _: "[" * 900 + "]" * 900),
    "deep objects": _text(lambda _: '{"a":' * 50_000 + "1" + "}" * 50_000),
    "nest of 60 MB": _text(lambda _: "[" + "[]," * (20 * 2**20) + "[]]"),
    "nest of 60 MB, two deep": _text(lambda _: "[" + "[[]]," * (12 * 2**20) + "[]]"),
    "objects of 50 MB": _text(lambda _: "[" + '{"a":1},' * (6 * 2**20) + "1]"),
    "numbers of 50 MB": _text(lambda _: "[" + "12345," * (8 * 2**20) + "1]"),
    "keys of 30 MB": _text(lambda _: "{" + ",".join(f'"{i}":{i}' for i in range(1_500_000)) + "}"),
    "one string of 50 MB": _text(lambda _: '"' + "a" * (50 * 2**20) + '"'),
    "infinity as 1e999": _number("1e999"),
    "minus infinity as -1e999": _number("-1e999"),
    "NaN": _number("NaN"),
    "Infinity": _number("Infinity"),
    "400 digits": _number("9" * 400),
    "a million digits": _number("9" * 1_000_000),
    "hexadecimal": _number("0x10"),
    "repeated key": _text(lambda whole: whole.replace('"seed": ', '"seed": 0, "seed": ', 1)),
    "repeated part": _text(lambda whole: whole[:-1] + ', "result": ' + json.dumps(json.loads(whole)["result"]) + "}"),
    "another format": _with(format=99),
    "format as a list": _with(format=[[1] * 1000] * 100),
    "format of a thousand letters": _with(format="\x1b[31m\n" * 1000),
    "changed id": _with(id="x" * 5000),
    "id as a list": _with(id=[1]),
    "changed sha256": _with(sha256="0" * 64),
    "sha256 as an object": _with(sha256={"a": 1}),
    "no sha256": _without("sha256"),
    "no result": _without("result"),
    "no identity": _without("identity"),
    "parts as lists": _with(result=[], cost=[], provenance=[]),
    "a list": _text(lambda _: "[1, 2]"),
    "a string": _text(lambda _: '"record"'),
    "a number": _text(lambda _: "1e308"),
    "null": _text(lambda _: "null"),
    "copy of another record": _text(lambda whole: whole),
}
"""Files that are no records."""

NAMES: dict[str, bytes] = {
    "name with a line end": b"a\nb.json",
    "name with ANSI escapes": b"\x1b[31mred\x1b[0m.json",
    "name that is not UTF-8": b"\xff\xfe\xe9.json",
    "name with markup": b"<script>[x](y)|\\input{z}.json",
    "name in right-to-left letters": "‮x‏.json".encode(),
    "long name": b"n" * 240 + b".json",
    "name of a flag": b"--help.json",
}
"""Names of files."""

_CELL = ("result", "matrix", 0, 0)
FIELDS: dict[Place, tuple[Any, ...]] = {
    ("identity", "names", "server"): (["a"], {"a": 1}, 1, True),
    ("identity", "names", "method"): (None, [], 7, "x" * 10**6),
    ("identity", "names", "scenario"): (None, [], 7, "x" * 10**6),
    ("identity", "names", "model"): (None, [], 7, "x" * 10**6),
    ("identity", "names"): ([], "er", None),
    ("identity", "seed"): (-1, True, 2**63),
    ("identity", "sources"): ([], "x", {"method": []}, {"method": {"m": 1}}),
    ("identity", "method"): (["er"], "er"),
    ("result", "n_tasks"): (0, -1, 10**9, 10**15, 2.5, "5", None, True),
    ("result", "columns"): ([], {}, "x", [{}], [1, 2], [None] * 5),
    ("result", "columns", 0, "metric"): (None, 3, []),
    ("result", "columns", 0, "name"): (None, 3),
    ("result", "events"): ([], {}, [{}], [[]], "x"),
    ("result", "events", 0, "task"): ("x", None, 10**9, -5, 0.5),
    ("result", "events", 0, "kind"): (None, 3, "task"),
    ("result", "events", 0, "step"): ("x", -3, []),
    ("result", "matrix"): ([], {}, None, "x", [[]], [[1, 2]]),
    _CELL: (
        [],
        [1],
        [1, 2, 3],
        "x",
        3,
        [None, None],
        [[1], 2],
        {"a": 1},
        [10**20, 10**20],
        [11, 10],
        [-1, 10],
        [1, -10],
        [0.5, 1.5],
        [10**16, 10**17],
    ),
    ("result", "setting"): (None, ["class"], 5),
    ("result", "sequential"): ("yes", 1, None),
    ("result", "task_names"): ({}, [1, 2], []),
    ("result", "diagnostics"): ("x", 5, None),
    ("result", "unlearning"): ([], "retrain", {"goal": 1}, {"goal": "retrain", "requests": "12"}),
    ("cost", "seconds"): ("1", [], 1e300, 10**20 + 0.5, "1e999", True),
    ("cost", "peak_memory_bytes"): (-1, 1.5, "x", [1]),
    ("cost", "parameters"): (2**70, -4, "x"),
    ("cost", "inference_ms"): ("x", ["x"], [[1]], 5),
    ("provenance", "variant"): (["x"], 3, {}),
    ("provenance", "stacked"): (0, -1, "2", 1.5),
}
"""Values that no run writes; the record's ids and sha256 are right."""
FAILURES: dict[Place, tuple[Any, ...]] = {
    ("identity", "names", "server"): (["a"], 1),
    ("identity", "names"): ([], None),
    ("failure", "kind"): (None, 1, ["diverged"]),
    ("failure", "reason"): (None, 1, ["x"], "x" * 10**6),
    ("failure", "remedy"): (1, ["x"]),
    ("failure", "task"): ("x", 10**12, 1.5),
    ("failure", "setting"): (1, ["task"]),
    ("provenance", "variant"): (["x"], 3),
}
"""The same for files in the folder of failures."""


def changed(body: Body, place: Place, value: Any) -> Body:
    """Return a copy of a file's content with another value at a place."""
    found = copy.deepcopy(body)
    holder: Any = found
    for key in place[:-1]:
        holder = holder[key]
    holder[place[-1]] = value
    return found


def write_records(folder: Path, body: Body) -> dict[str, str]:
    """Write a hostile file of each kind; return the kind of each by its name. Every record has an own seed.

    Args:
        folder: of the results.
        body: the content of a good record.
    """
    kinds: dict[str, str] = {}
    for count, (kind, make) in enumerate(FILES.items()):
        own = sealed(changed(body, ("identity", "seed"), 10_000 + count))
        path = folder / (f"copy-{count}.json" if kind == "copy of another record" else f"{own['id']}.json")
        make(path, own)
        kinds[path.name] = kind
    for kind, raw in NAMES.items():
        name = os.fsdecode(raw)
        (folder / name).write_text("{}")
        kinds[name] = kind
    for count, (place, value) in enumerate((place, value) for place, values in FIELDS.items() for value in values):
        own = changed(changed(body, ("identity", "seed"), 20_000 + count), place, value)
        kinds[store(sealed(own), folder).name] = f"{'.'.join(map(str, place))}"
    return kinds


def write_failures(folder: Path, body: Body) -> dict[str, str]:
    """Write hostile failures of runs; return the kind of each by its name.

    Args:
        folder: of the results.
        body: the content of a good failure.
    """
    kinds: dict[str, str] = {}
    for count, kind in enumerate(("pipe", "folder", "link to an endless device", "cut", "open lists", "empty", "zeros")):
        path = folder / f"{16**31 + count:032x}.json"
        FILES[kind](path, body)
        kinds[path.name] = f"failure: {kind}"
    for count, (place, value) in enumerate((place, value) for place, values in FAILURES.items() for value in values):
        own = sealed(
            changed(changed(body, ("identity", "seed"), 30_000 + count), place, value), ("identity", "failure", "provenance")
        )
        kinds[store(own, folder).name] = f"failure: {'.'.join(map(str, place))}"
    return kinds
