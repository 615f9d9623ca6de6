"""The conformance kit: checks of methods, scenarios and server rules, for this suite and for plug-ins.

    from clbench.testing import check_method
    check_method("my_method", config_dirs=["my_plugin"], neutral={"strength": 0.0})

All checks use scikit-learn's digits, which need no download, and the same code as a real run.
"""

import warnings
from typing import Any

from clbench.testing.hidden_data_checks import check_hidden_data as check_hidden_data
from clbench.testing.make_run import make_spec as make_spec
from clbench.testing.make_run import run as run
from clbench.testing.method_checks import check_access as check_access
from clbench.testing.method_checks import check_method as check_method
from clbench.testing.method_checks import check_neutral as check_neutral
from clbench.testing.method_checks import check_repeats as check_repeats
from clbench.testing.method_checks import check_replaced_parameters as check_replaced_parameters
from clbench.testing.method_checks import check_requests as check_requests
from clbench.testing.method_checks import check_resumes as check_resumes
from clbench.testing.read_only_checks import check_read_only as check_read_only
from clbench.testing.scenario_checks import check_scenario as check_scenario
from clbench.testing.server_checks import check_server as check_server
from clbench.testing.stacking_checks import check_stackable as check_stackable

_RENAMED = {"make_cell": "make_spec", "check_renewal": "check_replaced_parameters"}


def __getattr__(name: str) -> Any:
    """Return a check by its earlier name, with a warning."""
    if name not in _RENAMED:
        raise AttributeError(f"module 'clbench.testing' has no attribute {name!r}")
    warnings.warn(f"clbench.testing.{name} is now called {_RENAMED[name]}", FutureWarning, stacklevel=2)
    return globals()[_RENAMED[name]]
