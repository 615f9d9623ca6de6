"""A method whose import never ends in a worker; the command itself imports it like any other. For `tools.safety.limits`."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass

from clbench.method import Method

if sys.argv[0].endswith("worker.py"):
    time.sleep(10**6)


@dataclass
class Stuck(Method):
    """Naive training, if the import ends."""
