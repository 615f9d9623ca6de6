"""Which tasks' data a method gets: those before the current one, all others, or none."""

from __future__ import annotations

import pytest

from clbench.engine.training.data_access import covered
from clbench.engine.training.loop import Training
from clbench.method import Method
from tests.streams import blob_stream, learner_for, trainer


@pytest.mark.parametrize(
    ("access", "wanted"), [("current", [[], [], []]), ("seen", [[], [0], [0, 1]]), ("all", [[1, 2], [0, 2], [0, 1]])]
)
def test_history_is_what_the_declared_access_covers(access, wanted):
    stream = blob_stream()
    assert [[other.index for other in covered(stream, access, task)] for task in stream.tasks] == wanted
    assert [covered(stream, "retained", task) for task in stream.tasks] == [()] * 3, "retained data is for requests only"
    told = {"fit": [], "end": []}

    class Watch(Method):
        def fit(self, learner, task, train, history):
            told["fit"].append([other.index for other in history])
            train(task.train)

        def end_task(self, learner, task, history):
            told["end"].append([other.index for other in history])

    Watch.access = access
    training = Training(learner_for(stream), Watch(), trainer(epochs=1))
    for task in stream.tasks:
        training.learn(task)
    assert told == {"fit": wanted, "end": wanted}
