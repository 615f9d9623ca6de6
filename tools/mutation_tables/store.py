"""Mutations of the checks of stored files: records and checkpoints."""

from tools.mutation_tables.mutation import Mutation

_CHECKPOINTS = "tests/runs/test_checkpoint.py"
_STATE = "clbench/runs/learned_state.py"
_SCHEMA = "tests/store/test_schema.py"
_JSON = "tests/utils/test_safe_json.py"

MUTATIONS = (
    Mutation(
        "checkpoint-of-any-task",  # a renamed checkpoint is resumed, and tasks are left out
        "clbench/runs/checkpoint.py",
        'if body["task"] != task:',
        "if False:",
        (f"{_CHECKPOINTS}::test_a_renamed_checkpoint_is_noticed",),
    ),
    Mutation(
        "checkpoint-of-any-run",  # a copied checkpoint is resumed
        "clbench/runs/checkpoint.py",
        'if body["run"] != folder.name:',
        "if False:",
        (f"{_CHECKPOINTS}::test_a_checkpoint_of_another_run_is_noticed",),
    ),
    Mutation(
        "checkpoint-of-any-events",  # an earlier checkpoint, which does not hold its task, is resumed after another one
        _STATE,
        'if ends[-1:] != [task] or len(tree["matrix"]) != len(tree["events"]):',
        "if False:",
        ("tests/runs/test_foreign_checkpoints.py::test_a_renamed_checkpoint_gives_no_record",),
    ),
    Mutation(
        "more-hits-than-samples",  # an accuracy above 100 percent
        "clbench/store/schema.py",
        " and not any(map(gt, hits, n))",
        "",
        (f"{_SCHEMA}::test_a_value_that_no_run_writes_costs_one_line",),
    ),
    Mutation(
        "depth-without-bound",
        "clbench/utils/safe_json.py",
        "if _depth(content) > DEEPEST:",
        "if False:",
        (f"{_JSON}::test_depth_is_bounded_exactly",),
    ),
    Mutation(
        "repeated-key",  # of two values of a key, one is taken without a word
        "clbench/records.py",
        "safe_json.refuse_repeated_keys(content)",
        "pass",
        (f"{_SCHEMA}::test_a_file_that_is_no_record_costs_one_line",),
    ),
)
