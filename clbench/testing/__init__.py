"""The conformance kit: what the suite runs over everything it ships, and what a plug-in's author runs over their own.

    from clbench.testing import check_method
    check_method("my_method", config_dirs=["my_plugin"], neutral={"strength": 0.0})

Everything runs on scikit-learn's digits, which need no download, through the same code as a real run.
"""

from clbench.testing.make_run import make_spec as make_spec
from clbench.testing.make_run import run as run
from clbench.testing.method_checks import check_access as check_access
from clbench.testing.method_checks import check_method as check_method
from clbench.testing.method_checks import check_neutral as check_neutral
from clbench.testing.method_checks import check_renewal as check_renewal
from clbench.testing.method_checks import check_repeats as check_repeats
from clbench.testing.method_checks import check_requests as check_requests
from clbench.testing.method_checks import check_resumes as check_resumes
from clbench.testing.scenario_checks import check_scenario as check_scenario
from clbench.testing.server_checks import check_server as check_server
from clbench.testing.stacking_checks import check_stackable as check_stackable
