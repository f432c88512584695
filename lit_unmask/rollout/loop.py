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
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lit_unmask.denoisers.network import Denoiser
from lit_unmask.policies.base import Policy
from lit_unmask.randomness import ACTION, Noise, uniform
from lit_unmask.rollout.decoding import Decoding
from lit_unmask.rollout.forwards import Forwards
from lit_unmask.rollout.ledger import Ledger
from lit_unmask.rollout.lookahead import Asked, lookahead
from lit_unmask.rollout.state import Edit, Indices, RowState, total, upload
from lit_unmask.rows import Rows
from lit_unmask.types import HIDDEN, SPEED, Observation, Prompt, Reading, Signals, Steps


@dataclass(frozen=True)
class Progress:
    """State of a rollout that is under way, for progress bars and for early grading.

    Attributes:
        rows: Rows **B** in all.
        rows_left: Rows that are not finished.
        nfe: Forwards charged so far, over all rows.
        computed: Row-forwards that ran so far.
        finished: ``[F]`` int64, rows that have finished since the last call.
        response: ``[B, L]`` int64, the buffers of all rows; those of finished rows stay as they
            are.
    """

    rows: int
    rows_left: int
    nfe: int
    computed: int
    finished: Tensor
    response: Tensor


Listener = Callable[[Progress], None]


@dataclass(frozen=True)
class Rollout:
    """Decoded responses and what it took to get there.

    Attributes:
        response: ``[B, L]`` int64 token ids; holds the mask id where ``still_masked``.
        decisions: ``[B]`` int64, steps that each row took.
        price: ``[B]`` int64 forwards that each row was charged for, by kind.
        committed_at: ``[B, L]`` int64, step at which a position was committed, or -1; also -1
            where an early stop filled in the end token.
        still_masked: ``[B]`` bool, rows that ended with masks left.
        ledger: Row-forwards by kind.
        steps: Recorded steps, or None if recording was off.
    """

    response: Tensor
    decisions: Tensor
    price: Mapping[str, Tensor]
    committed_at: Tensor
    still_masked: Tensor
    ledger: Ledger
    steps: Steps | None = None

    @property
    def nfe(self) -> Tensor:
        """Forwards of all kinds, ``[B]`` int64."""
        return total(self.price)


@dataclass(frozen=True)
class Action(Rows):
    """What a policy does, ``M`` times.

    Attributes:
        action: ``[M, ...]``, in the form of its distribution.
        chosen: ``[M, L]`` bool, eligible positions that it opens.
        commit: ``[M, L]`` bool, the same with forced positions.
        log_prob: ``[M]`` float32 of the action, or None if nothing is recorded.
    """

    action: Tensor
    chosen: Tensor
    commit: Tensor
    log_prob: Tensor | None


@dataclass
class Loop:
    """The step of the loop, and what it needs.

    Attributes:
        state: The rows.
        forwards: The denoiser.
        policy: Chooses the positions to commit.
        record: Whether to keep every step.
    """

    state: RowState
    forwards: Forwards
    policy: Policy
    record: bool

    def __post_init__(self) -> None:
        """Begin with nothing recorded."""
        self.recorded: list[Steps] = []
        # Asking ahead repeats the observation, which hidden states make large.
        hidden = HIDDEN in self.forwards.signals
        self.ahead = 1 if hidden else self.state.decoding.scheduling.lookahead

    def step(self, rows: Indices) -> None:
        """Let rows ``[R]`` take a step, or as many as pass until something is written."""
        said = self.forwards.of(rows)
        for asked in lookahead(self.state, rows, self.ahead):
            seen = observe(self.state, said, asked)
            action = self.act(seen, asked)
            self.state.write(reveal(action, said, asked))
            if action.log_prob is not None:
                done = action.action, action.chosen, action.log_prob
                steps = Steps(asked.row, asked.index, seen, *done)
                self.recorded.append(steps.select(asked.taken(self.state)))

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
        log_prob = distribution.log_prob(action) if self.record else None
        return Action(action, chosen, commit, log_prob)


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


def reveal(action: Action, said: Reading, asked: Asked) -> Edit:
    """Return the write of each row's first action that commits anything, or of its last one."""
    stop = asked.stop(action.commit.any(1))
    where = action.commit[asked.first + stop]
    return Edit(asked.rows, asked.at, stop + 1, where, said.proposal[asked.at])


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
        ValueError: If the prompt and the response do not fit into the denoiser, the noise does
            not have one number a row, a conditioned policy has no speed, or a compiled
            denoiser would be called with any shapes.
    """
    start, signals = time.perf_counter(), policy.signals | signals
    check(policy, prompt, noise, signals)
    check_shapes(denoiser, decoding)
    denoiser.check_length(prompt, decoding.gen_length)
    state = RowState(denoiser, prompt, decoding)
    forwards = Forwards(denoiser, state, noise, signals)
    loop = Loop(state, forwards, policy, record)
    host, ledger = state.host, forwards.ledger
    while len(waiting := (~host.finished).nonzero()[0]):
        lengths = state.lengths[waiting] + decoding.gen_length
        rows = waiting[: decoding.scheduling.admitted(lengths.tolist())]
        loop.step(rows)
        ledger.charged = int(host.nfe.sum())
        if listener is not None:
            finished = upload(rows[host.finished[rows]], state.device)
            left = len(waiting) - len(finished)
            counts = len(prompt), left, ledger.charged, ledger.computed
            listener(Progress(*counts, finished, state.response))
    ledger.seconds = time.perf_counter() - start
    return Rollout(
        response=state.response,
        decisions=state.step,
        price=state.price,
        committed_at=state.committed_at,
        still_masked=(state.response == denoiser.mask_id).any(1),
        ledger=ledger,
        steps=Steps.cat(loop.recorded) if loop.recorded else None,
    )


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
