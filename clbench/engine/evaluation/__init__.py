"""Measurement: accuracies, written answers, requests, drift."""

from clbench.contract import old_modules

__getattr__ = old_modules.getter(__name__)
