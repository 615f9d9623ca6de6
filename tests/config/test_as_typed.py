"""What people type instead of what clbench reads: each message names what was typed, and its remedy can be composed."""

from __future__ import annotations

import pytest

from clbench.config.hydra_compose import Composer, new_composer
from clbench.errors import ConfigError


@pytest.fixture(scope="module")
def composer() -> Composer:
    return new_composer()


CASES = [
    # words that cannot be read
    (["method", "=", "er"], "'method'", ["method=er"]),
    (["method=", "er"], "'method='", ["method=er"]),
    (["method", "=er"], "'method'", ["method=er"]),
    (["method:er"], "'method:er'", ["method=er"]),
    (["method", "er"], "'method'", ["method=er"]),
    (["method", "gmp"], "'method'", ["method=gpm"]),
    (["method==er"], "'method==er'", ["method=er"]),
    (["trainer.epochs+=1"], "'trainer.epochs+=1'", ["trainer.epochs=1"]),
    (["trainer.epochs:1"], "'trainer.epochs:1'", ["trainer.epochs=1"]),
    (["method=er seeds=3"], "'method=er seeds=3'", ["method=er", "seeds=3"]),
    (["method=“er”"], "'method=“er”'", ['method="er"']),
    (["method=er,"], "'method=er,'", ["method=er"]),
    (["seeds=[42,", "43]"], "'seeds=[42,'", ["seeds=[42,43]"]),
    (["seeds=[42,43"], "'seeds=[42,43'", ["seeds=[42,43]"]),
    (["seeds=(42,43)"], "'seeds=(42,43)'", ["seeds=[42,43]"]),
    (["seeds={42,43}"], "'seeds={42,43}'", ["seeds=[42,43]"]),
    (["er"], "'er'", ["method=er"]),
    (["quick"], "'quick'", ["+sweep=quick"]),
    (["method/er"], "'method/er'", ["method=er"]),
    (["results_dir=a (1)"], "'results_dir=a (1)'", ['results_dir="a (1)"']),
    (["results_dir=a=b"], "'results_dir=a=b'", ['results_dir="a=b"']),
    # groups, keys and their signs
    (["trainer.schedule=cosine"], "trainer.schedule=cosine", ["trainer/schedule=cosine"]),
    (["trainer.schedule=cosin"], "trainer.schedule=cosin", ["trainer/schedule=cosine"]),
    (["scenario.dataset=digits"], "scenario.dataset=digits", ["scenario/dataset=digits"]),
    (["federated.server=fot"], "federated.server=fot", ["+federated=base", "federated/server=fot"]),
    (["+federated=iid", "federated.server=fot"], "federated.server=fot", ["federated/server=fot"]),
    (["hydra.launcher=basic"], "hydra.launcher=basic", ["hydra/launcher=basic"]),
    (["trainer/epochs=2"], "trainer/epochs", ["trainer.epochs=2"]),
    (["trainer/lr=0.1"], "trainer/lr", ["optimizer.lr=0.1"]),
    (["federated=iid"], "federated=iid", ["+federated=iid"]),
    (["federated=idd"], "federated=idd", ["+federated=iid"]),
    (["sweep=quick"], "sweep=quick", ["+sweep=quick"]),
    (["federated/server=fot"], "federated/server", ["+federated=base", "federated/server=fot"]),
    (["+method=er"], "+method=er", ["method=er"]),
    (["++method=er"], "++method=er", ["method=er"]),
    (["++federated=iid"], "++federated=iid", ["+federated=iid"]),
    (["+trainer.epochs=1"], "+trainer.epochs=1", ["trainer.epochs=1"]),
    (["+trainer/schedule=cosine"], "+trainer/schedule=cosine", ["trainer/schedule=cosine"]),
    (["method=er.yaml"], "method=er.yaml", ["method=er"]),
    (["model._target_=torch.nn.Flatten", "model.start_dim=1"], "model.start_dim", ["+model.start_dim=1"]),
    # names
    (["method=gmp"], "method=gmp", ["method=gpm"]),
    (["method=egm"], "method=egm", ["method=gem"]),
    (["method=ER"], "method=ER", ["method=er"]),
    (["method=clbench.methods.er.ER"], "method=clbench.methods.er.ER", ["method=er"]),
    (["scenario=split-digits"], "scenario=split-digits", ["scenario=split_digits"]),
    (["scenario=digits_split"], "scenario=digits_split", ["scenario=split_digits"]),
    (["scenario=mnist"], "scenario=mnist", ["scenario=split_mnist"]),
    (["scenario=split_dgiits"], "scenario=split_dgiits", ["scenario=split_digits"]),
    (["model=rsenet18"], "model=rsenet18", ["model=resnet18"]),
    (["model=er"], "model=er", ["method=er"]),
    (["trainer/schedule=cosin"], "trainer/schedule=cosin", ["trainer/schedule=cosine"]),
    (["+federated=idd"], "federated=idd", ["+federated=iid"]),
    (["+sweep=qiuck"], "sweep=qiuck", ["+sweep=quick"]),
    (["+experiment=gpm/p_mnsit"], "experiment=gpm/p_mnsit", ["+experiment=gpm/p_mnist"]),
    (["epochs=3"], "epochs", ["trainer.epochs=3"]),
    (["+epochs=3"], "epochs=3", ["trainer.epochs=3"]),
    (["seed=3"], "seed", ["seeds=3"]),
    (["dataset=digits"], "dataset", ["scenario/dataset=digits"]),
    (["scheduler=cosine"], "scheduler", ["trainer/schedule=cosine"]),
    (["trianer.epochs=3"], "trianer.epochs", ["trainer.epochs=3"]),
    (["trainer.epcohs=3"], "trainer.epcohs", ["trainer.epochs=3"]),
    (["method=er", "method.bufer_size=3"], "method.bufer_size", ["method=er", "method.buffer_size=3"]),
    (["scenario.dataset.scael=3"], "scenario.dataset.scael", ["scenario.dataset.scale=3"]),
    (["+federated=iid", "+federated=shards"], "+federated=iid and +federated=shards", ["+federated=shards"]),
    # several values
    (["seeds=42,43"], "seeds=42,43", ["seeds=[42,43]"]),
    (["seeds=choice(1,5)"], "seeds=choice(1,5)", ["seeds=[1,5]"]),
    (["seeds=range(1,4)"], "seeds=range(1,4)", ["seeds=[1,2,3]"]),
    (["seeds=[1],[2,3]"], "seeds=[1],[2,3]", ["seeds=[1,2,3]"]),
    (["device=cpu,cuda"], "device=cpu,cuda", ["device=cpu"]),
    (["runner.workers=1,2"], "runner.workers=1,2", ["runner.workers=1"]),
    (["logger=none,console"], "logger=none,console", ["logger=none"]),
    (["data.root=a,b"], "data.root=a,b", ["data.root=a"]),
]


@pytest.mark.parametrize(
    ("typed", "named", "remedy"), CASES, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_the_message_names_what_was_typed_and_its_remedy_composes(
    composer: Composer, typed: list[str], named: str, remedy: list[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        composer(typed)
    assert named in caught.value.what
    words = [word for word in remedy if word not in typed]
    assert all(word in caught.value.remedy for word in words), caught.value.remedy
    assert "HYDRA_FULL_ERROR" not in str(caught.value)
    several = len([word for word in typed if word.startswith("+federated")]) > 1
    kept = [] if several else [word for word in typed if word in remedy or word.startswith(("+federated=iid", "model._target_"))]
    composer([*kept, *words, *(remedy if several else ())])


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("–m", "write -m"),
        ("—multirun", "write --multirun"),
        ("help", "clbench --help"),
        ("method=", "choose one of: method=adam_nscl"),
        ("method=mnist", "scenario/dataset=mnist"),
        ("~seeds", "which every run needs"),
        ("+experiment=gpm", "choose one of: +experiment=gpm/"),
        ("method.lambda=1", "clbench --cfg job --package method"),
        ("optimizer=rmsprop", "an optimiser is a class like those in clbench/engine/optimizers.py"),
        ("hydra/launcher=ray,joblib", "give one value"),
        ("results_dir=a,b", "give one folder"),
        ("method=er,gpm", "--multirun"),
    ],
)
def test_what_has_no_single_remedy_is_explained(composer: Composer, typed: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        composer([typed])
    assert said in caught.value.remedy or said in caught.value.what


@pytest.mark.parametrize(
    "words",
    [
        ["trainer.schedule={_target_: clbench.engine.schedules.Constant}"],
        ["method=er", "method.buffer_size=3"],
        ["+published={}"],
        ["~method.version"],
        ["scenario.dataset.scale=7"],
    ],
)
def test_what_is_right_is_left_alone(composer: Composer, words: list[str]) -> None:
    composer(words)
