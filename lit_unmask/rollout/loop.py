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
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from lit_unmask.denoisers.face import Denoiser
from lit_unmask.policies.base import Policy
from lit_unmask.randomness import ACTION, Noise, uniform
from lit_unmask.rollout.changes import Changes
from lit_unmask.rollout.checks import check, check_placement, check_remasking, check_shapes
from lit_unmask.rollout.correctors.base import Corrector, Edit
from lit_unmask.rollout.decoding import Decoding
from lit_unmask.rollout.forwards import Forwards
from lit_unmask.rollout.history import Log, Start
from lit_unmask.rollout.host import POLICY, Indices, upload
from lit_unmask.rollout.lookahead import Asked, lookahead
from lit_unmask.rollout.resamplers.particles import Particles
from lit_unmask.rollout.result import Listener, Record, Rollout, progress
from lit_unmask.rollout.state import RowState
from lit_unmask.rows import Rows
from lit_unmask.types import (
    CHANGE,
    CORRECTABLE,
    HIDDEN,
    REMOVABLE,
    SPEED,
    UNMASKED,
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
        back: ``[M, L]`` bool, tokens that it takes back, or None if the policy never does.
        asks: ``[M]`` bool, rows that it wants corrected, or None if the policy never does.
        broken: ``[M]`` bool, where the policy's numbers are not finite.
        log_prob: ``[M]`` float32 of the action, or None if nothing is recorded.
    """

    action: Tensor
    chosen: Tensor
    commit: Tensor
    back: Tensor | None
    asks: Tensor | None
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
        said = wanted(self.correct(rows, self.forwards.of(rows)), self.forwards.signals)
        for asked in lookahead(self.state, rows, self.ahead):
            seen = observe(self.state, said, asked, self.policy.takes_back, self.forwards.signals)
            action = self.act(seen, asked)
            self.state.mark(asked.row, action.broken, POLICY, action.asks)
            self.write(reveal(action, said, asked, self.state.mask_id), asked, said)
            if action.log_prob is not None:
                done = action.action, action.chosen, action.log_prob, action.commit
                steps = Steps(asked.row, asked.index, seen, *done)
                self.record.steps.append(steps.select(asked.taken(self.state)))
        self.finish(rows)
        self.record.note_generations()

    def correct(self, rows: Indices, said: Reading) -> Reading:
        """Return the readings of all rows, after a corrector rewrote those of rows ``[R]``."""
        corrector = self.state.decoding.corrector
        if corrector is not None and not corrector.placement.end:
            at = upload(rows, self.state.device)
            self._correct(corrector, at, said.select(at))
        return said

    def finish(self, rows: Indices) -> None:
        """Correct those of rows ``[R]`` that took their last step, if a corrector acts there."""
        state, corrector = self.state, self.state.decoding.corrector
        rows = rows[state.host.finished[rows]]
        if corrector is not None and corrector.placement.end and len(rows):
            at = upload(rows, state.device)
            self._correct(corrector, at, self.forwards.ask(at, state.response[at]))
            state.tell(rows, at, torch.zeros_like(at, dtype=torch.bool))

    def _correct(self, corrector: Corrector, at: Tensor, said: Reading) -> None:
        """Correct those of rows ``[R]`` that are due, of which the denoiser said something."""
        state = self.state
        view = state.view(at)
        due = corrector.due(view, said).nonzero()[:, 0]
        at = at[due]
        if len(at):

            def ask(mine: Tensor, buffers: Tensor) -> Reading:
                return self.forwards.ask(at[mine], buffers)

            state.rewrite(at, *corrector.correct(view.select(due), said.select(due), ask))

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
        columns = seen.masked.shape[1] + self.policy.corrects
        draws = uniform(noise.seed, noise.rollout[asked.row], asked.index, columns, ACTION)
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
        back, asks = distribution.taken_back(action), distribution.asked(action)
        return Action(action, chosen, commit, back, asks, distribution.broken(), log_prob)


def wanted(said: Reading, signals: Signals) -> Reading:
    """Return what is asked for of readings; hidden states may be there for another purpose."""
    kept = {name: value for name, value in said.signals.items() if name in signals.names}
    return replace(said, signals=kept)


def unmasked(prompt: Prompt, masked: Tensor) -> Tensor:
    """Return the share of the tokens of prompt and response that are no masks, ``[B]`` float32."""
    total = prompt.attention.sum(1) + masked.shape[1]
    return 1 - masked.sum(1) / total


def observe(
    state: RowState, said: Reading, asked: Asked, takes_back: bool, signals: Signals
) -> Observation:
    """Return what the policy sees of each row at the steps that it is asked about."""
    row, speed = asked.row, state.prompt.speed
    masked, in_block = state.masked(row), state.in_block(row)
    condition = {} if speed is None else {SPEED.name: speed[row]}
    if takes_back:
        condition[REMOVABLE.name] = ~masked & in_block
    if UNMASKED in signals:
        condition[UNMASKED.name] = unmasked(state.prompt.select(row), masked)
    corrector = state.decoding.corrector
    if corrector is not None and corrector.placement.learned:
        # The last mask ends the row, after which there is no step to correct before.
        condition[CORRECTABLE.name] = masked.sum(1) > 1
    return Observation(
        masked=masked,
        eligible=masked & in_block,
        confidence=said.confidence[row],
        time=asked.index.float() / masked.shape[1],
        signals={name: value[row] for name, value in said.signals.items()} | condition,
    )


def reveal(action: Action, said: Reading, asked: Asked, mask_id: int) -> tuple[Edit, Tensor]:
    """Return the write of each row's first action that writes anything, or of its last one.

    Returns:
        The write to rows ``[R]``, and ``[R]`` int64, how many steps it took.
    """
    writes = action.commit if action.back is None else action.commit | action.back
    stop = asked.stop(writes.any(1))
    taken = asked.first + stop
    tokens = said.proposal[asked.at]
    if action.back is not None:
        tokens = tokens.masked_fill(action.back[taken], mask_id)
    return Edit(writes[taken], tokens), stop + 1


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
            not have one number a row, a conditioned policy has no speed, one that takes tokens
            back no bound, one that asks for corrections no corrector, a compiled denoiser would be
            called with any shapes, or changes are asked of a denoiser that cannot say them.
        NotFinite: If the denoiser or the policy says NaN or infinity.
    """
    since, signals = time.perf_counter(), policy.signals | signals | decoding.signals
    check(policy, prompt, noise, signals)
    check_remasking(policy, decoding)
    check_placement(policy, decoding)
    check_shapes(denoiser, decoding)
    denoiser.check_length(prompt, decoding.gen_length)
    particles, resampler = None, decoding.resampler
    if resampler is not None:
        prompt, noise = Particles.spread(prompt, noise, resampler.particles)
        start = start and start.repeat(resampler.particles)
    changes = Changes(denoiser, len(prompt), decoding.gen_length) if CHANGE in signals else None
    log = Log(1 if resampler is None else resampler.particles) if record else None
    state = RowState(denoiser, prompt, decoding, log, changes)
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
