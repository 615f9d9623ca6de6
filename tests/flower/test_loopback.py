"""Flower's simulation accepts connections on the loopback alone, unless the network is asked for."""

from __future__ import annotations

import ipaddress
import socket
import sys

import pytest

pytest.importorskip("flwr", reason="Flower is not installed (pip install 'clbench[federated]')")

from clbench.flower.simulation import run_in_simulation
from tests.federated.common import federated_spec
from tests.flower.listening_sockets import listening

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the tables of sockets are Linux's")


def foreign(addresses):
    return {each for each in addresses if not ipaddress.ip_address(each).is_loopback}


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_the_tables_show_a_socket_of_this_process(host):
    before = listening()
    with socket.create_server((host, 0)):
        assert host in listening()
    assert listening() == before


@pytest.mark.slow
@pytest.mark.parametrize("listen", ["loopback", "network"])
def test_where_the_simulation_listens(tmp_path, listen):
    options = ("federated.clients=2", "federated.rounds=1", "scenario.n_tasks=2", f"runner.listen={listen}")
    found: set[str] = set()
    run_in_simulation(federated_spec(*options, folder=tmp_path), lambda event: found.update(listening()))
    assert found
    assert bool(foreign(found)) == (listen == "network")
