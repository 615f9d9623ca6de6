"""The accuracy of joint training: the reference for a model's knowledge before requests to forget."""

from __future__ import annotations

import copy

from clbench.engine.evaluation.accuracy import Row, evaluate
from clbench.engine.learner.learner import Learner
from clbench.engine.training.loop import Trainer, Training
from clbench.method import Method
from clbench.stream import Stream, Task
from clbench.utils.one_time import long_call


def joint_row(stream: Stream, learner: Learner, trainer: Trainer, last: Task, batch_size: int) -> Row:
    """Return the evaluation row of a new model trained on all tasks of `stream` up to `last` at once, without a method.

    Same initial weights, optimiser and schedule; `learner` stays as it is.
    """
    fresh = Learner(learner.stream, learner.initial, copy.deepcopy(learner.optimizer), learner.device, learner.seed)
    training = Training(fresh, Method(), copy.deepcopy(trainer))
    training.begin(last)
    with long_call("joint training, the reference for requests to forget", lambda: training.step_count, unit="steps"):
        training.fit(stream.union([task for task in stream.learned if task.index <= last.index]))
    return evaluate(fresh, training.method, stream.evaluation, batch_size)
