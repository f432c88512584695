"""The only decoding loop.

A step reads as the paper does: what the denoiser says of the rows, what the policy does about it,
what is written. See :meth:`Loop.step`; ``benchmarks/plain_loop.py`` is the same without savings.

Rows are independent of each other. Each has its own block, its own step count and its own noise,
keyed by (seed, rollout, step, position), so that what else is in the batch, in which order rows
run and how many at a time change nothing. That freedom is used to save forwards: a row whose
buffer did not change keeps what the denoiser said about it, identical rows are computed once,
finished rows leave the batch and waiting ones take their place.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lit_unmask.denoisers.face import Denoiser
from lit_unmask.policies.base import Policy
from lit_unmask.randomness import ACTION, Noise, uniform
from lit_unmask.rollout.correctors.base import Edit
from lit_unmask.rollout.decoding import Decoding
from lit_unmask.rollout.forwards import Forwards
from lit_unmask.rollout.history import Start
from lit_unmask.rollout.host import POLICY, Indices, upload
from lit_unmask.rollout.lookahead import Asked, lookahead
from lit_unmask.rollout.resamplers.particles import Particles
from lit_unmask.rollout.result import Listener, Record, Rollout, progress
from lit_unmask.rollout.state import RowState
from lit_unmask.rows import Rows
from lit_unmask.types import (
    HIDDEN,
    SPEED,
    Observation,
    Prompt,
    Reading,
    Signals,
    Steps,
)


@dataclass(frozen=True)
class Action(Rows):
    """What a policy does, ``M`` times.

    Attributes:
        action: ``[M, ...]``, in the form of its distribution.
        chosen: ``[M, L]`` bool, eligible positions that it opens.
        commit: ``[M, L]`` bool, the same with forced positions.
        broken: ``[M]`` bool, where the policy's numbers are not finite.
        log_prob: ``[M]`` float32 of the action, or None if nothing is recorded.
    """

    action: Tensor
    chosen: Tensor
    commit: Tensor
    broken: Tensor
    log_prob: Tensor | None


@dataclass
class Loop:
    """The step of the loop, and what it needs.

    Attributes:
        state: The rows.
        forwards: The denoiser.
        policy: Chooses the positions to commit.
        record: Keeps the steps, if they are to be kept.
        particles: Groups of rows that may replace each other; None without a resampler.
    """

    state: RowState
    forwards: Forwards
    policy: Policy
    record: Record
    particles: Particles | None = None

    def __post_init__(self) -> None:
        """Decide how far the policy is asked ahead."""
        # Asking ahead repeats the observation, which hidden states make large.
        hidden = HIDDEN in self.forwards.signals
        self.ahead = 1 if hidden else self.state.decoding.scheduling.lookahead

    def step(self, rows: Indices) -> None:
        """Let rows ``[R]`` take a step, or as many as pass until something is written."""
        said = self.correct(rows, self.forwards.of(rows))
        for asked in lookahead(self.state, rows, self.ahead):
            seen = observe(self.state, said, asked)
            action = self.act(seen, asked)
            self.state.mark(asked.row, action.broken, POLICY)
            self.write(reveal(action, said, asked), asked, said)
            if action.log_prob is not None:
                done = action.action, action.chosen, action.log_prob, action.commit
                steps = Steps(asked.row, asked.index, seen, *done)
                self.record.steps.append(steps.select(asked.taken(self.state)))
        self.record.note_generations()

    def correct(self, rows: Indices, said: Reading) -> Reading:
        """Return the readings of all rows, after a corrector rewrote those of rows ``[R]``."""
        state, corrector = self.state, self.state.decoding.corrector
        if corrector is None:
            return said
        at = upload(rows, state.device)
        at = at[corrector.due(state.view(at))]
        if len(at):

            def ask(mine: Tensor, buffers: Tensor) -> Reading:
                return self.forwards.ask(at[mine], buffers)

            state.rewrite(at, *corrector.correct(state.view(at), said.select(at), ask))
        return said

    def write(self, revealed: tuple[Edit, Tensor], asked: Asked, said: Reading) -> None:
        """Write what the policy reveals, and how many steps that took it."""
        edit, steps = revealed
        if self.particles is not None:
            self.particles.weigh(asked.at, edit, said.select(asked.at))
        self.state.write(asked.rows, asked.at, edit, steps)

    def next_rows(self) -> Indices:
        """Return the rows ``[R]`` that take the next step: of those that can, the first."""
        state, done = self.state, self.state.host.finished
        waiting = (~(done if self.particles is None else done | self.particles.held)).nonzero()[0]
        lengths = state.lengths[waiting] + state.decoding.gen_length
        return waiting[: state.decoding.scheduling.admitted(lengths.tolist())]

    def act(self, seen: Observation, asked: Asked) -> Action:
        """Return what the policy does, asked in calls of one shape if need be."""
        scheduling, ledger = self.state.decoding.scheduling, self.forwards.ledger
        noise = self.forwards.noise
        draws = uniform(
            noise.seed, noise.rollout[asked.row], asked.index, seen.masked.shape[1], ACTION
        )
        if not scheduling.deterministic:
            ledger.policy_rows += len(seen)
            return self._act(seen, draws)
        actions = []
        for part in torch.arange(len(seen), device=draws.device).split(scheduling.static_rows):
            filled = scheduling.filled(part)
            ledger.policy_rows += len(filled)
            action = self._act(seen.select(filled), draws[filled])
            actions.append(action.select(slice(len(part))))
        return Action.cat(actions)

    def _act(self, seen: Observation, draws: Tensor) -> Action:
        distribution = self.policy(seen)
        action = distribution.sample(draws)
        chosen = commit = distribution.positions(action) & seen.eligible
        if self.state.decoding.on_empty == "force":
            commit = distribution.forced(chosen) & seen.eligible
        log_prob = distribution.log_prob(action) if self.record.keeps else None
        return Action(action, chosen, commit, distribution.broken(), log_prob)


def observe(state: RowState, said: Reading, asked: Asked) -> Observation:
    """Return what the policy sees of each row at the steps that it is asked about."""
    row, speed = asked.row, state.prompt.speed
    masked = state.masked(row)
    condition = {} if speed is None else {SPEED.name: speed[row]}
    return Observation(
        masked=masked,
        eligible=masked & state.in_block(row),
        confidence=said.confidence[row],
        time=asked.index.float() / masked.shape[1],
        signals={name: value[row] for name, value in said.signals.items()} | condition,
    )


def reveal(action: Action, said: Reading, asked: Asked) -> tuple[Edit, Tensor]:
    """Return the write of each row's first action that commits anything, or of its last one.

    Returns:
        The write to rows ``[R]``, and ``[R]`` int64, how many steps it took.
    """
    stop = asked.stop(action.commit.any(1))
    where = action.commit[asked.first + stop]
    return Edit(where, said.proposal[asked.at]), stop + 1


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
    start: Start | None = None,
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
        start: States to begin in; None begins with masks alone.

    Returns:
        The finished rollouts.

    Raises:
        ValueError: If the prompt and the response do not fit into the denoiser, the noise does
            not have one number a row, a conditioned policy has no speed, or a compiled
            denoiser would be called with any shapes.
        NotFinite: If the denoiser or the policy says NaN or infinity.
    """
    since, signals = time.perf_counter(), policy.signals | signals | decoding.signals
    check(policy, prompt, noise, signals)
    check_shapes(denoiser, decoding)
    denoiser.check_length(prompt, decoding.gen_length)
    particles, resampler = None, decoding.resampler
    if resampler is not None:
        prompt, noise = Particles.spread(prompt, noise, resampler.particles)
        start = start and start.repeat(resampler.particles)
    state = RowState(denoiser, prompt, decoding, record)
    if start is not None:
        state.begin(start)
    if resampler is not None:
        particles = Particles(resampler, state, noise)
    forwards, kept = Forwards(denoiser, state, noise, signals), Record(state, particles, record)
    loop = Loop(state, forwards, policy, kept, particles)
    rows = np.flatnonzero(state.host.finished)
    if len(rows) and listener is not None:
        listener(progress(state, particles, forwards.ledger, rows))
    while len(rows := loop.next_rows()):
        loop.step(rows)
        if particles is not None:
            particles.settle(rows)
        forwards.ledger.charged = int(state.host.nfe.sum())
        if listener is not None:
            listener(progress(state, particles, forwards.ledger, rows))
    forwards.ledger.seconds = time.perf_counter() - since
    return kept.result(forwards.ledger)


def check(policy: Policy, prompt: Prompt, noise: Noise, signals: Signals) -> None:
    """Refuse rows without noise of their own, and a policy without the speed it is conditioned on.

    Raises:
        ValueError: If there is not one rollout number a row, or no speed.
    """
    if noise.rollout.shape != (len(prompt),):
        raise ValueError(
            f"noise.rollout has shape {tuple(noise.rollout.shape)}, not ({len(prompt)},)"
        )
    if SPEED in signals and prompt.speed is None:
        raise ValueError(
            f"policy {type(policy).__name__} is conditioned on a speed and prompt.speed is None; "
            "wrap it in lit_unmask.policies.Conditioned"
        )


def check_shapes(denoiser: Denoiser, decoding: Decoding) -> None:
    """Refuse calls for each of which a compiled denoiser would be compiled anew.

    Args:
        denoiser: The denoiser.
        decoding: How it is to be called.

    Raises:
        ValueError: If it is compiled for fixed shapes and the calls have any.
    """
    how = getattr(denoiser, "compilation", None)
    if how is not None and how.fixed_shapes and not decoding.scheduling.deterministic:
        raise ValueError(
            f"the denoiser is compiled for fixed shapes ({how}), and calls of this decoding have "
            "any; set decoding.scheduling.deterministic: true, or compile: {mode: default, "
            "dynamic: true}"
        )
