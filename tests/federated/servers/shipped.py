"""A shipped server rule with some of its values changed."""

from pathlib import Path
from typing import Any

import yaml

from clbench.federated.servers.base import Server
from clbench.instantiate import instantiate

FOLDER = Path(__file__).parents[3] / "conf" / "federated" / "server"


def shipped(name: str, **changes: Any) -> Any:
    """Return rule `name` as its config says, with `changes`; an unknown key is an error."""
    node = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    for parent in node.pop("defaults", []):
        node = yaml.safe_load((FOLDER / f"{parent}.yaml").read_text()) | node
    found = instantiate(node | changes, "federated.server")
    assert isinstance(found, Server)
    return found
