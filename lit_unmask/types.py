"""Core data types and the glossary of shapes that every docstring uses.

Shape letters:

| letter | meaning                                             |
| ------ | --------------------------------------------------- |
| **B**  | rollouts (rows) in a batch                          |
| **G**  | group size: rollouts that share one prompt          |
| **P**  | prompt length in tokens, left padding included      |
| **L**  | generation length in tokens                         |
| **N**  | recorded steps, summed over rollouts                |
| **K**  | largest token probabilities kept for each position  |
| **V**  | vocabulary size                                     |
| **D**  | hidden width of the denoiser                        |

A *step* is one denoiser forward that a row is charged for; NFE counts them. A position is
*masked* while it holds the mask token and *eligible* if it is masked and lies in the current
block of its row. *Confidence* is the largest softmax probability over the full vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from typing import TypedDict

import torch
from torch import Tensor


class Message(TypedDict):
    """One turn of a chat, as chat templates read it."""

    role: str
    content: str


@dataclass(frozen=True)
class Problem:
    """A task instance without any model in it: what is asked and how an answer is judged.

    Attributes:
        uid: Name that is unique within its task, stable over runs.
        messages: The chat that asks the question.
        answer: Reference answer, in whatever form ``verifier`` reads.
        verifier: Pure function ``(completion, answer) -> score`` in ``[0, 1]``. One whose verdicts
            depend on what grading may use, such as time, says so in a mapping ``limits``.
        solution: A worked answer to imitate, where the task has one.
    """

    uid: str
    messages: tuple[Message, ...]
    answer: str
    verifier: Callable[[str, str], float]
    solution: str | None = None

    def grade(self, completion: str) -> float:
        """Score a completion in ``[0, 1]``."""
        return self.verifier(completion, self.answer)


class _Rows:
    """Row operations shared by dataclasses whose tensor fields have the batch axis first."""

    def _map(self, function: Callable[[Tensor], Tensor]):
        changed = {
            field.name: function(value)
            for field in fields(self)  # type: ignore[arg-type]
            if isinstance(value := getattr(self, field.name), Tensor)
        }
        return replace(self, **changed)  # type: ignore[type-var]

    def select(self, rows: Tensor):
        """Return the rows picked by an index or boolean tensor."""
        return self._map(lambda value: value[rows])

    def repeat(self, times: int):
        """Repeat each row ``times`` times, copies side by side."""
        return self._map(lambda value: value.repeat_interleave(times, dim=0))

    def to(self, device: torch.device | str):
        """Move every tensor to ``device``."""
        return self._map(lambda value: value.to(device))

    @classmethod
    def cat(cls, parts: Iterable):
        """Concatenate along the batch axis; all parts have the same fields set."""
        parts = list(parts)
        if len(parts) == 1:
            return parts[0]
        joined = {
            field.name: torch.cat([getattr(part, field.name) for part in parts])
            for field in fields(cls)  # type: ignore[arg-type]
            if isinstance(getattr(parts[0], field.name), Tensor)
        }
        return replace(parts[0], **joined)


@dataclass(frozen=True)
class Prompt(_Rows):
    """Tokenised prompts, left padded.

    Attributes:
        tokens: ``[B, P]`` int64 token ids.
        attention: ``[B, P]`` bool, True at real tokens, False at padding.
        speed: ``[B]`` float32, the speed that is wanted of the answer, for policies that are told;
            None for the others.
    """

    tokens: Tensor
    attention: Tensor
    speed: Tensor | None = None

    def __len__(self) -> int:
        """Return the number of rows."""
        return self.tokens.shape[0]

    def trim(self) -> Prompt:
        """Drop the columns on the left that are padding in every row."""
        longest = int(self.attention.sum(1).max()) if len(self) else 0
        start = self.tokens.shape[1] - longest
        return Prompt(self.tokens[:, start:], self.attention[:, start:], self.speed)


@dataclass(frozen=True)
class Signals:
    """What a policy wants to know: about the denoiser's proposals, and what is wanted of it.

    Attributes:
        top_k: Number **K** of largest probabilities, at least 1.
        entropy: Whether the entropy of the proposal distribution (nats) is needed.
        hidden: Whether the denoiser's final hidden state is needed.
        speed: Whether the policy has to be told the wanted speed of the answer.
    """

    top_k: int = 1
    entropy: bool = False
    hidden: bool = False
    speed: bool = False

    def __or__(self, other: Signals) -> Signals:
        """Return the smallest request that covers both."""
        return Signals(
            max(self.top_k, other.top_k),
            self.entropy or other.entropy,
            self.hidden or other.hidden,
            self.speed or other.speed,
        )


@dataclass(frozen=True)
class DenoiserOutput(_Rows):
    """What one denoiser forward says about every position of the response.

    Attributes:
        proposal: ``[B, L]`` int64, the token to commit if the position is chosen; never the mask.
        confidence: ``[B, L, K]`` float32, largest token probabilities, descending.
        entropy: ``[B, L]`` float32 in nats, or None if not asked for.
        hidden: ``[B, L, D]`` final hidden state, or None if not asked for.
    """

    proposal: Tensor
    confidence: Tensor
    entropy: Tensor | None = None
    hidden: Tensor | None = None


@dataclass(frozen=True)
class Observation(_Rows):
    """All that a policy may look at; stored for each step and replayed for the gradient.

    Attributes:
        masked: ``[B, L]`` bool, positions that still hold the mask token.
        eligible: ``[B, L]`` bool, masked positions of the row's current block.
        confidence: ``[B, L, K]`` float32, as in :class:`DenoiserOutput`.
        time: ``[B]`` float32, steps taken so far divided by **L**, in ``[0, 1]``.
        entropy: ``[B, L]`` float32 in nats, or None.
        hidden: ``[B, L, D]``, or None.
        speed: ``[B]`` float32, as in :class:`Prompt`, or None.
    """

    masked: Tensor
    eligible: Tensor
    confidence: Tensor
    time: Tensor
    entropy: Tensor | None = None
    hidden: Tensor | None = None
    speed: Tensor | None = None

    def __len__(self) -> int:
        """Return the number of rows."""
        return self.masked.shape[0]


@dataclass(frozen=True)
class Steps(_Rows):
    """Recorded steps of many rollouts, one row a step, in no particular order.

    Attributes:
        rollout: ``[N]`` int64, index of the rollout (row of :class:`Rollout`) that took the step.
        index: ``[N]`` int64, number of the step within its rollout, from 0.
        masked: ``[N, L]`` bool.
        eligible: ``[N, L]`` bool.
        confidence: ``[N, L, K]`` float32.
        time: ``[N]`` float32.
        action: ``[N, ...]``, what the policy did, in the form of its distribution.
        chosen: ``[N, L]`` bool, positions that the action opens, before any forcing by the
            environment.
        log_prob: ``[N]`` float32, log-probability of ``action`` under the acting policy.
        entropy: ``[N, L]`` float32 in nats, or None.
        hidden: ``[N, L, D]``, or None.
        speed: ``[N]`` float32, or None.
    """

    rollout: Tensor
    index: Tensor
    masked: Tensor
    eligible: Tensor
    confidence: Tensor
    time: Tensor
    action: Tensor
    chosen: Tensor
    log_prob: Tensor
    entropy: Tensor | None = None
    hidden: Tensor | None = None
    speed: Tensor | None = None

    def __len__(self) -> int:
        """Return the number of steps **N**."""
        return self.rollout.shape[0]

    @property
    def observation(self) -> Observation:
        """The observations, one row a step."""
        values = {field.name: getattr(self, field.name) for field in fields(Observation)}
        return Observation(**values)


@dataclass(frozen=True)
class Experience:
    """What the policy-gradient update needs from one round of rollouts.

    Attributes:
        steps: The recorded steps.
        advantage: ``[B]`` float32, one for each rollout.
        nfe: ``[B]`` int64, recorded steps of each rollout.
        rewards: ``[B]`` float32.
        correct: ``[B]`` float32 verdicts in ``[0, 1]``.
        expert: ``[B]`` bool, rollouts of experts; the behaviour of their steps is a mixture.
        signal: One bool for each group, whether its rewards differ.
        rollouts: Rollouts of this rank that the update is a mean over; spare ones, which took the
            place of groups without a signal, are not among them.
        diagnostics: Scalars to log, by name.
        reference_log_prob: ``[N]`` float32, log-probabilities of the actions under the reference
            policy, 0 for those of experts; None without one.
    """

    steps: Steps
    advantage: Tensor
    nfe: Tensor
    rewards: Tensor
    correct: Tensor
    expert: Tensor
    signal: Tensor
    rollouts: int
    diagnostics: dict[str, float]
    reference_log_prob: Tensor | None = None
