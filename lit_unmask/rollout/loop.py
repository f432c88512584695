"""The only decoding loop: bring readings up to date, let the rows act, drop the finished ones.

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

import numpy as np
import torch
from torch import Tensor

from lit_unmask.denoisers.base import Denoiser
from lit_unmask.policies.base import Policy
from lit_unmask.randomness import Noise
from lit_unmask.rollout.decoding import Decoding
from lit_unmask.rollout.host import upload
from lit_unmask.rollout.ledger import Ledger
from lit_unmask.rollout.readings import Readings
from lit_unmask.rollout.rows import Rows
from lit_unmask.types import SPEED, Prompt, Signals, Steps


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
        return torch.stack(list(self.price.values())).sum(0)


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
            not have one number a row, a policy that is told the wanted speed is not, or a compiled
            denoiser would be called with any shapes.
    """
    if noise.rollout.shape != (len(prompt),):
        raise ValueError(
            f"noise.rollout has shape {tuple(noise.rollout.shape)}, not ({len(prompt)},)"
        )
    if SPEED in policy.signals | signals and prompt.speed is None:
        raise ValueError(
            f"policy {type(policy).__name__} is told the wanted speed and prompt.speed is None; "
            "wrap it in lit_unmask.policies.Paced"
        )
    check_shapes(denoiser, decoding)
    start = time.perf_counter()
    denoiser.check_length(prompt, decoding.gen_length)
    readings = Readings(denoiser, prompt, decoding, noise, policy.signals | signals)
    rows = Rows(policy, readings, record)
    lengths = readings.lengths + decoding.gen_length
    device, unfinished = prompt.tokens.device, np.arange(len(prompt))
    while len(unfinished):
        running = unfinished[: decoding.scheduling.admitted(lengths[unfinished].tolist())]
        rows.advance(running)
        over = rows.host.finished
        finished = upload(running[over[running]], device)
        unfinished = unfinished[~over[unfinished]]
        readings.release(finished)
        if listener is not None:
            charged = int(rows.host.nfe.sum())
            counts = len(prompt), len(unfinished), charged, readings.ledger.computed
            listener(Progress(*counts, finished, rows.response))
    readings.ledger.charged = int(rows.host.nfe.sum())
    readings.ledger.seconds = time.perf_counter() - start
    return Rollout(
        response=rows.response,
        decisions=rows.step,
        price=rows.price,
        committed_at=rows.committed_at,
        still_masked=(rows.response == denoiser.mask_id).any(1),
        ledger=readings.ledger,
        steps=Steps.cat(rows.recorded) if rows.recorded else None,
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
