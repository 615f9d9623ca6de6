"""Which outputs, heads and parameters take part, in each setting."""

import pytest
import torch

from clbench.engine.learner.step_plan import StepPlan
from clbench.engine.optimizers import SGD
from clbench.engine.training.loop import Training
from clbench.errors import RefusedError
from clbench.methods.er import ER
from clbench.methods.naive import Naive
from tests.streams import blob_stream, learn, learner_for, trainer, weights


def test_class_seen_grows_with_the_tasks_and_all_does_not():
    for outputs, widths in (("seen", [2, 4, 6]), ("all", [6, 6, 6])):
        stream = blob_stream("class", outputs)
        learner = learner_for(stream)
        for task, width in zip(stream.tasks, widths, strict=True):
            learner.start(task.index)
            batch = learner.batch(task.train, torch.arange(5))
            assert learner.forward(batch).shape == (5, width)
            assert int(batch.labels.max()) < width


def test_labels_of_a_joined_batch_point_at_each_samples_own_class():
    stream = blob_stream("task")
    learner = learner_for(stream)
    learner.start(0)
    memory = learner.memory(50)
    memory.add(learner.batch(stream.tasks[0].train, torch.arange(50)))
    learner.start(1)
    batch = learner.join(learner.batch(stream.tasks[1].train, torch.arange(10)), memory.sample(8))
    logits = learner.forward(batch)
    assert logits.shape == (18, 4)
    assert torch.isinf(logits[:10, :2]).all()
    assert torch.isinf(logits[10:, 2:]).all()
    assert torch.isfinite(logits[torch.arange(18), batch.labels]).all()
    targets = stream.tasks[0].train.pool.targets[batch.rows]
    assert torch.equal(batch.labels, targets)  # canonical order: the class number is the column


def test_the_loss_of_a_joined_batch_is_the_mean_over_both_heads():
    stream = blob_stream("task")
    learner = learner_for(stream)
    learner.start(0)
    memory = learner.memory(8)
    memory.add(learner.batch(stream.tasks[0].train, torch.arange(8)))
    learner.start(1)
    own, old = learner.batch(stream.tasks[1].train, torch.arange(8)), memory.sample(8)
    joint = torch.nn.functional.cross_entropy(learner.forward(learner.join(own, old)), learner.join(own, old).labels)
    apart = [torch.nn.functional.cross_entropy(learner.logits(b.inputs, t), b.labels) for b, t in ((own, 1), (old, 0))]
    torch.testing.assert_close(joint, sum(apart) / 2)


@pytest.mark.parametrize("optimizer", ["momentum", "adamw"])
def test_inactive_heads_get_no_update_at_all(optimizer):
    from clbench.engine.optimizers import SGD, Adam

    chosen = SGD(0.05, 0.9, 0.01) if optimizer == "momentum" else Adam(0.01, (0.9, 0.999), 1e-8, 0.1, True)
    stream = blob_stream("task")
    learner = learner_for(stream, optimizer=chosen)
    before = weights(learner)
    learn(Naive(), stream, learner, tasks=1)
    after = weights(learner)
    assert not torch.equal(before["heads.0.weight"], after["heads.0.weight"])
    for head in (1, 2):
        assert torch.equal(before[f"heads.{head}.weight"], after[f"heads.{head}.weight"])
        assert torch.equal(before[f"heads.{head}.bias"], after[f"heads.{head}.bias"])


def test_replay_moves_old_heads_and_not_future_ones():
    stream = blob_stream("task")
    learner = learner_for(stream)
    marks = []
    learn(ER(30, 8, "reservoir"), stream, learner, tasks=2, after=lambda task, lrn: marks.append(weights(lrn)))
    assert not torch.equal(marks[0]["heads.0.weight"], marks[1]["heads.0.weight"])
    assert torch.equal(marks[0]["heads.2.weight"], marks[1]["heads.2.weight"])


def test_task_setting_with_all_outputs_trains_every_head_and_predicts_within_its_own():
    stream = blob_stream("task", "all")
    learner = learner_for(stream)
    before = weights(learner)
    learn(Naive(), stream, learner, tasks=1)
    after = weights(learner)
    assert not torch.equal(before["heads.2.weight"], after["heads.2.weight"])
    assert learner.logits(learner.batch(stream.tasks[0].train, torch.arange(3)).inputs, 0).shape == (3, 2)


def test_reset_returns_the_initial_weights():
    stream = blob_stream()
    learner = learner_for(stream)
    before = weights(learner)
    learn(Naive(), stream, learner, tasks=1)
    learner.reset_model()
    assert all(torch.equal(before[name], value) for name, value in weights(learner).items())


def test_reset_puts_added_parameters_to_zero_and_refuses_a_structure_that_nobody_explains():
    learner = learner_for(blob_stream())
    before = weights(learner)
    learner.add("more", torch.ones(3))
    learner.reset_model()
    after = weights(learner)
    assert not bool(after.pop("added.more").any())
    assert all(torch.equal(before[name], value) for name, value in after.items())
    learner.model.extra = torch.nn.Linear(2, 2)
    with pytest.raises(RefusedError, match=r"extra\.bias, extra\.weight"):
        learner.reset_model()


def test_logits_in_the_task_setting_need_a_task():
    stream = blob_stream("task")
    learner = learner_for(stream)
    with pytest.raises(ValueError, match="task_id"):
        learner.logits(torch.zeros(1, 1, 4, 4))


@pytest.mark.parametrize(("setting", "outputs"), [("task", "seen"), ("task", "all"), ("domain", "seen"), ("class", "seen")])
def test_spread_logits_have_a_column_for_every_output_and_nan_where_a_head_was_not_asked(setting, outputs):
    stream = blob_stream(setting, outputs)
    learner, _ = learn(Naive(), stream, tasks=2)
    batch = learner.batch(stream.tasks[1].train, torch.arange(5))
    logits = learner.forward(batch)
    spread = learner.full_logits(batch, logits)
    assert spread.shape == (5, sum(stream.head_sizes))
    start = 2 if (setting, outputs) == ("task", "seen") else 0
    assert torch.equal(spread[:, start : start + logits.shape[1]], logits)
    known = logits.shape[1] if setting == "task" else sum(stream.head_sizes)  # a shared head is known whole
    assert spread.isnan().sum() == 5 * (sum(stream.head_sizes) - known)
    replayed = learner.with_all_heads(batch)
    assert torch.equal(learner.full_logits(replayed, learner.forward(replayed)).isnan(), spread.isnan())


def test_a_widened_batch_asks_all_heads_met_and_trains_its_own():
    stream = blob_stream("task")
    learner, _ = learn(Naive(), stream, tasks=2)
    narrow = learner.batch(stream.tasks[1].train, torch.arange(5))
    own, none = learner.forward(narrow), narrow.joint
    wide = learner.with_all_heads(narrow)
    logits = learner.forward(wide)
    assert none is None
    assert torch.equal(wide.labels, narrow.labels + 2)
    assert wide.joint.shape == (5, 4)
    torch.testing.assert_close(wide.joint[:, 2:], own)
    torch.testing.assert_close(logits[:, 2:], own)
    assert torch.isinf(logits[:, :2]).all()
    assert learner.with_all_heads(wide) is wide


@pytest.mark.parametrize("setting", ["task", "domain", "class"])
def test_the_gradient_on_another_batch_is_that_of_its_cross_entropy(setting):
    stream = blob_stream(setting)
    learner, _ = learn(Naive(), stream, tasks=2)
    memory = learner.memory(20, name="other")
    learner.start(0)
    memory.add(learner.batch(stream.tasks[0].train, torch.arange(12)))
    learner.start(1)
    names, parameters = learner.trainable()
    learner.gradients = {name: torch.zeros_like(p) for name, p in zip(names, parameters, strict=True)}
    batch = memory.read(memory.slots())
    with torch.no_grad():
        found = learner.gradient(batch)
    loss = torch.nn.functional.cross_entropy(learner.forward(batch), batch.labels)
    loss.backward()
    for name in names:
        own_head = setting == "task" and name.startswith("heads.")
        expected = torch.zeros_like(found[name]) if own_head else learner.parameters[name].grad
        torch.testing.assert_close(found[name], expected)


def test_earlier_names_still_work_and_name_the_new_ones():
    stream = blob_stream("task")
    learner = learner_for(stream)
    learner.start(1)
    batch = learner.batch(stream.tasks[1].train, torch.arange(4))
    with pytest.warns(FutureWarning, match=r"learner\.snapshot is now learner\.teacher"):
        assert not learner.snapshot()
    with pytest.warns(FutureWarning, match=r"learner\.widen is now learner\.with_all_heads"):
        assert torch.equal(learner.widen(batch).labels, learner.with_all_heads(batch).labels)
    logits = learner.forward(batch)
    with pytest.warns(FutureWarning, match=r"learner\.spread is now learner\.full_logits"):
        found = learner.spread(batch, logits)
    torch.testing.assert_close(found, learner.full_logits(batch, logits), equal_nan=True)


def test_what_a_learner_does_for_a_while_ends_with_the_context():
    stream = blob_stream()
    learner = learner_for(stream)
    before, own = learner.plan, learner.parameters
    with learner.acting(StepPlan(plain_step=True), ("client", 3)):
        assert learner.plain_step
        assert learner.rng_scope == ("client", 3)
    with learner.substituting({name: value.detach() * 2 for name, value in own.items()}):
        assert learner.reparametrize(None) is learner.parameters
    with learner.restoring_rates():
        learner.lr = learner.base_lr = 7.0
    assert (learner.plan, learner.rng_scope, learner.lr, learner.base_lr) == (before, (), 0.05, 0.05)
    assert learner.parameters is own
    assert learner.reparametrize is None


def test_an_optimiser_with_the_earlier_name_of_plain_is_told_the_new_one():
    class Earlier(SGD):
        bare = True

    learner = learner_for(blob_stream(), optimizer=Earlier(0.05))
    with pytest.warns(FutureWarning, match=r"Earlier\.bare is now called plain"):
        assert Training(learner, Naive(), trainer()).plan.plain_step
