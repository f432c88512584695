"""The only decoding loop: observe, ask the policy, reveal.

Rows are independent of each other. Each has its own block, its own step count and its own noise,
keyed by (seed, rollout, step, position), so that what else is in the batch, in which order rows
run and how many at a time change nothing. That freedom is used to save forwards: a row whose
buffer did not change keeps what the denoiser said about it, identical rows are computed once, and
finished rows leave the batch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lit_unmask.denoisers.base import Denoiser
from lit_unmask.distributions import UnmaskDistribution
from lit_unmask.policies.base import Policy
from lit_unmask.rollout.decoding import Decoding
from lit_unmask.rollout.ledger import Ledger
from lit_unmask.rollout.randomness import ACTION, TOKEN, uniform
from lit_unmask.types import DenoiserOutput, Observation, Prompt, Signals, Steps


@dataclass(frozen=True)
class Noise:
    """Key of the random numbers of a batch of rollouts.

    Attributes:
        seed: Seed of the run or round.
        rollout: ``[B]`` int64, a number for each row that follows the row wherever it goes.
    """

    seed: int
    rollout: Tensor


@dataclass(frozen=True)
class Progress:
    """State of a rollout that is under way, for progress bars.

    Attributes:
        rows: Rows **B** in all.
        rows_left: Rows that are not finished.
        nfe: Steps charged so far, over all rows.
    """

    rows: int
    rows_left: int
    nfe: int


Listener = Callable[[Progress], None]


@dataclass(frozen=True)
class Rollout:
    """Decoded responses and what it took to get there.

    Attributes:
        response: ``[B, L]`` int64 token ids; holds the mask id where ``still_masked``.
        nfe: ``[B]`` int64, steps that each row was charged for.
        committed_at: ``[B, L]`` int64, step at which a position was committed, or -1.
        still_masked: ``[B]`` bool, rows that ended with masks left.
        ledger: Row-forwards by kind.
        steps: Recorded steps, or None if recording was off.
    """

    response: Tensor
    nfe: Tensor
    committed_at: Tensor
    still_masked: Tensor
    ledger: Ledger
    steps: Steps | None = None


@torch.no_grad()
def rollout(
    denoiser: Denoiser,
    policy: Policy,
    prompt: Prompt,
    decoding: Decoding,
    noise: Noise,
    record: bool = False,
    listener: Listener | None = None,
    signals: Signals = Signals(),  # noqa: B008  (frozen)
) -> Rollout:
    """Decode a response for every prompt.

    Args:
        denoiser: The frozen dLLM.
        policy: Chooses the positions to commit.
        prompt: **B** prompts on the denoiser's device.
        decoding: Lengths, temperature and forcing.
        noise: Key of the random numbers, with one rollout number a row.
        record: Whether to keep every step for a policy-gradient update.
        listener: Called after each round of steps.
        signals: What recorded observations must hold beyond the needs of ``policy``, for another
            policy that will learn from them.

    Returns:
        The finished rollouts.

    Raises:
        ValueError: If the prompt and the response do not fit into the denoiser, or the noise does
            not have one number a row.
    """
    if noise.rollout.shape != (len(prompt),):
        raise ValueError(
            f"noise.rollout has shape {tuple(noise.rollout.shape)}, not ({len(prompt)},)"
        )
    denoiser.check_length(prompt, decoding.gen_length)
    rows = _Rows(denoiser, policy, prompt, decoding, noise, policy.signals | signals)
    recorded: list[Steps] = []
    unfinished = torch.arange(len(prompt), device=prompt.tokens.device)
    while len(unfinished):
        working = unfinished[: decoding.max_rows]
        steps = rows.advance(working, record)
        if steps is not None:
            recorded.append(steps)
        unfinished = unfinished[~rows.finished[unfinished]]
        if listener is not None:
            listener(Progress(len(prompt), len(unfinished), rows.ledger.charged))
    return Rollout(
        response=rows.response,
        nfe=rows.nfe,
        committed_at=rows.committed_at,
        still_masked=(rows.response == denoiser.mask_id).any(1),
        ledger=rows.ledger,
        steps=Steps.cat(recorded) if recorded else None,
    )


@dataclass
class _Rows:
    """Mutable state of all rows of one rollout call; every tensor has the rows first."""

    denoiser: Denoiser
    policy: Policy
    prompt: Prompt
    decoding: Decoding
    noise: Noise
    signals: Signals
    ledger: Ledger = field(default_factory=Ledger)

    def __post_init__(self) -> None:
        count, length = len(self.prompt), self.decoding.gen_length
        device = self.prompt.tokens.device
        self.response = torch.full((count, length), self.denoiser.mask_id, device=device)
        self.nfe = torch.zeros(count, dtype=torch.int64, device=device)
        self.block = torch.zeros_like(self.nfe)
        self.block_steps = torch.zeros_like(self.nfe)
        self.stale = torch.ones(count, dtype=torch.bool, device=device)
        self.finished = torch.zeros_like(self.stale)
        self.committed_at = torch.full_like(self.response, -1)
        self.position_block = torch.arange(length, device=device) // self.decoding.block_length
        # A padding token may also stand in a prompt as a real one: the mask is part of the prompt.
        prompts = torch.cat([self.prompt.tokens, self.prompt.attention.long()], dim=1)
        self.group = torch.unique(prompts, dim=0, return_inverse=True)[1]
        self.seen: DenoiserOutput | None = None

    def advance(self, rows: Tensor, record: bool) -> Steps | None:
        """Take one step in each of the given rows ``(R,)``; returns what happened if asked to."""
        self._look(rows)
        observation = self._observe(rows)
        distribution = self.policy(observation)
        uniforms = uniform(
            self.noise.seed,
            self.noise.rollout[rows],
            self.nfe[rows],
            self.decoding.gen_length,
            ACTION,
        )
        action = distribution.sample(uniforms) & observation.eligible
        steps = None
        if record:
            steps = Steps(
                rollout=rows,
                index=self.nfe[rows],
                action=action,
                log_prob=distribution.log_prob(action),
                **vars(observation),
            )
        self._reveal(rows, self._forced(action, distribution), observation)
        return steps

    def _look(self, rows: Tensor) -> None:
        """Bring what the denoiser says about the rows up to date."""
        self.ledger.charged += len(rows)
        stale = rows[self.stale[rows]]
        self.ledger.skipped += len(rows) - len(stale)
        if not len(stale):
            return
        deterministic = self.decoding.temperature == 0
        first, inverse = stale, None
        if deterministic:
            first, inverse = self._distinct(stale)
        self.ledger.shared += len(stale) - len(first)
        output = self._forward(first)
        if inverse is not None:
            output = output.select(inverse)
        self._remember(stale, output)
        # A draw at temperature > 0 belongs to its step, so an unchanged row needs a new one.
        self.stale[stale] = not deterministic

    def _distinct(self, rows: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return one row for each distinct (prompt, buffer), and where each row finds its own."""
        state = torch.cat([self.group[rows, None], self.response[rows]], dim=1)
        unique, inverse = torch.unique(state, dim=0, return_inverse=True)
        if len(unique) == len(rows):
            return rows, None
        first = torch.full((len(unique),), len(rows), device=rows.device)
        first.scatter_reduce_(0, inverse, torch.arange(len(rows), device=rows.device), "amin")
        return rows[first], inverse

    def _forward(self, rows: Tensor) -> DenoiserOutput:
        prompt, length = self.prompt.select(rows).trim(), self.decoding.gen_length
        draws = None
        if self.decoding.temperature > 0:
            key = self.noise.rollout[rows]
            draws = uniform(self.noise.seed, key, self.nfe[rows], length, TOKEN)
        self.ledger.calls += 1
        self.ledger.computed += len(rows)
        self.ledger.tokens += len(rows) * (prompt.tokens.shape[1] + length)
        self.ledger.padded_tokens += int((~prompt.attention).sum())
        return self.denoiser(
            prompt, self.response[rows], self.signals, draws, self.decoding.temperature
        )

    def _remember(self, rows: Tensor, output: DenoiserOutput) -> None:
        if self.seen is None:
            count = len(self.prompt)
            self.seen = output._map(lambda value: value.new_zeros(count, *value.shape[1:]))
        for name, kept in vars(self.seen).items():
            if kept is not None:
                kept[rows] = getattr(output, name)

    def _observe(self, rows: Tensor) -> Observation:
        assert self.seen is not None
        masked = self.response[rows] == self.denoiser.mask_id
        seen = self.seen.select(rows)
        return Observation(
            masked=masked,
            eligible=masked & (self.position_block == self.block[rows, None]),
            confidence=seen.confidence,
            time=self.nfe[rows].float() / self.decoding.gen_length,
            entropy=seen.entropy,
            hidden=seen.hidden,
        )

    def _forced(self, action: Tensor, distribution: UnmaskDistribution) -> Tensor:
        """Return what is committed: the action, or the first-ranked position if it is empty."""
        if self.decoding.on_empty == "wait":
            return action
        best = distribution.ranking().argmax(1, keepdim=True)
        forced = torch.zeros_like(action).scatter_(1, best, True)
        return torch.where(action.any(1, keepdim=True), action, forced)

    def _reveal(self, rows: Tensor, commit: Tensor, observation: Observation) -> None:
        assert self.seen is not None
        commit = commit & observation.eligible
        self.response[rows] = torch.where(commit, self.seen.proposal[rows], self.response[rows])
        step = self.nfe[rows, None].expand_as(commit)
        self.committed_at[rows] = torch.where(commit, step, self.committed_at[rows])
        self.stale[rows] |= commit.any(1)
        self.nfe[rows] += 1
        self.block_steps[rows] += 1
        done = ~(observation.eligible & ~commit).any(1)
        done |= self.block_steps[rows] >= self.decoding.block_length
        self.block[rows] += done
        self.block_steps[rows] *= ~done
        self.finished[rows] = self.block[rows] >= self.position_block[-1] + 1
