"""Type hints of configuration keys: what they accept, and how a message spells them."""

from __future__ import annotations

import inspect
from collections import abc
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

LARGEST = 2**63 - 1
"""The largest integer of torch, and of the files that clbench writes."""
MOST = 2**31 - 1
"""The largest size or number of anything: more samples, steps, units or tasks fit into no memory and no time."""

WORDS = {
    int: "an integer",
    float: "a number",
    bool: "true or false",
    str: "text",
    type(None): "null",
    dict: "a mapping",
    list: "a list",
    tuple: "a list",
    Any: "a value",
}
"""Types in words."""
BOUNDS = {"ge": "at least", "gt": "above", "le": "up to", "lt": "below", "min_length": "length at least"}
"""Bounds of `pydantic.Field` in words."""
REASONS = {
    "a valid dictionary": "a mapping",
    "a valid tuple": "a valid list",
    "a valid string": "text",
    "a valid boolean": "true or false",
    "Field required": "an entry is missing",
    "Tuple should": "the list should",
    "List should": "the list should",
    "Dictionary should": "the mapping should",
    "be an object": "be a mapping",
    " after validation": "",
    ", unable to parse string as a number": "",
    ", unable to parse string as an integer": "",
    ", got a number with a fractional part": " without a fraction",
    "a dictionary or an instance of": "made by a `_target_` that gives a",
    "an instance of": "made by a `_target_` that gives a",
}
"""Parts of pydantic's messages, and our words for them."""


def plain_hint(hint: Any) -> Any:
    """Return a type hint with `list` and `dict` for every sequence and mapping, so that a text is no sequence.

    An abstract class is met by its objects alone; pydantic would build the class from a mapping.
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        inner = plain_hint(arguments[0])
        notes = hint.__metadata__
        return inner if inner is not arguments[0] and inspect.isabstract(arguments[0]) else _annotated(inner, notes)
    if origin in (Union, UnionType):
        return Union[tuple(plain_hint(part) for part in arguments)]  # noqa: UP007 (made of a list)
    if origin in (abc.Sequence, list) and arguments:
        return list[plain_hint(arguments[0])]  # type: ignore[misc]
    if origin in (abc.Mapping, dict) and arguments:
        return dict[arguments[0], plain_hint(arguments[1])]  # type: ignore[misc, valid-type]
    if inspect.isclass(hint) and inspect.isabstract(hint) and hint.__module__.startswith("clbench."):
        return _any_object(hint)
    return hint


def _any_object(kind: type) -> Any:
    """Return a hint that plain values do not meet: what has the methods of a class from here need not derive from it."""
    from pydantic import AfterValidator
    from pydantic_core import PydanticCustomError

    def check(value: Any) -> Any:
        if value is None or isinstance(value, (bool, int, float, str, bytes, list, tuple, dict)):
            raise PydanticCustomError(
                "no_object", "Input should be made by a `_target_` that gives a {name}", {"name": kind.__name__}
            )
        return value

    return Annotated[Any, AfterValidator(check)]


def _annotated(hint: Any, notes: tuple[Any, ...]) -> Any:
    return Annotated[(hint, *notes)]


def spelled(hint: Any) -> str:
    """Return a type hint in words: `auto or an integer (at least 0)`."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        found = [bound for each in arguments[1:] for bound in getattr(each, "metadata", [each])]
        bounds = [
            f"{word} {getattr(bound, name)}"
            for bound in found
            for name, word in BOUNDS.items()
            if getattr(bound, name, None) not in (None, MOST)
        ]
        notes = [each.description for each in arguments[1:] if getattr(each, "description", None)]
        return spelled(arguments[0]) + (f" ({', '.join([*bounds, *notes])})" if bounds or notes else "")
    if origin is Literal:
        return " or ".join("true" if value is True else "false" if value is False else str(value) for value in arguments)
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(spelled(part) for part in arguments))
    if origin is tuple and ... not in arguments:
        kinds = dict.fromkeys(spelled(part) for part in arguments)
        return f"a list of {len(arguments)} entries, each {' or '.join(kinds)}"
    if origin in (list, tuple, abc.Sequence):
        kinds = dict.fromkeys(kind for part in arguments if part is not ... for kind in _kinds(part))
        words = " or ".join(kinds)
        return "a list" if words == "a value" else f"a list with entries {f'({words})' if len(kinds) > 1 else words}"
    if origin in (dict, abc.Mapping):
        known = spelled(arguments[1])
        return "a mapping" if known == "a value" else f"a mapping from {spelled(arguments[0])} to {known}"
    if hint in WORDS:
        return WORDS[hint]
    return f"a {hint.__name__}, made by its `_target_`" if isinstance(hint, type) else "a value"


def _kinds(hint: Any) -> list[str]:
    """Return the parts of a union in words; the words of another hint."""
    return [spelled(part) for part in get_args(hint)] if get_origin(hint) in (Union, UnionType) else [spelled(hint)]


def worded(first: str, others: abc.Sequence[str]) -> str:
    """Return pydantic's messages about one value, in our words and joined."""
    texts = []
    for text in dict.fromkeys([first, *others]):
        for theirs, ours in REASONS.items():
            text = text.replace(theirs, ours)
        texts.append(text)
    joined = ", or ".join([texts[0], *(text.removeprefix("Input should be ") for text in texts[1:])])
    return joined[:1].lower() + joined[1:]
