"""Every tracked record can be asked for again: today's configuration and code give its identity, and so its file's name."""

from __future__ import annotations

import copy
import functools
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clbench.config.hydra_compose import Composed, Composer, new_composer
from clbench.config.job import make_job
from clbench.data import content_digest
from clbench.errors import ConfigError
from clbench.instantiate import META, locate, parameters
from clbench.records import Record, canonical, flatten, read
from clbench.run_spec import RunSpec
from clbench.scenarios.scenario_options import options_class

RESULTS = Path(__file__).resolve().parent.parent / "results"
COUNTS = {
    "authors/fot": 12,
    "biography": 9,
    "federated": 59,
    "language": 21,
    "projection": 150,
    "quick": 105,
    "reproduction": 480,
    "unlearning": 84,
}
"""Records of each folder, all of which are computed again: 920."""
NO_RECORDS = {
    "authors/gpm_pmnist_reduced.json": "numbers of the authors' program and of clbench, side by side",
    "authors/o3_debian.json": "the same",
    "authors/rogo_pmnist_reduced.json": "the same",
}
"""Other JSON files below `results`, and what they are."""
NOT_COMPUTED: dict[str, str] = {}
"""Records (`folder/id`) whose identity cannot be computed again, and why; there is none."""
TOKENIZERS = {"minilm": "07e776bafafc9d6b52a3d77663d1531c6df62e576dace0f49d867d09790c27d8"}
"""What `tokenizer_sha256` says of tokenizers that are files, which need not be at hand here.

That of all-MiniLM-L6-v2 is a digest over its tokenizer.json, tokenizer_config.json, special_tokens_map.json, config.json and
vocab.txt. The digests of all other data are declared in `conf/`, or computed from settings.
"""
PARTS = ("method", "scenario", "model", "optimizer")
GROUPS = {"federated": "+federated", "schedule": "trainer/schedule", "secure": "+federated/secure"}
"""Groups that a record's variant names by their last part, and how they are chosen; what is within another comes after it."""
ADDED = ("model.head.init",)
"""Keys that no file of `conf/model` has, but that an experiment's file adds."""
NOT_PASSED_ON = (*META, "head")
"""Keys that a target need not take: what a node is, and how the heads on a model are made."""

pytestmark = pytest.mark.skipif(not RESULTS.is_dir(), reason="the records are not part of a source distribution")


@pytest.fixture(autouse=True)
def _known_tokenizers(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = content_digest.tokenizer_sha256
    monkeypatch.setattr(content_digest, "tokenizer_sha256", lambda name, search: TOKENIZERS.get(name) or usual(name, search))


@functools.cache
def shared_composer() -> Composer:
    return new_composer()


@functools.cache
def stored(folder: str) -> list[Record]:
    paths = sorted((RESULTS / folder).glob("*.json"))
    return [read(path) for path in paths if path.relative_to(RESULTS).as_posix() not in NO_RECORDS]


def by_config(records: list[Record]) -> list[list[Record]]:
    """Return the records of each configuration together; they differ in the seed."""
    groups = defaultdict(list)
    for record in records:
        groups[record.config_id].append(record)
    return list(groups.values())


def words(record: Record, composer: Composer) -> list[str]:
    """Return the overrides that ask for a record's configuration, by what it is called.

    Its names choose files of `conf/`. Its variant lists the keys with another value than these files give; the identity
    has the values. No other key is set, so that a default that is changed, added or renamed shows as a difference, and
    `_target_` never is.
    """
    names, variant = record.identity["names"], record.provenance["variant"]
    chosen = [f"{group}={names[group]}" for group in PARTS if group != "scenario"] + _scenario(names["scenario"], composer)
    differing = {key: value for key, _, value in (entry.partition("=") for entry in variant.split(", ") if entry)}
    chosen += [f"{group}={differing.pop(key)}" for key, group in GROUPS.items() if key in differing]
    if "server" in names:
        chosen.append(f"federated/server={names['server']}")
    endings = ["scenario.setting", *(key for key in differing if key != "optimizer")]  # of dotted keys
    return chosen + [
        f"{'++' if key in ADDED else ''}{key}={json.dumps(value)}"
        for key, value in flatten(record.identity)
        if any(f".{key}".endswith(f".{ending}") for ending in endings) and not key.startswith("names.")
    ]


def _scenario(name: str, composer: Composer) -> list[str]:
    """Return the choices behind a scenario's name, which may end on that of another data set than its own."""
    known = composer.loader.repository.get_group_options("scenario")
    file = max((choice for choice in known if f"{name}_".startswith(f"{choice}_")), key=len, default=name)
    return [f"scenario={file}", *([f"scenario/dataset={name[len(file) + 1 :]}"] if file != name else [])]


def specs(records: list[Record], composer: Composer) -> list[RunSpec]:
    """Return the runs that today's configuration and code make of what records of one configuration are called."""
    asked = [*words(records[0], composer), f"seeds={json.dumps([record.seed for record in records])}"]
    return make_job(composer(asked), composer, named=False).specs()


def differences(record: Record, spec: RunSpec) -> str:
    """Return the leaves of two identities that differ, for people."""
    old, new = dict(flatten(record.identity)), dict(flatten(spec.identity))
    none = "(none)"
    return "; ".join(
        f"{key}: {old.get(key, none)!r} is now {new.get(key, none)!r}"
        for key in {**old, **new}
        if key not in old or key not in new or canonical(old[key]) != canonical(new[key])
    )


@pytest.mark.parametrize("folder", COUNTS)
def test_every_records_file_is_named_by_the_identity_that_todays_code_computes(folder: str) -> None:
    wrong, found = [], 0
    for records in by_config([record for record in stored(folder) if f"{folder}/{record.id}" not in NOT_COMPUTED]):
        try:
            made = specs(records, shared_composer())
        except ConfigError as error:
            wrong.append(f"{records[0].id}: {error}")
            continue
        pairs = list(zip(records, made, strict=True))
        found += sum(spec.id == record.id for record, spec in pairs)  # `read` has compared that with the file's name
        wrong += [f"{record.id}: {differences(record, spec)}" for record, spec in pairs if spec.id != record.id][:1]
    assert not wrong, "\n".join(wrong)
    assert found == COUNTS[folder] - sum(name.rpartition("/")[0] == folder for name in NOT_COMPUTED)


def test_every_json_file_of_the_results_is_a_record_that_is_counted_or_told_apart() -> None:
    paths = [path.relative_to(RESULTS) for path in RESULTS.rglob("*.json")]
    assert {path.as_posix() for path in paths} >= NO_RECORDS.keys()
    counted = Counter(path.parent.as_posix() for path in paths if path.as_posix() not in NO_RECORDS)
    assert counted == COUNTS


def nodes(tree: Any) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield (`_target_`, its other keys) of each node that an object is built from."""
    if isinstance(tree, Mapping):
        if "_target_" in tree:
            yield tree["_target_"], tuple(sorted(tree.keys() - {"_target_"}))
        tree = list(tree.values())
    if isinstance(tree, list):
        for item in tree:
            yield from nodes(item)


@pytest.mark.parametrize("folder", COUNTS)
def test_every_target_of_a_record_can_be_imported_and_takes_the_keys_that_stand_beside_it(folder: str) -> None:
    for target, keys in sorted({node for record in stored(folder) for node in nodes(record.identity)}):
        found = locate(target, "record")
        accepted, open_ended = parameters(options_class(found) or found)
        unknown = [key for key in keys if key not in accepted and key not in NOT_PASSED_ON]
        assert open_ended or not unknown, f"{target} does not take {unknown}"


class Altered(Composer):
    """Composes as ever, and has every configuration changed by `change`."""

    change: Callable[[dict[str, Any]], object]

    def __call__(self, *args: Any, **kwargs: Any) -> Composed:
        composed = super().__call__(*args, **kwargs)
        config = copy.deepcopy(composed.config)
        self.change(config)
        return replace(composed, config=config)


def renamed(node: dict[str, Any], old: str, new: str) -> None:
    if old in node:
        node[new] = node.pop(old)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda config: None, ""),
        (lambda config: config.update(neutral={}), "trainer.clip_value: '(none)' is now None"),
        (lambda config: config["neutral"].pop("eval.drift"), "eval.drift: '(none)' is now False"),
        (lambda config: config["method"].update(_target_="clbench.ewc.EWC"), "method._target_: "),
        (lambda config: config["trainer"]["schedule"].update(_target_="clbench.Constant"), "trainer.schedule._target_: "),
        (lambda config: renamed(config["method"], "fisher_samples", "samples"), "method.fisher_samples: None is now '(none)'"),
        (lambda config: config["method"].update(version=3), "method.version: 2 is now 3"),
        (lambda config: config["trainer"].update(warmup=None), "trainer.warmup: '(none)' is now None"),
        (lambda config: config["trainer"].update(clip_norm=1.0), "trainer.clip_norm: None is now 1.0"),
        (lambda config: config["scenario"]["dataset"].update(content_sha256="0"), "data_sha256: "),
    ],
)
def test_a_change_of_the_configuration_is_noticed(change: Callable[[dict[str, Any]], object], said: str) -> None:
    known = next(
        records
        for records in by_config(stored("quick"))
        if (records[0].identity["names"]["method"], records[0].identity["names"]["scenario"]) == ("ewc", "split_digits")
    )
    composer = Altered(shared_composer().loader)
    composer.change = change
    for record, spec in zip(known, specs(known, composer), strict=True):
        assert (spec.id == record.id) == (not said)
        assert said in differences(record, spec)


@pytest.mark.parametrize(
    "overrides",
    [
        ("scenario=split_digits", "scenario/dataset=mnist", "scenario.setting=task", "method=ewc", "optimizer=adam"),
        ("+federated=dirichlet", "federated/server=fedadam", "+federated/secure=masked", "federated.rounds=2"),
        ("trainer/schedule=cosine", "model.hidden=[20,30]", "method=er_ewc", "method.parts.er.buffer_size=50"),
    ],
)
def test_what_is_called_by_names_and_variant_is_found_again(overrides: tuple[str, ...]) -> None:
    """Choices that no tracked record has yet; so the words made of a record are right for them as well."""
    composer = shared_composer()
    job = make_job(composer(overrides), composer)
    (spec,) = job.specs()
    (again,) = specs([Record(spec.identity, provenance={"variant": job.variant})], composer)
    assert again.id == spec.id
