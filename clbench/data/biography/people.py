"""Synthetic people: who they are, and everything that is true of them. Drawn from a seed alone."""

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
"""Of the generator: raised by every change after which the same settings give other texts."""

Count = Annotated[int, Field(ge=1)]


@dataclass(frozen=True, kw_only=True)
class Biography:
    """What people there are, and how their biographies are written. Everything that shapes them is here.

    A node of a configuration may stand for it; `name` is what its data set is called.

    Args:
        people: how many each task is about, in order: the first task's people, then the next one's.
        familiar: of how many tasks, from the first, biographies exist for a model to be pre-trained on.
        variants: biographies of each, in other words and another order of attributes.
        sentences: ways to state each attribute to draw from (of those in `words.SENTENCES`).
        first, middle, last: how many names of each kind to draw from.
        cities, universities, majors, companies, years: how many values to draw from.
        seed: of people, values, words and orders.

        generated: version of the generator, `VERSION`: a trial is not to be taken for one of other texts.

    Raises:
        ConfigError: more than the lists hold, or than there are names for; another version.
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
                f"give scenario.dataset.generated={VERSION}, or the version of clbench that wrote the others",
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
                    f"scenario.dataset.{key}={getattr(self, key)} is more than the {most} there are",
                    f"give at most {most}",
                )
        if self.total > self.first * self.middle * self.last // 2:
            raise ConfigError(
                f"scenario.dataset.people={list(self.people)}: too few full names "
                f"({self.first} x {self.middle} x {self.last}) for people with names of their own",
                "give fewer people, or larger scenario.dataset.first, middle, last",
            )

    @property
    def total(self) -> int:
        """How many people there are."""
        return sum(self.people)

    def range_of(self, task: int) -> range:
        """Return the numbers of the people that a task is about."""
        start = sum(self.people[:task])
        return range(start, start + self.people[task])

    def content(self) -> dict[str, Any]:
        """Return everything that the texts depend on, for digests."""
        return {key: value for key, value in asdict(self).items() if key != "name"}

    def words(self, kind: str) -> tuple[str, ...]:
        """Return the list of a kind of word as long as it is used here."""
        sizes: Mapping[str, int] = {
            "city": self.cities,
            "university": self.universities,
            "major": self.majors,
            "company": self.companies,
        }
        return words(kind, sizes.get(kind) or getattr(self, kind))


@dataclass(frozen=True)
class People:
    """Everybody, by number.

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
        """Return those of consecutive `numbers`."""
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
    """Return what is true of a person, as it is written."""
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
    """Return `n` different triples; a name drawn again is passed over."""
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
