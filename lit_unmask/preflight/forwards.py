"""How many forwards a rollout of a heuristic takes."""

from __future__ import annotations

from functools import singledispatch

from lit_unmask.policies import Policy, Random
from lit_unmask.policies.heuristics import TopK
from lit_unmask.preflight.assumptions import Assumptions, Range
from lit_unmask.rollout import Decoding

# Shares of the generation length that thresholds and bounds take, apart from very short blocks:
# with LLaDA-8B on GSM8K the confidence threshold 0.9 in blocks of 32 takes 81.5 of 256 forwards,
# and 0.7 in blocks of 64 takes 47.2; tiny-llada is at 0.21 to 0.54 with blocks of 8 and more.
_ADAPTIVE = 0.1, 0.32, 0.6
# The same as multiples of the number of blocks, each of which takes a forward at least: tiny-llada
# is at 1.1 to 1.5 in blocks of two.
_A_BLOCK = 1.0, 1.25, 1.5


@singledispatch
def heuristic_nfe(policy: Policy, decoding: Decoding) -> Range:
    """Return mean forwards a rollout of a heuristic.

    That of one which opens **k** positions a step is known: ``ceil(block_length / k)`` a block.
    Where confidences decide, it is a wide range.
    """
    length = decoding.gen_length
    blocks = length // decoding.block_length
    pairs = zip(_ADAPTIVE, _A_BLOCK, strict=True)
    return Range(*(min(max(share * length, each * blocks), length) for share, each in pairs))


@heuristic_nfe.register(TopK)
@heuristic_nfe.register(Random)
def _(policy: TopK | Random, decoding: Decoding) -> Range:
    blocks = decoding.gen_length // decoding.block_length
    return Range.exactly(float(blocks * -(-decoding.block_length // policy.k)))


def tested_nfe(policy: Policy, decoding: Decoding, assumptions: Assumptions) -> Range:
    """Return mean forwards a rollout of any policy that is evaluated, a learned one as trained."""
    if policy.has_parameters:
        return assumptions.trained_nfe(decoding)
    return heuristic_nfe(policy, decoding)
