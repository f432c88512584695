"""What a rollout cost: every row-forward, by what became of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Ledger:
    """Row-forwards of one rollout call; a row-forward is one sequence through the denoiser once.

    Attributes:
        charged: Forwards that the rows are charged for, the sum of NFE.
        other: Of the charged forwards, those of other models than the denoiser.
        computed: Row-forwards that ran, full ones, partial ones and blank ones.
        shared: Charged steps that took the result of an identical row.
        tokens: Tokens that went through the denoiser, padding included.
        padded_tokens: Of these, left padding.
        partial: Of the row-forwards that ran, those of only a part of the tokens, with a cache of
            keys and values (``approximate.cache``).
        partial_tokens: Of the tokens, those of partial row-forwards; there is no padding among
            them.
        blank: Of the row-forwards that ran, those of copies of rows, which give a call its fixed
            shape (``scheduling.deterministic``); their tokens are all counted as padding.
        calls: Batched denoiser calls.
        policy_rows: Rows through the policy; beyond ``charged``, steps that were asked about ahead
            and not taken, and copies of rows.
        seconds: Wall time.
    """

    charged: int = 0
    other: int = 0
    computed: int = 0
    shared: int = 0
    tokens: int = 0
    padded_tokens: int = 0
    partial: int = 0
    partial_tokens: int = 0
    blank: int = 0
    calls: int = 0
    policy_rows: int = 0
    seconds: float = 0.0

    @property
    def skipped(self) -> int:
        """Charged steps without a forward, because the row's buffer had not changed."""
        return self.charged - self.other - (self.computed - self.blank) - self.shared

    @property
    def full(self) -> int:
        """Row-forwards that ran over the whole sequence."""
        return self.computed - self.partial

    @property
    def useful_share(self) -> float:
        """Share of the tokens through the denoiser that were not padding, in ``[0, 1]``."""
        return 1 - self.padded_tokens / max(self.tokens, 1)

    @property
    def saved_ratio(self) -> float:
        """Charged steps for each row-forward that ran; below 1 only where blank ones ran too.

        A partial row-forward counts as one, whatever it saves: see ``tokens`` for that.
        """
        return self.charged / max(self.computed, 1)

    def __add__(self, other: Ledger) -> Ledger:
        """Return the sum of two ledgers."""
        return Ledger(*(a + b for a, b in zip(vars(self).values(), vars(other).values())))  # noqa: B905
