"""What networks learn: one objective a file."""

from lit_unmask.pretrain.objectives.autoregressive import Autoregressive
from lit_unmask.pretrain.objectives.base import Network, Objective
from lit_unmask.pretrain.objectives.masked_diffusion import MaskedDiffusion
from lit_unmask.pretrain.objectives.masks import Masks, OneMask

__all__ = [
    "Autoregressive",
    "MaskedDiffusion",
    "Masks",
    "Network",
    "Objective",
    "OneMask",
]
