"""Frozen features of another data set: computed once by a pre-trained network and stored on disk."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from clbench.data.array_cache import check_name, store_arrays
from clbench.data.content_digest import data_sha256
from clbench.data.integrity import verify, writable
from clbench.data.pool import Pool
from clbench.data.sources.base import Array, Data, Source, make_pool
from clbench.data.sources.npz import read_npz
from clbench.errors import ConfigError, DataError
from clbench.instantiate import locate
from clbench.utils import notify
from clbench.utils.folder_lock import folder_lock
from clbench.utils.one_time import long_call, one_time, size_of

FOLDER = "features"
"""Subfolder for features, below a folder of the search path."""
BATCHES = {"cpu": 20, "cuda": 500}
"""Images per forward pass, by device. Speed and memory only: on a CPU small batches stay in its caches."""


@dataclass(kw_only=True)
class Features(Source):
    """Features of every image of another data set, by a frozen network in evaluation mode: float32 `[N, d]`.

    Computed once and stored in `features/NAME-DIGEST.npz` below a folder of the search path, in the layout of `Npz`. The
    digest covers the data, the weights and the preprocessing (`clbench.data.content_digest.data_sha256`), so files
    are never confused. Checksums detect a damaged file, which is then computed again. If the file exists, neither the images nor
    the weights are needed. Features from another kind of machine differ in the last bits.

    Args:
        of: the data set; its images are grey or RGB. Its augmentation and normalisation are not used.
        network: a name in `torchvision.models`, without its last part (the classifier); or the dotted name of a
            callable without arguments that returns a module from images `[B, 3, size, size]` to `[B, d]`.
        files: the weights (a state dict): one path below a folder of the search path, and its sha256.
        size: images are resized to `size` x `size` pixels (bilinear, antialiased).
        input_mean: per channel, in units of full scale: the normalisation that the network was trained with.
        input_std: as `input_mean`.
    """

    of: Source
    network: str
    files: dict[str, str]
    size: Annotated[int, Field(ge=1)]
    input_mean: tuple[float, float, float]
    input_std: tuple[float, float, float]

    def read(self, search: Sequence[Path], download: bool) -> Data:
        """Return both parts from the first folder with them, else compute and store them in the last writable folder."""
        relative = Path(FOLDER, f"{self.name}-{data_sha256(vars(self), search)[:16]}.npz")
        kept = self._kept(search, relative)
        if kept is not None:
            return kept
        place = writable(search, FOLDER, self.name)
        with folder_lock(place / FOLDER):
            if (place / relative).exists():  # another process was faster, or the file is damaged
                kept = self._kept([place], relative, quiet=True)
            if kept is None:
                kept = self._compute(search, download, place / relative)
                _store(kept, place / relative)
        return kept

    def _kept(self, search: Sequence[Path], relative: Path, quiet: bool = False) -> Data | None:
        for place in search:
            if (place / relative).is_file():
                try:
                    check_name(place / relative)
                    return read_npz(place / relative)
                except DataError as error:
                    if not quiet:
                        self._say(f"the stored features are damaged and are computed again ({error.what})")
        return None

    # ---- computing --------------------------------------------------------------------------------------------------
    def _compute(self, search: Sequence[Path], download: bool, into: Path) -> Data:
        network = self._network(search, download)
        data = self.of.load(search, download)
        channels = data.train.inputs.shape[1]
        if not self.of.image or channels not in (1, 3):
            raise ConfigError(
                f"data set {self.name}: a sample of {self.of.name} has shape {list(data.train.inputs.shape[1:])}",
                "choose a data set of grey or RGB images for scenario.dataset.of",
            )
        self._say(f"computing features of {len(data.train) + len(data.test):,} images, once; they are stored in {into}")
        return Data(self._pool(network, data.train, "training"), self._pool(network, data.test, "test"))

    def _pool(self, network: nn.Module, images: Pool, part: str) -> Pool:
        device = next(network.parameters()).device
        mean, std = (torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (self.input_mean, self.input_std))
        rows: list[Array] = []
        what = f"{self.name}: features of the {part} images"
        with torch.no_grad(), one_time(what, len(images)) as advance:
            for batch in torch.split(images.inputs, BATCHES[device.type]):
                x = batch.to(device).expand(-1, 3, -1, -1).to(torch.float32) / 255
                x = nn.functional.interpolate(x, size=(self.size, self.size), mode="bilinear", antialias=True)
                rows.append(self._checked(network(((x - mean) / std).contiguous(memory_format=torch.channels_last))))
                advance(len(batch))
        return make_pool(np.concatenate(rows), images.targets.numpy())

    def _checked(self, found: Any) -> Array:
        """Return the output of the network for a batch as an array `[B, d]`; `[B, d, 1, 1]` is accepted."""
        if (
            not isinstance(found, Tensor)
            or found.dim() < 2
            or found[0].numel() != found.shape[1]
            or not found.is_floating_point()
        ):
            raise ConfigError(
                f"data set {self.name}: network={self.network} does not return float features [B, d]",
                "name a network whose last part is its classifier, or a function that returns a feature extractor",
            )
        if not bool(found.isfinite().all()):
            raise DataError(
                f"data set {self.name}: {self.network} returns features that are not finite", "check its weights and input_std"
            )
        return found.flatten(1).to("cpu", torch.float32).numpy()

    # ---- the network ------------------------------------------------------------------------------------------------
    def _network(self, search: Sequence[Path], download: bool) -> nn.Module:
        """Return the frozen network with its weights, in evaluation mode, on a GPU if there is one."""
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        path = self._weights(search, download)
        own = "." in self.network
        network: nn.Module = locate(self.network, "scenario.dataset.network")() if own else _torchvision(self.network)
        try:
            network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        except (RuntimeError, TypeError, KeyError, EOFError, pickle.UnpicklingError) as error:
            raise ConfigError(
                f"data set {self.name}: {path} has no weights of {self.network}: {str(error).splitlines()[0]}",
                "files must name a state dict of that network",
            ) from error
        if not own:
            last = [name for name, _ in network.named_children()][-1]
            setattr(network, last, nn.Identity())
        return network.to(device).to(memory_format=torch.channels_last).requires_grad_(False).eval()

    def _weights(self, search: Sequence[Path], download: bool) -> Path:
        """Return the verified file of weights, from the search path or torchvision's download folder."""
        if len(self.files) != 1:
            raise ConfigError(
                f"data set {self.name}: files names {len(self.files)} files", "give the one file of weights and its sha256"
            )
        ((relative, expected),) = self.files.items()
        fetched = Path(torch.hub.get_dir(), "checkpoints", Path(relative).name)
        found = [path for path in (*(place / relative for place in search), fetched) if path.is_file()]
        remedy = f"data.download=true fetches torchvision's weights; or put {relative} into a folder of the search path"
        if not found and download and search:
            found = [self._fetch(search[-1] / relative, expected)]
        if not found:
            places = ", ".join(str(place) for place in (*search, fetched.parent))
            raise DataError(f"data set {self.name}: the weights {relative} were not found (looked in {places})", remedy)
        verify(found[0], expected, how_to_get=remedy)
        return found[0]

    def _fetch(self, target: Path, expected: str) -> Path:
        """Download torchvision's weights of that file name; the file appears only after its sha256 is verified."""
        from torchvision import models

        known = [] if "." in self.network else [str(weights.url) for weights in models.get_model_weights(self.network)]
        urls = [url for url in known if url.rpartition("/")[2] == target.name]
        if not urls:
            raise DataError(
                f"data set {self.name}: torchvision has no weights {target.name} for {self.network}",
                f"put the file there by hand: {target}",
            )
        self._say(f"downloading {urls[0]} into {target.parent}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            # the name of the unfinished file is not known, and the folder may hold others
            before, what = size_of(target.parent), f"{self.name}: downloading {target.name}"
            with long_call(what, lambda: max(0, size_of(target.parent) - before), unit="MB"):
                torch.hub.download_url_to_file(urls[0], str(target), hash_prefix=expected, progress=False)
        except (OSError, RuntimeError) as error:
            raise DataError(
                f"data set {self.name}: {urls[0]} could not be downloaded: {error}",
                f"check the network and try again, or put the file there by hand: {target}",
            ) from error
        return target

    def _say(self, text: str) -> None:
        notify.say(f"{self.name}: {text}")


def _torchvision(name: str) -> nn.Module:
    from torchvision import models

    if name not in models.list_models(module=models):
        raise ConfigError(
            f"scenario.dataset.network={name}: torchvision has no such model", f"one of: {', '.join(models.list_models(models))}"
        )
    network: nn.Module = models.get_model(name, weights=None)
    return network


def _store(data: Data, path: Path) -> None:
    """Store both parts in an .npz file (`clbench.data.array_cache`)."""
    arrays: dict[str, Array] = {}
    for side, pool in (("train", data.train), ("test", data.test)):
        arrays |= {f"x_{side}": pool.inputs.numpy(), f"y_{side}": pool.targets.numpy()}
    store_arrays(arrays, path)
