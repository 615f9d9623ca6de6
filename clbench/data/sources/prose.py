"""Running text in rows. The likelihood that a language model gives them measures its general ability."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from clbench.data.integrity import matching
from clbench.data.pool import Pool
from clbench.data.sources.base import Data, Source
from clbench.data.tokenizer_lookup import tokenizer
from clbench.errors import ConfigError, DataError


@dataclass(kw_only=True)
class Prose(Source):
    """The text files of a folder as rows of equal length in the form of answers: the model predicts all but the first token.

    For measuring only; both parts are the same. Measured by `loss`, in nats per token.

    Args:
        path: a text file or a folder of text files, below a folder of the search path.
        pattern: of the file names in a folder; files are read in the order of their names.
        tokenizer: the model's (`clbench.data.tokenizer_lookup`).
        form: the model's: `answers`.
        length: tokens of a row.
        rows: number of rows, evenly spread over the text.
        metric: score of the rows.
    """

    path: str
    pattern: str
    tokenizer: str
    form: str
    length: Annotated[int, Field(ge=2)]
    rows: Annotated[int, Field(ge=1)]
    metric: str

    def read(self, search: Sequence[Path], download: bool) -> Data:
        """Return the rows, twice; there is nothing to download."""
        if self.form != "answers":
            raise ConfigError(
                f"data set {self.name}: form={self.form}", "running text needs a model that writes (model.form: answers)"
            )
        words = tokenizer(self.tokenizer, search)
        files = matching(self.path, self.pattern, search, self.name)
        text = "\n\n".join(file.read_text(encoding="utf-8", errors="replace") for file in files)
        (tokens,) = words.encode([text], specials=False)
        count = len(tokens) // self.length
        if count < self.rows:
            raise DataError(
                f"data set {self.name}: {self.path} has {len(tokens)} tokens, {count} rows of {self.length}",
                f"give rows={max(count, 1)} or fewer, or more text",
            )
        whole = torch.tensor(tokens[: count * self.length]).view(count, self.length)
        chosen = whole[torch.linspace(0, count - 1, self.rows).round().long()]
        pool = Pool(_to_be_written(chosen), torch.zeros(self.rows, dtype=torch.int64), pad=words.pad, vocabulary=words.size)
        return Data(pool, pool)


def _to_be_written(rows: Tensor) -> Tensor:
    return torch.cat([rows[:, :1], ~rows[:, 1:]], dim=1)
