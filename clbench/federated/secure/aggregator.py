"""The server's side of a secure sum: forward sealed shares, add masked messages, remove the masks from the sum."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping

import torch
from torch import Tensor

from clbench.errors import RefusedError
from clbench.federated.messages import Tensors
from clbench.federated.secure import shamir
from clbench.federated.secure.field import add_masks, centred
from clbench.federated.secure.keys import Suite
from clbench.federated.secure.neighbours import Graph, complete, connected, ring
from clbench.federated.secure.options import Secure, UnmaskError
from clbench.federated.secure.participant import rows, sign
from clbench.federated.secure.quantise import dequantise


class Aggregator:
    """One sum at the server. Call its methods in the order of this file. A client that misses a step is left out afterwards."""

    def __init__(self, secure: Secure, suite: Suite, clients: int, seed: int | None) -> None:
        """Start a sum.

        Args:
            secure: the options.
            suite: the cryptography.
            clients: number of clients asked.
            seed: seed of the graph of neighbours; None: randomness of the operating system.

        Raises:
            ConfigError: the sum of so many clients does not fit into the field.
        """
        secure.check(clients)
        self.secure, self.suite, self.seed = secure, suite, seed
        self.graph: Graph = {}
        self.keys: dict[int, Tensor] = {}
        self.ranges: Tensor | None = None
        self.sharing: set[int] = set()
        """Clients whose shares have arrived. They mask with each other."""
        self.survivors: set[int] = set()
        """Clients whose masked message is in the sum."""
        self.total: Tensors = {}

    def publish(self, adverts: Mapping[int, Tensors]) -> dict[int, Tensors]:
        """Return the message to each client that advertised: its neighbours' keys, and the common ranges."""
        self.secure.check(len(adverts))
        clients, neighbours = sorted(adverts), self.secure.neighbours
        self.graph = complete(clients) if neighbours is None else ring(clients, neighbours, self.seed)
        self.keys = {client: adverts[client]["keys"] for client in clients}
        down: dict[int, Tensors] = {}
        for client, others in self.graph.items():
            keys = torch.stack([self.keys[other][:2] for other in others])
            down[client] = {"clients": torch.tensor(others), "keys": keys}
        if self.secure.clip is None:
            self.ranges = torch.stack([adverts[client]["ranges"] for client in clients]).amax(dim=0)
            for message in down.values():
                message["ranges"] = self.ranges
        return down

    def route(self, shares: Mapping[int, Tensors]) -> dict[int, Tensors]:
        """Return the message to each client that shared: the sealed shares that its neighbours made for it.

        Raises:
            UnmaskError: some client has too few neighbours left.
        """
        self.sharing = set(shares)
        positions = {client: {other: position for position, other in enumerate(others)} for client, others in self.graph.items()}
        down = {}
        for client in sorted(shares):
            others = [other for other in self.graph[client] if other in self.sharing]
            self._enough(client, len(others) + 1, "are left")
            sealed = torch.stack([shares[other]["shares"][positions[other][client]] for other in others])
            down[client] = {"clients": torch.tensor(others), "shares": sealed}
        return down

    def add(self, client: int, masked: Mapping[str, Tensor]) -> None:
        """Add a masked message; its sender then counts as a survivor.

        Raises:
            RefusedError: the message does not belong to this sum, or differs in form from the first one. It is left out, and its
                sender counts as dropped.
        """
        if client not in self.sharing or client in self.survivors:
            raise RefusedError(f"client {client} sent a masked message {'again' if client in self.survivors else 'unasked'}")
        shapes = {name: tensor.shape for name, tensor in masked.items()}
        wanted = {name: tensor.shape for name, tensor in self.total.items()} or shapes
        odd = sorted(name for name in wanted.keys() | shapes.keys() if wanted.get(name) != shapes.get(name))
        odd += sorted(name for name, tensor in masked.items() if tensor.dtype != torch.int32)
        if odd:
            raise RefusedError(
                f"client {client}'s masked message differs in form from the others, or is not int32, in {', '.join(odd)}"
            )
        for name, tensor in masked.items():
            if name in self.total:
                self.total[name] += tensor
            else:
                self.total[name] = tensor.to(torch.int64)
        self.survivors.add(client)

    def requests(self) -> dict[int, Tensors]:
        """Return the question to each survivor: shares of the survivors' seeds, and of the keys of clients that dropped out.

        Raises:
            UnmaskError: too few clients have answered for a sum, or the sum would reveal sums of parts.
        """
        dropped = self.sharing - self.survivors
        for client in sorted(self.sharing):
            around = self.survivors.intersection(self.graph[client])
            self._enough(client, len(around) + (client in self.survivors), "have answered")
        if not connected(self.graph, self.survivors):
            raise UnmaskError(
                f"the {len(self.survivors)} clients that have answered form groups without a common neighbour: "
                "the server would learn the sum of each group",
                "raise federated.secure.neighbours",
            )
        down = {}
        for client in sorted(self.survivors):
            around = {client, *self.graph[client]}
            down[client] = {
                "survivors": torch.tensor(sorted(around & self.survivors), dtype=torch.int64),
                "dropped": torch.tensor(sorted(around & dropped), dtype=torch.int64),
            }
        return down

    def unmask(self, asked: Mapping[int, Tensors], answers: Mapping[int, Tensors]) -> Tensors:
        """Return the survivors' sum, float64.

        Args:
            asked: the questions of `requests`.
            answers: the clients' shares. A client that sends none is still in the sum.

        Raises:
            UnmaskError: there are too few shares, or wrong ones.
        """
        shares: dict[int, dict[int, bytes]] = defaultdict(dict)
        for client in sorted(answers):
            owners = torch.cat([asked[client]["survivors"], asked[client]["dropped"]]).tolist()
            for owner, share in zip(owners, answers[client]["shares"].cpu().numpy(), strict=True):
                shares[owner][client + 1] = bytes(share)
        seeds: list[tuple[bytes, int]] = []
        for client in sorted(self.sharing):
            secret = self._recovered(client, shares[client])
            if client in self.survivors:
                seeds.append((secret, -1))
                continue
            for other in self.survivors.intersection(self.graph[client]):
                mask = self.suite.agree(secret, bytes(self.keys[other][1].numpy()), "mask")
                seeds.append((mask, -sign(other, client)))
        unmasked = add_masks(self.total, seeds, self.suite.generator)
        ranges = {} if self.ranges is None else dict(zip(sorted(unmasked), self.ranges.tolist(), strict=True))
        return {
            name: dequantise(centred(total), self.secure.clip_of(name, ranges.get(name)), self.secure.bits)
            for name, total in unmasked.items()
        }

    def _recovered(self, client: int, shares: Mapping[int, bytes]) -> bytes:
        """Return the seed of a survivor's own mask, or the secret key of a client that dropped out."""
        self._enough(client, len(shares), "sent their shares")
        needed = self.secure.needed(len(self.graph[client]) + 1)
        secret = shamir.combine(dict(sorted(shares.items())[:needed]))
        survived = client in self.survivors
        known = self.keys[client][2 if survived else 1]
        if secret is not None:
            found = hashlib.sha256(secret).digest() if survived else self.suite.public(secret)
            if torch.equal(rows([found])[0], known):
                return secret
        raise UnmaskError(f"the shares of client {client}'s secret do not belong together: one of them is wrong")

    def _enough(self, client: int, count: int, what: str) -> None:
        others = len(self.graph[client])
        needed = self.secure.needed(others + 1)
        if count < needed:
            raise UnmaskError(
                f"secure sum: of client {client} and its {others} neighbours {count} {what}, {needed} are needed "
                f"({len(self.survivors)} of {len(self.keys)} clients have answered)",
                f"lower federated.secure.threshold={self.secure.threshold:g} (down to just above 0.5), "
                "or have fewer clients drop out",
            )
