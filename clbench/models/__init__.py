"""Networks: backbones, and the classifier that puts heads on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clbench.errors import ConfigError
from clbench.instantiate import instantiate, locate, parameters

if TYPE_CHECKING:
    from clbench.models.classifier import Classifier
    from clbench.stream import Stream


def build_model(
    config: Mapping[str, Any], stream: Stream, seed: int, search: Sequence[Path] = (), download: bool = False
) -> Classifier:
    """Make the model of one run, on the CPU; the same arguments give bitwise the same weights.

    Weights are drawn from the stream (seed, "initialisation"); the global generators keep their state.

    Args:
        config: the node `model`: `_target_` (a module class or factory, called with `input_shape`, `search`, `download` and
            `pad` if it takes those) and its arguments. `head: {bias, init}` configures the heads (`init` as in
            `clbench.models.layers`); a factory of a whole `Classifier` makes its own heads.
        stream: gives the shape of inputs and the sizes of the heads.
        seed: of the run.
        search: folders to search for pre-trained weights.
        download: whether missing ones may be fetched.

    Raises:
        ConfigError: the node cannot be built, or its module does not map `[B, *input_shape]` to features `[B, d]`.
    """
    import torch

    from clbench.models.classifier import Classifier
    from clbench.models.layers import flag, initialise
    from clbench.utils.rng import derive

    node = dict(config)
    bias, init = _head(node.pop("head", None))
    flag(bias, "head.bias")
    _check_keys(node)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive(seed, "initialisation"))  # the CPU's alone, unlike torch.manual_seed
        accepted, _ = parameters(locate(node.get("_target_"), "model"))
        given = {"search": search, "download": download, "pad": stream.pad}
        program_arguments = {key: value for key, value in given.items() if key in accepted}
        backbone = instantiate(node, "model", input_shape=stream.input_shape, **program_arguments)
        if not isinstance(backbone, torch.nn.Module):
            made = type(backbone).__name__
            raise ConfigError(
                f"model._target_={node['_target_']} makes a {made}, not a torch.nn.Module",
                "name a module class, or a function that returns a module",
            )
        reads = bool(getattr(backbone, "sequential", False))
        _check_form(isinstance(backbone, Classifier), reads, stream, node["_target_"])
        if isinstance(backbone, Classifier):
            return backbone
        classifier = Classifier(backbone, stream.head_sizes, stream.input_shape, bias)
        initialise(classifier.heads, init, "head.init")
    return classifier


def _head(head: Any) -> tuple[Any, Any]:
    """Return (bias, init) of the key `head`."""
    values = {} if head is None else head
    if not isinstance(values, Mapping) or set(values) - {"bias", "init"}:
        raise ConfigError(
            f"model.head={head!r} is not understood", "it is a mapping with the keys bias (true|false) and init (default|kaiming)"
        )
    return values.get("bias", True), values.get("init", "default")


def _check_form(writes: bool, reads: bool, stream: Stream, target: str) -> None:
    """Refuse a model that reads no tokens for a stream of tokens, and a model whose form is not the stream's."""
    if stream.pad is not None and not reads:
        raise ConfigError(
            f"model: {target} does not read tokens, and this stream consists of tokens",
            "choose a model of texts such as model=tiny_bert; a network of your own declares this by `sequential = True`",
        )
    if writes != (stream.vocabulary is not None):
        forms = ("answers", "classes") if writes else ("classes", "answers")
        raise ConfigError(
            f"model: {target} is for scenarios of the form {forms[0]}, and this stream has the form {forms[1]}",
            "choose another model, or another scenario.form where the scenario has that key",
        )


def _check_keys(node: Mapping[str, Any]) -> None:
    """Refuse arguments of a shipped network that are left over after a change of `_target_` alone."""
    target = node.get("_target_")
    accepted, open_ended = parameters(locate(target, "model"))
    left = [key for key in node if key not in accepted and key not in ("_target_", "name", "version")]
    if left and not open_ended and not str(target).startswith("clbench."):
        raise ConfigError(
            f"model: {target} does not take {', '.join(left)}",
            f"start from an empty node: model=custom model._target_={target}, or remove them: '~model.{left[0]}'",
        )
