"""Texts: one data set of texts per task, all as tokens of one tokenizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import Tensor

from clbench.data.pool import Pool
from clbench.data.preprocess import Preprocess
from clbench.errors import ConfigError, RefusedError
from clbench.scenarios.stream_builder import Options, OrderSeed, Part, assemble, decode_of, load, metric_of
from clbench.stream import Outputs, Setting, Stream

if TYPE_CHECKING:
    from clbench.data.sources.text import Text

Labels = Literal["own", "shared"]


def texts(
    *,
    datasets: Mapping[str, Text],
    orders: Mapping[str, Sequence[str]],
    order: int | str | None,
    labels: Labels,
    metric: str | None,
    setting: Setting,
    n_tasks: int | None,
    outputs: Outputs,
    order_seed: OrderSeed,
    valid_fraction: float,
    online: bool,
    seed: int,
    data_sha256: str,
    search: Sequence[Path],
    download: bool,
    device: torch.device,
) -> Stream:
    """Return the stream whose tasks are whole data sets of texts.

    One pool holds all texts, rows filled up to one length. Class numbers of the data sets are offset so that they are
    disjoint, in the order of the tasks; so are the label words of their classes, where answers are written.
    de Masson d'Autume et al., NeurIPS 2019; Zhang, Zhao, LeCun, NeurIPS 2015 (data sets).

    Own keys; the others are those of `clbench.scenarios.split.split`:
        datasets: name -> texts, in canonical order.
        orders: further orders: name -> names of data sets.
        order: which of `orders`; None: as `datasets` are listed.
        labels: `own`: the labels of different data sets are unrelated; `shared`: they mean the same, in the same order.
        metric: how answers are scored, for all data sets; None: as each says.
        setting: `task`, `domain` or `class`. Samples with labels: `domain` needs shared labels, `class` labels of their own.
        n_tasks: how many of the data sets, from the first; None: all.
        order_seed: order of the data sets: None as said, an integer, or "seed" for an order that follows the trial's.

    Raises:
        ConfigError: a value that cannot be used; data sets of different tokenizers or forms.
        RefusedError: a setting that does not fit the labels.
        DataError: as a data set raises it.
    """
    listed = _listed(datasets, orders, order)
    _check(datasets, labels, setting)
    wanted = len(listed) if n_tasks is None else n_tasks
    options = Options(setting, outputs, wanted, order_seed, valid_fraction, seed, data_sha256)
    if wanted > len(listed):
        raise ConfigError(
            f"scenario.n_tasks={wanted} is more than the {len(listed)} data sets of the sequence",
            f"give at most {len(listed)}, or null for all",
        )
    names = [listed[i] for i in options.order(len(listed), "task order")[:wanted]]
    chosen = [datasets[name] for name in names]
    trains, tests, sizes = zip(*(load(source, search, download, images=False) for source in chosen))
    if labels == "shared" and len({source.names for source in chosen}) > 1:
        raise ConfigError(
            f"scenario.labels=shared, but the classes of {names[0]} are {', '.join(chosen[0].names)}, and others differ",
            "set scenario.labels=own",
        )
    starts = list(accumulate(sizes, initial=0))
    train, test = (join(list(zip(pools, starts))).to(device) for pools in (trains, tests))
    spans = zip(names, chosen, pairwise(starts), strict=True)
    parts = [Part(name, tuple(range(a, b)), metric=metric_of(source, metric)) for name, source, (a, b) in spans]
    return assemble(parts, train, test, Preprocess(), options, decode_of(chosen[0]))


def join(pools: Sequence[tuple[Pool, int]]) -> Pool:
    """Return one pool of (pool, first class number) entries: rows of one length, class numbers offset.

    Where one data set has free text for answers, the whole has no label words to choose among.
    """
    first = pools[0][0]
    assert first.pad is not None, "inputs are tokens"
    width = max(pool.inputs.shape[1] for pool, _ in pools)
    inputs = torch.cat([widened(pool.inputs, width, first.pad) for pool, _ in pools])
    targets = torch.cat([pool.targets + offset for pool, offset in pools])
    tables = [pool.answers for pool, _ in pools if pool.answers is not None]
    answers = answer_of = None
    if tables and len(tables) == len(pools):
        answers = torch.cat([widened(table, max(each.shape[1] for each in tables), -1) for table in tables])
        if any(pool.answer_of is not None for pool, _ in pools):
            starts = accumulate((len(table) for table in tables), initial=0)
            answer_of = torch.cat([pool.right_answers + start for (pool, _), start in zip(pools, starts)])
    return Pool(inputs, targets, pad=first.pad, vocabulary=first.vocabulary, answers=answers, answer_of=answer_of)


def widened(rows: Tensor, width: int, pad: int) -> Tensor:
    """Return `rows` `[N, L]` filled up with `pad` to `[N, width]`."""
    return torch.nn.functional.pad(rows, (0, width - rows.shape[1]), value=pad)


def _listed(datasets: Mapping[str, Text], orders: Mapping[str, Sequence[str]], order: int | str | None) -> list[str]:
    if not datasets:
        raise ConfigError(
            "scenario.datasets is empty: a sequence needs at least one data set",
            "choose scenario=sentiment_domains, standard_cl, long_sequence or trace, or list data sets as these files do",
        )
    if order is None:
        return list(datasets)
    named = {str(key): list(names) for key, names in orders.items()}
    if str(order) not in named:
        raise ConfigError(
            f"scenario.order={order!r} is unknown",
            f"scenario.order is null or one of: {', '.join(named) or 'none'} (scenario.orders)",
        )
    names = named[str(order)]
    strange = [name for name in names if name not in datasets]
    if strange or len(set(names)) < len(names) or not names:
        what = f"names {strange[0]!r}, which is no data set" if strange else "names none, or one twice"
        raise ConfigError(f"scenario.orders.{order} {what}", f"name each once of: {', '.join(datasets)}")
    return names


def _check(datasets: Mapping[str, Text], labels: str, setting: str) -> None:
    if labels not in get_args(Labels):
        raise ConfigError(f"scenario.labels={labels!r} is unknown", f"scenario.labels is one of: {', '.join(get_args(Labels))}")
    for key in ("tokenizer", "form"):
        values = {name: getattr(source, key) for name, source in datasets.items()}
        if len(set(values.values())) > 1:
            spelled = ", ".join(f"{name} {value}" for name, value in values.items())
            raise ConfigError(f"the data sets of a sequence have different values of {key}: {spelled}", f"give all one {key}")
    answers = next(iter(datasets.values())).form == "answers"
    if labels == "own" and setting == "domain" and not answers:
        raise RefusedError(
            "scenario.setting=domain for data sets with labels of their own: sharing outputs between them means nothing",
            "set scenario.setting=class or scenario.setting=task, or choose a model that writes (its model.form is answers)",
        )
    if labels == "shared" and setting == "class":
        raise RefusedError(
            "scenario.setting=class for data sets that share their labels: the same label of two data sets would be two classes, "
            "which nothing but the data set tells apart",
            "set scenario.setting=domain or scenario.setting=task",
        )
