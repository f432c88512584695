"""What approximate decoding changes, measured against the exact engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from lit_unmask.denoisers.face import Denoiser
from lit_unmask.denoisers.running.cache import Kept
from lit_unmask.evaluation.decode import Evaluation, evaluate
from lit_unmask.policies.base import Policy
from lit_unmask.rollout import Approximate, Decoding
from lit_unmask.types import Problem, Reading


@dataclass(frozen=True)
class Agreement:
    """How far approximate readings agree with exact ones about the same buffers.

    Attributes:
        positions: Positions compared, summed over readings.
        same_proposal: Share of them with the same most probable token; 1 if there are none.
        confidence_difference: Mean absolute difference of the largest probability, in ``[0, 1]``;
            0 if there are none.
    """

    positions: int
    same_proposal: float
    confidence_difference: float


@dataclass(frozen=True)
class Drift:
    """An approximate decoding beside the exact one: same problems, same noise.

    Attributes:
        readings: Row-forwards that were compared, along the approximate trajectories: of an
            approximate decoding the partial ones, as the exact engine would do the full ones alike,
            of another denoiser all.
        masked: Agreement over all masked positions of these readings. Those outside the computed
            span have the signals of the block's first forward, as the policy sees them.
        eligible: Agreement over the masked positions of the current block, which partial forwards
            alone tell; of another denoiser no positions.
        same_completions: Share of problems whose completions are equal as text.
        approximate: The approximate engine.
        exact: The exact engine.
    """

    readings: int
    masked: Agreement
    eligible: Agreement
    same_completions: float
    approximate: Evaluation
    exact: Evaluation

    @property
    def accuracy_difference(self) -> float:
        """Accuracy of the approximate engine minus that of the exact one."""
        return self.approximate.accuracy - self.exact.accuracy

    @property
    def nfe_difference(self) -> float:
        """Mean NFE of the approximate engine minus that of the exact one."""
        return self.approximate.mean_nfe - self.exact.mean_nfe

    @property
    def forwards_saved(self) -> float:
        """Share of the exact engine's row-forwards that did not run, neither full nor partial.

        Negative if the approximate engine ran more of them.
        """
        return 1 - self.approximate.ledger.computed / max(self.exact.ledger.computed, 1)

    @property
    def tokens_saved(self) -> float:
        """Share of the exact engine's tokens that did not go through the denoiser."""
        return 1 - self.approximate.ledger.tokens / max(self.exact.ledger.tokens, 1)


def drift(
    denoiser: Denoiser,
    policy: Policy,
    problems: Sequence[Problem],
    decoding: Decoding,
    seed: int = 0,
) -> Drift:
    """Compare a decoding with approximations against the exact engine.

    The exact engine decodes the problems too, and is asked about every buffer that a partial
    forward was asked about. That costs more than either: it is a measurement, not a way to decode.

    Args:
        denoiser: The frozen dLLM.
        policy: Learned policy or heuristic.
        problems: What to solve.
        decoding: With ``decoding.approximate`` set.
        seed: Seed of the noise of both.

    Returns:
        Agreement of readings, accuracy and costs.

    Raises:
        ValueError: If the token temperature is positive, where proposals are drawn.
    """
    _check_greedy(decoding)
    watch = _Watch(denoiser, len(problems), decoding)
    approximate = _watched(watch, denoiser, policy, problems, decoding, seed)
    plain = replace(decoding, approximate=Approximate())
    return _drift(watch, approximate, evaluate(denoiser, policy, problems, plain, seed))


def denoiser_drift(
    denoiser: Denoiser,
    original: Denoiser,
    policy: Policy,
    problems: Sequence[Problem],
    decoding: Decoding,
) -> Drift:
    """Compare a denoiser with the one that it was made from, for instance by quantisation.

    Both decode the problems with the same noise, and the original is asked about every buffer that
    the other one was asked about.

    Args:
        denoiser: The one whose drift is measured; it is the ``approximate`` side.
        original: The ``exact`` side.
        policy: Learned policy or heuristic.
        problems: What to solve.
        decoding: Exact, or with the same approximations on both sides.

    Returns:
        Agreement of readings, accuracy and costs.

    Raises:
        ValueError: If the token temperature is positive, or there is a key-value cache, with which
            only a part of the forwards could be compared.
    """
    _check_greedy(decoding)
    if decoding.approximate.cache != "none":
        raise ValueError(
            f"approximate.cache={decoding.approximate.cache!r}: measure one approximation at a time"
        )
    watch = _Other(original)
    approximate = _watched(watch, denoiser, policy, problems, decoding)
    return _drift(watch, approximate, evaluate(original, policy, problems, decoding))


def _check_greedy(decoding: Decoding) -> None:
    if decoding.temperature > 0:
        raise ValueError(
            f"temperature={decoding.temperature}: drift compares most probable tokens, which are "
            "proposed at temperature 0 alone; set decoding.temperature=0"
        )


def _watched(watch: _Watch | _Other, denoiser: Denoiser, *asked: Any) -> Evaluation:
    """Evaluate as asked, while somebody sees the denoiser's forwards."""
    handle = denoiser.register_forward_hook(watch, with_kwargs=True)
    try:
        return evaluate(denoiser, *asked)
    finally:
        handle.remove()


def _drift(watch: _Watch | _Other, approximate: Evaluation, exact: Evaluation) -> Drift:
    pairs = zip(approximate.completions, exact.completions, strict=True)
    return Drift(
        readings=watch.readings,
        masked=watch.masked.agreement,
        eligible=watch.eligible.agreement,
        same_completions=sum(a == b for a, b in pairs) / max(len(exact.completions), 1),
        approximate=approximate,
        exact=exact,
    )


class _Tally:
    """Sums over compared positions."""

    def __init__(self) -> None:
        self.positions, self.same, self.difference = 0, 0, 0.0

    def add(self, where: Tensor, same: Tensor, difference: Tensor) -> None:
        """Count positions ``where``; all are ``[B, L]``."""
        self.positions += int(where.sum())
        self.same += int(same[where].sum())
        self.difference += float(difference[where].double().sum())

    @property
    def agreement(self) -> Agreement:
        if not self.positions:
            return Agreement(0, 1.0, 0.0)
        return Agreement(
            self.positions, self.same / self.positions, self.difference / self.positions
        )


class _Watch:
    """Sees the denoiser's forwards and repeats each partial one exactly.

    What a row knows after a partial forward is the full forward of its slot with the span written
    over it.
    """

    def __init__(self, denoiser: Denoiser, rows: int, decoding: Decoding) -> None:
        shape = rows, decoding.gen_length
        self._proposal = torch.zeros(shape, dtype=torch.int64, device=denoiser.device)
        self._confidence = torch.zeros(shape, device=denoiser.device)
        self._block_length = decoding.block_length
        self.readings, self.masked, self.eligible = 0, _Tally(), _Tally()

    def __call__(self, denoiser: Denoiser, asked: tuple, options: Mapping, output: Reading) -> None:
        """Compare one call; a hook of :class:`torch.nn.Module`, after its forward."""
        kept: Kept | None = options.get("kept")
        if kept is None:
            return
        confidence = output.confidence[..., 0]
        if kept.span is None:
            self._proposal[kept.slots] = output.proposal
            self._confidence[kept.slots] = confidence
            return
        prompt, response, signals = asked[:3]
        # Not through ``__call__``, which would come back here.
        exact = denoiser.forward(prompt, response, signals)
        places = kept.span.positions
        found = self._proposal[kept.slots].scatter(1, places, output.proposal)
        sure = self._confidence[kept.slots].scatter(1, places, confidence)
        same = found == exact.proposal
        difference = (sure - exact.confidence[..., 0]).abs()
        masked = response == denoiser.mask_id
        block = torch.zeros_like(masked).scatter(1, places[:, : self._block_length], True)
        self.readings += len(response)
        self.masked.add(masked, same, difference)
        self.eligible.add(masked & block, same, difference)


class _Other:
    """Sees a denoiser's forwards and repeats each with another denoiser."""

    def __init__(self, original: Denoiser) -> None:
        self._original = original
        self.readings, self.masked, self.eligible = 0, _Tally(), _Tally()

    def __call__(self, denoiser: Denoiser, asked: tuple, options: Mapping, output: Reading) -> None:
        """Compare one call; a hook of :class:`torch.nn.Module`, after its forward."""
        prompt, response, signals = asked[:3]
        # Not through ``__call__``, for the original may be the denoiser itself.
        exact = self._original.forward(prompt, response, signals)
        difference = (output.confidence - exact.confidence)[..., 0].abs()
        self.readings += len(response)
        self.masked.add(response == denoiser.mask_id, output.proposal == exact.proposal, difference)
