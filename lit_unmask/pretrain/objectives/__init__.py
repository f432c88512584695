"""What networks learn: one objective a file."""

from lit_unmask.pretrain.objectives.autoregressive import Autoregressive
from lit_unmask.pretrain.objectives.base import Network, Objective
from lit_unmask.pretrain.objectives.card import CARD
from lit_unmask.pretrain.objectives.gidd import GIDD, BoundWeights, DynamicWeights, HybridNoise
from lit_unmask.pretrain.objectives.masked_diffusion import MaskedDiffusion
from lit_unmask.pretrain.objectives.masks import (
    ComplementaryMasks,
    IndependentMasks,
    Masks,
    OneMask,
)
from lit_unmask.pretrain.objectives.proseco import MaskedProSeCo, ProSeCo
