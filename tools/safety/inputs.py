"""Bad values of every key of every group: each is refused in one clear message, or has a sensible meaning.

    python -m tools.safety.inputs [--long] [--seed N] [--only TEXT]

The keys come from the composed configurations of every choice of every group (`tools.safety.input_cases`). A refusal must name
the key and the value, show nothing of the program's inside, and have a remedy; each value that the remedy names must pass the
check that refused. NaN, infinities and negative numbers must not be accepted, unless `SENSIBLE` gives a reason. Without `--long`
a random part of the cases is tried.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import random
import re
import resource
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from time import perf_counter
from types import FrameType
from typing import Any

from clbench.config.hydra_compose import Composed, Composer, new_composer
from clbench.config.job import make_job
from clbench.config.resolve import resolve
from clbench.engine.optimizers import SGD
from clbench.errors import ClbenchError, ConfigError, DataError
from clbench.instantiate import instantiate, locate
from clbench.loggers import build_loggers
from clbench.models import build_model
from clbench.run_spec import RunSpec
from clbench.runs.factory import load_stream, make_method, pick_device
from clbench.runs.run import prepare
from clbench.scenarios.scenario_options import options_class
from clbench.stream import Stream
from tools.safety.input_cases import VALUES, Case, Context, contexts, keys
from tools.safety.input_words import examples_of, inside, sensible, shows_value
from tools.safety.report import Report

SECONDS = 10
"""Limit of a case."""
MEMORY = 12 * 1024**3
"""Address space of this process, bytes."""
SHORT = 300
"""Cases of the short form."""
SMALL = ("digits", "scrambled_digits")
"""Data sets that are loaded; others are checked, and not read."""
LIGHT = ("mlp", "lenet", "resnet18_reduced", "alexnet")
"""Models that are built."""


class Hang(BaseException):
    """A case took longer than `SECONDS`."""


def cases(seen_once: bool) -> Iterator[Case]:
    """Yield every case; with `seen_once`, each key of a class in the first context that has the key."""
    seen = set[tuple[str, str]]()
    for context in contexts():
        config = composer()(list(context.words)).config
        for key, value in keys(config, context.parts):
            place = (owner(config, key), key.rpartition(".")[2])
            if seen_once and place in seen:
                continue
            seen.add(place)
            for kind in VALUES:
                if (isinstance(value, bool) and kind == "true") or (value is None and kind == "null"):
                    continue
                yield Case(context, key, kind, value)


def owner(config: Mapping[str, Any], key: str) -> str:
    """Return the class of a key's node, or the node's name."""
    node: Any = config
    for name in key.split(".")[:-1]:
        node = node.get(name, {}) if isinstance(node, Mapping) else {}
    target = node.get("_target_") if isinstance(node, Mapping) else None
    return str(target or key.rpartition(".")[0])


@cache
def composer() -> Composer:
    """Return the composer of all cases."""
    return new_composer()


@cache
def stream_of(words: tuple[str, ...]) -> Stream:
    """Return the stream of a context."""
    return load_stream(spec_of(composer()(list(words))), pick_device("cpu"))


def spec_of(composed: Composed) -> RunSpec:
    """Return the first run of a configuration."""
    return replace(make_job(composed, composer(), named=False), results_dir=tempfile.gettempdir()).specs()[0]


def attempt(context: Context, word: str, part: str) -> None:
    """Do with a configuration what a run does: compose it, make its objects, and train a little where that is cheap."""
    composed = composer()([*context.words, word])
    refused: ClbenchError | None = None
    try:
        config: Mapping[str, Any] = (spec := spec_of(composed)).config
        build_loggers(spec.logger, lambda text: None)
    except DataError as error:  # data that is missing here: the other values are checked all the same
        config, refused = resolve(composed, composer()), error
    except ConfigError as error:
        if "names no file or folder" not in str(error):
            raise
        config, refused = resolve(composed, composer()), error
    instantiate(config["optimizer"], "optimizer")
    instantiate(config["trainer"], "trainer")
    make_method(config["method"])
    node = config["scenario"]
    made = options_class(locate(node.get("_target_"), "scenario"))
    if made is not None:
        own = {key: value for key, value in node.items() if key != "task_range"}  # of every scenario; checked with the job
        instantiate({**own, "_target_": f"{made.__module__}.{made.__qualname__}"}, "scenario")
    if config.get("federated") is not None:
        instantiate(config["federated"], "federated")
    for name, ability in (config["eval"].get("ability") or {}).items():
        instantiate(ability, f"eval.ability.{name}")
    if refused is not None:
        raise refused
    small = isinstance(node.get("dataset"), Mapping) and "igits" in str(node["dataset"].get("_target_"))
    if not small or config["eval"].get("ability"):
        return
    if part == "model":
        build_model(config["model"], stream_of(context.words), 0)
    if composed.choices.get("model") not in LIGHT or composed.choices.get("method") in ("o3", "o3_authors", "ogd"):
        return
    if part == "scenario":
        load_stream(spec, pick_device("cpu"))
    prepare(spec, lambda event: None)


def verdict(case: Case, base: str | None) -> str | None:
    """Return what is wrong with the outcome of a case; None: nothing.

    Args:
        case: the case.
        base: message of the context's own refusal, such as data that is missing here; None: the context is accepted.
    """
    part = case.key.split(".")[0]
    try:
        with alarm():
            attempt(case.context, case.word, part)
    except Hang:
        return f"hangs: no end within {SECONDS} s"
    except ClbenchError as error:
        text = str(error)
        if base is not None and (text == base or isinstance(error, DataError)):
            return sensible(case)  # the data is missing here: its file would tell
        return message_fault(case, error)
    except MemoryError:
        return "takes all memory"
    except Exception as error:
        return f"ends raw in {type(error).__name__}: {str(error)[:150]}"
    return sensible(case)


def message_fault(case: Case, error: ClbenchError) -> str | None:
    """Return what a refusal lacks."""
    text = str(error)
    if found := inside(text):
        return f"shows the inside ({found}): {text[:300]}"
    names = {case.key, case.key.rpartition(".")[2]}
    if not any(name in text for name in names):
        return f"does not name the key: {text[:300]}"
    if not shows_value(case, text):
        return f"does not show the value: {text[:300]}"
    if not error.remedy:
        return f"has no remedy: {text[:300]}"
    if len(text) > 1500:
        return f"is {len(text)} characters long: {text[:100]}"
    return remedy_fault(case.context, case.key, error.remedy)


@cache
def remedy_fault(context: Context, key: str, remedy: str) -> str | None:
    """Return which value that a remedy names is refused by the check that named it; None: all pass."""
    given = re.match(r"give ([\w.]+) as (.*)", remedy, re.DOTALL)
    if given is None:
        return None
    for example in examples_of(given[2]):
        try:
            with alarm():
                attempt(context, f"{given[1]}={example}", key.split(".")[0])
        except ClbenchError as error:
            if error.remedy == remedy:
                return f"the remedy is refused: {given[1]}={example}: {str(error)[:300]}"
        except (Exception, Hang):
            continue  # a case of its own
    return None


@contextlib.contextmanager
def alarm() -> Iterator[None]:
    """Raise `Hang` within the block after `SECONDS`; keep the block's prints off the terminal."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@cache
def own_refusal(context: Context, part: str) -> str | None:
    """Return the message of a context's own refusal; None if it is accepted."""
    try:
        with alarm():
            attempt(context, "seeds=1", part)
    except (ClbenchError, Hang) as error:
        return str(error)
    return None


def report(chosen: list[Case], tell: bool) -> Report:
    """Return the outcome of the chosen cases."""
    found = Report()
    for case in chosen:
        found.counts[case.kind] += 1
        started = perf_counter()
        fault = verdict(case, own_refusal(case.context, case.key.split(".")[0]))
        if tell and perf_counter() - started > 2:
            print(f"{perf_counter() - started:.1f} s: {' '.join(case.context.words)} {case.word[:100]}", file=sys.stderr)
        if fault:
            shown = case.word if len(case.word) < 120 else f"{case.word[:60]}…"
            found.violations.append(f"{case.context.words[-1]} {shown!r} {fault}")
    return found


def main() -> int:
    """Try the cases and print the report; the result is the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--long", action="store_true", help="all cases")
    parser.add_argument("--seed", type=int, default=0, help="of the random part (default: 0)")
    parser.add_argument("--only", default="", help="only keys that contain this text")
    asked = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    SGD(1.0)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        every = [case for case in cases(seen_once=True) if asked.only in case.key]
        if not asked.long:
            every = random.Random(asked.seed).sample(every, min(SHORT, len(every)))
        found = report(every, asked.long)
        os.chdir("/")
    print(found.text())
    return found.status


if __name__ == "__main__":
    sys.exit(main())
