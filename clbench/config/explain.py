"""Hydra's errors in words that need no knowledge of Hydra: the key, the value, a remedy."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from clbench.config.as_typed import unreadable
from clbench.config.known_names import Known
from clbench.config.never_swept import refuse_sweep
from clbench.contract.kinds import KINDS, remedy
from clbench.errors import ClbenchError, ConfigError
from clbench.utils.nearest import nearest

COMPOSITION_ERRORS = (HydraException, OmegaConfBaseException)
"""Errors that Hydra and OmegaConf raise; `explain` turns them into errors of clbench."""


def explain(error: Exception, overrides: Sequence[str], known: Known) -> ClbenchError:
    """Return the error of clbench that explains an error of Hydra.

    Args:
        error: raised while composing.
        overrides: of the configuration.
        known: names of the configuration, for suggestions.
    """
    if isinstance(error, ClbenchError):
        return error
    text = str(error)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and "/" in error.missing_cfg_file:
        return _no_choice(error.missing_cfg_file, error.options or (), known)
    if isinstance(error, OverrideParseException):
        return unreadable(str(error.override), overrides, known)
    unknown = re.search(r"Could not (?:override|delete) '([^']+)'", text) or re.search(r"Could not delete.*'([^']+)'", text)
    if unknown:
        return _unknown(unknown[1].split("@")[0], overrides, known)
    if "Multiple values for" in text:
        chosen = [word for word in overrides if f"Multiple values for {word.lstrip('+').partition('=')[0]}." in text]
        if len(chosen) > 1:
            return ConfigError(f"{' and '.join(chosen)} choose several files for one group", f"give one of them: {chosen[-1]}")
    for given in overrides:
        found = _signs(given, text, known)
        if found is not None:
            return found
    ambiguous = re.search(r"(?:Ambiguous value for argument|Sweep parameters) '([^']+)'", text)
    if ambiguous:
        return _several(ambiguous[1], known)
    folder = re.search(r"Additional config directory '([^']+)' not found", text)
    if folder:
        return ConfigError(f"--config-dir {folder[1]}: there is no such folder", "give a folder with subfolders such as method/")
    cause = f": {error.__cause__}" if error.__cause__ is not None and str(error.__cause__) not in text else ""
    lines = [line.strip() for line in (text + cause).splitlines() if line.strip() and "object_type=" not in line]
    where = f" (composing {' '.join(overrides)})" if overrides else ""
    return ConfigError(("; ".join(lines) or type(error).__name__) + where, "HYDRA_FULL_ERROR=1 shows where this comes from")


def _no_choice(name: str, options: Sequence[str], known: Known) -> ClbenchError:
    """Return the error for a group without the given choice."""
    group, _, choice = name.rpartition("/")
    top = known.chooser(group.partition("/")[0]) if group.partition("/")[0] in known.groups("") else known.chooser(group)
    if not known.is_group(group) and not options:  # a choice within a folder of choices (experiment=gpm/pmnist)
        group, _, folder = group.rpartition("/")
        choice = f"{folder}/{choice}"
    if group.startswith(("experiment/", "experiment")):
        group, _, folder = group.partition("/")
        choice = f"{folder}/{choice}".lstrip("/")
        options = known.below(group)
        top = known.chooser(group)
    elif known.chooser(group) != group:
        top = known.chooser(group)
    else:
        top = group
    inside = [each for each in options if each.startswith(f"{choice}/")]
    if inside:
        return ConfigError(f"{group}={choice} is a folder of choices", f"choose one of: {top}={', '.join(inside)}")
    if not choice:
        return ConfigError(f"{group}= has no value", f"choose one of: {top}={', '.join(options)}")
    near = nearest(choice.removesuffix(".yaml"), options)
    other = "" if near else known.group_of(choice)
    hint = f"did you mean {top}={near}? " if near else ""
    if other:
        hint = f"{choice} is a choice of {other}: write {known.chooser(other)}={choice}. "
    elif "." in choice and group.replace("/", ".") in KINDS:
        near = nearest(choice.rpartition(".")[2], options)
        hint = f"did you mean {top}={near}? " if near else f"a class is named by {group.replace('/', '.')}._target_={choice}: "
    own = f"; of your own: {remedy(group.replace('/', '.'))}" if not hint and group.replace("/", ".") in KINDS else ""
    return ConfigError(f"there is no {group}={choice}", f"{hint}choose one of: {', '.join(options)}{own}")


def _unknown(key: str, overrides: Sequence[str], known: Known) -> ClbenchError:
    """Return the error for a key or group that the composed configuration does not have."""
    given = next((word for word in overrides if word.lstrip("+~").split("=")[0].split("@")[0] == key), f"{key}=VALUE")
    value = given.partition("=")[2]
    if known.is_group(key):
        above, _, last = key.rpartition("/")
        if not above:
            if value not in known.choices(key) and (key == "experiment" or not known.choice(key, value)):
                return _no_choice(f"{key}/{value}", known.choices(key), known)
            right = value if value in known.choices(key) else known.choice(key, value)
            return ConfigError(f"{given}: nothing is chosen for {key} yet", f"write +{key}={right}, with a plus")
        if above not in known.usual() and not any(re.match(rf"\+?{re.escape(above)}=", word) for word in overrides):
            first = next(iter(known.choices(above)), "NAME")
            others = ", ".join(known.choices(above))
            right = f"write +{above}={first} {key}={value}: +{above}=NAME if none is chosen yet, one of: {others}"
        else:
            right = f"write +{key}={value}, or choose another {above} that has a {last}"
        return ConfigError(f"{key}=... chooses a part of {above}, and the chosen {above} has no such part", right)
    node = key.partition(".")[0].partition("/")[0]
    several = [word for word in overrides if re.match(rf"\+?({re.escape(node)}|experiment)=[^\[{{(]*,", word)]
    if several:  # Hydra looks for the key before it tries the values
        return ConfigError(
            f"{key} is unknown until one of the values of {several[0].partition('=')[0]} is chosen",
            f"write '{key}=choice(VALUE)', in quotes",
        )
    if any(word.startswith(f"{node}._target_=") for word in overrides) and key.startswith(f"{node}."):
        return ConfigError(f"unknown key {key}", f"an argument of your own class needs a plus: +{key}={value}")
    near = known.near(key, overrides)
    hint = f"did you mean {near}? " + (f"Write {near}={value}. " if value else "") if near else ""
    show = "`clbench --cfg job` shows every key"
    if node in known.usual() and re.search(r"[./]", key) and re.split(r"[./]", near)[0] != node:
        show = f"`clbench --cfg job --package {node}` with your choices shows the keys of {node}"
    return ConfigError(f"unknown key {key}", f"{hint}{show}")


def _signs(given: str, text: str, known: Known) -> ClbenchError | None:
    """Return the error for a needless `+`, `++` or `~` that Hydra's message speaks of; None if it speaks of something else."""
    key, _, value = given.lstrip("+~").partition("=")
    signs, name = given[: len(given) - len(given.lstrip("+~"))], key.split("@")[0]
    if not signs or (f"'{name}'" not in text and f"'{given}'" not in text and f" {name}." not in text and signs != "~"):
        return None
    if signs == "~" and known.is_group(name) and "/" not in name:
        return ConfigError(f"{given} leaves {name} out, which every run needs", f"choose another one: {name}=NAME")
    if "force-add of config groups" in text:
        plus = "+" if known.chooser(name).startswith("+") else ""
        return ConfigError(f"{given}: a group takes at most one plus", f"write {plus}{key}={value}")
    if "Multiple values for" in text or "already at" in text:
        return ConfigError(f"{given}: {key} is there already, and a plus adds what is not there", f"write {key}={value}")
    return None


def _several(given: str, known: Known) -> ClbenchError:
    """Return the error for several values without --multirun."""
    key, _, value = given.partition("=")
    name = key.lstrip("+").split("@")[0]
    try:
        refuse_sweep(given, name, value)
    except ConfigError as error:
        what = f"{given} names several values"
        return ConfigError(what, error.remedy) if name == "seeds" else error
    as_list = "" if known.is_group(name) or re.match(r"\w+\(", value) else f", or write {key}=[{value}] for a list"
    return ConfigError(f"{given} names several values", f"add --multirun (-m) to run one after the other{as_list}")
