"""From a configuration node to an object, checked: every error names the key, the value and the remedy."""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from clbench.errors import ConfigError

META = ("_target_", "name", "version")
"""Keys of a node that say what it is and are not passed on, unless the target has a field of that name."""


def instantiate(node: Mapping[str, Any], path: str, **given: Any) -> Any:
    """Make the object that `node` describes: `_target_` names a class or function, the other keys are its arguments.

    Nested nodes with a `_target_` are made first. Fields of dataclasses are checked against their type hints (and
    `Annotated[..., pydantic.Field(...)]` bounds).

    Args:
        node: plain dictionary.
        path: where the node stands in the configuration, for messages (`method`, `scenario.dataset`).
        given: further arguments that the program supplies, not the configuration.

    Raises:
        ConfigError: no such target, unknown or missing key, wrong type or value.
    """
    target = locate(node.get("_target_"), path)
    accepted, open_ended = parameters(target)
    values = {key: value for key, value in node.items() if key not in META or (key != "_target_" and key in accepted)}
    unknown = [key for key in values if key not in accepted and not open_ended]
    if unknown:
        key = unknown[0]
        near = difflib.get_close_matches(key, accepted, n=1)
        hint = f"did you mean {path}.{near[0]}? " if near else ""
        known = ", ".join(sorted(set(accepted) - set(given))) or "none"
        raise ConfigError(f"unknown key {path}.{key}={values[key]!r} for {node['_target_']}", f"{hint}it takes: {known}")
    values = {key: _nested(value, f"{path}.{key}") for key, value in values.items()}
    values.update({key: value for key, value in given.items() if key in accepted or open_ended})
    missing = [key for key, required in accepted.items() if required and key not in values]
    if missing:
        raise ConfigError(f"missing key {path}.{missing[0]} for {node['_target_']}", f"give {path}.{missing[0]}=VALUE")
    if is_dataclass(target) and isinstance(target, type):
        values = _checked(target, values, path)
    try:
        return target(**values)
    except ConfigError:
        raise
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"{path} ({node['_target_']}) cannot be made from {_short(values)}: {error}", f"change the values under {path}"
        ) from error


def locate(name: Any, path: str) -> Callable[..., Any]:
    """Return the class or function of a dotted name.

    Raises:
        ConfigError: the module cannot be imported or has no such member.
    """
    if not isinstance(name, str) or "." not in name:
        raise ConfigError(f"{path}._target_={name!r} is not a dotted name", f"give {path}._target_=package.module.Name")
    module_name, _, member = name.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ConfigError(
            f"{path}._target_={name}: {error}",
            "check the spelling, or install the package that holds it (a plug-in's folder is importable "
            "when it is the working folder or the one given to --config-dir)",
        ) from error
    if not hasattr(module, member):
        near = difflib.get_close_matches(member, dir(module), n=1)
        raise ConfigError(
            f"{path}._target_={name}: module {module_name} has no {member}",
            f"did you mean {module_name}.{near[0]}?" if near else f"define {member} in {module.__file__}",
        )
    found = getattr(module, member)
    if not callable(found):
        raise ConfigError(f"{path}._target_={name} is not a class or function", "name something that can be called")
    return found  # type: ignore[no-any-return]


def parameters(target: Callable[..., Any]) -> tuple[dict[str, bool], bool]:
    """Return ({parameter: is it required}, does it take any keyword) of a class or function."""
    if is_dataclass(target) and isinstance(target, type):
        from dataclasses import MISSING

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


def _checked(target: type, values: dict[str, Any], path: str) -> dict[str, Any]:
    """Return `values` with each checked, and converted where nothing is lost, by the type hint of its field."""
    from typing import get_type_hints

    from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError

    try:
        hints = get_type_hints(target, include_extras=True)
    except NameError:  # hints that only a type checker can see
        return values
    checked = dict(values)
    for key, value in values.items():
        if key not in hints or (not isinstance(value, (bool, int, float, str, list, dict, tuple)) and value is not None):
            continue
        try:
            adapter: TypeAdapter[Any] = TypeAdapter(hints[key], config=ConfigDict(arbitrary_types_allowed=True))
        except PydanticUserError:
            adapter = TypeAdapter(hints[key])
        try:
            checked[key] = adapter.validate_python(value, strict=not isinstance(value, (list, tuple, dict)))
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join([path, key, *(str(part) for part in first["loc"] if isinstance(part, int))])
            raise ConfigError(
                f"{place}={value!r}: {first['msg'][:1].lower()}{first['msg'][1:]}", f"{key} is {_spelled(hints[key])}"
            ) from error
    return checked


def _spelled(hint: Any) -> str:
    """Return a type hint as a person would write it."""
    if hasattr(hint, "__metadata__"):
        bounds = [str(m) for m in hint.__metadata__]
        return f"{_spelled(hint.__origin__)} ({'; '.join(bounds)})"
    text = hint.__name__ if isinstance(hint, type) and not hasattr(hint, "__args__") else str(hint)
    return text.replace("typing.", "")


def _short(values: Mapping[str, Any]) -> str:
    text = ", ".join(f"{key}={value!r}" for key, value in values.items())
    return text if len(text) <= 200 else text[:200] + "…"
