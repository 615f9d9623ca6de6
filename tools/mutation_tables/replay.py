"""Mutations of memories and of methods that keep something from task to task."""

from tools.mutation_tables.mutation import Mutation

MUTATIONS = (
    Mutation(
        "replay-not-augmented",  # stored samples replay as they are
        "clbench/engine/replay/memory.py",
        "if augment and self.stream.preprocess.augments:",
        "if False:",
        ("tests/engine/replay/test_draws.py::test_replay_is_augmented_anew_and_reading_is_not",),
    ),
    Mutation(
        "read-augmented",  # stored samples are read augmented (exemplars, references)
        "clbench/engine/replay/memory.py",
        "slots: Tensor, augment: bool = False",
        "slots: Tensor, augment: bool = True",
        ("tests/engine/replay/test_draws.py::test_replay_is_augmented_anew_and_reading_is_not",),
    ),
    Mutation(
        "replay-of-the-first",  # only the first slots are ever drawn
        "clbench/engine/replay/memory.py",
        "torch.randperm(held, generator=generator)[:n]",
        "torch.randperm(n, generator=generator)",
        ("tests/engine/replay/test_draws.py::test_every_stored_sample_is_drawn_alike_often",),
    ),
    Mutation(
        "replay-repeats",  # every draw is the same
        "clbench/engine/replay/memory.py",
        "        self._draws += 1\n",
        "",
        ("tests/engine/replay/test_draws.py::test_no_two_draws_are_the_same_and_each_seed_has_its_own",),
    ),
    Mutation(
        "memories-alike",  # two memories of one method draw the same
        "clbench/engine/replay/memory.py",
        "self.learner.generator(self._name, self._draws",
        'self.learner.generator("memory", self._draws',
        ("tests/engine/replay/test_draws.py::test_two_memories_of_one_method_draw_apart",),
    ),
    Mutation(
        "memory-with-replayed",  # replayed samples are offered again
        "clbench/engine/replay/memory.py",
        "n = batch.own\n",
        "n = len(batch)\n",
        ("tests/engine/replay/test_policies.py::test_replayed_samples_of_a_batch_are_passed_over",),
    ),
    Mutation(
        "ring-oldest",  # a ring keeps the oldest samples of a task
        "clbench/engine/replay/policies.py",
        "(before + torch.arange(len(positions))) % share",
        "(before + torch.arange(len(positions))).clamp(max=share - 1)",
        ("tests/engine/replay/test_policies.py::test_a_ring_holds_the_newest_of_every_task",),
    ),
    Mutation(
        "balanced-smallest",  # in a full memory the smallest class gives way
        "clbench/engine/replay/policies.py",
        "max(range(len(members)), key=lambda c: len(members[c]))",
        "min(range(len(members)), key=lambda c: len(members[c]) or 999)",
        ("tests/engine/replay/test_policies.py::test_a_balanced_memory_differs_by_one_at_most_and_wastes_no_slot",),
    ),
    Mutation(
        "replay-half",  # half as many stored samples as said
        "clbench/methods/er.py",
        "self.memory.sample(self.replay_batch or len(batch))",
        "self.memory.sample((self.replay_batch or len(batch)) // 2)",
        ("tests/methods/test_er.py::test_a_batch_is_joined_by_as_many_stored_samples_as_said",),
    ),
    Mutation(
        "replay-of-itself",  # a sample may replay in its own first step
        "clbench/methods/er.py",
        "        drawn = self.memory",
        "        self.memory.add(batch)\n        drawn = self.memory",
        ("tests/methods/test_er.py::test_a_sample_is_stored_after_its_own_step",),
    ),
    Mutation(
        "threshold-step",  # GPM's threshold stays
        "clbench/methods/gpm.py",
        "base + self.threshold_step * task.index",
        "base",
        ("tests/methods/test_gpm.py::test_the_threshold_rises_by_its_step_after_every_task_up_to_one",),
    ),
    Mutation(
        "threshold-step-early",  # GPM's threshold rises before the second task
        "clbench/methods/gpm.py",
        "base + self.threshold_step * task.index",
        "base + self.threshold_step * (task.index + 1)",
        ("tests/methods/test_gpm.py::test_the_threshold_rises_by_its_step_after_every_task_up_to_one",),
    ),
)
