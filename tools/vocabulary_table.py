"""The vocabulary that `tools/vocabulary.py` checks: old words with their new words, old modules with their new places."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Word:
    """One old word.

    Args:
        old: the old word or name.
        new: the word to use.
        kind: what is searched for. `word`: every mention, in text and as a part of identifiers. `name`: identifiers that are
            exactly this name, and the name between backticks. `member`: the same without local variables.
        where: regular expression of paths in which the old word names the old thing.
        but: regular expression of paths among these in which the word means another thing.
        text: regular expression to search for in text, in place of the word itself.
    """

    old: str
    new: str
    kind: str = "word"
    where: str = ""
    but: str = ""
    text: str = ""


_RUNS = (
    r"^clbench/(run_spec|runs|runner|config|flower|testing|cli|api|instantiate|records|loggers)\b|^hydra_plugins|"
    r"^tests/(runner|runs|config|flower)/"
)
_TRAINING = r"^clbench/(engine|federated|methods|method|toolkit)\b|^tests/(engine|federated|methods|toolkit)/"

WORDS = (
    Word("trial", "run"),
    Word("cell", "run", where=_RUNS, text=r"\bn_cells\b|\bcells?\b(?! of (?:a|the) table)", but="loggers/(heatmap|wandb)"),
    Word("telling", "notify", "name"),
    Word("heard_by", "redirect"),
    Word("assembly", "factory", "name"),
    Word("settle", "resolve", "name", where=_RUNS),
    Word("settled", "resolved", "name", where=_RUNS),
    Word("claim", "lock", where=r"^clbench/runner/|^tests/runner/", text=r"\bclaim(s|ed|ing)?\b"),
    Word("packing", "admission", where=r"^clbench/runner/|^tests/runner/"),
    Word("guest", "launched_job"),
    Word("elsewhere", "external_launcher", "name", where=r"^clbench/runner/|^hydra_plugins"),
    Word("examination", "request_probes"),
    Word("conclusion", "claims", "name", but=r"^docs|request_probes"),  # a result's key has this name
    Word("fullness", "subspace_report"),
    Word("factored", "svd_linear", "name"),
    Word("snapshot", "teacher", "name"),
    Word("side_by_side", "stacked_clients", "member"),
    Word("substitutes", "reparametrize"),
    Word("between_epochs", "on_epoch_end", "name"),
    Word("answering", "generation_context", "member"),
    Word("likeness", "forget_score", "name"),
    Word("answers", "supports_generation", "member", where=r"^clbench/(method|methods|testing)\b", but="random_targets"),
    Word("leans", "needs_first_task", "member"),
    Word("holds", "anchors", "member"),
    Word("renews", "replaces_parameters", "member"),
    Word("accumulates", "stores_in_weights", "member"),
    Word("observes", "read_only_update", "member"),
    Word("syncs", "host_sync", "member"),
    Word("bare", "plain_step", "member"),
    Word("wide", "needs_all_heads", "member", where=_TRAINING),
    Word("widen", "with_all_heads", "member", where=_TRAINING),
    Word("spread", "full_logits", "member", where=_TRAINING),
    Word("chosen", "active_logits", "member", where=r"^clbench/(engine|method)\b"),
    Word("hindrance", "unsupported_reason"),
    Word("obstacle", "unsupported_reason"),
    Word("written", "answer_tokens", "member", where=r"^clbench/(data/answer_tokens|engine/|methods/)"),
    Word("ahead", "prefetch", "member"),
    Word("beside", "stacked", "member", where=r"^clbench/runner/|^tests/runner/"),
    Word("dealt", "partition_counts", "name"),
    Word("told", "recorded_peak", "name", where=r"^clbench/runner/device_memory|^clbench/runner/run_specs"),
    Word("less", "subtract_product", "member"),
    Word("rng.place", "rng_scope", text=r"\b(rng|randomness)\.place\b"),
    Word("relabelling", "random_targets", "name"),
    Word("differentiation", "gradients", "name"),
    Word("curvature", "importance", "name"),
    Word("chain", "mlp_backward", "name", where=r"^clbench/(engine|methods|toolkit)/|^tests/(engine|toolkit)/"),
    Word("Chain", "mlp_backward", "name"),
    Word("division", "assign_clients", "name", where=r"federated"),
    Word(
        "exchange",
        "transport",
        "name",
        where=r"^clbench/(federated|flower)/|^tests/(federated|flower)/|^benchmarks",
        but="secure",
    ),
    Word("Exchange", "Transport", "name"),
)
"""Words that plain English also has are searched for only as names, and only where they named the old thing."""

MODULES = dict(
    line.split()
    for line in """
    clbench.help clbench.cli.help
    clbench.leaderboard.app clbench.cli.leaderboard
    clbench.app clbench.cli.main
    clbench.plots.app clbench.cli.plot
    clbench.reproduction.app clbench.cli.reproduce
    clbench.loading clbench.config.hydra_cache
    clbench.compose clbench.config.hydra_compose
    clbench.job clbench.config.job
    clbench.config clbench.config.resolve
    clbench.values clbench.config.validators
    clbench.variant clbench.config.variant
    clbench.data.answers clbench.data.answer_tokens
    clbench.data.kept clbench.data.array_cache
    clbench.data.biography.texts clbench.data.biography.person_texts
    clbench.data.grouping clbench.data.deterministic_sampling
    clbench.data.loader clbench.data.prefetch
    clbench.data.sources.features clbench.data.sources.frozen_features
    clbench.data.sources.people clbench.data.sources.people_questions
    clbench.data.sources.questionfolder clbench.data.sources.question_folder
    clbench.data.sources.tables clbench.data.sources.table_files
    clbench.data.sources.textfolder clbench.data.sources.text_folder
    clbench.engine.evaluation clbench.engine.evaluation.accuracy
    clbench.engine.conclusion clbench.engine.evaluation.claims
    clbench.engine.drift clbench.engine.evaluation.drift
    clbench.engine.generation clbench.engine.evaluation.generation
    clbench.engine.reference clbench.engine.evaluation.joint_baseline
    clbench.engine.examination clbench.engine.evaluation.request_probes
    clbench.engine.answers clbench.engine.evaluation.text_metrics
    clbench.engine.compiled clbench.engine.fast.compile
    clbench.engine.graph clbench.engine.fast.cuda_graphs
    clbench.engine.chain clbench.engine.fast.mlp_backward
    clbench.engine.batch clbench.engine.learner.batch
    clbench.engine.learner clbench.engine.learner.learner
    clbench.engine.memory_format clbench.engine.learner.memory_format
    clbench.engine.parameters clbench.engine.learner.parameters
    clbench.engine.precision clbench.engine.learner.precision
    clbench.engine.snapshot clbench.engine.learner.teacher
    clbench.engine.weights clbench.engine.learner.weights
    clbench.engine.memory clbench.engine.replay.memory
    clbench.engine.policies clbench.engine.replay.policies
    clbench.engine.stack clbench.engine.replicas.stack
    clbench.engine.stacked clbench.engine.replicas.stacked_loop
    clbench.engine.requests clbench.engine.training.data_access
    clbench.engine.differentiation clbench.engine.training.gradients
    clbench.engine.training clbench.engine.training.loop
    clbench.engine.trainer clbench.engine.training.trainer
    clbench.federated.division clbench.federated.assign_clients
    clbench.federated.rounds clbench.federated.client_sampling
    clbench.federated.training clbench.federated.federated_training
    clbench.federated.secure.server clbench.federated.secure.aggregator
    clbench.federated.secure.graph clbench.federated.secure.neighbours
    clbench.federated.secure.client clbench.federated.secure.participant
    clbench.federated.side_by_side clbench.federated.stacked_clients
    clbench.federated.exchange clbench.federated.transport
    clbench.superlink clbench.flower.flower_server
    clbench.flower.exchange clbench.flower.grid_transport
    clbench.flower.messages clbench.flower.wire_format
    clbench.build clbench.instantiate
    clbench.results clbench.leaderboard.results
    clbench.methods.together clbench.methods.compatibility
    clbench.methods.relabelling clbench.methods.random_targets
    clbench.metrics.clients clbench.metrics.client_shares
    clbench.plots.clients clbench.plots.plot_clients
    clbench.plots.curves clbench.plots.plot_curves
    clbench.plots.drift clbench.plots.plot_drift
    clbench.plots.matrix clbench.plots.plot_matrix
    clbench.plots.subspaces clbench.plots.plot_subspaces
    clbench.cells clbench.run_spec
    clbench.runner.packing clbench.runner.admission
    clbench.runner.memory clbench.runner.device_memory
    clbench.runner.elsewhere clbench.runner.external_launcher
    clbench.runner.guest clbench.runner.launched_job
    clbench.runner.claim clbench.runner.lock
    clbench.command clbench.runner.sweep
    clbench.runner.pool clbench.runner.worker_pool
    clbench.engine.checkpoint clbench.runs.checkpoint
    clbench.engine.cost clbench.runs.cost
    clbench.assembly clbench.runs.factory
    clbench.stacked clbench.runs.parallel_seeds
    clbench.provenance clbench.runs.provenance
    clbench.trial clbench.runs.run
    clbench.scenarios.requests clbench.scenarios.forget_requests
    clbench.scenarios.assemble clbench.scenarios.stream_builder
    clbench.subspace.rows clbench.subspace.layer_inputs
    clbench.testing.cells clbench.testing.make_run
    clbench.testing.methods clbench.testing.method_checks
    clbench.testing.scenarios clbench.testing.scenario_checks
    clbench.testing.servers clbench.testing.server_checks
    clbench.testing.stacking clbench.testing.stacking_checks
    clbench.engine.features clbench.toolkit.features
    clbench.engine.curvature clbench.toolkit.importance
    clbench.engine.blocks clbench.toolkit.layer_discovery
    clbench.engine.similarity clbench.toolkit.layer_similarity
    clbench.engine.adapters clbench.toolkit.lora
    clbench.engine.targets clbench.toolkit.module_selection
    clbench.engine.projection clbench.toolkit.step_projection
    clbench.engine.fullness clbench.toolkit.subspace_report
    clbench.engine.factored clbench.toolkit.svd_linear
    clbench.engine.layers clbench.toolkit.weight_matrices
    clbench.products clbench.utils.cpu_matmul
    clbench.telling clbench.utils.notify
    clbench.randomness clbench.utils.rng
    clbench.machine clbench.utils.system
    """.strip().splitlines()
)
"""Modules that moved, by their old dotted name: one that now names a package is not old."""

_CONTRACT = "answers|answering|likeness|substitutes|between_epochs|leans|holds|renews|accumulates|observes|syncs|bare|snapshot"

ALLOWED: tuple[tuple[str, str, str], ...] = (
    (r"^tests/tools/test_vocabulary\.py$", r".*", "these tests try the search itself"),
    (r"^clbench/contract/old_names\.py$|^clbench/method\.py$", _CONTRACT, "old names of the contract work, with a warning"),
    (r"^clbench/contract/old_modules\.py$", r".*", "an old module name leads to the new module"),
    (r"^clbench/engine/training/step\.py$", r"bare", "an old name of optimisers of plug-ins, with a warning"),
    (r"^tests/contract/test_old_modules\.py$", r".*", "tests of these old modules"),
    (r"learner/(test_)?learner\.py$", r"snapshot|widen|spread|bare", "old names for plug-ins, with a warning, and their test"),
    (
        r"^(clbench/tuning/|tests/tuning/|conf/(tuning|search)/|clbench/cli/tune|clbench/(config|leaderboard)/tuned_by|"
        r"tools/kill_search|benchmarks/search_overhead|docs/tuning|tests/(cli/test_tune|leaderboard|config))",
        r"trial",
        "one draw of a search",
    ),
    (r"^(clbench/loggers/base|tests/loggers/test_base)\.py$", r"cell|trial", "old names for loggers of plug-ins, with a warning"),
    (r"^tests/(contract/|test_(old_names|method|contract)|methods/test_old_names)", _CONTRACT, "tests of these old names"),
    (r"^clbench/testing/reach\.py$", r"cell", "Python's word for what a function encloses"),
    (r"^docs/methods\.md$", _CONTRACT, "the list of old names for authors of plug-ins"),
)
"""Old words that stay: pattern of the file, pattern of the old word, reason."""

SKIPPED = re.compile(r"^tools/vocabulary(_table)?\.py$|^results/.*\.yaml$|^benchmarks/plain_loop\.py$")
"""Files that are not searched: the table itself, stored results, and a yardstick that stays as it was measured."""
