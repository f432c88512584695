"""What lets rows of one prompt replace each other."""

from lit_unmask.rollout.resamplers.base import Resampler
from lit_unmask.rollout.resamplers.smc import BestOfN, SelfRewarding
