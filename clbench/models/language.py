"""Transformers: encoders under classification heads, and language models that write their answers.

Both need `transformers` (extra `llm`). Weights come from a folder on the data search path or, with `data.download=true`, from the
hub. A new model is made from a configuration of a few numbers, without download.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from clbench.data import answer_tokens
from clbench.errors import ConfigError
from clbench.models.classifier import Classifier
from clbench.models.pretrained import configured, made, prepared

Form = Literal["classes", "answers"]
Pool = Literal["mean", "first", "last"]


class Encoder(nn.Module):
    """Features of a text: the pooled last hidden states of its tokens.

    Args:
        body: a base model of transformers.
        pool: `mean` over the text's tokens, the `first` (a class token), or the `last` (models that read left to right).
        pad: padding token; the attention ignores it.
    """

    sequential = True

    def __init__(self, body: nn.Module, pool: Pool, pad: int) -> None:
        super().__init__()
        self.body, self.pool, self.pad = body, pool, pad
        self.width = int(body.config.hidden_size)  # type: ignore[union-attr,arg-type]

    def forward(self, rows: Tensor) -> Tensor:
        """Return `[B, d]` for tokens `[B, L]`."""
        rows = trimmed(rows, self.pad)
        mask = rows != self.pad
        hidden: Tensor = self.body(input_ids=rows, attention_mask=mask.to(torch.int64)).last_hidden_state
        if self.pool == "first":
            return hidden[:, 0]
        if self.pool == "last":
            return hidden[torch.arange(len(rows), device=rows.device), mask.sum(1) - 1]
        share = mask.unsqueeze(2).to(hidden.dtype)
        return (hidden * share).sum(1) / share.sum(1).clamp(min=1)


class Writer(nn.Module):
    """Features of the answer tokens: one row per token, the input of the output embedding.

    Decoder-only models read prompt and answer as one text; padding follows and no token attends to it. Encoder-decoders read the
    prompt and write the answer.
    """

    sequential = True

    def __init__(self, whole: Any, pad: int) -> None:
        """Use the parts of `whole`, a causal or encoder-decoder model with its output embedding."""
        super().__init__()
        self.pad, self.scale = pad, 1.0
        self.two = bool(whole.config.is_encoder_decoder)
        if self.two:
            self.encoder, self.decoder = whole.get_encoder(), whole.get_decoder()
            start = getattr(whole.config, "decoder_start_token_id", None)
            self.start: int = pad if start is None else int(start)
            if getattr(whole.config, "scale_decoder_outputs", False):  # T5 with tied embeddings
                self.scale = float(whole.model_dim) ** -0.5
        else:
            self.body = whole.base_model
        self.width = int(whole.get_output_embeddings().weight.shape[1])
        self._whole = [whole]  # in a list, so that it is not a submodule: all its parts are already parts of this module

    @property
    def whole(self) -> Any:
        """The model of transformers, for generation; it shares its parts with this module."""
        return self._whole[0]

    def forward(self, rows: Tensor) -> Tensor:
        """Return `[M, d]` for rows `[B, L]` (`clbench.data.answer_tokens`) with M answer tokens in all."""
        rows = trimmed(rows, self.pad)
        if not self.two:
            hidden: Tensor = self.body(input_ids=answer_tokens.tokens(rows), use_cache=False).last_hidden_state
            return hidden[:, :-1][rows[:, 1:] < 0]
        prompt = answer_tokens.prompt(rows, self.pad)
        seen = (prompt != self.pad).to(torch.int64)
        wanted = answer_tokens.answer_table(rows, self.pad)
        before = torch.cat([torch.full_like(wanted[:, :1], self.start), wanted[:, :-1]], dim=1)
        encoded = self.encoder(input_ids=prompt, attention_mask=seen).last_hidden_state
        written = self.decoder(
            input_ids=before, encoder_hidden_states=encoded, encoder_attention_mask=seen, use_cache=False
        ).last_hidden_state
        places = torch.arange(wanted.shape[1], device=rows.device) < answer_tokens.counts(rows).unsqueeze(1)
        chosen: Tensor = written[places]
        return chosen * self.scale


class LanguageModel(Classifier):
    """A model that writes: its output embedding is the only head; each answer token is a row of logits."""

    def __init__(self, whole: Any, pad: int, input_shape: Sequence[int]) -> None:
        """Take a causal or encoder-decoder model of transformers."""
        backbone = Writer(whole, pad)
        super().__init__(backbone, (), input_shape)
        self.heads = nn.ModuleList([whole.get_output_embeddings()])


def trimmed(rows: Tensor, pad: int) -> Tensor:
    """Return `rows` `[B, L]` without the last columns that are all padding."""
    used = (rows != pad).any(0).nonzero()
    return rows[:, : int(used.max()) + 1] if len(used) else rows[:, :1]


def encoder(
    *,
    tokenizer: str,
    form: Form,
    weights: str | None = None,
    sha256: Mapping[str, str] | None = None,
    architecture: Mapping[str, Any] | None = None,
    overrides: Mapping[str, Any] | None = None,
    pool: Pool,
    checkpointing: bool,
    pad: int | None = None,
    search: Sequence[Path] = (),
    download: bool = False,
) -> Encoder:
    """Return an encoder, a backbone for heads like any other.

    Args:
        tokenizer: for the scenario, to make tokens of texts.
        form: for the scenario: `classes`.
        weights: folder of a pre-trained model, below a folder of the search path; or a name on the hub.
        sha256: of files in that folder, verified before reading.
        architecture: instead of weights: `model_type` and further keys of a configuration of transformers.
        overrides: changed keys of the pre-trained model's configuration, such as its dropout.
        pool: see `Encoder`.
        checkpointing: recompute activations in the backward pass instead of storing them.
        pad: padding token, from the stream.
        search: folders to search.
        download: whether the model may come from the hub.

    Raises:
        ConfigError: contradicting or unknown keys, or transformers is not installed.
        DataError: the weights are missing or damaged.
    """
    _check_form(form, "classes")
    body = made("AutoModel", weights, sha256 or {}, architecture, overrides or {}, search, download)
    return Encoder(prepared(body, checkpointing), pool, _of_text(pad))


def language_model(
    *,
    tokenizer: str,
    form: Form,
    weights: str | None = None,
    sha256: Mapping[str, str] | None = None,
    architecture: Mapping[str, Any] | None = None,
    overrides: Mapping[str, Any] | None = None,
    checkpointing: bool,
    pad: int | None = None,
    input_shape: Sequence[int] = (),
    search: Sequence[Path] = (),
    download: bool = False,
) -> LanguageModel:
    """Return a model that writes its answers, causal or encoder-decoder; arguments and errors as of `encoder`."""
    _check_form(form, "answers")
    kind = "AutoModelForCausalLM"
    if configured(weights, architecture, overrides or {}, search, download).is_encoder_decoder:
        kind = "AutoModelForSeq2SeqLM"
    whole = made(kind, weights, sha256 or {}, architecture, overrides or {}, search, download)
    model = LanguageModel(prepared(whole, checkpointing), _of_text(pad), input_shape)
    _check_logits(model, whole)
    return model


def _check_form(form: str, right: str) -> None:
    if form != right:
        raise ConfigError(f"model.form={form!r}", f"give model.form={right}, the only form of this model")


def _of_text(pad: int | None) -> int:
    if pad is None:
        raise ConfigError("this model reads tokens, and the stream has none", "choose a scenario of texts, or another model")
    return pad


def _check_logits(model: LanguageModel, whole: Any) -> None:
    """Refuse architectures with further operations between hidden states and logits.

    Raises:
        ConfigError: the logits differ from the model's own.
    """
    rows = torch.tensor([[3, 4, 5, ~2, ~1]])
    was = model.training
    model.eval()
    with torch.no_grad():
        ours = model(rows)
        if model.backbone.two:
            start = torch.tensor([[model.backbone.start, 2]])
            own = whole(input_ids=rows[:, :3], decoder_input_ids=start).logits[0]
        else:
            own = whole(input_ids=answer_tokens.tokens(rows)).logits[0, 2:4]
    model.train(was)
    if not torch.allclose(ours, own, rtol=1e-3, atol=1e-3):
        raise ConfigError(
            f"{type(whole).__name__} changes its hidden states or logits in a way that clbench does not support",
            "choose an architecture such as gpt2, gpt_neox, llama, qwen2, t5 or bart",
        )
