"""Wide in, narrow out: drafts that are verified by the next forward."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from lit_unmask.rollout.correctors.base import Ask, Corrector, Edit, View, taken_back
from lit_unmask.rollout.correctors.remask import least
from lit_unmask.types import STANDING, Reading, Signals


@dataclass(frozen=True)
class WINO(Corrector):
    """Takes back what the policy drafted and the next forward is not sure of.

    Source: WINO, arXiv 2507.18578 (draft 0.6, verify 0.9). The policy drafts: any policy, there
    ``ConfidenceThreshold(0.6)``. A token is a draft while the confidence with which it was
    committed does not exceed ``verify``; it fails where the probability that it has in its place
    does not either. As in the release, fewer tokens are taken back than the last step committed,
    the least sure first, so that every step gains at least one and a block needs no more steps
    than it has tokens.

    Deviations: the release verifies by a second copy of the block within the same forward, which
    does not see the token itself; here it is the next forward, which does, and a denoiser that
    copies what it sees takes nothing back. The release verifies all tokens of the block; here
    those committed above ``verify`` have passed, and a token that is alone of its step is kept, as
    it was the best there was: where the policy's threshold is ``verify``, this is the threshold
    rule. No forward is its own.

    Attributes:
        verify: Probability that a token must exceed.

    Raises:
        ValueError: If it is no probability.
    """

    verify: float = 0.9

    def __post_init__(self) -> None:
        if not 0 <= self.verify <= 1:
            raise ValueError(f"verify={self.verify} must lie in [0, 1]; it is a probability")

    @property
    def signals(self) -> Signals:
        """What it needs of readings."""
        return super().signals | Signals(1, {STANDING.name})

    def within(self, rows: View) -> Tensor:
        """Return the drafts of the block, ``[R, L]`` bool."""
        known = rows.in_block & ~rows.masked & (rows.committed_at >= 0)
        step = rows.committed_at.clamp(min=0)
        of_step = step.new_zeros(len(step), int(step.max()) + 1).scatter_add(1, step, known.long())
        return known & (of_step.gather(1, step) > 1) & (rows.sure <= self.verify)

    def due(self, rows: View, said: Reading) -> Tensor:
        """Return which rows have drafts that fail when it is time, ``[R]`` bool."""
        return super().due(rows, said) & self._failed(rows, said).any(1)

    def correct(self, rows: View, said: Reading, ask: Ask) -> tuple[Edit, Reading]:
        """Take back; see :meth:`Corrector.correct`."""
        return taken_back(rows, self._failed(rows, said), said)

    def _failed(self, rows: View, said: Reading) -> Tensor:
        """Return the drafts to take back, ``[R, L]`` bool."""
        latest = rows.in_block & ~rows.masked & (rows.committed_at == rows.step[:, None] - 1)
        most = (latest.sum(1, keepdim=True) - 1).clamp(min=0)
        failed = self.within(rows) & ~(said.signals[STANDING.name] > self.verify)
        return least(said, failed, most)
