"""Training: the loop over a task, the step, and access to the data."""

from clbench.contract import old_modules
from clbench.engine.training.trainer import Trainer as Trainer

__getattr__ = old_modules.getter(__name__)
