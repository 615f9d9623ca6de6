"""Pre-training of a small language model on synthetic biographies, once. A digest of all settings names the stored weights."""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from clbench.data.array_cache import OWN_NAME, UNREADABLE, check_name, store_arrays
from clbench.data.biography.people import Biography, draw
from clbench.data.biography.person_texts import biographies, packed
from clbench.data.biography.vocabulary import PAD, Vocabulary
from clbench.data.integrity import writable
from clbench.errors import DataError, DivergedError
from clbench.utils.folder_lock import folder_lock
from clbench.utils.one_time import one_time
from clbench.utils.rng import derive, generator

LOG = logging.getLogger(__name__)

FOLDER = "pretrained"
"""Subfolder for pre-trained weights, below a folder of the search path."""
VERSION = 1
"""Version of the procedure; raised by every change that gives other weights for the same settings."""

Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


@dataclass(frozen=True, kw_only=True)
class Pretraining:
    """Settings of pre-training: AdamW on packed texts, a cosine schedule after a linear warm-up.

    Args:
        epochs: passes over all biographies of the familiar people; exclusive with `steps` (one of them is None).
        steps: instead of epochs.
        batch_size: rows of `length` tokens per step.
        length: tokens of a row; each pass joins the biographies in a new random order and cuts them at the ends of rows.
        lr: highest rate.
        last_lr: rate at the end.
        warmup: steps over which the rate rises from 0.
        weight_decay: decoupled, on matrices only (not on biases and norms).
        betas: of AdamW.
        eps: of AdamW.
        clip_norm: bound on the joint norm of the gradients.
        seed: of initial weights and orders.
    """

    epochs: Count | None
    steps: Count | None
    batch_size: Count
    length: Annotated[int, Field(ge=8)]
    lr: Positive
    last_lr: Annotated[float, Field(ge=0)]
    warmup: Annotated[int, Field(ge=0)]
    weight_decay: Annotated[float, Field(ge=0)]
    betas: tuple[float, float]
    eps: Positive
    clip_norm: Positive
    seed: int

    def __post_init__(self) -> None:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("give either epochs or steps, and null for the other")

    def rate(self, step: int, steps: int) -> float:
        """Return the learning rate of `step`, counted from 0, of `steps`."""
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, steps - self.warmup)
        return self.last_lr + (self.lr - self.last_lr) * 0.5 * (1 + math.cos(math.pi * done))


def digest(biography: Biography, architecture: Mapping[str, Any], pretraining: Pretraining) -> str:
    """Return the sha256 over all settings that shape the weights, without the version of torch and the machine.

    Only the familiar people count: they do not depend on later people.
    """
    content = biography.content()
    content |= {"people": sum(content.pop("people")[: content.pop("familiar")])}
    recipe = {
        "version": VERSION,
        "biography": content,
        "architecture": dict(architecture),
        "pretraining": asdict(pretraining),
    }
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()


def load_or_train(
    make: Callable[[], nn.Module],
    biography: Biography,
    architecture: Mapping[str, Any],
    pretraining: Pretraining,
    search: Sequence[Path],
) -> dict[str, Tensor]:
    """Return the pre-trained weights of a causal language model from the first folder with them, else train and store them.

    The file is `pretrained/NAME-DIGEST.npz`. Checksums detect a damaged file, which is then made again. Training uses a
    GPU if available and logs its progress; no run's cost includes it.

    Args:
        make: returns the model with fresh weights, drawn from the global generator of the CPU.
        biography: settings of the texts.
        architecture: settings of `make`, for the digest.
        pretraining: settings of training.
        search: folders, in order.

    Raises:
        DataError: no folder is writable.
        DivergedError: the loss is no longer finite.
    """
    relative = Path(FOLDER, f"{biography.name}-{digest(biography, architecture, pretraining)[:16]}.npz")
    found = _kept(search, relative)
    if found is None:
        place = writable(search, FOLDER, biography.name)
        with folder_lock(place / FOLDER):
            if (place / relative).exists():  # another process was faster, or the file is damaged
                found = _kept([place], relative, quiet=True)
            if found is None:
                found = train(make, biography, pretraining, place / relative)
                store_arrays({key: value.numpy() for key, value in found.items()}, place / relative)
    return found


def train(make: Callable[[], nn.Module], biography: Biography, pretraining: Pretraining, into: Path) -> dict[str, Tensor]:
    """Pre-train on the biographies of the familiar people and return the weights, on the CPU.

    Args:
        make: as for `load_or_train`; its module returns an object with `logits` for `input_ids`.
        biography: settings of the texts.
        pretraining: settings of training.
        into: file for the weights, for the message.
    """
    vocabulary = Vocabulary(biography)
    familiar = draw(biography).take(range(sum(biography.people[: biography.familiar])))
    variants = biographies(biography, vocabulary, familiar)
    widest = max(text.shape[1] for text in variants)
    texts = torch.cat([F.pad(text, (0, widest - text.shape[1]), value=-1) for text in variants])
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive(pretraining.seed, "pre-training"))
        model = make().to(device).train()
        per_pass = math.ceil(len(packed(texts, pretraining.length)) / pretraining.batch_size)
        steps = pretraining.steps or per_pass * (pretraining.epochs or 1)
        _say(biography, f"pre-training on {len(texts):,} biographies, {steps:,} steps, once; the weights are stored in {into}")
        with one_time(f"{biography.name}: pre-training", steps, "steps") as advance:
            _steps(model, texts, pretraining, steps, lambda text: _say(biography, text), advance)
    return {key: value.detach().to("cpu").contiguous() for key, value in model.state_dict().items()}


def _steps(
    model: nn.Module,
    texts: Tensor,
    how: Pretraining,
    steps: int,
    tell: Callable[[str], None],
    advance: Callable[[int], None],
) -> None:
    device = next(model.parameters()).device
    decayed = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    groups = [{"params": decayed, "weight_decay": how.weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=how.lr, betas=how.betas, eps=how.eps)
    step, epoch, tenth = 0, 0, 1
    while step < steps:
        order = torch.randperm(len(texts), generator=generator(how.seed, "pre-training", epoch))
        for rows in packed(texts[order], how.length).to(device).split(how.batch_size):  # type: ignore[no-untyped-call]
            for group in optimizer.param_groups:
                group["lr"] = how.rate(step, steps)
            logits = model(input_ids=rows).logits
            loss = F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), rows[:, 1:].flatten(), ignore_index=PAD)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), how.clip_norm)
            optimizer.step()
            step += 1
            advance(1)
            if step * 10 >= tenth * steps:
                value = float(loss.detach())
                if not math.isfinite(value):
                    raise DivergedError(f"pre-training: the loss became {value}", "lower model.pretraining.lr")
                tell(f"pre-training {100 * step // steps} %, loss {value:.3f}")
                tenth = 10 * step // steps + 1
            if step == steps:
                return
        epoch += 1


def _kept(search: Sequence[Path], relative: Path, quiet: bool = False) -> dict[str, Tensor] | None:
    for place in search:
        if not (place / relative).is_file():
            continue
        try:
            check_name(place / relative)
            with np.load(place / relative, allow_pickle=False) as file:  # zip has a checksum of every array
                return {key: torch.from_numpy(file[key]) for key in file.files if key != OWN_NAME}
        except (DataError, *UNREADABLE) as error:
            if not quiet:
                LOG.warning(f"{place / relative}: the pre-trained weights are damaged and are made again ({error})")
    return None


def _say(biography: Biography, text: str) -> None:
    LOG.info(f"{biography.name}: {text}")
