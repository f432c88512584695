"""What a plan takes for granted, because only a run would tell."""

from __future__ import annotations

from dataclasses import dataclass

from lit_unmask.policies import Policy, Random
from lit_unmask.policies.heuristics import TopK
from lit_unmask.rollout import Decoding

# Mean forwards a rollout as shares of the generation length, in a public training log of
# LLaDA-8B (one H200, 27.5 hours, L = BL = 256): 49 of 256 when it began, 238 when it was slowest,
# and about 140 over the whole run.
_WAITING = 0.19, 0.55, 0.93
# Those of them that committed something: 34 of 256, 116, and 55 % of all steps of the run. Where
# empty actions are not waited out, these are all there is.
COMMITTING = 0.55
_FORCED = 0.13, 0.55 * COMMITTING, 0.45
# Those of trained policies, which are published with 13 to 80 of 256 forwards; those of tiny-llada
# take 0.11 to 0.23 of 64.
_TRAINED = 0.05, 0.15, 0.35
# Shares that thresholds and bounds take, apart from very short blocks: with LLaDA-8B on GSM8K the
# confidence threshold 0.9 in blocks of 32 takes 81.5 of 256 forwards, and 0.7 in blocks of 64 takes
# 47.2; tiny-llada is at 0.21 to 0.54 with blocks of 8 and more.
_ADAPTIVE = 0.1, 0.32, 0.6
# The same as multiples of the number of blocks, each of which takes a forward at least: tiny-llada
# is at 1.1 to 1.5 in blocks of two.
_A_BLOCK = 1.0, 1.25, 1.5


@dataclass(frozen=True)
class Range:
    """A number that is not known exactly: the least that is likely, in between, and the most."""

    low: float
    usual: float
    high: float

    @classmethod
    def exactly(cls, value: float) -> Range:
        """Return a number that is known."""
        return cls(value, value, value)

    def __add__(self, other: Range) -> Range:
        """Return the sum, end by end."""
        return Range(self.low + other.low, self.usual + other.usual, self.high + other.high)

    def times(self, factor: float) -> Range:
        """Return the product with a positive number."""
        return Range(self.low * factor, self.usual * factor, self.high * factor)

    def less(self, amount: float) -> Range:
        """Return the range moved down by a number, not below 0."""
        return Range(*(max(value - amount, 0.0) for value in vars(self).values()))

    def within(self, low: float, high: float) -> Range:
        """Return the range with no end outside of two numbers."""
        return Range(*(min(max(value, low), high) for value in vars(self).values()))


@dataclass(frozen=True)
class Assumptions:
    """What is taken for granted where only a run would tell.

    Attributes:
        rate: Milliseconds a row-forward (one sequence through the denoiser once), measured on
            another machine; None times a part of the denoiser here.
        nfe: Least and largest mean number of forwards of a rollout of the policy; None means 0.19
            and 0.93 of the generation length where empty actions wait, else 0.13 and 0.45, while a
            policy is trained, and 0.05 and 0.35 afterwards.
        prompt_tokens: Tokens of a prompt; None counts them where the tokenizer and the problems
            are at hand.
        gpu_memory: Memory of a GPU of another machine, in GiB; None asks the GPU here.

    Raises:
        ValueError: If a number is not positive, or ``nfe`` is no increasing pair.
    """

    rate: float | None = None
    nfe: tuple[float, float] | None = None
    prompt_tokens: int | None = None
    gpu_memory: float | None = None

    def __post_init__(self) -> None:
        for name in ("rate", "prompt_tokens", "gpu_memory"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"plan.{name}={value} must be positive, or null")
        if self.nfe is not None and not 0 < self.nfe[0] <= self.nfe[1]:
            raise ValueError(
                f"plan.nfe={list(self.nfe)} must be two positive numbers, the least first"
            )

    def learned_nfe(self, decoding: Decoding) -> Range:
        """Return mean forwards a rollout of a policy that is learning."""
        return self._given(_WAITING if decoding.on_empty == "wait" else _FORCED, decoding)

    def trained_nfe(self, policy: Policy, decoding: Decoding) -> Range:
        """Return those of any policy that is evaluated, a learned one as trained."""
        if not policy.has_parameters:
            return heuristic_nfe(policy, decoding)
        blocks = decoding.gen_length // decoding.block_length  # each takes one
        return self._given(_TRAINED, decoding).within(blocks, decoding.gen_length)

    def _given(self, shares: tuple[float, float, float], decoding: Decoding) -> Range:
        if self.nfe is None:
            return Range(*shares).times(decoding.gen_length)
        low, high = self.nfe
        return Range(low, (low + high) / 2, high)


def heuristic_nfe(policy: Policy, decoding: Decoding) -> Range:
    """Return mean forwards a rollout of a heuristic.

    That of one which opens **k** positions a step is known: ``ceil(block_length / k)`` a block.
    Where confidences decide, it is a wide range.
    """
    length = decoding.gen_length
    blocks = length // decoding.block_length
    if isinstance(policy, TopK | Random):
        return Range.exactly(float(blocks * -(-decoding.block_length // policy.k)))
    pairs = zip(_ADAPTIVE, _A_BLOCK, strict=True)
    return Range(*(max(share * length, each * blocks) for share, each in pairs)).within(0, length)
