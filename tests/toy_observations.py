"""Observations at random and by hand, and noise for what policies do about them."""

import torch

from lit_unmask.policies import ConfidenceTransformer, LearnedPolicy
from lit_unmask.types import Observation

ROWS, LENGTH = 12, 10


def observe(seed=0, levels=0):
    """Return random observations; ``levels`` > 0 rounds scores so that ties occur."""
    generator = torch.Generator().manual_seed(seed)
    masked = torch.rand(ROWS, LENGTH, generator=generator) < 0.6
    eligible = masked & (torch.arange(LENGTH) < 7)
    eligible[0] = False
    confidence = torch.rand(ROWS, LENGTH, 3, generator=generator)
    entropy = 0.3 * torch.rand(ROWS, LENGTH, generator=generator)
    if levels:
        confidence, entropy = (x.mul(levels).round() / levels for x in (confidence, entropy))
    confidence = confidence.sort(-1, descending=True).values
    change = 0.03 * torch.rand(ROWS, LENGTH, generator=generator)
    signals = {"entropy": entropy, "change": change}
    return Observation(masked, eligible, confidence, torch.linspace(0, 1, ROWS), signals)


def learned():
    torch.manual_seed(0)
    return LearnedPolicy(ConfidenceTransformer(width=16, heads=2, feed_forward=32, top_p=2))


def noise(seed=0):
    return torch.rand(ROWS, LENGTH, generator=torch.Generator().manual_seed(seed))


def opened(distribution, uniform):
    return distribution.positions(distribution.sample(uniform))


def one_row(confidence, eligible=None, **signals):
    values = torch.tensor([confidence])
    masked = torch.ones(values.shape[:2], dtype=torch.bool)
    eligible = masked if eligible is None else torch.tensor([eligible]).bool()
    signals = {name: torch.tensor([value]) for name, value in signals.items()}
    return Observation(masked, eligible, values, torch.zeros(1), signals)
