"""A language model pre-trained on the biographies of some people: made from a configuration, pre-trained once."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from clbench.data.biography.people import Biography
from clbench.data.biography.vocabulary import EOS, PAD, Vocabulary
from clbench.errors import ConfigError, DataError
from clbench.models.language import LanguageModel
from clbench.models.pretrained import explained_architecture, of_architecture
from clbench.models.pretraining import Pretraining, load_or_train


def pretrained(
    *,
    form: str,
    biography: Biography | None,
    architecture: Mapping[str, Any],
    pretraining: Pretraining,
    checkpointing: bool,
    input_shape: Sequence[int],
    search: Sequence[Path],
    download: bool,
) -> LanguageModel:
    """Return a causal language model that was pre-trained on the biographies of the familiar people.

    The weights are searched below the folders of the data search path, else trained now and stored there
    (`clbench.models.pretraining`). Every run starts from the same weights, for all seeds.

    Args:
        form: for the scenario: `answers`.
        biography: the people; the scenario's.
        architecture: `model_type` and keys of a configuration of transformers; the size of the vocabulary follows from the
            biographies, and there is no dropout unless the keys say otherwise.
        pretraining: how it is trained.
        checkpointing: recompute activations in the backward pass of fine-tuning instead of storing them.
        input_shape: of a row of tokens.
        search: folders to search; new weights go to the last writable folder.
        download: without effect: nothing is fetched.

    Raises:
        ConfigError: a scenario without biographies, unknown keys, or rows longer than the model's context.
        DataError: no folder can store the weights.
    """
    if not isinstance(biography, Biography):
        raise ConfigError(
            "this model is pre-trained on the people of its scenario, and the scenario has none",
            "choose scenario=biography_tiny or scenario=biography, or another model",
        )
    if form != "answers":
        raise ConfigError(f"model.form={form!r}", "give model.form=answers, the only form of this model")
    make = partial(fresh, architecture, len(Vocabulary(biography)))
    whole: Any = make()
    context = getattr(whole.config, "max_position_embeddings", None)
    longest = max(pretraining.length, *input_shape)
    if context is not None and longest > context:
        raise ConfigError(
            f"model.architecture.max_position_embeddings={context}, and rows have {longest} tokens", f"give at least {longest}"
        )
    weights = load_or_train(make, biography, architecture, pretraining, search)
    try:
        whole.load_state_dict(weights)
    except RuntimeError as error:
        raise DataError(
            f"the pre-trained weights of {biography.name} do not fit {type(whole).__name__}: {str(error).splitlines()[-1]}",
            "another version of transformers names its weights differently: delete the folder `pretrained` of the data folder",
        ) from error
    if checkpointing:
        whole.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return LanguageModel(whole, PAD, input_shape)


def fresh(architecture: Mapping[str, Any], vocabulary: int) -> nn.Module:
    """Return an untrained causal model of transformers, drawn from the global generator of the CPU."""
    try:
        transformers: Any = importlib.import_module("transformers")
    except ImportError as error:
        raise ConfigError(f"this model needs transformers: {error}", "pip install 'clbench[llm]'") from error
    keys = {"vocab_size": vocabulary, "bos_token_id": EOS, "eos_token_id": EOS, "pad_token_id": PAD, "use_cache": False}
    keys |= {"attention_dropout": 0.0, "hidden_dropout": 0.0} | dict(architecture)
    with explained_architecture(architecture):
        model: nn.Module = transformers.AutoModelForCausalLM.from_config(of_architecture(keys))
    return model
