"""The masked view of an input, and the loss of filling in again what was masked."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def mask(inputs: Tensor, share: float, generator: torch.Generator, pad: int | None, vocabulary: int) -> tuple[Tensor, Tensor]:
    """Return inputs with a share of them masked, and where.

    Tokens are replaced by tokens drawn from the whole vocabulary, since not every tokenizer has one for masks; padding is left
    alone. Values are set to zero, all channels of a pixel together.

    Args:
        inputs: tokens `[B, L]`, images `[B, C, H, W]` or values `[B, d]`.
        share: how many, on average.
        generator: of the draws, on the CPU.
        pad: token that fills rows up; None: inputs are no tokens.
        vocabulary: number of tokens.

    Returns:
        The masked inputs, and bool of the same shape: what was masked.
    """
    shape = inputs.shape if inputs.dim() == 2 else (len(inputs), 1, *inputs.shape[2:])
    where = (torch.rand(shape, generator=generator) < share).to(inputs.device).expand(inputs.shape)
    if pad is None:
        return inputs.masked_fill(where, 0), where
    where = where & (inputs != pad)
    drawn = torch.randint(vocabulary, inputs.shape, generator=generator).to(inputs.device)
    return torch.where(where, drawn, inputs), where


class FillIn(nn.Module):
    """From the last layer back to what was masked; trained beside the adapter, and thrown away.

    Tokens: as BERT's masked language model, a transformation of each token's state, then the tokens' own embeddings. Values: one
    linear map from the pooled features.

    Args:
        width: of the last layer.
        values: how many a sample has; 0: inputs are tokens.
        embedding: `[V, d]` of tokens.
    """

    def __init__(self, width: int, values: int, embedding: Tensor | None) -> None:
        super().__init__()
        self.embedding = embedding
        if embedding is None:
            self.head: nn.Module = nn.Linear(width, values)
        else:
            self.head = nn.Sequential(nn.Linear(width, embedding.shape[1]), nn.GELU(), nn.LayerNorm(embedding.shape[1]))

    def loss(self, hidden: Tensor, features: Tensor, inputs: Tensor, where: Tensor) -> Tensor:
        """Return the mean loss over what was masked: cross-entropy of tokens, squared error of values; 0 if nothing was.

        Args:
            hidden: of the last layer, before pooling.
            features: the same, pooled, `[B, d]`.
            inputs: without the mask.
            where: what was masked.
        """
        if not bool(where.any()):
            return features.new_zeros(())
        if self.embedding is None:
            filled: Tensor = self.head(features)
            return F.mse_loss(filled[where.flatten(1)], inputs[where])
        logits = self.head(hidden[where[:, : hidden.shape[1]]]) @ self.embedding.mT
        return F.cross_entropy(logits, inputs[where])
