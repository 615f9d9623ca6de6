"""Search spaces: from dotted keys of the configuration to distributions, read from `conf/search`.

    method.strength: {low: 0.1, high: 1.0e+6, log: true}
    method.bins: {low: 2, high: 10}                # integers, as both bounds are
    method.mode: {choices: [offline, online]}
    trainer.epochs: {factors: [0.5, 1, 2]}         # of the value that the configuration has
    optimizer.lr: {factors: [0.02, 10], log: true} # a range around that value
    method.decay: {low: 0.5, high: 1.0, when: {method.mode: online}}

`conf/search/base.yaml` belongs to every space; `conf/search/METHOD.yaml` adds the method's own keys, or replaces base's.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from clbench.config.quoting import quote_places, quoted
from clbench.records import canonical

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

DIGITS = 3
"""Significant digits of numbers: the value that runs is the value that is shown and stored."""


@dataclass(frozen=True)
class Distribution:
    """What one key may be.

    Args:
        low: smallest number; None for choices.
        high: largest number.
        log: whether numbers are drawn on a logarithmic scale.
        integer: whether numbers are integers.
        choices: values to choose from; None for a range.
        when: key and value of another key; elsewhere this one is left at its default. None: always searched.
    """

    low: float | None = None
    high: float | None = None
    log: bool = False
    integer: bool = False
    choices: tuple[Any, ...] | None = None
    when: tuple[str, Any] | None = None

    def plain(self) -> dict[str, Any]:
        """Return the distribution in plain values."""
        if self.choices is not None:
            found: dict[str, Any] = {"choices": list(self.choices)}
        else:
            found = {"low": self.low, "high": self.high, **({"log": True} if self.log else {})}
        return found | ({} if self.when is None else {"when": {self.when[0]: self.when[1]}})

    def inside(self, value: Any) -> Any:
        """Return the value if it is in the distribution, else the nearest number, or the first choice."""
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if self.choices is not None:
            if any(same(value, each) for each in self.choices):
                return value
            numbers = [each for each in self.choices if isinstance(each, (int, float)) and not isinstance(each, bool)]
            return min(numbers, key=lambda each: abs(each - value)) if number and numbers else self.choices[0]
        assert self.low is not None
        assert self.high is not None
        if not number:
            return self.low
        return value if self.low <= value <= self.high else min(max(value, self.low), self.high)

    def rounded(self, value: float) -> float | int:
        """Return a number of few digits within the range; integers stay exact."""
        assert self.low is not None
        assert self.high is not None
        if self.integer:
            return int(value)
        return min(max(float(f"{value:.{DIGITS}g}"), self.low), self.high)

    def optuna(self) -> BaseDistribution:
        """Return the distribution of Optuna."""
        from optuna import distributions

        if self.choices is not None:
            return distributions.CategoricalDistribution([_coded(each) for each in self.choices])
        assert self.low is not None
        assert self.high is not None
        if self.integer:
            return distributions.IntDistribution(int(self.low), int(self.high), log=self.log)
        return distributions.FloatDistribution(self.low, self.high, log=self.log)


@dataclass(frozen=True)
class Space:
    """The space of one configuration.

    Args:
        entries: what is searched, by key.
        usual: the configuration's own values of these keys.
        dropped: reason, by key, of what is not searched here.
        own: whether the method has a file of its own.
    """

    entries: Mapping[str, Distribution]
    usual: Mapping[str, Any]
    dropped: Mapping[str, str]
    own: bool

    @property
    def sha256(self) -> str:
        """Digest of the entries."""
        return hashlib.sha256(canonical(self.plain()).encode()).hexdigest()

    def plain(self) -> dict[str, Any]:
        """Return the entries in plain values."""
        return {key: each.plain() for key, each in self.entries.items()}

    def without(self, keys: set[str], reason: str) -> Space:
        """Return the space without some keys, which stay as they are."""
        gone = {key: reason for key in self.entries if key in keys}
        kept = {key: each for key, each in self.entries.items() if key not in gone}
        usual = {key: value for key, value in self.usual.items() if key in kept}
        return replace(self, entries=kept, usual=usual, dropped={**self.dropped, **gone})

    def moved(self) -> dict[str, Any]:
        """Return the configuration's own values that lie outside of their ranges, by key."""
        return {key: self.usual[key] for key, value in self.usual_inside().items() if not same(value, self.usual[key])}

    def rounded(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return parameters of Optuna with numbers of few digits: the value that runs is the value that is shown."""
        return {
            key: value if self.entries[key].choices is not None else self.entries[key].rounded(value)
            for key, value in params.items()
        }

    def usual_inside(self) -> dict[str, Any]:
        """Return the configuration's own values; one outside of its range is moved to the range's end."""
        return self._applying({key: each.inside(self.usual[key]) for key, each in self.entries.items()})

    def distributions(self) -> dict[str, BaseDistribution]:
        """Return the distributions of Optuna, by key."""
        return {key: each.optuna() for key, each in self.entries.items()}

    def params(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return values of the configuration as parameters of Optuna. A key that does not apply gets its usual value."""
        every = {key: values.get(key, each.inside(self.usual[key])) for key, each in self.entries.items()}
        return {key: _coded(value) if self.entries[key].choices is not None else value for key, value in every.items()}

    def decode(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return parameters of Optuna as values of the configuration, without keys that do not apply."""
        found = {key: _decoded(params[key]) if each.choices is not None else params[key] for key, each in self.entries.items()}
        return self._applying(found)

    def words(self, values: Mapping[str, Any]) -> list[str]:
        """Return values as overrides of the command line."""
        return quote_places([f"{key}={_word(value)}" for key, value in values.items()])

    def _applying(self, values: dict[str, Any]) -> dict[str, Any]:
        """Return the values without those of keys whose condition is not met."""
        return {key: value for key, value in values.items() if self._applies(key, values)}

    def _applies(self, key: str, values: Mapping[str, Any]) -> bool:
        when = self.entries[key].when
        return when is None or same(values.get(when[0], self.usual.get(when[0])), when[1])


def same(one: Any, other: Any) -> bool:
    """Return whether two values of a configuration are equal; 1 and 1.0 and true are not."""
    return canonical(one) == canonical(other)


def _coded(value: Any) -> Any:
    """Return a choice as Optuna takes it: lists, mappings and texts as JSON."""
    return value if value is None or isinstance(value, (bool, int, float)) else f"json:{canonical(value)}"


def _decoded(value: Any) -> Any:
    return json.loads(value.removeprefix("json:")) if isinstance(value, str) else value


def _word(value: Any) -> str:
    """Return a value as one writes it on the command line."""
    if isinstance(value, str):
        plain = re.fullmatch(r"[A-Za-z_]\w*", value) and value.lower() not in ("null", "true", "false", "nan", "inf")
        return value if plain else quoted(value)
    return json.dumps(value, separators=(",", ":"))
