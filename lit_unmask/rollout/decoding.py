"""Settings of one decoding run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from lit_unmask.rollout.correctors.base import Corrector
from lit_unmask.rollout.resamplers.base import Resampler
from lit_unmask.rollout.scheduling import Scheduling
from lit_unmask.types import CORRECTOR, PARTICLE, PREDICTOR, Signals


@dataclass(frozen=True)
class Approximate:
    """Savings that change trajectories. ``lit_unmask.evaluation.drift`` measures by how much.

    They belong to ``decoding`` and hold for whatever a callback decodes on top of it, heuristics
    and baselines too, so that what is compared was decoded alike. Where a callback asks for blocks
    that a cache makes no sense with, it is refused before any work starts. Demonstrations for
    others are recorded exactly or not at all, and a results store does not compare approximate
    runs with exact ones.

    Attributes:
        cache: Block-wise cache of keys and values, as in Fast-dLLM (arXiv 2505.22618). The first
            forward of a block is a full one, whose keys and values are kept; in the later forwards
            of the block only a part of the tokens is computed, which attends to what was kept of
            the rest. With ``dual`` that part is the block, with ``prefix`` the block and all that
            comes after it; a shifted denoiser computes the token before it too. Other positions
            keep the signals of the full forward. ``none`` computes everything.
        early_stop: Whether a row is finished once it has committed an end token and everything
            before it. The remaining masks then become that token, without being charged.

    Raises:
        ValueError: If there is no such cache.
    """

    cache: Literal["none", "prefix", "dual"] = "none"
    early_stop: bool = False

    def __post_init__(self) -> None:
        if self.cache not in ("none", "prefix", "dual"):
            raise ValueError(f"cache={self.cache!r} must be 'none', 'prefix' or 'dual'")

    def check_blocks(self, gen_length: int, block_length: int) -> None:
        """Refuse a cache that would never be used.

        Raises:
            ValueError: If there is a cache and the only block is the whole response.
        """
        if self.cache != "none" and block_length == gen_length:
            raise ValueError(
                f"approximate.cache={self.cache!r} keeps keys and values of what lies outside the "
                f"current block, and with block_length={block_length} equal to gen_length there "
                "is no other block; choose a smaller block_length or approximate.cache='none'"
            )


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
        scheduling: How rows share the denoiser's time; trajectories do not depend on it.
        approximate: Savings that trajectories do depend on, all off by default.
        corrector: Rewrites committed tokens before the policy acts; None leaves them.
        resampler: Decodes every prompt by several rows that may replace each other; None does not.
        max_block_steps: Most steps in a block, which may then end with masks left; None is
            ``block_length``, as many as it takes without a corrector.

    Raises:
        ValueError: If a value is out of range, the block length does not divide the length, or
            there is a cache and only one block, or something that a cache cannot be kept of.
    """

    gen_length: int = 256
    block_length: int = 32
    temperature: float = 0.0
    on_empty: Literal["force", "wait"] = "force"
    scheduling: Scheduling = Scheduling()  # noqa: RUF009  (frozen)
    approximate: Approximate = Approximate()
    corrector: Corrector | None = None
    resampler: Resampler | None = None
    max_block_steps: int | None = None

    def __post_init__(self) -> None:
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
        self.approximate.check_blocks(self.gen_length, self.block_length)
        if self.scheduling.deterministic and self.approximate.cache != "none":
            raise ValueError(
                f"scheduling.deterministic=True fixes the shapes of full forwards, and "
                f"approximate.cache={self.approximate.cache!r} makes partial ones; choose one"
            )
        if self.max_block_steps is not None and self.max_block_steps < 1:
            raise ValueError(
                f"max_block_steps={self.max_block_steps} must be at least 1, or null for as many "
                "as the block has tokens"
            )
        if self.corrector is not None and self.corrector.takes_back and not self.max_block_steps:
            raise ValueError(
                f"corrector={type(self.corrector).__name__} takes tokens back again and again, and "
                "max_block_steps=None is no bound for that; set decoding.max_block_steps to the "
                f"most steps of a block, more than its block_length={self.block_length} tokens"
            )
        if self.resampler is not None and self.resampler.needs_draws and not self.temperature:
            raise ValueError(
                f"resampler={type(self.resampler).__name__} weighs tokens that are drawn, and "
                "temperature=0 proposes the same ones to all particles; set decoding.temperature "
                "above 0, as 1.0"
            )
        changes = self.corrector or self.resampler
        if changes is not None and self.approximate.cache != "none":
            raise ValueError(
                f"{type(changes).__name__} changes tokens outside the current block, whose keys "
                f"and values approximate.cache={self.approximate.cache!r} keeps; choose one"
            )

    @property
    def most_block_steps(self) -> int:
        """Most steps in a block."""
        return self.max_block_steps or self.block_length

    @property
    def signals(self) -> Signals:
        """What corrector and resampler need of readings."""
        found = Signals()
        for part in (self.corrector, self.resampler):
            found = found if part is None else found | part.signals
        return found

    def by_kind(self, price: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return forwards ``[B]`` by kind; nothing if there is no kind but the predictor's.

        Kinds that corrector or resampler may charge for are there even where they charged nothing,
        so that all ranks have the same.
        """
        extra = {CORRECTOR: self.corrector, PARTICLE: self.resampler}
        kinds = price.keys() | {kind for kind, part in extra.items() if part is not None}
        none = torch.zeros_like(price[PREDICTOR])
        return {kind: price.get(kind, none) for kind in sorted(kinds) if len(kinds) > 1}

    def trajectory_settings(self) -> dict[str, Any]:
        """Return all that trajectories depend on, as JSON; scheduling is not among it.

        Stores, demonstrations and saved policies tell decodings apart by it.
        """
        found = {name: value for name, value in vars(self).items() if name != "scheduling"}
        return {name: _plain(value) for name, value in found.items()}


def _plain(value: Any) -> Any:
    """Return settings as JSON; of an exchangeable part, its class and settings."""
    if isinstance(value, Corrector | Resampler):
        kind, settings = type(value), asdict(value)
        # Runs of before there were learned placements keep their keys.
        if not settings.get("placement", {}).get("learned", True):
            del settings["placement"]["learned"]
        return {"class_path": f"{kind.__module__}.{kind.__qualname__}", "init_args": settings}
    return asdict(value) if isinstance(value, Approximate) else value
