"""Modules of an earlier layout that plug-ins import, and names in them: found under their earlier names, with a warning."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib.abc import InspectLoader, Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import CodeType, ModuleType
from typing import Any

MODULES = {
    "clbench.app": "clbench.cli.main",
    "clbench.assembly": "clbench.runs.factory",
    "clbench.build": "clbench.instantiate",
    "clbench.cells": "clbench.run_spec",
    "clbench.command": "clbench.runner.sweep",
    "clbench.compose": "clbench.config.hydra_compose",
    "clbench.data.answers": "clbench.data.answer_tokens",
    "clbench.data.biography.texts": "clbench.data.biography.person_texts",
    "clbench.data.biography.tokenizer": "clbench.data.biography.word_tokenizer",
    "clbench.data.grouping": "clbench.data.deterministic_sampling",
    "clbench.data.kept": "clbench.data.array_cache",
    "clbench.data.loader": "clbench.data.prefetch",
    "clbench.data.sources.features": "clbench.data.sources.frozen_features",
    "clbench.data.sources.people": "clbench.data.sources.people_questions",
    "clbench.data.sources.questionfolder": "clbench.data.sources.question_folder",
    "clbench.data.sources.tables": "clbench.data.sources.table_files",
    "clbench.data.sources.textfolder": "clbench.data.sources.text_folder",
    "clbench.engine.adapters": "clbench.toolkit.lora",
    "clbench.engine.answers": "clbench.engine.evaluation.text_metrics",
    "clbench.engine.batch": "clbench.engine.learner.batch",
    "clbench.engine.blocks": "clbench.toolkit.layer_discovery",
    "clbench.engine.chain": "clbench.engine.fast.mlp_backward",
    "clbench.engine.checkpoint": "clbench.runs.checkpoint",
    "clbench.engine.compiled": "clbench.engine.fast.compile",
    "clbench.engine.conclusion": "clbench.engine.evaluation.claims",
    "clbench.engine.cost": "clbench.runs.cost",
    "clbench.engine.curvature": "clbench.toolkit.importance",
    "clbench.engine.differentiation": "clbench.engine.training.gradients",
    "clbench.engine.drift": "clbench.engine.evaluation.drift",
    "clbench.engine.examination": "clbench.engine.evaluation.request_probes",
    "clbench.engine.factored": "clbench.toolkit.svd_linear",
    "clbench.engine.features": "clbench.toolkit.features",
    "clbench.engine.fullness": "clbench.toolkit.subspace_report",
    "clbench.engine.generation": "clbench.engine.evaluation.generation",
    "clbench.engine.graph": "clbench.engine.fast.cuda_graphs",
    "clbench.engine.layers": "clbench.toolkit.weight_matrices",
    "clbench.engine.memory": "clbench.engine.replay.memory",
    "clbench.engine.memory_format": "clbench.engine.learner.memory_format",
    "clbench.engine.parameters": "clbench.engine.learner.parameters",
    "clbench.engine.policies": "clbench.engine.replay.policies",
    "clbench.engine.precision": "clbench.engine.learner.precision",
    "clbench.engine.projection": "clbench.toolkit.step_projection",
    "clbench.engine.reference": "clbench.engine.evaluation.joint_baseline",
    "clbench.engine.requests": "clbench.engine.training.data_access",
    "clbench.engine.similarity": "clbench.toolkit.layer_similarity",
    "clbench.engine.snapshot": "clbench.engine.learner.teacher",
    "clbench.engine.stack": "clbench.engine.replicas.stack",
    "clbench.engine.stacked": "clbench.engine.replicas.stacked_loop",
    "clbench.engine.targets": "clbench.toolkit.module_selection",
    "clbench.engine.trainer": "clbench.engine.training.trainer",
    "clbench.engine.weights": "clbench.engine.learner.weights",
    "clbench.federated.division": "clbench.federated.assign_clients",
    "clbench.federated.exchange": "clbench.federated.transport",
    "clbench.federated.rounds": "clbench.federated.client_sampling",
    "clbench.federated.secure.client": "clbench.federated.secure.participant",
    "clbench.federated.secure.graph": "clbench.federated.secure.neighbours",
    "clbench.federated.secure.server": "clbench.federated.secure.aggregator",
    "clbench.federated.side_by_side": "clbench.federated.stacked_clients",
    "clbench.federated.training": "clbench.federated.federated_training",
    "clbench.flower.exchange": "clbench.flower.grid_transport",
    "clbench.flower.messages": "clbench.flower.wire_format",
    "clbench.help": "clbench.cli.help",
    "clbench.job": "clbench.config.job",
    "clbench.leaderboard.app": "clbench.cli.leaderboard",
    "clbench.loading": "clbench.config.hydra_cache",
    "clbench.machine": "clbench.utils.system",
    "clbench.methods.relabelling": "clbench.methods.random_targets",
    "clbench.methods.together": "clbench.methods.compatibility",
    "clbench.metrics.clients": "clbench.metrics.client_shares",
    "clbench.plots.app": "clbench.cli.plot",
    "clbench.plots.clients": "clbench.plots.plot_clients",
    "clbench.plots.curves": "clbench.plots.plot_curves",
    "clbench.plots.drift": "clbench.plots.plot_drift",
    "clbench.plots.matrix": "clbench.plots.plot_matrix",
    "clbench.plots.subspaces": "clbench.plots.plot_subspaces",
    "clbench.products": "clbench.utils.cpu_matmul",
    "clbench.provenance": "clbench.runs.provenance",
    "clbench.randomness": "clbench.utils.rng",
    "clbench.reproduction.app": "clbench.cli.reproduce",
    "clbench.results": "clbench.leaderboard.results",
    "clbench.runner.claim": "clbench.runner.lock",
    "clbench.runner.elsewhere": "clbench.runner.external_launcher",
    "clbench.runner.guest": "clbench.runner.launched_job",
    "clbench.runner.memory": "clbench.runner.device_memory",
    "clbench.runner.packing": "clbench.runner.admission",
    "clbench.runner.pool": "clbench.runner.worker_pool",
    "clbench.scenarios.assemble": "clbench.scenarios.stream_builder",
    "clbench.scenarios.requests": "clbench.scenarios.forget_requests",
    "clbench.stacked": "clbench.runs.parallel_seeds",
    "clbench.subspace.rows": "clbench.subspace.layer_inputs",
    "clbench.superlink": "clbench.flower.flower_server",
    "clbench.telling": "clbench.utils.notify",
    "clbench.testing.cells": "clbench.testing.make_run",
    "clbench.testing.methods": "clbench.testing.method_checks",
    "clbench.testing.scenarios": "clbench.testing.scenario_checks",
    "clbench.testing.servers": "clbench.testing.server_checks",
    "clbench.testing.stacking": "clbench.testing.stacking_checks",
    "clbench.trial": "clbench.runs.run",
    "clbench.values": "clbench.config.job",
    "clbench.variant": "clbench.config.variant",
}
"""Earlier name of a module -> name."""
NAMES = {
    "clbench.config.data_digest": "clbench.config.resolve.data_digest",
    "clbench.config.identity": "clbench.config.resolve.identity",
    "clbench.config.names": "clbench.config.resolve.names",
    "clbench.config.settle": "clbench.config.resolve.resolve",
    "clbench.engine.evaluation.evaluate": "clbench.engine.evaluation.accuracy.evaluate",
    "clbench.engine.snapshot.Snapshot": "clbench.engine.learner.teacher.Teacher",
    "clbench.engine.training.Training": "clbench.engine.training.loop.Training",
    "clbench.testing.cells.make_cell": "clbench.testing.make_run.make_spec",
    "clbench.trial.Trial": "clbench.runs.run.Run",
    "clbench.trial.run_trial": "clbench.runs.run.train_run",
}
"""Earlier name of a class or function -> name."""
REPLACED = {
    "clbench.cells.Cell": "clbench.run_spec.RunSpec, with other fields",
    "clbench.engine.chain.chain_of": "clbench.engine.fast.mlp_layers.mlp_layers, which returns another type",
    "clbench.telling.tell": "logging.getLogger(__name__).info",
}
"""Earlier name -> what serves instead, in another form."""


def getter(module: str, other: Callable[[str], Any] | None = None) -> Callable[[str], Any]:
    """Return a module's `__getattr__`: it finds earlier names with a warning, or says what replaced them.

    Args:
        module: the name under which the earlier names stand.
        other: the module's own `__getattr__`, for all other names.
    """

    def find(name: str) -> Any:
        old = f"{module}.{name}"
        if old in NAMES:
            warnings.warn(f"{old} is now called {NAMES[old]}", FutureWarning, stacklevel=2)
            place, _, today = NAMES[old].rpartition(".")
            return getattr(importlib.import_module(place), today)
        if old in REPLACED:  # `from ... import` would hide the text of an AttributeError
            raise ImportError(f"{old} was replaced: use {REPLACED[old]}", name=module)
        if other is not None:
            return other(name)
        raise AttributeError(f"module {module!r} has no attribute {name!r}")

    return find


class OldModules(MetaPathFinder, Loader):
    """Finds a module by its earlier name. Python asks it only for modules that nothing else finds."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Return a spec for an earlier name, and None for any other."""
        return ModuleSpec(name, self) if name in MODULES else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return the module of today."""
        new = MODULES[spec.name]
        warnings.warn(f"{spec.name} is now called {new}", FutureWarning, stacklevel=2)
        module = importlib.import_module(new)
        if any(name.rpartition(".")[0] == spec.name for name in [*NAMES, *REPLACED]):
            vars(module)["__getattr__"] = getter(spec.name, vars(module).get("__getattr__"))
        self._own = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Give the module its own spec back; the module has run already."""
        module.__spec__ = self._own

    def get_code(self, name: str) -> CodeType | None:
        """Return the code of the module of today: `python -m` with an earlier name runs that."""
        new = MODULES[name]
        warnings.warn(f"{name} is now called {new}", FutureWarning, stacklevel=2)
        spec = importlib.util.find_spec(new)
        return spec.loader.get_code(new) if spec is not None and isinstance(spec.loader, InspectLoader) else None


def install() -> None:
    """Let Python find the earlier names."""
    if not any(isinstance(finder, OldModules) for finder in sys.meta_path):
        sys.meta_path.append(OldModules())
