"""Whether a key of a configuration has an effect: runs with another value of the key, compared with a run without."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from time import perf_counter
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import torch

from clbench.config.hydra_compose import Composer, new_composer
from clbench.config.job import make_job
from clbench.config.variant import spell
from clbench.engine.evaluation.accuracy import parts
from clbench.errors import ClbenchError
from clbench.instantiate import locate, parameters
from clbench.records import canonical
from clbench.runs.run import prepare
from clbench.scenarios.scenario_options import options_class

META = ("_target_", "name", "version", "generated")
"""Keys that name a node or its version: they tell records apart, and change nothing else by design."""

CHECKSUMS = {"files", "md5", "sha256", "content_sha256"}
"""Keys of checksums: another one is refused when the file is read."""


@cache
def composer() -> Composer:
    return new_composer()


def nodes(config: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, Any, str | None]]:
    """Yield (dotted key, value, `_target_` of its node) for each leaf of a configuration."""
    target = config.get("_target_")
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from nodes(value, f"{within}{key}.")
        else:
            yield f"{within}{key}", value, target


def hint_of(target: str | None, key: str) -> Any:
    """Return the type hint of a key of the object that `target` names; None if there is none."""
    if target is None:
        return None
    found = locate(target, "target")
    found = options_class(found) or found
    if key not in parameters(found)[0]:
        return None
    try:
        return get_type_hints(found).get(key)
    except NameError:
        return None


def others(value: Any, hint: Any) -> list[Any]:
    """Return values of a key that differ from `value`, those that act most first."""
    words = [word for word in literals(hint) if word != value]
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, (int, float)):
        half = value // 2 if isinstance(value, int) else value / 2
        numbers = [half, value * 2, value + 1, 1, 0] if value else [1, 0.5, 0.9]
        return words + [number for number in numbers if number != value]
    if isinstance(value, str):
        return words
    if isinstance(value, list):
        if value and all(isinstance(each, (int, float)) and not isinstance(each, bool) for each in value):
            return [[each * 2 for each in value], [each / 2 for each in value], [*value, value[-1]], value[:1]]
        return [value[:-1]] if len(value) > 1 else []
    if value is None:
        return [*words, 1, 3, 0.5, 0.05]
    return []


def literals(hint: Any) -> list[Any]:
    """Return the words that a type hint names."""
    if get_origin(hint) is Literal:
        return list(get_args(hint))
    if get_origin(hint) in (Union, __import__("types").UnionType):
        return [word for part in get_args(hint) for word in literals(part)]
    return []


@cache
def outcome(words: tuple[str, ...]) -> str:
    """Return the digest of what a run gives: its result, its last weights, and the scores of the last model.

    Raises:
        ClbenchError: the run is refused, or fails.
    """
    made = composer()(list(words))
    job = make_job(made, composer(), named=False)
    (spec,) = replace(job, results_dir="/nowhere").specs()
    run = prepare(spec, lambda event: None)
    run.save = lambda task, alone=True: None  # type: ignore[method-assign]
    result = run.run().result
    learner, digest = run.learner, hashlib.sha256()
    digest.update(canonical({key: value for key, value in result.items() if key != "stream"}).encode())
    for name, tensor in sorted(learner.model.state_dict().items()):
        digest.update(name.encode() + tensor.numpy().tobytes())
    learner.model.eval()
    if learner.stream.vocabulary is None:
        with torch.inference_mode():
            for raw, _, _, task in parts(learner, run.stream.evaluation, 64):
                digest.update(run.method.predict(learner, learner.stream.preprocess(raw), task).numpy().tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class Context:
    """A run whose keys are changed one by one.

    Args:
        words: overrides of the run.
        parts: nodes of the configuration whose keys are changed.
    """

    words: tuple[str, ...]
    parts: tuple[str, ...]


def verdict(words: Sequence[str], key: str, values: Sequence[Any]) -> str:
    """Return what becomes of a run if a key has other values: `acts`, `refused`, or what is wrong.

    A refusal counts if its message names the key, and if no other value runs without effect.
    """
    try:
        before = outcome(tuple(words))
    except Exception as error:
        return f"the run without a change ends in {type(error).__name__}: {error}"
    said, idle = list[str](), False
    for value in values:
        try:
            after = outcome((*words, f"{key}={spell(value)}"))
        except ClbenchError as error:
            said.append(str(error))
            continue
        except Exception as error:  # such as one of torch: the test names the key
            return f"{key}={spell(value)} ends in {type(error).__name__}: {error}"
        if after != before:
            return "acts"
        idle = True
    if idle:
        return "no effect"
    if said and all(key.rpartition(".")[2] in text for text in said):
        return "refused"
    return said[0] if said else "no other value is known"


def wrong(
    contexts: Sequence[Context],
    by_design: Mapping[str, str],
    elsewhere: Mapping[str, Sequence[str]],
    values: Mapping[str, Sequence[Any]],
    every: bool = False,
    tell: Callable[[str], None] | None = None,
) -> list[str]:
    """Return one line for each key that does nothing.

    Args:
        contexts: runs; a key of one class is changed in the first of them alone.
        by_design: keys (`Class.key`) without effect, with the reason.
        elsewhere: keys that act only beside other values, with the overrides that set these; `method.` stands for the key's node.
        values: of keys whose type hint names none.
        every: True to change the keys of a class in every context.
        tell: gets a line after each key, as soon as its verdict is known.
    """
    found, seen = list[str](), set[str]()
    for context in contexts:
        config = composer()(list(context.words)).config
        for key, value, target in nodes({part: config[part] for part in context.parts}):
            last = key.rpartition(".")[2]
            place = f"{(target or key).rpartition('.')[2]}.{last}" if target else key
            if last in META or CHECKSUMS & set(key.split(".")) or place in by_design or (place in seen and not every):
                continue
            seen.add(place)
            within = key.rpartition(".")[0]  # a part of a composition has its keys below `method.parts`
            words = (*context.words, *(word.replace("method.", f"{within}.") for word in elsewhere.get(place, ())))
            offered = values.get(place) or others(value, hint_of(target, last))
            started = perf_counter()
            result = verdict(words, key, [other for other in offered if other != value or type(other) is not type(value)])
            if tell is not None:
                tell(f"{perf_counter() - started:5.1f} s  {' '.join(words)} {key}: {result}")
            if result not in ("acts", "refused"):
                found.append(f"{place} ({' '.join(words)} {key}): {result}")
    return found
