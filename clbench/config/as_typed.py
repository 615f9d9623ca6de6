"""Overrides as people type them: words that cannot be read, and words that Hydra reads in another sense than they have."""

from __future__ import annotations

import re
from collections.abc import Sequence

from clbench.config.hydra_cache import Override, OverrideType
from clbench.config.known_names import Known
from clbench.config.never_swept import refuse_sweep
from clbench.errors import ConfigError

DASHES = "–—−‒―‐‑"
QUOTES = dict.fromkeys("“”„‟«»", '"') | dict.fromkeys("‘’‚‛‹›´", "'")
WORDS = {"help": "--help", "version": "--version", "list": "--help", "info": "--help", "methods": "--help", "usage": "--help"}
CLOSING = {"[": "]", "{": "}", "(": ")"}


def check(override: Override, words: Sequence[str], known: Known) -> None:
    """Refuse an override that Hydra would take in another sense than its user.

    Args:
        override: parsed.
        words: all overrides, for suggestions.
        known: names of the configuration.

    Raises:
        ConfigError: a group typed as a key or a key as a group, a file's ending, or a sweep over what no sweep varies.
    """
    key, text = override.key_or_group, override.input_line
    if key.split(".")[0] in ("tuning", "search") and not known.config().get(key.split(".")[0]):
        raise ConfigError(f"{text} belongs to the command clbench-tune", f"write clbench-tune {' '.join(words)}")
    if not key or (text.endswith("=") and known.is_group(key)):
        raise unreadable(text, words, known)
    if override.is_sweep_override():
        refuse_sweep(text, key, text.partition("=")[2])
        values = [str(each) for each in getattr(override.value(), "list", [])]
    else:
        value = override.value()
        values = [value] if isinstance(value, str) else []
    if values and "." in key and known.is_group(key.replace(".", "/")) and "${" not in text:
        raise _group_with_dot(key.replace(".", "/"), text, values, words, known)
    if values and known.is_group(key):
        ended = [each for each in values if each.endswith((".yaml", ".yml"))]
        if ended:
            right = ",".join(re.sub(r"\.ya?ml$", "", each) for each in values)
            raise ConfigError(
                f"{text}: a choice is the name of a file without its ending", f"write {text.partition('=')[0]}={right}"
            )
    single = not re.search(r"[./@]", key) and not known.is_group(key)
    if single and override.type is OverrideType.DEL and key in known.config():
        raise ConfigError(f"{text} leaves {key} out, which every run needs", f"give {key} a value, or leave ~{key} out")
    added = override.type in (OverrideType.ADD, OverrideType.FORCE_ADD)
    if single and added and key != "published" and key not in known.config():
        near, value = known.near(key, ()), text.partition("=")[2]
        hint = f"did you mean {near}={value}?" if near else "`clbench --cfg job` shows every key"
        raise ConfigError(f"unknown key {key}={value}", hint)


def _group_with_dot(group: str, text: str, values: Sequence[str], words: Sequence[str], known: Known) -> ConfigError:
    chosen = [each if each in known.choices(group) else known.choice(group, each) or each for each in values]
    above = group.rpartition("/")[0]
    absent = not group.startswith("hydra/") and above not in known.usual()
    absent = absent and not any(word.startswith(f"+{above}=") for word in words)
    needs = f"+{above}={known.choices(above)[0]} " if absent and known.choices(above) else ""
    return ConfigError(
        f"{text}: {group.replace('/', '.')} is a group, whose choices are files",
        f"write {needs}{group}={','.join(chosen)}; it has: {', '.join(known.choices(group))}",
    )


def unreadable(text: str, words: Sequence[str], known: Known) -> ConfigError:
    """Return the error for a word that is no override, with the right spelling.

    Args:
        text: the word.
        words: all overrides.
        known: names of the configuration.
    """
    right = _spelling(text, words, known)
    remedy = right or "write key=value; a value with special characters in double quotes: 'key=\"a b\"'"
    return ConfigError(f"{text!r} cannot be read as an override", remedy)


def _spelling(text: str, words: Sequence[str], known: Known) -> str:
    """Return the remedy for a word that cannot be read; empty if nothing better than the rule is known."""
    plain = "".join(QUOTES.get(letter, letter) for letter in text)
    if text[:1] in DASHES:
        name = text.strip(DASHES)
        return f"its dash is not the minus of the keyboard: write {'-' if len(name) == 1 else '--'}{name}"
    if plain != text:
        return f"its quotes are not those of the keyboard: write {plain}"
    position = words.index(text) if text in words else 0
    before, after = words[:position], words[position + 1 :]
    pairs = text.split()
    if len(pairs) > 1 and all(re.match(r"[+~\w./@-]+=|-", pair) for pair in pairs):
        return f"several arguments stand in one word: write {' '.join(pairs)}, without quotes around them"
    if after and (after[0].startswith("=") or text.endswith("=")):
        rest = after[0] if after[0] != "=" else "".join(["=", *after[1:2]])
        return f"write it without spaces: {text}{rest}"
    if before and (before[-1].endswith("=") or before[-1] == "=" or text.startswith("=")):
        first = before[-2] + before[-1] if before[-1] == "=" and len(before) > 1 else before[-1]
        return f"write it without spaces: {first}{text}"
    if before and before[-1].endswith(",") and "=" not in text:
        return _listed(before[-1], [text, *after])
    opened = [letter for letter in CLOSING if text.count(letter) > text.count(CLOSING[letter])]
    if text.endswith(",") or opened:
        return _listed(text, after)
    if re.search(r"=,|,,", text):
        return f"an entry between two commas is missing: write {re.sub(r'=,+', '=', re.sub(r',+', ',', text))}"
    found = re.fullmatch(r"([+~]*[\w./@]+)\s*(==|\+=|:=|=:|\s=|:)\s*(\S+)", text)
    if found and (found[2] != ":" or known.is_group(found[1]) or found[1] in known.keys(())):
        return f"write {found[1]}={found[3]}"
    key, equals, value = text.partition("=")
    if re.fullmatch(r"\(.*\)|\{[^:]*\}", value):
        return f"a list has square brackets: write {key}=[{value[1:-1]}]"
    if equals and value and '"' not in value and "'" not in value and "\\" not in value:
        return f"put the value in double quotes, and the whole word in single ones: '{key}=\"{value}\"'"
    return "" if equals and value else _without_value(key, after, known)


def _listed(first: str, after: Sequence[str]) -> str:
    """Return the remedy for a list that was typed with spaces."""
    whole = first
    for word in after:
        if "=" in word or not (whole.endswith(",") or any(whole.count(a) > whole.count(b) for a, b in CLOSING.items())):
            break
        whole += word
    whole = whole.rstrip(",")
    for letter, closing in CLOSING.items():
        whole += closing * (whole.count(letter) - whole.count(closing))
    if whole.rstrip("]})") != first.rstrip(",]})"):
        how = "without spaces"
    else:
        how = "without the last comma" if first.endswith(",") else "whole"
    value = whole.partition("=")[2]
    sweep = ", and -m, which runs one after the other" if "," in value and value[:1] not in CLOSING else ""
    return f"write it {how}: {whole}{sweep}"


def _without_value(word: str, after: Sequence[str], known: Known) -> str:
    """Return the remedy for a word without a value."""
    name = word.lstrip("+~")
    following = after[0] if after and "=" not in after[0] else ""
    if known.is_group(name) and known.choices(name):
        choice = known.choice(name, following) if following else ""
        shown = f"write {known.chooser(name)}={choice}; " if choice else ""
        return f"{shown}choose one of: {known.chooser(name)}={', '.join(known.choices(name))}"
    if name.casefold() in WORDS:
        return f"`clbench {WORDS[name.casefold()]}` shows it"
    group, _, choice = name.replace(".", "/").rpartition("/")
    if group and known.is_group(group) and choice in known.choices(group):
        return f"write {known.chooser(group)}={choice}"
    group = known.group_of(name.removesuffix(".yaml"))
    if group:
        return f"write {known.chooser(group)}={name.removesuffix('.yaml')}"
    if name.endswith((".yaml", ".yml")):
        return "name the folder that has it as FOLDER/experiment/NAME.yaml: --config-dir FOLDER +experiment=NAME"
    near = known.near(name, ())
    return f"did you mean {near}={following or 'VALUE'}?" if near else ""
