"""Keys that have no effect beside the other values of a configuration: refused, or left out with a message.

A value that does nothing would make a row of its own with the numbers of another row. Only keys that the command line (or a
sweep) sets are looked at, and only where the value differs from that of the files.

- Another key of the configuration switches the key off (`method.decay` with `method.mode=offline`): the job is refused, and the
  message says at which value the key acts.
- The method makes no use of the whole group (`optimizer` with `method=ncm`): the override is left out. In a sweep over methods
  and learning rates such a method thus has one run, and one row.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clbench.config.hydra_compose import Composed, Composer, Override
from clbench.config.resolve import resolve
from clbench.errors import ConfigError
from clbench.records import canonical

LOG = logging.getLogger(__name__)

STEPLESS = ("clbench.methods.ncm.NCM", "clbench.methods.slda.SLDA", "clbench.methods.ranpac.RanPAC")
"""Methods that take no gradient step."""
OF_STEPS = ("optimizer", "trainer", "eval.every")
"""Groups and keys that act on gradient steps only."""
NOT_OF_STEPS = ("trainer.batch_size", "trainer.online_batch_size", "trainer.precision")
"""Keys below `OF_STEPS` that also act without steps."""
PREPROCESSING = ("mean", "std", "crop", "flip")

NO_VALUE = object()
"""The remedy of keys that can only be left out."""


@dataclass(frozen=True)
class Rule:
    """Keys of a node that act only beside certain values of another key.

    Args:
        target: `_target_` of the node; a part of it is enough.
        keys: of the node.
        other: key of the node, or with a leading dot a dotted key of the whole configuration.
        acts: returns True for values of `other` at which the keys act.
        remedy: a value of `other` at which they act; `NO_VALUE`: none is possible.
    """

    target: str
    keys: tuple[str, ...]
    other: str
    acts: Callable[[Any], bool]
    remedy: Any


def _one_of(*values: Any) -> Callable[[Any], bool]:
    return lambda value: value in values


RULES = (
    Rule("methods.ewc.EWC", ("decay",), "mode", _one_of("online"), "online"),
    Rule("methods.agem.AGEM", ("policy",), "fill", _one_of("stream"), "stream"),
    Rule("methods.owm.OWM", ("batch",), "inputs", _one_of("means"), "means"),
    *(
        Rule(target, ("head",), ".scenario.setting", lambda value: value != "task", remedy)
        for target, remedy in {
            "methods.gpm.GPM": "class",
            "methods.sgp.SGP": "class",
            "methods.rogo.ROGO": "class",
            "methods.owm.OWM": "class",
            "methods.adam_nscl.AdamNSCL": "class",
            "methods.trgp.TRGP": NO_VALUE,  # it works in the task setting alone
            "servers.fot.FOT": "class",
        }.items()
    ),
    Rule("methods.osft.OSFT", ("mrr", "trr", "importance_samples"), "schedule", _one_of("importance"), "importance"),
    Rule("methods.osft.OSFT", ("fraction",), "schedule", _one_of("fixed"), "fixed"),
    Rule("methods.unlearning.Losses", ("retain_weight",), "retain", _one_of("nll", "kl"), "nll"),
    Rule("methods.unlearning.Losses", ("beta",), "forget_loss", _one_of("npo", "simnpo"), "npo"),
    Rule("methods.unlearning.Losses", ("margin",), "forget_loss", _one_of("simnpo"), "simnpo"),
    Rule("methods.der.DER", ("replay_batch",), "alpha", lambda value: value != 0, 0.2),
    Rule("engine.optimizers.SGD", ("carry", "nesterov"), "momentum", bool, 0.9),
    Rule("engine.optimizers.Adam", ("decoupled",), "weight_decay", bool, 0.01),
    Rule("engine.training.Trainer", ("epochs",), "iterations", _one_of(None), None),
    Rule("engine.training.Trainer", ("online_batch_size",), ".scenario.online", bool, True),
    Rule("federated.options.Federated", ("straggler_work",), "stragglers", bool, 0.2),
    Rule("scenarios.rotated.rotated", ("min_angle", "max_angle"), "angles", _one_of(None), None),
    Rule("scenarios.biography.biography", ("recovery_iterations",), "recovery", bool, True),
    Rule("scenarios.", ("outputs",), "setting", _one_of("task", "class"), "class"),
    Rule("scenarios.", ("outputs",), "n_tasks", lambda value: value != 1, 2),
    Rule("scenarios.permuted.", ("order_seed",), "n_tasks", lambda value: value != 1, 2),
    Rule("scenarios.rotated.", ("order_seed",), "n_tasks", lambda value: value != 1, 2),
    Rule("scenarios.split.", ("metric",), ".model.form", _one_of("answers"), NO_VALUE),
    Rule("scenarios.texts.", ("metric",), ".model.form", _one_of("answers"), NO_VALUE),
    Rule("scenarios.unlearn.", ("metric",), ".model.form", _one_of("answers"), NO_VALUE),
)
"""What switches keys off. DER with alpha and beta 0 is looked at below: either of them replays."""


def check(composed: Composed, composer: Composer, method: Mapping[str, Any] | None = None) -> Composed:
    """Return a composed configuration without the overrides that its method makes no use of.

    Raises:
        ConfigError: a key that another one switches off was given another value than the files have.
    """
    given = composer.parse(composed.overrides, composed.choices)
    kept = list(zip(composed.overrides, given, strict=True))
    config = resolve(composed, composer, method)
    if str(config["method"].get("_target_")) in STEPLESS:
        idle = [text for text, override in kept if _of_steps(override)]
        kept = [(text, override) for text, override in kept if text not in idle]
        if idle:
            composed = composer([text for text, _ in kept])
            without = resolve(composed, composer, method)
            if canonical(without) != canonical(config):
                name = composed.choices.get("method")
                LOG.warning(f"method={name} takes no gradient steps: {' '.join(idle)} has no effect and is left out")
            config = without
    for text, override in kept:
        found = None if override.group else switched_off(override.name, config)
        if override.name == "trainer.online_batch_size" and any(other.name == "trainer.batch_size" for _, other in kept):
            found = found or ("trainer.batch_size, which also holds for a single pass", ", or leave trainer.batch_size out")
        if found is not None and _changes(text, override.name, config, composed, composer, method):
            reason, remedy = found
            raise ConfigError(f"{text.lstrip('+')} has no effect with {reason}", f"leave {override.name} out{remedy}")
    return composed


def _of_steps(override: Override) -> bool:
    name = override.name.replace("/", ".")
    return name not in NOT_OF_STEPS and any(name == key or name.startswith(f"{key}.") for key in OF_STEPS)


def switched_off(key: str, config: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return what leaves a dotted key without effect, and a further remedy; None: it may act."""
    *parents, last = key.split(".")
    node: Any = config
    for parent in parents:
        node = node.get(parent) if isinstance(node, Mapping) else None
    if not isinstance(node, Mapping):
        return None
    prefix = ".".join(parents)
    for rule in RULES:
        if last in rule.keys and rule.target in str(node.get("_target_")):
            path = rule.other[1:] if rule.other.startswith(".") else f"{prefix}.{rule.other}"
            value = _value(config, path)
            if not rule.acts(value) and not _replays_by_beta(rule, node):
                more = (
                    ""
                    if rule.remedy is NO_VALUE or (rule.remedy is None and value is None)
                    else f", or give {path}={_spelled(rule.remedy)}"
                )
                return f"{path}={_spelled(value)}", more
    if last in PREPROCESSING and parents[0] == "scenario":
        return _preprocessing(parents, node, config)
    if prefix == "federated.partition" and config["federated"].get("clients") == 1:
        return "federated.clients=1", ", or give federated.clients=2 or more"
    return None


def _preprocessing(parents: Sequence[str], node: Mapping[str, Any], config: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return why normalisation or augmentation of a data set is not read."""
    scenario = config["scenario"]
    if "tokenizer" in node:
        return "a data set of texts, whose inputs are tokens", ""
    if "of" in parents:
        outer = ".".join(parents[: parents.index("of")])
        return f"a data set that {outer} is made of", f", or give it at {outer}"
    if "datasets" not in parents:
        return None
    if "mean" in scenario:
        return (
            "a sequence of data sets, which all share scenario.mean, std, crop and flip",
            ", or give scenario.mean and the others",
        )
    first = next(iter(scenario["datasets"]))
    if parents[parents.index("datasets") + 1] == first:
        return None
    return "a further data set: the values of the first one hold for all", f", or give it at scenario.datasets.{first}"


def _replays_by_beta(rule: Rule, node: Mapping[str, Any]) -> bool:
    return rule.keys == ("replay_batch",) and bool(node.get("beta"))


def _changes(
    text: str, key: str, config: Mapping[str, Any], composed: Composed, composer: Composer, method: Mapping[str, Any] | None
) -> bool:
    """Return whether an override changes the value that the files give."""
    without = resolve(composer([other for other in composed.overrides if other != text]), composer, method)
    return canonical(_value(without, key)) != canonical(_value(config, key))


def _value(config: Mapping[str, Any], path: str) -> Any:
    node: Any = config
    for part in path.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    return node


def _spelled(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
