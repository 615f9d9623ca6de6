"""Texts: one data set of texts per task, all as tokens of one tokenizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Literal

import torch
from pydantic import SkipValidation
from torch import Tensor

from clbench.data.pool import Pool
from clbench.data.preprocess import Preprocess
from clbench.data.sources.text import Text
from clbench.errors import ConfigError, RefusedError
from clbench.scenarios.scenario_options import Count, DataAccess, OrderSeed, ScenarioOptions, draw_order
from clbench.scenarios.stream_builder import Part, build_stream, decode_of, load, metric_of
from clbench.stream import Stream

Labels = Literal["own", "shared"]


@dataclass(frozen=True, kw_only=True)
class TextsOptions(ScenarioOptions):
    """Options of `texts`; the shared ones are those of `ScenarioOptions`.

    Samples with class labels: the setting `domain` needs shared labels, the setting `class` needs labels of each data set's own.

    Args:
        datasets: name -> texts, in canonical order.
        orders: further orders: name -> names of data sets.
        order: the name of one of `orders`; None: the order of `datasets`.
        labels: `own`: the labels of different data sets are unrelated; `shared`: they mean the same, in the same order.
        metric: how written answers are scored, for all data sets; None: each data set's own metric.
        n_tasks: number of data sets to use, from the first; None: all.
        order_seed: order of the data sets; None: as `order` says.
    """

    datasets: Mapping[str, SkipValidation[Text]]
    orders: Mapping[int | str, Sequence[str]]
    order: int | str | None
    labels: Labels
    metric: str | None
    n_tasks: Count | None
    order_seed: OrderSeed


def texts(options: TextsOptions, access: DataAccess) -> Stream:
    """Return the stream whose tasks are whole data sets of texts.

    One pool holds all texts; its rows are padded to one length. The class numbers of the data sets are offset and so disjoint, in
    the order of the tasks. The same holds for the label words of the classes, where answers are written.
    de Masson d'Autume et al., NeurIPS 2019; Zhang, Zhao, LeCun, NeurIPS 2015 (data sets).

    Args:
        options: of the scenario.
        access: to the data.

    Raises:
        ConfigError: an unusable value; data sets of different tokenizers or forms.
        RefusedError: a setting that does not fit the labels.
        DataError: as a data set raises it.
    """
    listed = _listed(options)
    _check(options, len(listed))
    n_tasks = len(listed) if options.n_tasks is None else options.n_tasks
    names = [listed[i] for i in draw_order(options.order_seed, access.seed, len(listed), "task order")[:n_tasks]]
    chosen = [options.datasets[name] for name in names]
    trains, tests, sizes = zip(*(load(source, access, images=False) for source in chosen))
    if options.labels == "shared" and len({source.names for source in chosen}) > 1:
        raise ConfigError(
            f"scenario.labels=shared, but the classes of {names[0]} are {', '.join(chosen[0].names)}, and others differ",
            "set scenario.labels=own",
        )
    starts = list(accumulate(sizes, initial=0))
    train, test = (join(list(zip(pools, starts))) for pools in (trains, tests))
    spans = zip(names, chosen, pairwise(starts), strict=True)
    parts = [Part(name, tuple(range(a, b)), metric=metric_of(source, options.metric)) for name, source, (a, b) in spans]
    return build_stream(parts, train, test, Preprocess(), options, access, decode_of(chosen[0]))


def join(pools: Sequence[tuple[Pool, int]]) -> Pool:
    """Return one pool of (pool, first class number) entries: rows of one length, class numbers offset.

    If one data set has free text as answers, the whole pool has no label words.
    """
    first = pools[0][0]
    assert first.pad is not None, "inputs are tokens"
    width = max(pool.inputs.shape[1] for pool, _ in pools)
    inputs = torch.cat([pad_rows(pool.inputs, width, first.pad) for pool, _ in pools])
    targets = torch.cat([pool.targets + offset for pool, offset in pools])
    tables = [pool.answers for pool, _ in pools if pool.answers is not None]
    answers = answer_of = None
    if tables and len(tables) == len(pools):
        answers = torch.cat([pad_rows(table, max(each.shape[1] for each in tables), -1) for table in tables])
        if any(pool.answer_of is not None for pool, _ in pools):
            starts = accumulate((len(table) for table in tables), initial=0)
            answer_of = torch.cat([pool.right_answers + start for (pool, _), start in zip(pools, starts)])
    return Pool(inputs, targets, pad=first.pad, vocabulary=first.vocabulary, answers=answers, answer_of=answer_of)


def pad_rows(rows: Tensor, width: int, pad: int) -> Tensor:
    """Return `rows` `[N, L]` padded with `pad` to `[N, width]`."""
    return torch.nn.functional.pad(rows, (0, width - rows.shape[1]), value=pad)


def _listed(options: TextsOptions) -> list[str]:
    if not options.datasets:
        raise ConfigError(
            "scenario.datasets is empty: a sequence needs at least one data set",
            "choose scenario=sentiment_domains, standard_cl, long_sequence or trace, or list data sets as these files do",
        )
    if options.order is None:
        return list(options.datasets)
    orders = {str(key): list(names) for key, names in options.orders.items()}
    if str(options.order) not in orders:
        raise ConfigError(
            f"scenario.order={options.order!r} is unknown",
            f"scenario.order is null or one of: {', '.join(orders) or 'none'} (scenario.orders)",
        )
    names = orders[str(options.order)]
    unknown = [name for name in names if name not in options.datasets]
    if unknown or len(set(names)) < len(names) or not names:
        problem = f"names {unknown[0]!r}, which is no data set" if unknown else "names no data set, or one twice"
        raise ConfigError(f"scenario.orders.{options.order} {problem}", f"name each once of: {', '.join(options.datasets)}")
    return names


def _check(options: TextsOptions, n_listed: int) -> None:
    if options.n_tasks is not None and options.n_tasks > n_listed:
        raise ConfigError(
            f"scenario.n_tasks={options.n_tasks} is more than the {n_listed} data sets of the sequence",
            f"give at most {n_listed}, or null for all",
        )
    for key in ("tokenizer", "form"):
        values = {name: getattr(source, key) for name, source in options.datasets.items()}
        if len(set(values.values())) > 1:
            listed = ", ".join(f"{name} {value}" for name, value in values.items())
            raise ConfigError(f"the data sets of a sequence have different values of {key}: {listed}", f"give all one {key}")
    answers = next(iter(options.datasets.values())).form == "answers"
    if options.labels == "own" and options.setting == "domain" and not answers:
        raise RefusedError(
            "scenario.setting=domain for data sets with unrelated labels (scenario.labels=own): shared outputs make no sense",
            "set scenario.setting=class or scenario.setting=task, or choose a model that writes (its model.form is answers)",
        )
    if options.labels == "shared" and options.setting == "class":
        raise RefusedError(
            "scenario.setting=class for data sets that share their labels: one label of two data sets would be two classes, "
            "which only the data set tells apart",
            "set scenario.setting=domain or scenario.setting=task",
        )
