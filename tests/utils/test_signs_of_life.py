"""Signs of life."""

from __future__ import annotations

from clbench.utils.signs_of_life import beat, reading, watch


class Training:
    """Counts steps."""

    step_count = 0


def test_a_beat_a_training_and_its_steps_change_the_reading() -> None:
    seen = [reading()]
    training = Training()
    for act in (beat, lambda: watch(training), lambda: setattr(training, "step_count", 1)):
        act()
        seen.append(reading())
    assert len(set(seen)) == 4
    assert reading() == seen[-1]


def test_no_training_is_kept_alive() -> None:
    watch(Training())
    assert reading()[1] == 0
