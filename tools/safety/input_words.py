"""What a message must say of a bad value, what its remedy names, and which bad values are sensible."""

from __future__ import annotations

import re

from tools.safety.input_cases import VALUES, Case

INSIDE = ("annotation=", "metadata=", "<class", "Traceback", "pydantic", "object at 0x", "typing.", "NoneType", "FieldInfo")
"""Parts of messages that show the program's inside."""

NUMBERS = ("negative", "negative fraction", "not a number", "infinite", "negative infinite", "list with not a number")
"""Kinds that no number accepts."""
NO_NUMBERS = ("text", "empty text", "long text", "control characters", "mapping", "nested mapping", "list of text", "true")
"""Kinds that are no numbers at all."""

SENSIBLE: dict[str, str] = {}
"""Keys that accept a negative number, with the reason."""
FREE = {
    "scenario.order": "the name of an order, or its number: compared with the orders, once there is data",
    "group": "the name of a column, or a number of rows: compared with the columns, once there is data",
    "test_args": "arguments of torchvision's own class, which checks them",
}
"""Keys, or parts of keys, that this program cannot judge without the data, with the reason."""

SHOWN = {
    "not a number": ("nan",),
    "infinite": ("inf",),
    "negative infinite": ("-inf",),
    "huge number": ("1e+20", "1e20", "100000000000000000000"),
    "integer of 401 digits": ("1" + "0" * 9, "inf"),
    "true": ("True", "true"),
    "null": ("None", "null"),
    "empty text": ("''", '""'),
    "long text": ("xxxxx",),
    "control characters": ("\\x1b",),
    "list of text": ("a",),
    "list of lists": ("1",),
    "list with null": ("None", "null"),
    "list with not a number": ("nan",),
    "twice in a list": ("1",),
    "mapping": ("a",),
    "nested mapping": ("a",),
}
"""What a message may show of a kind's value; other kinds are shown as they are spelled."""


def inside(text: str) -> str | None:
    """Return the first part of a message that shows the program's inside, or that acts on a terminal."""
    found = next((each for each in INSIDE if each in text), None)
    return found or ("a control character" if re.search(r"[\x00-\x08\x0b-\x1f\x7f]", text) else None)


def shows_value(case: Case, text: str) -> bool:
    """Return whether a message shows the bad value."""
    return any(each in text for each in SHOWN.get(case.kind, (VALUES[case.kind],)))


def sensible(case: Case) -> str | None:
    """Return what is wrong with accepting a case; None: nothing."""
    pretrained = "model=biography_tiny" in case.context.words and case.key.startswith("model.")
    if pretrained or any(f".{name}." in f".{case.key}." for name in FREE):  # that network is trained in a run
        return None
    number = isinstance(case.before, (int, float)) and not isinstance(case.before, bool)
    if case.kind in ("not a number", "infinite", "negative infinite", "list with not a number"):
        return "is accepted"
    if case.kind in ("negative", "negative fraction") and case.key.rpartition(".")[2] not in SENSIBLE:
        return "is accepted"
    if case.kind in NO_NUMBERS and (number or (isinstance(case.before, bool) and case.kind != "true")):
        return "is accepted"
    if case.kind == "fraction" and isinstance(case.before, bool):
        return "is accepted"
    return None


def examples_of(remedy: str) -> list[str]:
    """Return a value, as the command line spells it, of each kind that a remedy names."""
    found = list[str]()
    for part in re.split(r" or (?![^()]*\))", re.split(r"[;\n]", remedy)[0]):
        bounds = [float(each) for each in re.findall(r"(?:at least|above) (-?[\d.e+-]+)", part)]
        tops = [float(each) for each in re.findall(r"(?:up to|below) (-?[\d.e+-]+)", part)]
        least, most = max(bounds, default=None), min(tops, default=None)
        middle = (least + most) / 2 if least is not None and most is not None else least + 1 if least is not None else 1
        if part.startswith("an integer"):
            found.append(str(int(least) if "at least" in part and least is not None else int(middle)))
        elif part.startswith("a number"):
            found.append(str(least if "at least" in part and least is not None else middle))
        elif part.startswith("null"):
            found.append("null")
        elif part.startswith("true"):
            found.append("true")
        elif part.startswith("false"):
            found.append("false")
        elif re.fullmatch(r"[a-z0-9_-]+", part) and part not in ("text",):
            found.append(part)
    return found
