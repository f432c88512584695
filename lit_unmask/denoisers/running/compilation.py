"""Fused kernels for a frozen network, by ``torch.compile``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

Mode = Literal["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"]
_WITH_CUDA_GRAPHS = ("reduce-overhead", "max-autotune")
# Beyond so many graphs torch would go on without compiled code; its own default is 8, fewer than a
# task with long prompts has buckets.
MOST_GRAPHS = 64


@dataclass(frozen=True)
class Compile:
    """How the layers of a stock denoiser are compiled; the vocabulary head stays as it is.

    Each shape of a call is compiled by itself, which takes seconds to minutes, and on CUDA a mode
    with CUDA graphs records each shape once more. So calls must come in few shapes: a decoding with
    a denoiser that needs fixed shapes is refused without ``decoding.scheduling.deterministic``.

    In YAML::

        denoiser:
          class_path: lit_unmask.denoisers.LLaDA
          init_args:
            path: GSAI-ML/LLaDA-8B-Instruct
            dtype: bfloat16
            compile: {mode: reduce-overhead}
        decoding:
          scheduling: {deterministic: true, static_rows: 16, static_tokens: 64}

    Attributes:
        mode: What torch calls so: ``default``; ``reduce-overhead``, which replays CUDA graphs;
            ``max-autotune``, which measures kernels first and replays CUDA graphs too; or
            ``max-autotune-no-cudagraphs``.
        fullgraph: Whether code that cannot be compiled as a whole is an error, instead of running
            in pieces.
        dynamic: False compiles each shape by itself. True makes one graph for all shapes, as far as
            that goes, with slower kernels. None begins with the first shape and goes on as True.

    Raises:
        ValueError: If there is no such mode.
    """

    mode: Mode = "default"
    fullgraph: bool = True
    dynamic: bool | None = False

    def __post_init__(self) -> None:
        if self.mode not in get_args(Mode):
            raise ValueError(
                f"compile.mode={self.mode!r} must be one of {', '.join(get_args(Mode))}"
            )

    @property
    def fixed_shapes(self) -> bool:
        """Whether calls of ever new shapes would be compiled or recorded ever again."""
        return self.dynamic is False or self.mode in _WITH_CUDA_GRAPHS

    def arguments(self) -> dict[str, Any]:
        """Return what ``torch.compile`` is called with."""
        return vars(self).copy()

    def call(self, network: nn.Module, tokens: Tensor, real: Tensor, positions: Tensor) -> Tensor:
        """Return the states ``[B, S, D]`` of a network that was compiled with :meth:`arguments`.

        Args:
            network: The layers of a stock network.
            tokens: ``[B, S]`` int64.
            real: ``[B, S]`` bool, False at padding.
            positions: ``[B, S]`` int64.
        """
        # Inference mode has tensors of another kind, for which all would be compiled once more.
        with torch.inference_mode(False), torch.no_grad(), _many_graphs():
            torch.compiler.cudagraph_mark_step_begin()
            states = network(
                input_ids=tokens.clone(),
                attention_mask=real.clone(),
                position_ids=positions.clone(),
                use_cache=False,
            ).last_hidden_state
            # The next replay of a CUDA graph writes to the same memory.
            return states.clone() if self.mode in _WITH_CUDA_GRAPHS else states


def _many_graphs() -> Any:
    from torch._dynamo import config  # takes a second, for those who compile

    return config.patch(recompile_limit=MOST_GRAPHS)
