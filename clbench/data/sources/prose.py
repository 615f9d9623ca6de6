"""Running text, cut into rows that a language model reads on: how likely it finds them is a measure of general ability."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from clbench.data.pool import Pool
from clbench.data.sources.base import Data, Source
from clbench.data.tokenizers import tokenizer
from clbench.errors import ConfigError, DataError


@dataclass(kw_only=True)
class Prose(Source):
    """The text files of a folder as rows of one length, in the form of answers: all but the first token are to be written.

    Nothing of it is meant to be trained on; the two parts are the same. Measured by `loss`, in nats per token.

    Args:
        path: a text file, or a folder of them (`*.txt`, in the order of their names), below one of the search path.
        tokenizer: the model's (`clbench.data.tokenizers`).
        form: the model's: `answers`.
        length: tokens of a row.
        rows: how many rows, evenly spread over the text.
        metric: how they are scored.
    """

    path: str
    tokenizer: str
    form: str
    length: Annotated[int, Field(ge=2)]
    rows: Annotated[int, Field(ge=1)]
    metric: str

    def read(self, search: Sequence[Path], download: bool) -> Data:
        """Return the rows, twice; there is nothing to download."""
        if self.form != "answers":
            raise ConfigError(
                f"data set {self.name}: form={self.form}", "running text wants a model that writes (model.form: answers)"
            )
        words = tokenizer(self.tokenizer, search)
        files = self._files(search)
        text = "\n\n".join(file.read_text(encoding="utf-8", errors="replace") for file in files)
        (tokens,) = words.encode([text], specials=False)
        count = len(tokens) // self.length
        if count < self.rows:
            raise DataError(
                f"data set {self.name}: {self.path} holds {len(tokens)} tokens, {count} rows of {self.length}",
                f"give rows={max(count, 1)} or fewer, or more text",
            )
        whole = torch.tensor(tokens[: count * self.length]).view(count, self.length)
        chosen = whole[torch.linspace(0, count - 1, self.rows).round().long()]
        pool = Pool(_to_be_written(chosen), torch.zeros(self.rows, dtype=torch.int64), pad=words.pad, vocabulary=words.size)
        return Data(pool, pool)

    def _files(self, search: Sequence[Path]) -> list[Path]:
        for folder in search:
            place = folder / self.path
            if place.is_file():
                return [place]
            if place.is_dir() and (found := sorted(place.glob("*.txt"))):
                return found
        places = ", ".join(str(folder / self.path) for folder in search)
        raise DataError(
            f"data set {self.name}: no text at {places}", "put a .txt file, or a folder of them, there (docs/data.md)"
        )


def _to_be_written(rows: Tensor) -> Tensor:
    return torch.cat([rows[:, :1], ~rows[:, 1:]], dim=1)
