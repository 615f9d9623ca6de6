"""Transformers: encoders under classification heads, and language models that write their answers.

Both come from `transformers` (extra `llm`): from a folder of weights, looked for on the data search path and, only when asked to
(`data.download=true`), on the hub; or new, from a configuration of a few numbers, which needs no download.
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
    """Features of a text: its tokens' last hidden states, pooled.

    Args:
        body: a base model of transformers.
        pool: `mean` over the text's tokens, the `first` (a class token), or the `last` (models that read left to right).
        pad: token that fills texts up; the attention leaves it out.
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
    """Features of the tokens to be written: one row per answer token, what the output embedding turns into its logits.

    Models that only decode read prompt and answer as one text, padding comes behind and is seen by nobody; encoder-decoders read
    the prompt, and write the answer.
    """

    sequential = True

    def __init__(self, whole: Any, pad: int) -> None:
        """Take the parts of `whole`, a causal or an encoder-decoder model with its output embedding, apart."""
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
        self._whole = [whole]  # not a part of its own: it shares all of its parts with this module

    @property
    def whole(self) -> Any:
        """The model as transformers has it, for generation; its parts are this module's."""
        return self._whole[0]

    def forward(self, rows: Tensor) -> Tensor:
        """Return `[M, d]` for rows `[B, L]` as `clbench.data.answer_tokens` writes them, M tokens to be predicted."""
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
    """A model that writes: its own output embedding is the only head, each token to be written a row of logits."""

    def __init__(self, whole: Any, pad: int, input_shape: Sequence[int]) -> None:
        """Take a causal or encoder-decoder model of transformers."""
        backbone = Writer(whole, pad)
        super().__init__(backbone, (), input_shape)
        self.heads = nn.ModuleList([whole.get_output_embeddings()])


def trimmed(rows: Tensor, pad: int) -> Tensor:
    """Return `rows` `[B, L]` without the columns at the end that hold nothing but padding."""
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
    """Return an encoder; heads are put on it as on any backbone.

    Args:
        tokenizer: for the scenario, which turns texts into tokens with it.
        form: for the scenario: `classes`.
        weights: folder with a pre-trained model, below one of the search path; or a name on the hub.
        sha256: of files in that folder, checked before they are read.
        architecture: instead of weights: `model_type` and further keys of a configuration of transformers.
        overrides: keys of the pre-trained model's configuration to change, such as its dropout.
        pool: see `Encoder`.
        checkpointing: compute activations anew in the backward pass instead of keeping them.
        pad: token that fills texts up, from the stream.
        search: folders to look in.
        download: whether the hub may be asked.

    Raises:
        ConfigError: contradicting or unknown keys, or transformers is not installed.
        DataError: the weights are not there, or damaged.
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
        raise ConfigError(f"model.form={form!r}", f"this kind of model has the form {right}: leave the key as it is")


def _of_text(pad: int | None) -> int:
    if pad is None:
        raise ConfigError("this model reads tokens, and the stream holds none", "choose a scenario of texts, or another model")
    return pad


def _check_logits(model: LanguageModel, whole: Any) -> None:
    """Refuse architectures that do more between hidden states and logits than this module knows of.

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
            f"{type(whole).__name__} changes its hidden states or logits in a way that clbench does not know",
            "choose an architecture such as gpt2, gpt_neox, llama, qwen2, t5 or bart",
        )
