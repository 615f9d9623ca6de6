"""Every key of every group, with another value, changes what a run gives, or is refused by a message that names the key.

The keys come from the composed configurations: a key that is added later is covered, too. `python -m tests.test_effects` changes
the keys in every file of `conf/`, prints each verdict, and takes some minutes. `python -m tests.test_effects gpm federated` does
so for methods and groups by name. The tests change the keys of each class once.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import pytest
import yaml

from clbench.config.hydra_compose import conf_dir
from tests.effects import Context, wrong

QUIET = ("logger=none", "device=cpu")
FEW = (*QUIET, "trainer.iterations=4", "trainer.batch_size=16")
DIGITS = ("scenario=split_digits", "scenario.n_tasks=5")
NARROW = ("model=resnet18_reduced", "model.filters=2", "optimizer.lr=0.01")
"""A network with BatchNorm."""

BY_DESIGN = {
    "Freeze.embeddings": "acts on models with embeddings; tests/methods/test_freeze.py",
    "SeqLoRA.targets": "names of modules; tests/methods/test_lora.py",
    "IncLoRA.targets": "as SeqLoRA",
    "OLoRA.targets": "as SeqLoRA",
    "OSFT.targets": "as SeqLoRA",
    "Compose.parts": "a mapping of methods; tests/methods/test_compose.py",
    "eval.batch_size": "changes speed and memory alone",
    "eval.ability": "a group of data sets; tests/scenarios/test_ability.py",
    "Federated.min_samples": "a bound, which shares of equal size keep; tests/federated/test_partitions.py",
    "Federated.secure": "a group: the sum is exact up to rounding; tests/federated/test_secure.py",
    "Dirichlet.redraws": "a bound on the number of draws",
    "Secure.threshold": "how many answers must arrive; tests/federated/test_secure_protocol.py",
    "Secure.neighbours": "who shares masks with whom: the sum is the same",
    "Digits.n_classes": "declares what the data has: another number is refused; tests/data/test_sources.py",
    "Scrambled.n_classes": "the same",
    "unlearn.requests": "a list of mappings; tests/scenarios/test_unlearn.py",
}
"""Keys (`Class.key`) that are not changed, with the reason."""

PLAIN = ("trainer.iterations=null",)
ELSEWHERE: dict[str, tuple[str, ...]] = {
    "AGEM.policy": ("method.fill=stream",),
    "DER.offer": (*PLAIN, "trainer.epochs=2"),
    "EWC.decay": ("method.mode=online",),
    "Losses.retain_weight": ("method.retain=nll",),
    "Losses.beta": ("method.forget_loss=npo",),
    "Losses.margin": ("method.forget_loss=simnpo",),
    "OSFT.mrr": ("model.hidden=[97,97,97]",),
    "OSFT.importance_samples": ("model.hidden=[97,97,97]", "method.mrr=0", "method.trr=0.6"),
    "OSFT.fraction": ("method.schedule=fixed",),
    "OWM.batch": ("method.inputs=means",),
    "ROGO.searches": ("trainer.epochs=3", "method.energy=0.5", "method.cosine=0.1"),
    "ROGO.search_below": ("method.cosine=0.5",),
    "TRGP.trust_samples": ("method.trust=0.85",),
    "SGD.carry": ("optimizer.momentum=0.9",),
    "SGD.nesterov": ("optimizer.momentum=0.9",),
    "Adam.decoupled": ("optimizer.weight_decay=0.01",),
    "Trainer.epochs": PLAIN,
    "Federated.straggler_work": ("federated.stragglers=0.5",),
    "FOT.at_least_one": ("federated.server.threshold=0.001", "federated.server.ratio=norm"),
    "FOT.sketched_by": ("federated.participation=0.5",),
}
ELSEWHERE |= {
    f"{name}.{key}": NARROW
    for name in ("GPM", "SGP", "ROGO", "TRGP", "AdamNSCL", "OWM", "OGD", "FOT")
    for key in ("uncovered", "statistics")
}
"""Keys that act only beside other values, with these."""

VALUES = {
    **{f"{kind}.task_range": ([0, 1],) for kind in ("split", "permuted", "rotated", "sequence", "texts", "unlearn", "biography")},
    "eval.split": ("valid",),
    "split.groups": ([[0, 5], [1, 6], [2, 7], [3, 8], [4, 9]],),
    "split.metric": ("exact_match",),
    "split.order_seed": (3,),
    "rotated.angles": ([0, 20, 40],),
    "rotated.order_seed": (3,),
    "ROGO.search_below": (1e-5,),
    "MLP.init": ("xavier",),
    "unlearn.metric": ("exact_match",),
}
"""Other values of keys whose type hint names none."""

LORA = {"seq_lora", "inc_lora", "olora", "ewc_lora", "lwf_lora", "replay_lora"}
BETWEEN_EPOCHS = {"rogo"}
OWN_TESTS = {
    "compose": "a mapping of methods",
    "o3": "takes seconds a run; tests/methods/test_o3.py",
    "o3_authors": "as o3",
    "ewc_lora": "the parts have contexts of their own",
    "lwf_lora": "the same",
    "replay_lora": "the same",
}


def files(group: str) -> list[str]:
    """Return the choices of a group: those that are made of others last."""
    paths = sorted((conf_dir() / group).glob("*.yaml"))
    made = {path.stem: "defaults" in yaml.safe_load(path.read_text()) for path in paths}
    return sorted(made, key=lambda name: (made[name], name))


UNLEARNING = {"ga", "gd", "kl_ga", "npo", "simnpo", "random_labels", "task_vector", "retrain", "bad_teacher"}


def method_context(name: str) -> Context:
    """Return the run in which the keys of method `name` are changed."""
    words = [*FEW, *(("scenario=unlearn_digits",) if name in UNLEARNING else DIGITS), f"method={name}"]
    if name in BETWEEN_EPOCHS:
        words = [*QUIET, *DIGITS, f"method={name}", "trainer.epochs=2", "trainer.batch_size=100"]
    if name in LORA:
        words.append("method.targets=all-linear")
    if name == "ranpac":
        words.append("method.projection=64")
    if name == "ogd":
        words[words.index("scenario.n_tasks=5")] = "scenario.n_tasks=2"  # it takes seconds a task
    if name == "trgp":
        words.append("scenario.setting=task")
    return Context(tuple(words), ("method",))


def targets(name: str) -> tuple[str, ...]:
    """Return the classes that the file of a method names, and the files that it is made of."""
    node = yaml.safe_load((conf_dir() / "method" / f"{name}.yaml").read_text())
    made = tuple(str(each) for each in node.get("defaults", ()) if each != "_self_")
    own = node.get("_target_")
    return (own,) if own is not None and "compose" not in own else (*made, name)


METHODS = {name: method_context(name) for name in files("method") if name not in OWN_TESTS}


def methods() -> list[Context]:
    return list(METHODS.values())


def training() -> list[Context]:
    long = (*QUIET, *DIGITS, "trainer.batch_size=150")
    return [
        Context((*FEW, *DIGITS), ("model", "optimizer", "trainer", "eval")),
        Context((*FEW, *DIGITS, "optimizer=adam"), ("optimizer",)),
        Context((*FEW, *DIGITS, "optimizer=adamw"), ("optimizer",)),
        Context((*QUIET, *DIGITS, "scenario.online=true"), ("trainer",)),
        *(Context((*long, *words), ("trainer",)) for words in SCHEDULES.values()),
    ]


SCHEDULES = {
    "constant": ("trainer.epochs=2",),
    "cosine": ("trainer.epochs=3", "trainer/schedule=cosine"),
    "step": ("trainer.epochs=3", "trainer/schedule=step", "trainer.schedule.at=[1,2]"),
    "plateau": (
        "trainer.epochs=8",
        "trainer/schedule=plateau",
        "trainer.schedule.patience=1",
        "trainer.schedule.min_lr=0.6",
        "optimizer.lr=2",
        "scenario.valid_fraction=0.1",
    ),
}


def scenarios() -> list[Context]:
    return [
        *(Context((*FEW, *DIGITS, f"scenario.setting={setting}"), ("scenario",)) for setting in ("class", "task", "domain")),
        Context((*FEW, "scenario=permuted_digits", "scenario.n_tasks=3"), ("scenario",)),
        Context((*FEW, "scenario=rotated_digits", "scenario.n_tasks=3"), ("scenario",)),
        Context((*FEW, "scenario=unlearn_digits", "method=ga"), ("scenario",)),
    ]


def federated() -> list[Context]:
    clients = (*QUIET, *DIGITS, "federated.clients=4", "federated.rounds=2", "trainer.batch_size=32")
    found = [Context((*clients, f"+federated={name}"), ("federated",)) for name in files("federated") if name != "base"]
    for server in files("federated/server"):
        own = ("method=seq_lora", "method.targets=all-linear") if server == "fedsvd" else ()
        found.append(Context((*clients, *own, "+federated=iid", f"federated/server={server}"), ("federated",)))
    secure = ("+federated=iid", "federated/server=fot", "+federated/secure=masked")
    return [*found, Context((*clients, *secure), ("federated",))]


GROUPS = {"methods": methods, "training": training, "scenarios": scenarios, "federated": federated}


QUICK = ("training", "scenarios", "federated")
"""Groups that one test each changes; methods have a test each."""


FIRST = {
    next(name for name in METHODS if targets(name) == found): found for found in dict.fromkeys(targets(name) for name in METHODS)
}
"""A method of each class, and of each composition, with its classes."""


@pytest.mark.parametrize("name", FIRST)
def test_every_key_of_a_method_acts_or_is_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = wrong([METHODS[name]], BY_DESIGN, ELSEWHERE, VALUES)
    assert not found, "\n".join(found)


@pytest.mark.parametrize("group", QUICK)
def test_every_key_acts_or_is_refused(group: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = wrong(GROUPS[group](), BY_DESIGN, ELSEWHERE, VALUES)
    assert not found, "\n".join(found)


def test_every_schedule_has_a_context() -> None:
    assert set(files("trainer/schedule")) == set(SCHEDULES)


def main(names: list[str]) -> None:
    """Change every key of the groups or methods that the command line names, or of all, and print each verdict."""
    named = {name: [context] for name, context in METHODS.items()}
    chosen = [(name, GROUPS[name]() if name in GROUPS else named[name]) for name in names or GROUPS]
    found = [
        line
        for _, contexts in chosen
        for line in wrong(contexts, BY_DESIGN, ELSEWHERE, VALUES, every=True, tell=partial(print, flush=True))
    ]
    print(f"{len(found)} keys without effect", *found, sep="\n  ")


if __name__ == "__main__":
    main(sys.argv[1:])
