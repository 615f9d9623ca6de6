"""Synthetic people and their attributes, drawn from a seed alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from clbench.data.biography.words import ATTRIBUTES, DAYS, FIRST_YEAR, MONTHS, SENTENCES, SIZES, words
from clbench.errors import ConfigError
from clbench.utils.rng import generator

VERSION = 1
"""Version of the generator; raised by every change that gives other texts for the same settings."""

Count = Annotated[int, Field(ge=1)]


@dataclass(frozen=True, kw_only=True)
class Biography:
    """All settings of the people and of their biographies. A configuration node may replace this object.

    Args:
        name: of the data set.
        people: number of people of each task, in the order of the tasks.
        familiar: the people of this many first tasks have biographies, on which a model can be pre-trained.
        variants: number of biographies of each person, with other sentences and another order of attributes.
        sentences: number of sentences of each attribute to draw from (the first of `words.SENTENCES`).
        first, middle, last: number of names of each kind to draw from.
        cities, universities, majors, companies, years: number of values to draw from.
        seed: of people, values, words and orders.
        generated: version of the generator, `VERSION`: runs with different texts get different identities.

    Raises:
        ConfigError: too few words in the lists, too few names for all people, or another version.
    """

    name: str = "biography"
    people: Annotated[tuple[Count, ...], Field(min_length=1)]
    familiar: Count
    variants: Count
    sentences: Count
    first: Count
    middle: Count
    last: Count
    cities: Count
    universities: Count
    majors: Count
    companies: Count
    years: Annotated[int, Field(ge=1, le=200)]
    seed: int
    generated: int

    def __post_init__(self) -> None:
        if self.generated != VERSION:
            raise ConfigError(
                f"scenario.dataset.generated={self.generated}: this version of clbench writes the texts of version {VERSION}",
                f"give scenario.dataset.generated={VERSION}, or use the version of clbench for that number",
            )
        lists = {"first": "first", "middle": "middle", "last": "last", "cities": "city", "universities": "university"}
        lists |= {"majors": "major", "companies": "company"}
        bounds = {key: SIZES[kind] for key, kind in lists.items()}
        bounds["sentences"] = min(len(ways) for ways in SENTENCES.values())
        bounds["variants"] = self.sentences
        bounds["familiar"] = len(self.people)
        for key, most in bounds.items():
            if getattr(self, key) > most:
                raise ConfigError(
                    f"scenario.dataset.{key}={getattr(self, key)} exceeds the {most} that exist",
                    f"give at most {most}",
                )
        if self.total > self.first * self.middle * self.last // 2:
            raise ConfigError(
                f"scenario.dataset.people={list(self.people)}: too few full names "
                f"({self.first} x {self.middle} x {self.last}) for people with different names",
                "give fewer people, or larger scenario.dataset.first, middle, last",
            )

    @property
    def total(self) -> int:
        """Number of people."""
        return sum(self.people)

    def range_of(self, task: int) -> range:
        """Return the numbers of the people that a task is about."""
        start = sum(self.people[:task])
        return range(start, start + self.people[task])

    def content(self) -> dict[str, Any]:
        """Return everything that the texts depend on, for digests."""
        return {key: value for key, value in asdict(self).items() if key != "name"}

    def words(self, kind: str) -> tuple[str, ...]:
        """Return the words of a kind that these settings use."""
        sizes: Mapping[str, int] = {
            "city": self.cities,
            "university": self.universities,
            "major": self.majors,
            "company": self.companies,
        }
        return words(kind, sizes.get(kind) or getattr(self, kind))


@dataclass(frozen=True)
class People:
    """All people, by number.

    Args:
        names: int64 `[n, 3]`: first, middle and last name as positions in their lists; no row occurs twice.
        birthdays: int64 `[n, 3]`: month, day and year, each from 0.
        values: int64 `[n, 5]`: city, university, major, company, the company's city, as positions in their lists.
    """

    names: Tensor
    birthdays: Tensor
    values: Tensor

    def __len__(self) -> int:
        return len(self.names)

    def take(self, numbers: range) -> People:
        """Return the people of consecutive `numbers`."""
        part = slice(numbers.start, numbers.stop)
        return People(self.names[part], self.birthdays[part], self.values[part])


def draw(biography: Biography) -> People:
    """Return all people of `biography`, by number."""
    sizes = (biography.first, biography.middle, biography.last)
    names = _names(sizes, biography.total, biography.seed)
    months = _drawn((len(MONTHS), DAYS, biography.years), biography, "birthdays")
    own = _drawn((biography.cities, biography.universities, biography.majors, biography.companies), biography, "values")
    places = torch.randint(biography.cities, (biography.companies,), generator=generator(biography.seed, "company cities"))
    return People(names, months, torch.cat([own, places[own[:, 3:4]]], dim=1))


def value(biography: Biography, people: People, person: int, attribute: str) -> str:
    """Return the value of a person's attribute as text."""
    if attribute == "birthday":
        month, day, year = people.birthdays[person].tolist()
        return f"{MONTHS[month]} {day + 1}, {FIRST_YEAR + year}"
    position = int(people.values[person, ATTRIBUTES.index(attribute) - 1])
    return biography.words(attribute.rpartition("_")[2])[position]


def full_name(biography: Biography, people: People, person: int) -> str:
    """Return a person's first, middle and last name."""
    parts = zip(("first", "middle", "last"), people.names[person].tolist())
    return " ".join(biography.words(kind)[position] for kind, position in parts)


def _drawn(sizes: tuple[int, ...], biography: Biography, purpose: str) -> Tensor:
    columns = [
        torch.randint(size, (biography.total,), generator=generator(biography.seed, purpose, column))
        for column, size in enumerate(sizes)
    ]
    return torch.stack(columns, dim=1)


def _names(sizes: tuple[int, int, int], n: int, seed: int) -> Tensor:
    """Return `n` different triples; repeated draws are dropped."""
    random = generator(seed, "names")
    codes = torch.empty(0, dtype=torch.int64)
    total = sizes[0] * sizes[1] * sizes[2]
    while len(codes) < n:
        codes = torch.cat([codes, torch.randint(total, (1024,) if n < 1024 else (65536,), generator=random)])
        found, inverse = torch.unique(codes, return_inverse=True)
        first = torch.full_like(found, len(codes)).scatter_reduce(0, inverse, torch.arange(len(codes)), "amin")
        codes = codes[first.sort().values]
    codes = codes[:n]
    return torch.stack([codes // (sizes[1] * sizes[2]), codes // sizes[2] % sizes[1], codes % sizes[2]], dim=1)
