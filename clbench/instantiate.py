"""From a configuration node to an object, checked: every error names the key, the value and the remedy."""

from __future__ import annotations

import importlib
import inspect
import json
import sys
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import MISSING, fields, is_dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

from pydantic import Field

from clbench.errors import ConfigError, shown
from clbench.utils.hints import LARGEST, plain_hint, spelled, worded
from clbench.utils.nearest import nearest
from clbench.utils.one_time import long_call

if TYPE_CHECKING:
    from pydantic import TypeAdapter

Version = Annotated[int, Field(ge=1)]
META = ("_target_", "name", "version")
"""Keys that describe a node. They are no arguments, unless the target has a field of that name."""


def instantiate(node: Mapping[str, Any], path: str, **given: Any) -> Any:
    """Make the object that `node` describes: `_target_` names a class or function, the other keys are its arguments.

    Nested nodes with a `_target_` are made first. Fields of dataclasses are checked against their type hints (and
    `Annotated[..., pydantic.Field(...)]` bounds).

    Args:
        node: plain dictionary.
        path: dotted key of the node, for messages (`method`, `scenario.dataset`).
        given: further arguments, from the program instead of the configuration.

    Raises:
        ConfigError: no such target, unknown or missing key, wrong type or value.
    """
    target = locate(node.get("_target_"), path)
    accepted, _ = parameters(target)
    values = {key: value for key, value in node.items() if key not in META or (key != "_target_" and key in accepted)}
    for key in ("version", "name"):
        if key in node and key not in accepted:
            check(node[key], Version if key == "version" else str, f"{path}.{key}")
    return make(target, {key: _nested(value, f"{path}.{key}") for key, value in values.items()}, path, node["_target_"], given)


def make(
    target: Callable[..., Any],
    values: Mapping[str, Any],
    path: str,
    name: str,
    given: Mapping[str, Any] | None = None,
    keys: Mapping[str, str] | None = None,
) -> Any:
    """Call `target` with `values`, checked as in `instantiate`.

    Args:
        target: a class or function.
        values: arguments from the configuration.
        path: their node, for messages.
        name: of the target, for messages.
        given: further arguments from the program; those that `target` does not take are left out.
        keys: dotted keys of arguments that stand outside the node.

    Raises:
        ConfigError: unknown or missing key, wrong type or value.
    """
    accepted, open_ended = parameters(target)
    given, keys = given or {}, keys or {}
    unknown = [key for key in values if key not in accepted and not open_ended]
    if unknown:
        key = unknown[0]
        near = nearest(key, accepted)
        hint = f"did you mean {keys.get(near, f'{path}.{near}')}? " if near else ""
        known = ", ".join(sorted(set(accepted) - set(given) - set(keys))) or "none"
        raise ConfigError(f"unknown key {path}.{key}={shown(values[key])} for {name}", f"{hint}it takes: {known}")
    arguments = {**values, **{key: value for key, value in given.items() if key in accepted or open_ended}}
    missing = [keys.get(key, f"+{path}.{key}") for key, required in accepted.items() if required and key not in arguments]
    if missing:
        raise ConfigError(f"missing key {missing[0].lstrip('+')} for {name}", f"give {missing[0]}=VALUE")
    hints, fixed = _hints(target), is_dataclass(target)
    for key, value in arguments.items():
        plain = value is None or isinstance(value, (bool, int, float, str, list, dict, tuple))
        if plain and key in hints and (fixed or (key in values and not _is_default(target, key, value))):
            checked = _checked(value, *_field(target, key), keys.get(key, f"{path}.{key}"))
            arguments[key] = checked if fixed else value
    try:
        return target(**arguments)
    except ConfigError:
        raise
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"{path} ({name}) cannot be made from {_short(arguments)}: {error}", f"change the values under {path}"
        ) from error


def check(value: Any, hint: Any, key: str) -> Any:
    """Return `value`, converted to the type `hint` where nothing is lost.

    Raises:
        ConfigError: the value is of another type, or out of bounds; the message names `key`.
    """
    return _checked(value, hint, _adapter(hint), key)


def locate(name: Any, path: str) -> Callable[..., Any]:
    """Return the class or function of a dotted name.

    Raises:
        ConfigError: the module cannot be imported or has no such member.
    """
    if not isinstance(name, str) or "." not in name:
        raise ConfigError(f"{path}._target_={name!r} is not a dotted name", f"give {path}._target_=package.module.Name")
    if ".<locals>." in name:
        raise ConfigError(
            f"{path}._target_={name} is defined within a function, where no other part of a run can find it",
            "define it at the top level of its module, script or notebook",
        )
    module_name, _, member = name.rpartition(".")
    try:
        with nullcontext() if module_name in sys.modules else long_call(f"importing {module_name}"):
            module = importlib.import_module(module_name)
    except ImportError as error:
        raise ConfigError(
            f"{path}._target_={name}: {error}",
            "check the spelling, or install the package that holds it (a plug-in's folder is importable "
            "when it is the working folder or the one given to --config-dir)",
        ) from error
    if not hasattr(module, member):
        near = nearest(member, [each for each in dir(module) if not each.startswith("_")])
        place = getattr(module, "__file__", None) or f"the module {module_name}"
        raise ConfigError(
            f"{path}._target_={name}: module {module_name} has no {member}",
            f"did you mean {module_name}.{near}?" if near else f"define {member} in {place}",
        )
    found = getattr(module, member)
    if not callable(found):
        raise ConfigError(f"{path}._target_={name} is not a class or function", "name something that can be called")
    return found  # type: ignore[no-any-return]


def parameters(target: Callable[..., Any]) -> tuple[dict[str, bool], bool]:
    """Return ({parameter: is it required}, does it take any keyword) of a class or function."""
    if is_dataclass(target) and isinstance(target, type):
        return {f.name: f.default is MISSING and f.default_factory is MISSING for f in fields(target) if f.init}, False
    signature = inspect.signature(target).parameters.values()
    named = {p.name: p.default is p.empty for p in signature if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    return named, any(p.kind is p.VAR_KEYWORD for p in signature)


def _nested(value: Any, path: str) -> Any:
    if isinstance(value, Mapping):
        if "_target_" in value:
            return instantiate(value, path)
        return {key: _nested(item, f"{path}.{key}") for key, item in value.items()}
    if isinstance(value, list):
        return [_nested(item, f"{path}.{i}") for i, item in enumerate(value)]
    return value


def _is_default(target: Callable[..., Any], key: str, value: Any) -> bool:
    """Return whether a value is the default of a function's parameter, which its type hint may not cover."""
    found = inspect.signature(target).parameters.get(key)
    return (
        found is not None and found.default is not found.empty and type(found.default) is type(value) and found.default == value
    )


@cache
def _hints(target: Callable[..., Any]) -> dict[str, Any]:
    """Return the type hints of a dataclass's fields, or of a function's or constructor's parameters.

    The result is {} if a hint cannot be read, for example if its name is imported for a type checker alone.
    """
    read = target if is_dataclass(target) or not isinstance(target, type) else target.__init__  # type: ignore[misc]
    try:
        return get_type_hints(read, include_extras=True)
    except (NameError, TypeError, AttributeError):
        return {}


@cache
def _field(target: Callable[..., Any], key: str) -> tuple[Any, TypeAdapter[Any]]:
    """Return a parameter's type hint, and what checks values by it."""
    hint = _hints(target)[key]
    return hint, _adapter(hint)


def _adapter(hint: Any) -> TypeAdapter[Any]:
    """Return what checks values by a type hint; it is made once where the hint can be looked up."""
    try:
        return _kept_adapter(hint)
    except TypeError:  # a hint without a hash
        return _new_adapter(hint)


@lru_cache(maxsize=1024)
def _kept_adapter(hint: Any) -> TypeAdapter[Any]:
    return _new_adapter(hint)


def _new_adapter(hint: Any) -> TypeAdapter[Any]:
    """Return what checks values by a type hint. NaN and infinities are refused unless the hint allows them by name."""
    from pydantic import ConfigDict, PydanticUserError, TypeAdapter

    hint = plain_hint(hint)
    try:
        return TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True, allow_inf_nan=False))
    except PydanticUserError:
        return TypeAdapter(hint)


def _checked(value: Any, hint: Any, adapter: TypeAdapter[Any], key: str) -> Any:
    from pydantic import ValidationError

    remedy = f"give {key} as {spelled(hint)}"
    beyond = _beyond(value, key)
    if beyond is not None:
        raise ConfigError(f"{beyond[0]}={shown(beyond[1])}: an integer here is at most {LARGEST} and at least -{LARGEST}", remedy)
    try:
        if isinstance(value, (list, tuple)) and (text := _as_json(value)) is not None:
            return adapter.validate_json(text, strict=True)
        return adapter.validate_python(value, strict=None if isinstance(value, (list, tuple, dict)) else True)
    except ValidationError as error:
        first, *others = error.errors()
        place, value = _place(value, key, first["loc"])
        alternatives = [each["msg"] for each in others if each["loc"][:1] != first["loc"][:1] and len(each["loc"]) <= 1]
        reason = worded(first["msg"], alternatives)
        raise ConfigError(f"{place}={shown(value)}: {reason}", remedy) from error


def _place(value: Any, key: str, parts: tuple[int | str, ...]) -> tuple[str, Any]:
    """Return the dotted key and the value of the entry that a check refused; `parts` also names types of a union."""
    for part in parts:
        entry = isinstance(value, (list, tuple)) and isinstance(part, int) and part < len(value)
        if entry or (isinstance(value, Mapping) and part in value):
            key, value = f"{key}.{part}", value[part]
    return key, value


def _beyond(value: Any, key: str) -> tuple[str, Any] | None:
    """Return dotted key and value of the first entry with an integer that does not fit into 64 bits; None if all fit.

    Neither torch nor a file could hold such an integer. A list is one value.
    """
    if isinstance(value, dict):
        return next((found for name, each in value.items() if (found := _beyond(each, f"{key}.{name}")) is not None), None)
    if isinstance(value, (list, tuple)):
        return (key, value) if any(_beyond(each, key) is not None for each in value) else None
    return (key, value) if isinstance(value, int) and abs(value) > LARGEST else None


def _as_json(value: Any) -> str | None:
    """Return a list as JSON, in which lists and tuples are the same and text is no number; None if it holds an object."""
    try:
        return json.dumps(value)
    except (TypeError, ValueError):
        return None


def _short(values: Mapping[str, Any]) -> str:
    text = ", ".join(f"{key}={shown(value)}" for key, value in values.items())
    return text if len(text) <= 200 else text[:200] + "…"
