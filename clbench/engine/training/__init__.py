"""Training: the loop over a task, the step, and what a run may see of the data."""

from clbench.engine.training.trainer import Trainer as Trainer
