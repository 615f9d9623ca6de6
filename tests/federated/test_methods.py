"""The suite's methods as clients' methods: each learns and resumes bit for bit, or is refused with a reason."""

from __future__ import annotations

import pytest

from clbench.config.hydra_compose import conf_dir
from clbench.errors import RefusedError
from clbench.testing.make_run import make_spec, run
from clbench.testing.method_checks import check_resumes
from tests.federated.common import ready

COMMON = ("+federated=iid", "federated.clients=4", "federated.rounds=2", "scenario.n_tasks=2")
ONCE = ("naive", "freeze", "seq_lora", "inc_lora", "olora")
"""Methods that keep nothing of samples: one for all clients."""
EACH = (
    *("ewc", "ewc_online", "si", "si_bounded", "mas", "lwf", "gpm", "sgp", "ogd", "owm", "adam_nscl", "cumulative"),
    *("er", "er_ewc", "er_lwf", "er_ace", "agem", "gem", "der", "derpp", "der_si", "gdumb"),
)
"""Methods of which every client has its own."""
UNLEARNING = ("ga", "gd", "kl_ga", "npo", "simnpo", "random_labels", "task_vector", "retrain", "bad_teacher")
"""Methods that answer requests to forget, of which a federated stream has none; they learn as naive does."""
REFUSED = {
    "joint": "learns all tasks at once",
    **dict.fromkeys(("icarl", "ncm", "slda", "ranpac", "o3", "o3_authors"), "predicts from what it stores of samples"),
    **dict.fromkeys(("rogo", "trgp"), "puts into the model what it stores of samples"),
    **dict.fromkeys(("osft", "ewc_lora", "lwf_lora", "replay_lora"), "adds parameters and stores something of samples"),
}


def overrides(setting: str) -> list[str]:
    return [*COMMON, f"scenario.setting={setting}"]


def test_every_method_is_here():
    shipped = {path.stem for path in (conf_dir() / "method").glob("*.yaml")} - {"compose"}
    assert shipped == {*ONCE, *EACH, *UNLEARNING, *REFUSED}


@pytest.mark.parametrize("setting", ["task", "class"])
@pytest.mark.parametrize("method", [*ONCE, *EACH])
def test_it_learns_and_resumes(method, setting):
    if "lora" in method:
        pytest.importorskip("peft")
    check_resumes(method, overrides(setting), ())


@pytest.mark.parametrize("method", REFUSED)
def test_it_is_refused_with_the_reason(method, tmp_path):
    if "lora" in method or "o3" in method:
        pytest.importorskip("peft")
    with pytest.raises(RefusedError, match=REFUSED[method]) as caught:
        run(make_spec(method, overrides("task"), results_dir=tmp_path))
    assert caught.value.remedy


def test_requests_to_forget_are_refused(tmp_path):
    with pytest.raises(RefusedError, match="requests to forget"):
        run(make_spec("ga", ["scenario=unlearn_digits", "+federated=iid", "federated.clients=4"], results_dir=tmp_path))


@pytest.mark.parametrize(("method", "several"), [("naive", False), ("freeze", False), ("ewc", True), ("gpm", True), ("er", True)])
def test_what_is_kept_is_kept_by_client(method, several, tmp_path):
    """And what clients keep is of their own samples: replay holds rows of nobody else."""
    prepared, training = ready(make_spec(method, overrides("task"), results_dir=tmp_path))
    for task in prepared.tasks:
        training.learn(task)
    kept = training.clients.state()
    assert (len(kept) == 4) is several
    if method == "er":
        clients = training.clients
        for client in range(4):
            own = {(task.index, row) for task in prepared.tasks for row in clients.share(client, task).train.rows.tolist()}
            held = {(int(task), int(row)) for task, row in clients.training(client).method.memory.samples}
            assert held
            assert held <= own


@pytest.mark.parametrize("method", ["ewc", "lwf", "gpm", "er", "agem", "der"])
def test_it_does_what_naive_does_not(method, tmp_path):
    """From the second task on (replay: within the first): what the clients' methods keep reaches the server's model."""
    found = [run(make_spec(name, overrides("task"), results_dir=tmp_path / name)).result for name in ("naive", method)]
    assert (found[0]["curves"]["loss"][0] == found[1]["curves"]["loss"][0]) is (method not in ("er", "der"))
    assert found[0]["curves"]["loss"][1] != found[1]["curves"]["loss"][1]
