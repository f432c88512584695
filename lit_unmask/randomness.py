"""Counter-based random numbers: a pure function of (seed, stream, rollout, step, position).

A row's noise must not depend on what else is in its batch, on the device, or on how many numbers
were drawn before, so nothing here has a state.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

ACTION = 0
"""Stream of the numbers that decide which positions are unmasked."""
TOKEN = 1
"""Stream of the numbers that decide which tokens are proposed."""
SPEED = 2
"""Stream of the numbers that decide which speed a group of rollouts is conditioned on."""
CORRECTION = 3
"""Stream of the numbers that decide which tokens are proposed to a corrector."""
RESAMPLE = 4
"""Stream of the numbers that decide which particles go on."""
VOCABULARY = 5
"""Stream of the numbers that are drawn for each token of a vocabulary."""


@dataclass(frozen=True)
class Noise:
    """Key of the random numbers of a batch of rollouts.

    Attributes:
        seed: Seed of the run or round.
        rollout: ``[B]`` int64, a number for each row that follows the row wherever it goes.
    """

    seed: int
    rollout: Tensor


_WORD = 1 << 64
_MANTISSA_BITS = 24
"""Bits of a float32 significand: any smaller integer converts without rounding up to 1."""


def _signed(word: int) -> int:
    """Return the int64 that has the same bits as the low 64 bits of ``word``."""
    word %= _WORD
    return word - _WORD if word >= _WORD // 2 else word


_MIX_SHIFTS = (30, 27, 31)
_MIX_FACTORS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
_SIGNED_FACTORS = tuple(_signed(factor) for factor in _MIX_FACTORS)
_POSITION_GAMMA = _signed(0x9E3779B97F4A7C15)


def _xor_shift(words: Tensor, bits: int) -> Tensor:
    """Xor ``words`` with itself shifted right by ``bits``, in place; zeros are shifted in."""
    return words.bitwise_xor_((words >> bits).bitwise_and_((1 << (64 - bits)) - 1))


def _mix(words: Tensor) -> Tensor:
    """Apply the bijective 64-bit finaliser of SplitMix64 to int64 ``words``, in place."""
    for bits, factor in zip(_MIX_SHIFTS, _SIGNED_FACTORS, strict=False):
        _xor_shift(words, bits).mul_(factor)
    return _xor_shift(words, _MIX_SHIFTS[-1])


def _mix_int(word: int) -> int:
    """Apply the same finaliser to one Python integer; the result is in ``[0, 2**64)``."""
    word %= _WORD
    for bits, factor in zip(_MIX_SHIFTS, _MIX_FACTORS, strict=False):
        word = (word ^ (word >> bits)) * factor % _WORD
    return word ^ (word >> _MIX_SHIFTS[-1])


def uniform(seed: int, rollout: Tensor, step: Tensor, length: int, stream: int) -> Tensor:
    """Return uniform numbers that depend on their keys alone.

    Each part of the key is absorbed by one round of the SplitMix64 finaliser (Steele, Lea and
    Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014, figure 17): first seed
    and stream, then rollout, then step; the row's word then starts a SplitMix64 sequence over
    positions. Each value is a multiple of ``2**-24``, so it may be 0 and is never 1.

    Args:
        seed: Any integer; equal modulo ``2**64`` means equal numbers.
        rollout: ``[B]`` int64, global number of each row's rollout.
        step: ``[B]`` int64, number of the step within its rollout.
        length: Numbers for each row, **L**.
        stream: Which use the numbers are for, such as :data:`ACTION`.

    Returns:
        ``[B, L]`` float32 in ``[0, 1)`` on the device of ``rollout``.

    Raises:
        ValueError: If ``rollout`` and ``step`` are not int64 vectors of one shape.
    """
    if rollout.ndim != 1 or rollout.shape != step.shape:
        raise ValueError(
            f"rollout {tuple(rollout.shape)} and step {tuple(step.shape)} must both be [B]"
        )
    if rollout.dtype != torch.int64 or step.dtype != torch.int64:
        raise ValueError(f"rollout {rollout.dtype} and step {step.dtype} must both be int64")
    key = _signed(_mix_int(_mix_int(seed) + stream))
    row = _mix(_mix(rollout + key).add_(step))
    positions = torch.arange(1, length + 1, device=row.device).mul_(_POSITION_GAMMA)
    words = _mix(row[:, None] + positions)
    high = (words >> (64 - _MANTISSA_BITS)).bitwise_and_((1 << _MANTISSA_BITS) - 1)
    return high.to(torch.float32).mul_(2.0**-_MANTISSA_BITS)


def gumbel(numbers: Tensor, position: Tensor, size: int) -> Tensor:
    """Return a vector of standard Gumbel numbers for each number that was drawn, by its own hash.

    ``argmax(logits / T + vector)`` is then a draw from ``softmax(logits / T)``, and draws from two
    distributions by one vector agree often.

    Args:
        numbers: ``[M]`` float32 in ``[0, 1)``, as :func:`uniform` returns them.
        position: ``[M]`` int64, so that equal numbers at two places have other vectors.
        size: Numbers of each vector, **V**.

    Returns:
        ``[M, V]`` float32; ``-inf`` with probability ``2**-24``.
    """
    key = (numbers.float() * 2**_MANTISSA_BITS).long()
    return uniform(0, key, position, size, VOCABULARY).log_().neg_().log_().neg_()


def check_seed(seed: int) -> None:
    """Check that a seed is one of its own: those that are larger would repeat smaller ones.

    Raises:
        ValueError: If it is negative or has more than 63 bits.
    """
    if not 0 <= seed < _WORD // 2:
        raise ValueError(f"seed={seed} must lie in [0, 2**63); choose a smaller one")
