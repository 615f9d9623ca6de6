"""Transformers: encoders under classification heads, and language models that write their answers.

Both come from `transformers` (extra `llm`): from a folder of weights, looked for on the data search path and, only when asked to
(`data.download=true`), on the hub; or new, from a configuration of a few numbers, which needs no download.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from clbench.data import answers
from clbench.data.integrity import verify
from clbench.errors import ConfigError, DataError
from clbench.models.classifier import Classifier

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
        """Return `[M, d]` for rows `[B, L]` as `clbench.data.answers` writes them, M tokens to be predicted."""
        rows = trimmed(rows, self.pad)
        if not self.two:
            hidden: Tensor = self.body(input_ids=answers.tokens(rows), use_cache=False).last_hidden_state
            return hidden[:, :-1][rows[:, 1:] < 0]
        prompt = answers.prompt(rows, self.pad)
        seen = (prompt != self.pad).to(torch.int64)
        wanted = answers.answer_table(rows, self.pad)
        before = torch.cat([torch.full_like(wanted[:, :1], self.start), wanted[:, :-1]], dim=1)
        encoded = self.encoder(input_ids=prompt, attention_mask=seen).last_hidden_state
        written = self.decoder(
            input_ids=before, encoder_hidden_states=encoded, encoder_attention_mask=seen, use_cache=False
        ).last_hidden_state
        places = torch.arange(wanted.shape[1], device=rows.device) < answers.counts(rows).unsqueeze(1)
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
    body = _made("AutoModel", weights, sha256 or {}, architecture, overrides or {}, search, download)
    return Encoder(_prepared(body, checkpointing), pool, _of_text(pad))


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
    if _configured(weights, architecture, overrides or {}, search, download).is_encoder_decoder:
        kind = "AutoModelForSeq2SeqLM"
    whole = _made(kind, weights, sha256 or {}, architecture, overrides or {}, search, download)
    model = LanguageModel(_prepared(whole, checkpointing), _of_text(pad), input_shape)
    _check_logits(model, whole)
    return model


def _check_form(form: str, right: str) -> None:
    if form != right:
        raise ConfigError(f"model.form={form!r}", f"this kind of model has the form {right}: leave the key as it is")


def _of_text(pad: int | None) -> int:
    if pad is None:
        raise ConfigError("this model reads tokens, and the stream holds none", "choose a scenario of texts, or another model")
    return pad


def _transformers() -> Any:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        transformers: Any = importlib.import_module("transformers")
    except ImportError as error:
        raise ConfigError(f"this model needs transformers: {error}", "pip install 'clbench[llm]'") from error
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return transformers


def _place(weights: str, search: Sequence[Path], download: bool) -> str:
    """Return the folder that holds `weights`, or their name on the hub where that may be asked."""
    for folder in (*search, *([Path()] if Path(weights).is_absolute() else [])):
        if (folder / weights / "config.json").is_file():
            return str(folder / weights)
    if download:
        return weights
    places = ", ".join(str(folder / weights) for folder in search) or "no folder"
    raise DataError(
        f"model.weights={weights}: no config.json in {places}",
        "put the model's folder below one of data.root (docs/data.md); or let the hub be asked: data.download=true",
    )


def _configured(
    weights: str | None,
    architecture: Mapping[str, Any] | None,
    overrides: Mapping[str, Any],
    search: Sequence[Path],
    download: bool,
) -> Any:
    """Return the configuration of transformers that the keys describe."""
    transformers = _transformers()
    if (weights is None) == (architecture is None):
        raise ConfigError(
            f"model.weights={weights!r} and model.architecture={architecture!r}", "give one of the two, and null for the other"
        )
    if architecture is not None:
        keys = {**architecture, **overrides}
        kind = keys.pop("model_type", None)
        if kind not in transformers.CONFIG_MAPPING:
            raise ConfigError(
                f"model.architecture.model_type={kind!r} is unknown to transformers", "such as gpt2, llama, t5, bert"
            )
        return transformers.AutoConfig.for_model(kind, **keys)
    assert weights is not None
    try:
        return transformers.AutoConfig.from_pretrained(_place(weights, search, download), **overrides)
    except (OSError, ValueError) as error:
        raise DataError(f"model.weights={weights}: {error}", "check the name, the folder and the network") from error


def _made(
    kind: str,
    weights: str | None,
    sha256: Mapping[str, str],
    architecture: Mapping[str, Any] | None,
    overrides: Mapping[str, Any],
    search: Sequence[Path],
    download: bool,
) -> Any:
    """Return a model of the class `kind` of transformers, in float32."""
    loader = getattr(_transformers(), kind)
    config = _configured(weights, architecture, overrides, search, download)
    try:
        if weights is None:
            return loader.from_config(config)
        place = _place(weights, search, download)
        for name, digest in sha256.items():
            if Path(place, name).is_file():
                verify(Path(place, name), digest, how_to_get="replace it by the original file (docs/data.md)")
        return loader.from_pretrained(place, config=config, dtype=torch.float32, local_files_only=not download)
    except (OSError, ValueError, RuntimeError) as error:
        raise DataError(f"model.weights={weights}: {error}", "check the folder's files and the network") from error


def _prepared(model: Any, checkpointing: bool) -> Any:
    if checkpointing:
        new = getattr(model, "activation_checkpointing_enable", None)  # the older name goes in transformers 6
        enable = new or model.gradient_checkpointing_enable
        enable(**{f"{'activation' if new else 'gradient'}_checkpointing_kwargs": {"use_reentrant": False}})
    return model


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
            own = whole(input_ids=answers.tokens(rows)).logits[0, 2:4]
    model.train(was)
    if not torch.allclose(ours, own, rtol=1e-3, atol=1e-3):
        raise ConfigError(
            f"{type(whole).__name__} changes its hidden states or logits in a way that clbench does not know",
            "choose an architecture such as gpt2, gpt_neox, llama, qwen2, t5 or bart",
        )
