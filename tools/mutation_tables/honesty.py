"""Mutations of what keeps rows honest: failed seeds, sources of own code, keys without effect, decompositions."""

from tools.mutation_tables.mutation import Mutation

MUTATIONS = (
    Mutation(
        "failed-row-first",  # a row whose survivor is best stands above complete rows
        "clbench/leaderboard/rows.py",
        'rank = (row["n_failed"] > 0, accuracy is None',
        "rank = (accuracy is None",
        ("tests/leaderboard/test_incomplete.py::test_a_row_with_failed_seeds_never_stands_above_complete_rows",),
    ),
    Mutation(
        "failed-seed-complete",  # a row says n of n, though seeds failed
        "clbench/leaderboard/incomplete.py",
        'FAILED if row["n_failed"] else FEWER',
        "FEWER",
        ("tests/leaderboard/test_incomplete.py::test_counts_and_marks",),
    ),
    Mutation(
        "n-failed-dropped",  # the number of failed seeds is always 0
        "clbench/leaderboard/rows.py",
        "n_failed=len(failures)",
        "n_failed=0",
        ("tests/leaderboard/test_incomplete.py::test_counts_and_marks",),
    ),
    Mutation(
        "rerun-ignored",  # rerun=true trains nothing again
        "clbench/runner/run_specs.py",
        "if not spec.execution.rerun:",
        "if True:",
        ("tests/runner/test_rerun.py::test_rerun_trains_again_and_replaces_the_record",),
    ),
    Mutation(
        "helper-not-in-sources",  # only the class's own module counts
        "clbench/sources/trace.py",
        "            if module not in self._visited:",
        "            if module not in self._visited and not self.found:",
        ("tests/sources/test_trace.py::test_an_edit_of_any_module_that_is_reached_counts_and_a_comment_does_not",),
    ),
    Mutation(
        "stream-not-sealed",  # a learner's stream holds the evaluation samples
        "clbench/stream.py",
        "        return replace(self, evaluation=tuple(columns))",
        "        return replace(self, evaluation=self.evaluation if columns else ())",
        ("tests/test_hidden_data.py::test_the_stream_of_a_learner_reaches_no_test_data",),
    ),
    Mutation(
        "stream-unchecked",  # a run trains on labels beyond the outputs
        "clbench/runs/factory.py",
        "    check_stream(made, name)\n",
        "",
        ("tests/scenarios/test_stream_checks.py::test_a_run_and_the_kit_refuse_labels_beyond_the_outputs",),
    ),
    Mutation(
        "last-batch-of-one",  # a last single sample is a batch of its own
        "clbench/engine/training/batch_statistics.py",
        "        sizes[-2:] = [size + 1]\n",
        "        pass\n",
        ("tests/engine/training/test_batch_statistics.py::test_a_last_batch_of_one_joins_the_one_before",),
    ),
    Mutation(
        "double-file-accepted",  # a file of one's own with a built-in's name is ignored without a word
        "clbench/config/double_files.py",
        "    raise DoubleFileError(",
        "    DoubleFileError(",
        ("tests/config/test_double_files.py::test_two_folders_of_ones_own_are_refused_as_well",),
    ),
    Mutation(
        "product-noise-missing",  # no product gets the noise
        "clbench/testing/product_noise.py",
        "    return random.Random(seed).getrandbits(31) | 1",
        "    return 0",
        ("tests/testing/test_product_noise.py::test_the_noise_has_mean_zero_and_the_standard_deviation_asked_for",),
    ),
    Mutation(
        "idle-schedule-by-epochs",  # a schedule over steps moves only between epochs
        "clbench/engine/training/loop.py",
        "pace if pace.by_step else None",
        "None",
        ("tests/engine/training/test_pace.py::test_a_schedule_over_steps_changes_the_rate_at_every_step",),
    ),
    Mutation(
        "state-unchecked",  # a state that cannot be loaded is saved
        "clbench/engine/resumable.py",
        "    check_state(owner, state)\n    return",
        "    return",
        ("tests/engine/test_resumable.py::test_a_run_is_refused_at_its_first_task",),
    ),
    Mutation(
        "decomposition-not-finite",  # a matrix with nan is decomposed in another way
        "clbench/subspace/factorise.py",
        "    if wrong:",
        "    if False:",
        ("tests/subspace/test_factorise.py::test_a_basis_is_not_extended_by_inputs_that_are_not_finite",),
    ),
    Mutation(
        "decomposition-scale",  # the second attempt forgets the scale of the matrix
        "clbench/subspace/factorise.py",
        "    parts[scaled] = parts[scaled] * largest\n",
        "",
        ("tests/subspace/test_factorise.py::test_where_single_precision_does_not_converge_double_does",),
    ),
)
