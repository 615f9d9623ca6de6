"""The words of the command line `clbench`: flags and overrides in any order, and flags that are none explained."""

from __future__ import annotations

import os
from argparse import Action, ArgumentParser
from collections.abc import Callable, Iterable, Mapping, Sequence

from clbench.errors import ConfigError
from clbench.utils.nearest import nearest

OWN_FLAGS = {
    "--dry": "runner.dry=true",
    "--dry-run": "runner.dry=true",
    "--n": "runner.dry=true",
    "--list": "--help",
    "--v": "--version",
    "--cpu": "device=cpu",
    "--gpu": "device=cuda",
    "--cuda": "device=cuda",
    "--force": "rerun=true",
    "--rerun": "rerun=true",
    "--sweep": "--multirun",
    "--m": "--multirun",
    "--config": "--config-dir FOLDER, or +experiment=NAME",
}
"""Flags of other programs, with clbench's own spelling."""
SEVERAL = ("--cfg", "--info", "--multirun", "--run", "--shell-completion")
"""Flags of which a command takes one."""

Spell = Callable[[str, str], str]
"""Gets the name and the value of a flag that is none; returns the spelling as an override, empty if there is none."""


def in_order(words: Sequence[str], parser: ArgumentParser, spell: Spell) -> tuple[list[str], list[str]]:
    """Return the flags with their values, and the overrides.

    Args:
        words: of the command line, in any order. After `--` all words are overrides.
        parser: knows the flags.
        spell: explains an unknown flag.

    Raises:
        ConfigError: an unknown flag, a flag without its value, or two flags that exclude each other.
    """
    known = {flag: action for action in parser._actions for flag in action.option_strings}
    flags, overrides, given = list[str](), list[str](), list[str]()
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "--":
            overrides += rest
            break
        if not word.startswith("-") or word == "-":
            overrides.append(word)
            continue
        name, equals, value = word.partition("=")
        if name not in known:
            begun = {action.dest for flag, action in known.items() if name.startswith("--") and flag.startswith(name)}
            if len(begun) != 1:
                raise _unknown(word, rest, known, spell)
            name = next(flag for flag, action in known.items() if action.dest in begun and flag.startswith("--"))
        action = known[name]
        given.append(max(action.option_strings, key=len))
        if action.nargs == 0:
            if equals:
                raise ConfigError(f"the flag {word} takes no value", f"write {name}")
            flags.append(name)
        elif equals:
            flags.append(word)
        elif action.nargs == "?":  # without this, the next override would be taken for its value
            takes = bool(rest) and (rest[0] in action.choices if action.choices is not None else not rest[0].startswith("-"))
            flags.append(f"{name}={rest.pop(0)}" if takes else f"{name}={action.const}")
        elif not rest or rest[0].startswith("-") or ("=" in rest[0] and not os.path.exists(rest[0])):
            what = f", one of: {', '.join(action.choices)}" if action.choices is not None else ""
            raise ConfigError(f"the flag {name} has no value", f"write {name} {_example(action.choices, action.dest)}{what}")
        else:
            flags += [name, rest.pop(0)]
        if action.choices is not None and (value or flags[-1]).rpartition("=")[2] not in action.choices:
            shown = (value or flags[-1]).rpartition("=")[2]
            raise ConfigError(f"{name} {shown} is unknown", f"choose one of: {', '.join(action.choices)}")
    _check(given)
    return flags, overrides


def completed_line(parser: ArgumentParser, spell: Spell) -> str | None:
    """Return the folder that the line to complete gives with `--config-dir`; None if there is none.

    Hydra reads the line from COMP_LINE, and knows no flags after overrides: flags are taken out of the line.
    """
    line = os.environ.get("COMP_LINE", "")
    name, *words = line.split() or [""]
    last = words.pop() if words and not line.endswith(" ") else ""
    try:
        flags, overrides = in_order(words, parser, spell)
    except ConfigError:
        return None
    os.environ["COMP_LINE"] = " ".join([name, *overrides, last])
    folder = parser.parse_args(flags).config_dir
    return folder if folder is not None and os.path.isdir(os.path.expanduser(folder)) else None


def _check(given: Sequence[str]) -> None:
    if given.count("--config-dir") > 1:
        raise ConfigError(
            "--config-dir was given several times, and only one folder would be used",
            "give one folder with --config-dir and the others as 'hydra.searchpath=[FOLDER,...]'",
        )
    several = [flag for flag in dict.fromkeys(given) if flag in SEVERAL]
    if len(several) > 1:
        one = "--cfg shows one configuration and runs nothing" if "--cfg" in several else "each of them is a command of its own"
        raise ConfigError(f"{' and '.join(several)} were given together", f"leave {several[-1]} out: {one}")
    if "--resolve" in given and not {"--cfg", "--help"} & set(given):
        raise ConfigError("--resolve was given without --cfg", "write --cfg job --resolve, or leave --resolve out")
    if "--package" in given and "--cfg" not in given:
        raise ConfigError("--package was given without --cfg", "write --cfg job --package NAME, or leave --package out")


def _example(choices: Iterable[str] | None, name: str) -> str:
    return next(iter(choices)) if choices is not None else name.rpartition("_")[2].upper()


def _unknown(word: str, rest: Sequence[str], known: Mapping[str, Action], spell: Spell) -> ConfigError:
    name, equals, value = word.partition("=")
    name, shown = f"--{name.lstrip('-')}", word
    if not equals and rest and not rest[0].startswith("-") and "=" not in rest[0]:
        value, shown = rest[0], f"{word} {rest[0]}"
    long = [flag for flag in known if flag.startswith("--")]
    plain = name.casefold().replace("_", "-")
    flag = OWN_FLAGS.get(plain) or next((each for each in long if each.replace("-", "") == plain.replace("-", "")), "")
    override = "" if flag else spell(name[2:], value)
    near = nearest(plain.lstrip("-"), [each.lstrip("-") for each in long])
    right = flag or override or (f"--{near}" if near else "")
    if right in long and known[right].nargs != 0 and value:
        right += f" {value}"
    if override:
        remedy = f"values are given without dashes: {right}"
    elif right:
        remedy = f"write {right}"
    else:
        remedy = "values are given as key=value; `clbench --help` lists the keys, `clbench --hydra-help` the flags"
    return ConfigError(f"unknown flag {shown}", remedy)
