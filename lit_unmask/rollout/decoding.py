"""Settings of one decoding run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Decoding:
    """How a response is decoded, apart from who chooses the positions.

    Attributes:
        gen_length: Generation length **L** in tokens.
        block_length: Block length; blocks are decoded left to right, and
            ``block_length == gen_length`` is full diffusion.
        temperature: Token temperature of the denoiser; 0 proposes the most probable token.
        on_empty: What happens when a policy chooses nothing. ``force`` opens the eligible position
            that the policy ranks first (the recorded action stays empty, so its likelihood stays
            exact); ``wait`` leaves the buffer as it is, and a block may then end with masks left.
        max_rows: Most rows that are decoded at the same time; further rows wait in a queue and
            take the place of finished ones. None decodes all rows at once. Trajectories do not
            depend on it.

    Raises:
        ValueError: If a value is out of range or the block length does not divide the length.
    """

    gen_length: int = 256
    block_length: int = 32
    temperature: float = 0.0
    on_empty: Literal["force", "wait"] = "force"
    max_rows: int | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        if self.gen_length < 1:
            raise ValueError(f"gen_length={self.gen_length} must be at least 1")
        if self.block_length < 1 or self.gen_length % self.block_length:
            divisors = [n for n in range(1, self.gen_length + 1) if self.gen_length % n == 0]
            raise ValueError(
                f"block_length={self.block_length} must divide gen_length={self.gen_length}; "
                f"use one of {divisors}"
            )
        if self.temperature < 0:
            raise ValueError(f"temperature={self.temperature} must be at least 0")
        if self.on_empty not in ("force", "wait"):
            raise ValueError(f"on_empty={self.on_empty!r} must be 'force' or 'wait'")
        if self.max_rows is not None and self.max_rows < 1:
            raise ValueError(f"max_rows={self.max_rows} must be at least 1, or null for no limit")
