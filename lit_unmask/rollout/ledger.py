"""What a rollout cost: every row-forward, by what became of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Ledger:
    """Row-forwards of one rollout call; a row-forward is one sequence through the denoiser once.

    Attributes:
        charged: Steps that the rows are charged for, the sum of NFE.
        computed: Row-forwards that ran.
        skipped: Charged steps without a forward, because the row's buffer had not changed.
        shared: Charged steps that took the result of an identical row of the same batch.
        tokens: Tokens that went through the denoiser, padding included.
        padded_tokens: Of these, left padding.
        calls: Batched denoiser calls.
    """

    charged: int = 0
    computed: int = 0
    skipped: int = 0
    shared: int = 0
    tokens: int = 0
    padded_tokens: int = 0
    calls: int = 0

    @property
    def saved_ratio(self) -> float:
        """Charged steps for each row-forward that ran, at least 1."""
        return self.charged / max(self.computed, 1)

    def __add__(self, other: Ledger) -> Ledger:
        """Return the sum of two ledgers."""
        return Ledger(*(a + b for a, b in zip(vars(self).values(), vars(other).values())))  # noqa: B905
