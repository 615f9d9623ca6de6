"""A shipped method with some of its values changed."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from clbench.instantiate import instantiate
from clbench.method import Method

FOLDER = Path(__file__).parents[2] / "conf" / "method"


def values(name: str) -> dict[str, Any]:
    own = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    merged: dict[str, Any] = {}
    for base in own.pop("defaults", []):
        if base != "_self_":
            merged |= values(base)
    return merged | own


def shipped(name: str, kind: type[Method] | None = None, **changes: Any) -> Any:
    """Return method `name` as its config says, with `changes`; an unknown key is an error. `kind`: a subclass to make instead."""
    found = instantiate(values(name) | changes, "method")
    assert isinstance(found, Method)
    return found if kind is None else kind(**{field.name: getattr(found, field.name) for field in fields(found)})
