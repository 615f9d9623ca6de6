"""Avalanche's own strategies beside ours: same stream, model, initial weights, order of batches; weights compared by task.

Where the algorithm is the same, the trajectories agree to 1e-5 (measured: 1e-7); where it is not, the docstring of the test
says how, and the test holds the exact relation. All of it in the class setting with outputs=all, which is a plain net with one
output per class; samples come to Avalanche in the order in which ours were met, unshuffled, in one pass.
"""

import copy
import math
import statistics
import warnings
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from clbench.engine.evaluation.accuracy import evaluate
from clbench.engine.optimizers import SGD
from clbench.engine.training.loop import Training
from clbench.methods.agem import AGEM
from clbench.methods.er import ER
from clbench.methods.ewc import EWC
from clbench.methods.lwf import LwF
from clbench.methods.naive import Naive
from clbench.methods.si import SI, BoundedSI
from clbench.runs.run import assemble
from clbench.testing import make_spec
from tests.streams import blob_stream, learner_for, trainer, weights

RATE = 0.05
TASKS, TASK_SIZE = 3, 80
"""Of the blob stream: two classes of 40 samples per task."""
SAME = 1e-5


@pytest.fixture(scope="module")
def avalanche():
    """What is used of Avalanche; its import takes seconds, so it happens here and nowhere else."""
    pytest.importorskip("avalanche", reason="Avalanche is not installed (pip install 'clbench[avalanche]')")
    from avalanche.benchmarks import tensors_benchmark
    from avalanche.training import plugins, supervised

    return SimpleNamespace(tensors_benchmark=tensors_benchmark, plugins=plugins, supervised=supervised)


class Ours:
    """Our run of a stream, with what Avalanche needs to repeat it: the initial model, and each task's samples as met."""

    def __init__(self, method, setting="class", batch_size=16, momentum=0.0, assembled=None):
        if assembled is None:
            stream = blob_stream(setting, "all", n_tasks=TASKS)
            learner = learner_for(stream, optimizer=SGD(RATE, momentum=momentum))
            method.setup(learner, stream)
            assembled = stream, method, learner, trainer(epochs=1, batch_size=batch_size)
        self.stream, self.method, self.learner, self.how = assembled
        self.initial, self.momentum = copy.deepcopy(self.learner.model), momentum
        self.data, self.path, self.probes = [], [], []
        training = Training(self.learner, self.method, self.how)
        step, batches = training.step, []

        def recorded(batch):
            batches.append((batch.inputs, batch.labels))
            return step(batch)

        training.step = recorded
        for task in self.stream.tasks:
            batches.clear()
            training.learn(task)
            self.data.append(tuple(torch.cat(column) for column in zip(*batches)))
            self.path.append(weights(self.learner))
            self.probes.append({name: value.clone() for name, value in getattr(self.method, "importance", {}).items()})

    def accuracy(self):
        hits = evaluate(self.learner, self.method, self.stream.evaluation, 1000)
        return 100 * statistics.mean(hit / n for hit, n in hits)


class Theirs:
    """Avalanche's run on what ours met; the options are those of the strategy."""

    def __init__(self, avalanche, strategy, ours, tasks=None, how=None, **options):
        self.model = copy.deepcopy(ours.initial)
        labels, self.path = [0] * len(ours.data), []
        with warnings.catch_warnings(record=True):  # of deprecations Avalanche warns past every filter
            self.strategy = getattr(avalanche.supervised, strategy)(
                model=self.model,
                optimizer=torch.optim.SGD(self.model.parameters(), lr=ours.learner.optimizer.lr, momentum=ours.momentum),
                criterion=torch.nn.CrossEntropyLoss(),
                train_mb_size=ours.how.batch_size,
                train_epochs=1,
                evaluator=None,
                **options,
            )
            made = avalanche.tensors_benchmark(
                train_tensors=ours.data, test_tensors=ours.data[:1], task_labels=labels, complete_test_set_only=True
            )
            for experience in list(made.train_stream)[:tasks]:
                self.strategy.train(experience, drop_last=False, **({"shuffle": False} | (how or {})))
                self.path.append(copy.deepcopy(self.model.state_dict()))

    def plugin(self, kind):
        (found,) = (plugin for plugin in self.strategy.plugins if isinstance(plugin, kind))
        return found


def gaps(one, other):
    """Return the largest difference of any weight, after each task."""
    return [max(float((a[name] - b[name]).abs().max()) for name in a) for a, b in zip(one.path, other.path, strict=True)]


def assert_same(ours, theirs, *others):
    """Check that the weights agree after every task, and that this is not for want of an effect: `others` are far off."""
    found = gaps(ours, theirs)
    assert max(found) < SAME, found
    for other in others:
        effect = gaps(ours, other)
        assert min(effect[1:]) > 100 * SAME, effect


def test_naive(avalanche):
    ours = Ours(Naive())
    assert_same(ours, Theirs(avalanche, "Naive", ours))


def test_naive_with_momentum(avalanche):
    """Avalanche's optimiser takes its momentum along into the next task unless `reset_optimizer_state=True`; ours starts anew."""
    ours = Ours(Naive(), momentum=0.9)
    assert_same(ours, Theirs(avalanche, "Naive", ours, how={"reset_optimizer_state": True}))
    carried = gaps(ours, Theirs(avalanche, "Naive", ours))
    assert carried[0] < SAME < 1e-2 < min(carried[1:])


@pytest.mark.parametrize(
    ("mode", "theirs"), [("offline", {"mode": "separate"}), ("online", {"mode": "online", "decay_factor": 0.5})]
)
def test_ewc(avalanche, mode, theirs):
    """Avalanche's penalty has no factor 1/2: strength = 2 * ewc_lambda. In batches of one, its Fisher is the empirical one."""
    method = EWC(strength=40.0, mode=mode, decay=0.5, fisher="empirical", fisher_samples=None)
    ours = Ours(method, batch_size=1)
    assert_same(ours, Theirs(avalanche, "EWC", ours, ewc_lambda=20.0, **theirs), Ours(Naive(), batch_size=1))


def test_ewc_importance_of_larger_batches(avalanche):
    """Avalanche squares the mean gradient of each batch of `train_mb_size`, not each sample's: it finds less than the Fisher."""
    ours = Ours(EWC(strength=0.0, mode="offline", decay=1.0, fisher="empirical", fisher_samples=None))
    theirs = Theirs(avalanche, "EWC", ours, tasks=1, ewc_lambda=1.0)
    plugin = theirs.plugin(avalanche.plugins.EWCPlugin)
    inputs, labels = ours.data[0]
    batches = list(zip(torch.split(inputs, 16), torch.split(labels, 16)))
    expected = {name: torch.zeros_like(p) for name, p in theirs.model.named_parameters()}
    for x, y in batches:
        found = torch.autograd.grad(F.cross_entropy(theirs.model(x), y), list(theirs.model.parameters()))
        for name, gradient in zip(expected, found, strict=True):
            expected[name] += gradient.square() / len(batches)
    for name, importance in plugin.importances[0].items():
        torch.testing.assert_close(importance.data, expected[name], rtol=1e-4, atol=1e-9)
        fisher = ours.probes[0][name]
        assert (importance.data <= fisher * (1 + 1e-4) + 1e-9).all(), "the square of a mean is at most the mean of squares"
        assert importance.data.sum() < 0.8 * fisher.sum()


def si(strength=1.0):
    return SI(strength=strength, damping=0.1, path="total")


@pytest.fixture
def copying(avalanche, monkeypatch):
    """Repair Avalanche's synaptic intelligence on a CPU: let it copy the weights that it keeps for later."""
    plugin = avalanche.plugins.SynapticIntelligencePlugin
    original = plugin.extract_weights

    def extract(model, target, excluded):
        original(model, target, excluded)
        for kept in target.values():
            kept.data = kept.data.clone()

    monkeypatch.setattr(plugin, "extract_weights", staticmethod(extract))
    return plugin


def test_si_of_avalanche_on_a_cpu_is_naive(avalanche):
    """As it stands, `.detach().cpu().flatten()` of a weight on a CPU is the weight itself, which the next step changes.

    Every step then seems to have length 0 and the anchor to move along, so that there is neither importance nor penalty.
    """
    ours = Ours(si(10.0))
    theirs = Theirs(avalanche, "SynapticIntelligence", ours, si_lambda=20.0, eps=0.1)
    assert_same(Ours(Naive()), theirs)
    importance = theirs.plugin(avalanche.plugins.SynapticIntelligencePlugin).ewc_data[1]
    assert all(not value.data.any() for value in importance.values())
    assert min(gaps(ours, theirs)[1:]) > 1e-2


@pytest.mark.parametrize("strength", [1.0, 10.0])
def test_si(avalanche, copying, monkeypatch, strength):
    """Repaired, and without its bound on importance, Avalanche's is ours with path=total and strength = si_lambda / 2.

    Its path integral takes the gradient of loss and penalty together; its penalty has the factor 1/2.
    """
    update = copying.update_ewc_data

    def unbounded(net, anchors, path, bound, *others, **named):
        update(net, anchors, path, math.inf, *others, **named)

    monkeypatch.setattr(copying, "update_ewc_data", staticmethod(unbounded))
    ours = Ours(si(strength))
    theirs = Theirs(avalanche, "SynapticIntelligence", ours, si_lambda=2 * strength, eps=0.1)
    assert_same(ours, theirs, Ours(Naive()))


@pytest.mark.parametrize("strength", [100.0, 1000.0])
def test_si_bounded(avalanche, copying, strength):
    """Repaired, Avalanche's is `si_bounded`: it bounds importance from above, at 0.001; Zenke et al. and `si` do not."""
    ours = Ours(BoundedSI(strength=strength, damping=0.1, path="total", ceiling=1e-3))
    theirs = Theirs(avalanche, "SynapticIntelligence", ours, si_lambda=2 * strength, eps=0.1)
    assert_same(ours, theirs, Ours(Naive()), Ours(si(strength)))


def test_agem(avalanche):
    """With memories that hold everything, drawn from as a whole, the two projections are one.

    They differ in what is drawn otherwise: Avalanche keeps `patterns_per_exp` samples of every task, so that its memory
    grows, and draws equally from every earlier task; ours divides one buffer among all tasks and draws uniformly from it.
    """
    everything = TASKS * TASK_SIZE
    ours = Ours(AGEM(buffer_size=everything, reference_batch=everything, fill="end", policy="ring"))
    theirs = Theirs(avalanche, "AGEM", ours, patterns_per_exp=TASK_SIZE, sample_size=everything)
    assert_same(ours, theirs, Ours(Naive()))


@pytest.mark.parametrize("setting", ["class", "domain"])
def test_lwf(avalanche, setting):
    """The same loss: KL of softmaxes over the outputs of earlier classes, mean over samples, no T^2, and no warm-up."""
    ours = Ours(LwF(strength=5.0, temperature=2.0, scaled=False, warmup=False), setting)
    assert_same(ours, Theirs(avalanche, "LwF", ours, alpha=5.0, temperature=2.0), Ours(Naive(), setting))


class FilledAtTheEnd(ER):
    """Our ER but for when it fills its memory: after a task, as Avalanche does."""

    def extend_batch(self, learner, batch):
        return super().extend_batch(learner, replace(batch, epoch=1))  # samples are offered in the first pass only

    def end_task(self, learner, task, history):
        self.memory.offer(task.train.rows, task.index)


def test_er_filled_at_the_end(avalanche):
    """With memories that hold everything, drawn from as a whole, the steps are the same: one mean loss over batch and draw."""
    everything = TASKS * TASK_SIZE
    ours = Ours(FilledAtTheEnd(buffer_size=everything, replay_batch=everything, policy="reservoir"))
    replay = avalanche.plugins.ReplayPlugin(everything, batch_size_mem=everything)
    assert_same(ours, Theirs(avalanche, "Naive", ours, plugins=[replay]), Ours(Naive()))


@pytest.mark.slow
def test_er(avalanche):
    """As they stand, the two differ in three ways, and their accuracies by no more than noise.

    Avalanche fills its memory after a task, ours as samples pass, so that ours also replays the current task; Avalanche's has an
    equal share of random samples of every task met, ours is one reservoir; Avalanche passes over its memory in random order, ours
    draws independently at every step.
    """
    ours, theirs = [], []
    for seed in range(5):
        options = ["scenario.outputs=all", "optimizer.lr=0.1", "method.buffer_size=200", "method.replay_batch=10"]
        spec = make_spec("er", [*options, "optimizer=sgd", "trainer.batch_size=10", "scenario.setting=class"], seed=seed)
        stream, method, learner, training = assemble(spec, torch.device("cpu"))
        run = Ours(None, assembled=(stream, method, learner, training.trainer))
        ours.append(run.accuracy())
        torch.manual_seed(seed)
        other = Theirs(avalanche, "Replay", run, how={"shuffle": True}, mem_size=200)
        run.learner.model.load_state_dict(other.model.state_dict())
        theirs.append(run.accuracy())
    noise = math.sqrt((statistics.variance(ours) + statistics.variance(theirs)) / len(ours))
    assert min(statistics.mean(ours), statistics.mean(theirs)) > 70  # naive ends below 25
    assert abs(statistics.mean(ours) - statistics.mean(theirs)) < 3 * noise, (ours, theirs)
