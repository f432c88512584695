"""The smallest correctors and resamplers, and rollouts of the toy with them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from lit_unmask.policies import Policy
from lit_unmask.rollout import Decoding, Noise, Rollout, Scheduling, rollout
from lit_unmask.rollout.correctors import Ask, Corrector, Edit, View
from lit_unmask.rollout.resamplers import Resampler
from lit_unmask.types import Reading, Signals
from tests.toy_rollouts import (
    LENGTH,
    MASK,
    NUMBERS,
    SEED,
    ToyDenoiser,
    make_prompts,
)

SCHEDULES = [
    Scheduling(),
    Scheduling(skip=False, share=False, lookahead=1),
    Scheduling(max_rows=2),
    Scheduling(deterministic=True, static_rows=4, static_tokens=2),
]


@dataclass(frozen=True)
class Nothing(Corrector):
    """Asks twice about the buffer as it is, and changes nothing."""

    every: int = 1

    def due(self, rows: View, said: Reading) -> Tensor:
        return (rows.step + 1) % self.every == 0

    def correct(self, rows: View, said: Reading, ask: Ask) -> tuple[Edit, Reading]:
        everyone = torch.arange(len(rows.response))
        for _ in range(2):
            ask(everyone, rows.response)
        return Edit(torch.zeros_like(rows.masked), rows.response), said


@dataclass(frozen=True)
class Restore(Corrector):
    """Puts a clean text back, and proposes it."""

    token: int = 3

    def due(self, rows: View, said: Reading) -> Tensor:
        return rows.step >= 0

    def correct(self, rows: View, said: Reading, ask: Ask) -> tuple[Edit, Reading]:
        clean = torch.full_like(rows.response, self.token)
        return Edit(torch.ones_like(rows.masked), clean), replace(said, proposal=clean)


@dataclass(frozen=True)
class Doubt(Corrector):
    """Takes back the least sure token of the block every other step, after reading it again."""

    @property
    def signals(self) -> Signals:
        return Signals(1, {"entropy"})

    def due(self, rows: View, said: Reading) -> Tensor:
        return (rows.step % 2 == 1) & (rows.in_block & ~rows.masked).any(1)

    def correct(self, rows: View, said: Reading, ask: Ask) -> tuple[Edit, Reading]:
        known = rows.in_block & ~rows.masked
        entropy = said.signals["entropy"].masked_fill(~known, -1.0)
        worst = torch.zeros_like(known).scatter(1, entropy.argmax(1, keepdim=True), True)
        buffers = rows.response.masked_fill(worst, MASK)
        return Edit(worst, buffers), ask(torch.arange(len(buffers)), buffers)


@dataclass(frozen=True)
class Everywhere(Corrector):
    """Takes back all tokens and writes to all masks, both of which are not its to do."""

    def due(self, rows: View, said: Reading) -> Tensor:
        return rows.step > 0

    def correct(self, rows: View, said: Reading, ask: Ask) -> tuple[Edit, Reading]:
        tokens = torch.where(rows.masked, 5, torch.where(rows.in_block, rows.response, MASK))
        return Edit(torch.ones_like(rows.masked), tokens), said


@dataclass(frozen=True)
class Even(Resampler):
    """All weights are equal; systematic resampling then leaves everybody in place."""

    def weigh(self, edit: Edit, said: Reading) -> Tensor:
        return torch.zeros(len(edit.where))

    def ancestors(self, log_weight: Tensor, uniform: Tensor) -> Tensor:
        count = log_weight.shape[1]
        places = (torch.arange(count) + uniform[:, :1]) / count
        return torch.searchsorted(log_weight.softmax(1).cumsum(1), places).clamp(max=count - 1)

    def answer(self, likelihood: Tensor) -> Tensor:
        return likelihood.argmax(1)


@dataclass(frozen=True)
class Likely(Even):
    """Weighs by the likelihood of what is written."""

    def weigh(self, edit: Edit, said: Reading) -> Tensor:
        return said.signals["likelihood"].where(edit.where, 0.0).sum(1)


@dataclass(frozen=True)
class Takeover(Even):
    """All go on from the last particle, whose answer it is."""

    def ancestors(self, log_weight: Tensor, uniform: Tensor) -> Tensor:
        return torch.full(log_weight.shape, log_weight.shape[1] - 1)

    def answer(self, likelihood: Tensor) -> Tensor:
        return torch.full((len(likelihood),), likelihood.shape[1] - 1)


@dataclass(frozen=True)
class First(Takeover):
    """All go on from the last particle, and the answer is the first one's."""

    def answer(self, likelihood: Tensor) -> Tensor:
        return torch.zeros(len(likelihood), dtype=torch.int64)


class Toy(ToyDenoiser):
    """The toy with a token that ends a response."""

    end_ids = (2,)


def decode(
    policy: Policy, rows: Tensor | None = None, denoiser: ToyDenoiser | None = None, **settings: Any
) -> Rollout:
    """Return rollouts of the toy or of another denoiser, of some rows or of all."""
    prompt, numbers = make_prompts(), NUMBERS
    if rows is not None:
        prompt, numbers = prompt.select(rows).trim(), numbers[rows]
    settings = {"gen_length": LENGTH, "block_length": 4} | settings
    ways, noise = Decoding(**settings), Noise(SEED, numbers)
    return rollout(denoiser or Toy(), policy, prompt, ways, noise, record=True)


def assert_same(found: Rollout, wanted: Rollout) -> None:
    """Compare what rollouts return, and their histories."""
    for name in ("response", "decisions", "committed_at", "still_masked", "nfe"):
        assert torch.equal(getattr(found, name), getattr(wanted, name)), name
    assert found.log is not None and wanted.log is not None
    assert found.steps is not None and wanted.steps is not None
    for row in range(len(found.response)):
        logs = (
            one.select((one.rollout == row) & one.where.any(1)) for one in (found.log, wanted.log)
        )
        one, two = (vars(log) for log in logs)
        assert all(torch.equal(one[name], two[name]) for name in one)
        steps = (one.index[one.rollout == row].sort().values for one in (found.steps, wanted.steps))
        assert torch.equal(*steps)
    assert found.price.keys() == wanted.price.keys()
    for kind in wanted.price:
        assert torch.equal(found.price[kind], wanted.price[kind])
