"""Mutations of measurements: accuracies, events of a run, probes around requests, drift."""

from tools.mutation_tables.mutation import Mutation

MUTATIONS = (
    Mutation(
        "measured-in-training",  # accuracy is measured with dropout on
        "clbench/engine/evaluation/accuracy.py",
        "    learner.model.eval()\n",
        "",
        ("tests/engine/evaluation/test_modes.py::test_accuracy_is_that_of_the_model_in_evaluation_mode",),
    ),
    Mutation(
        "columns-shift",  # samples of sets that share batches count for the first set
        "clbench/engine/evaluation/accuracy.py",
        "owner.index_select(0, batch), task_id",
        "owner.index_select(0, batch * 0), task_id",
        ("tests/engine/evaluation/test_modes.py::test_a_set_counts_its_own_samples_where_sets_share_batches",),
    ),
    Mutation(
        "accuracy-by-size",  # tasks with more test samples weigh more
        "clbench/metrics/matrix.py",
        '"acc": _mean(A[-1]) if A else None',
        '"acc": sum(e[0] for e in result["matrix"][-1][: len(A[-1])]) / sum(e[1] for e in result["matrix"][-1][: len(A[-1])])',
        ("tests/metrics/test_summary.py::test_every_task_has_the_same_weight_whatever_the_size_of_its_test_set",),
    ),
    Mutation(
        "progress-by-size",  # the accuracy shown during a run weighs tasks by size
        "clbench/runs/run.py",
        "100 * sum(hit / n for hit, n in seen) / len(seen)",
        "100 * sum(hit for hit, _ in seen) / sum(n for _, n in seen)",
        ("tests/runs/test_events.py::test_progress_shows_the_mean_over_tasks_of_unequal_size",),
    ),
    Mutation(
        "every-off-by-one",  # measurements within a task are one step late
        "clbench/runs/run.py",
        "step % self.eval_every == 0:",
        "step % self.eval_every == 1:",
        ("tests/runs/test_events.py::test_measurements_within_a_task_are_at_every_so_many_steps_from_its_beginning",),
    ),
    Mutation(
        "every-side-by-side",  # the same for seeds side by side
        "clbench/runs/parallel_seeds.py",
        "step % every == 0:",
        "step % every == 1:",
        ("tests/runs/test_events.py::test_seeds_side_by_side_are_measured_at_the_same_steps",),
    ),
    Mutation(
        "untrained-late",  # the untrained model is measured after the first task
        "clbench/runs/run.py",
        'self._measure("untrained", -1, None)',
        'self.training.learn(self.tasks[0])\n            self._measure("untrained", -1, None)',
        ("tests/runs/test_events.py::test_every_row_is_of_the_model_at_its_event",),
    ),
    Mutation(
        "resumed-samples",  # a resumed run forgets the samples trained on before
        "clbench/runs/learned_state.py",
        '    training.count(samples=tree["samples"])\n',
        "",
        ("tests/runs/test_events.py::test_a_resumed_run_counts_what_was_done_before",),
    ),
    Mutation(
        "resumed-losses",  # a resumed run loses the curves of earlier tasks
        "clbench/runs/run.py",
        'self.events, self.losses = tree["events"], tree["losses"]',
        'self.events = tree["events"]',
        ("tests/runs/test_events.py::test_a_resumed_run_counts_what_was_done_before",),
    ),
    Mutation(
        "drift-in-training",  # drift is measured with dropout on
        "clbench/engine/evaluation/drift.py",
        "    model.eval()\n",
        "",
        ("tests/engine/evaluation/test_modes.py::test_activations_are_those_of_the_model_in_evaluation_mode",),
    ),
    Mutation(
        "drift-of-some-classes",  # the probe is the first samples: some classes only
        "clbench/engine/evaluation/drift.py",
        "torch.linspace(0, len(split) - 1, min(PROBE, len(split)), device=split.rows.device).long()",
        "torch.arange(min(PROBE, len(split)), device=split.rows.device)",
        ("tests/engine/evaluation/test_modes.py::test_the_probe_of_drift_is_spread_over_all_classes_of_the_first_task",),
    ),
    Mutation(
        "membership-swapped",  # members and others change sides
        "clbench/metrics/unlearning.py",
        "100 * auc(members, others)",
        "100 * auc(others, members)",
        ("tests/metrics/test_unlearning.py::test_lower_losses_of_members_are_a_sign_of_membership",),
    ),
    Mutation(
        "losses-in-training",  # losses for membership are taken with dropout on
        "clbench/engine/evaluation/request_probes.py",
        "    learner.model.eval()\n    n = min",
        "    n = min",
        ("tests/engine/evaluation/test_modes.py::test_losses_are_those_of_the_model_in_evaluation_mode",),
    ),
    Mutation(
        "losses-of-some-classes",  # of a large set the first samples only
        "clbench/engine/evaluation/request_probes.py",
        "* len(split) // max(n, 1)",
        "",
        ("tests/engine/evaluation/test_modes.py::test_losses_are_of_samples_from_all_over_a_large_set",),
    ),
    Mutation(
        "detection-in-training",  # detection is measured with dropout on
        "clbench/engine/evaluation/request_probes.py",
        "    learner.model.eval()\n\n    def seen(",
        "    def seen(",
        ("tests/engine/evaluation/test_modes.py::test_detection_is_that_of_the_model_in_evaluation_mode",),
    ),
    Mutation(
        "relearning-moments",  # relearning goes on with the moments of the last request
        "clbench/engine/evaluation/request_probes.py",
        "        optimizer.reset()\n",
        "",
        ("tests/engine/evaluation/test_modes.py::test_relearning_is_plain_training_at_the_optimisers_own_rate_from_no_moments",),
    ),
    Mutation(
        "relearning-rate",  # relearning takes the rate of later tasks
        "clbench/engine/evaluation/request_probes.py",
        "iterations=last, later_lr=None,",
        "iterations=last,",
        ("tests/engine/evaluation/test_modes.py::test_relearning_is_plain_training_at_the_optimisers_own_rate_from_no_moments",),
    ),
    Mutation(
        "joint-of-all",  # joint training knows later tasks
        "clbench/engine/evaluation/joint_baseline.py",
        "if task.index <= last.index]",
        "]",
        ("tests/engine/evaluation/test_modes.py::test_joint_training_is_on_the_tasks_so_far_and_no_others",),
    ),
    Mutation(
        "generation-beyond-the-end",  # generated answers go on after their end
        "clbench/engine/evaluation/generation.py",
        "return tokens[: tokens.index(end)] if end in tokens else tokens",
        "return tokens",
        ("tests/engine/evaluation/test_text_metrics.py::test_generation_agrees_with_greedy_decoding_from_the_definition",),
    ),
    Mutation(
        "anytime-before",  # the task in training does not count in anytime accuracy
        "clbench/metrics/matrix.py",
        "for j in range(task + 1)])",
        "for j in range(max(task, 1))])",
        ("tests/metrics/test_matrix.py::test_within_tasks_by_hand",),
    ),
)
