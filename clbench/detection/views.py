"""The masked view of an input, and the loss for the prediction of its masked part."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def mask(inputs: Tensor, share: float, generator: torch.Generator, pad: int | None, vocabulary: int) -> tuple[Tensor, Tensor]:
    """Return inputs with a share of them masked, and the mask.

    Masked tokens are replaced by random tokens of the whole vocabulary, because not every tokenizer has a mask token. Padding
    does not change. Masked values become zero, for all channels of a pixel together.

    Args:
        inputs: tokens `[B, L]`, images `[B, C, H, W]` or values `[B, d]`.
        share: share of masked entries, on average.
        generator: generator of the draws, on the CPU.
        pad: padding token; None: inputs are not tokens.
        vocabulary: number of tokens.

    Returns:
        The masked inputs, and bool of the same shape: True for masked entries.
    """
    shape = inputs.shape if inputs.dim() == 2 else (len(inputs), 1, *inputs.shape[2:])
    where = (torch.rand(shape, generator=generator) < share).to(inputs.device).expand(inputs.shape)
    if pad is None:
        return inputs.masked_fill(where, 0), where
    where = where & (inputs != pad)
    drawn = torch.randint(vocabulary, inputs.shape, generator=generator).to(inputs.device)
    return torch.where(where, drawn, inputs), where


class FillIn(nn.Module):
    """Predicts masked entries from the last layer. It trains together with the adapter and is deleted afterwards.

    For tokens, as in BERT's masked language model: a transformation of each token's state, then the tokens' own embeddings. For
    values: one linear map from the pooled features.

    Args:
        width: width of the last layer.
        values: number of values of a sample; 0: inputs are tokens.
        embedding: embeddings `[V, d]` of tokens.
    """

    def __init__(self, width: int, values: int, embedding: Tensor | None) -> None:
        super().__init__()
        self.embedding = embedding
        if embedding is None:
            self.head: nn.Module = nn.Linear(width, values)
        else:
            self.head = nn.Sequential(nn.Linear(width, embedding.shape[1]), nn.GELU(), nn.LayerNorm(embedding.shape[1]))

    def loss(self, hidden: Tensor, features: Tensor, inputs: Tensor, where: Tensor) -> Tensor:
        """Return the mean loss over masked entries: cross-entropy of tokens, squared error of values; 0 without masked entries.

        Args:
            hidden: outputs of the last layer, before pooling.
            features: the same after pooling, `[B, d]`.
            inputs: without the mask.
            where: the mask.
        """
        if not bool(where.any()):
            return features.new_zeros(())
        if self.embedding is None:
            filled: Tensor = self.head(features)
            return F.mse_loss(filled[where.flatten(1)], inputs[where])
        logits = self.head(hidden[where[:, : hidden.shape[1]]]) @ self.embedding.mT
        return F.cross_entropy(logits, inputs[where])
