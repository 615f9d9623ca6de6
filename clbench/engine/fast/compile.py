"""torch.compile around a forward pass; if compilation fails, the pass runs uncompiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class Compiled:
    """A function that is compiled at its first call. If that fails, the function runs uncompiled; `tell` gets the reason once."""

    def __init__(
        self, function: Callable[..., Tensor], mode: str, tell: Callable[[str], None], keep_layout: bool = False
    ) -> None:
        """Compile nothing yet.

        Args:
            function: from tensors to logits.
            mode: of `torch.compile`.
            tell: gets the reason if the function is not compiled.
            keep_layout: True if convolutions must not become channels last (see `engine.learner.memory_format`), as the compiler
                does on a CPU.
        """
        self.function, self.tell, self.failed = function, tell, False
        options = {**torch._inductor.list_mode_options(mode), "layout_optimization": False} if keep_layout else None
        self._compiled: Callable[..., Tensor] = torch.compile(
            function, mode=None if keep_layout else mode, options=options, dynamic=False
        )

    def __call__(self, *arguments: Any) -> Tensor:
        """Call the function, compiled if possible, and return its result."""
        if self.failed:
            return self.function(*arguments)
        try:
            return self._compiled(*arguments)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            self.failed = True
            self.tell(f"runner.compile: not compiled: {type(error).__name__}: {' '.join(str(error).split())[:200]}")
            return self.function(*arguments)

    def leave_if_hooked(self, model: nn.Module) -> None:
        """Run uncompiled if the model's modules have hooks: a compiled forward pass would ignore them silently."""
        if not self.failed and any(part._forward_hooks or part._forward_pre_hooks for part in model.modules()):
            self.failed = True
            self.tell("runner.compile: not compiled: the method has attached hooks to the model")
