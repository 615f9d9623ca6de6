"""From overrides to a job: composed by Hydra, resolved, checked, and named."""

from clbench.contract import old_modules

__getattr__ = old_modules.getter(__name__)
