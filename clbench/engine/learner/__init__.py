"""The learner: model, optimiser, device, batches."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clbench.engine.learner.batch import Batch as Batch
    from clbench.engine.learner.learner import Learner as Learner


def __getattr__(name: str) -> Any:
    """Import `Learner` and `Batch` on first use: other rooms need one file of this room, not the learner with all it imports."""
    if name == "Learner":
        from clbench.engine.learner.learner import Learner

        return Learner
    if name == "Batch":
        from clbench.engine.learner.batch import Batch

        return Batch
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
