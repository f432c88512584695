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

A *step* is one decision of the policy about a row. Its *price* is the forwards that the row is
charged for, by kind; NFE is their sum. A position is *masked* while it holds the mask token and
*eligible* if it is masked and lies in the current block of its row. *Confidence* is the largest
softmax probability over the full vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field, replace
from typing import TypedDict

from torch import Tensor

from lit_unmask.rows import Rows


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


@dataclass(frozen=True)
class Prompt(Rows):
    """Tokenised prompts, left padded.

    Attributes:
        tokens: ``[B, P]`` int64 token ids.
        attention: ``[B, P]`` bool, True at real tokens, False at padding.
        speed: ``[B]`` float32, the speed of the answer, for policies that are conditioned on
            one; None for the others.
    """

    tokens: Tensor
    attention: Tensor
    speed: Tensor | None = None

    def __len__(self) -> int:
        return self.tokens.shape[0]

    def trim(self) -> Prompt:
        """Drop the columns on the left that are padding in every row."""
        longest = int(self.attention.sum(1).max()) if len(self) else 0
        start = self.tokens.shape[1] - longest
        return Prompt(self.tokens[:, start:], self.attention[:, start:], self.speed)


@dataclass(frozen=True)
class Signal:
    """Something that a policy may ask for beside the largest probabilities.

    Attributes:
        name: Its name in mappings and settings.
        axes: Letters of its shape.
        about: What it is, with its type and unit.
        condition: Whether it comes with the prompt or from the loop; the others come from the
            denoiser.
    """

    name: str
    axes: str
    about: str
    condition: bool = False

    def shape(self, **sizes: int) -> tuple[int, ...]:
        """Return the shape for sizes by letter."""
        return tuple(sizes[axis] for axis in self.axes)


ENTROPY = Signal("entropy", "BL", "entropy of the proposal distribution, float32 in nats")
HIDDEN = Signal(
    "hidden",
    "BLD",
    "state that predicts the position, after the final norm, in its own dtype",
)
LIKELIHOOD = Signal("likelihood", "BL", "log-probability of the proposal at temperature 1, in nats")
STANDING = Signal("standing", "BL", "probability of the token that stands there; 0 at masks")
CHANGE = Signal("change", "BL", "largest KL of the last two readings from those before, in nats")
SPEED = Signal("speed", "B", "speed that the policy is conditioned on, float32", condition=True)
REMOVABLE = Signal("removable", "BL", "tokens of the block that may be taken back, bool", True)
UNMASKED = Signal("unmasked", "B", "share of prompt and response that is not masked, float32", True)
CORRECTABLE = Signal("correctable", "B", "rows correctable before their next step, bool", True)
_ALL = ENTROPY, HIDDEN, LIKELIHOOD, STANDING, CHANGE, SPEED, REMOVABLE, UNMASKED, CORRECTABLE
SIGNALS: Mapping[str, Signal] = {one.name: one for one in _ALL}


@dataclass(frozen=True)
class Signals:
    """What a policy wants to know: about the denoiser's proposals, and the condition.

    Attributes:
        top_k: Number **K** of largest probabilities, at least 1.
        names: Names of further signals, of those in ``SIGNALS``.

    Raises:
        ValueError: If there is no such signal.
    """

    top_k: int = 1
    names: Set[str] = frozenset()

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", frozenset(self.names))
        for name in sorted(self.names - SIGNALS.keys()):
            raise ValueError(f"signal {name!r} must be one of {', '.join(SIGNALS)}; ask for those")

    def __str__(self) -> str:
        """Name what is asked for."""
        return ", ".join([f"top_k={self.top_k}", *sorted(self.names)])

    def __contains__(self, signal: Signal) -> bool:
        """Return whether a signal is asked for."""
        return signal.name in self.names

    def __or__(self, other: Signals) -> Signals:
        """Return the smallest request that covers both."""
        return Signals(max(self.top_k, other.top_k), self.names | other.names)

    def without(self, signal: Signal) -> Signals:
        """Return the request without a signal."""
        return Signals(self.top_k, self.names - {signal.name})


PREDICTOR = "predictor"
"""Kind of the denoiser's forwards that a step begins with; wrappers add kinds of their own, such as
``autoregressive`` and ``reward``."""
CORRECTOR = "corrector"
"""Kind of the denoiser's forwards that a corrector asks for."""
PARTICLE = "particle"
"""Kind of the denoiser's forwards about particles that are not the answer."""


@dataclass(frozen=True)
class Reading(Rows):
    """Answer of the denoiser about every position of the response.

    Attributes:
        proposal: ``[B, L]`` int64, the token to commit if the position is chosen; never the mask.
        confidence: ``[B, L, K]`` float32, largest token probabilities, descending.
        signals: What else was asked for, by name.
        price: ``[B]`` int64 forwards that a step with this answer costs, by kind; one of the
            predictor if it is left out.
    """

    proposal: Tensor
    confidence: Tensor
    signals: Mapping[str, Tensor] = field(default_factory=dict)
    price: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Charge the predictor."""
        if not self.price:
            one = self.proposal.new_ones(len(self.proposal))
            object.__setattr__(self, "price", {PREDICTOR: one})


@dataclass(frozen=True)
class Observation(Rows):
    """Inputs of a policy at one step of each row; stored, and replayed for the gradient.

    Attributes:
        masked: ``[B, L]`` bool, positions that still hold the mask token.
        eligible: ``[B, L]`` bool, masked positions of the row's current block.
        confidence: ``[B, L, K]`` float32, as in :class:`Reading`.
        time: ``[B]`` float32, steps taken so far divided by **L**, in ``[0, 1]``.
        signals: What else was asked for, by name, and conditions that came with the prompt.
    """

    masked: Tensor
    eligible: Tensor
    confidence: Tensor
    time: Tensor
    signals: Mapping[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.masked.shape[0]

    def __getitem__(self, signal: Signal) -> Tensor:
        """Return a signal.

        Raises:
            ValueError: If it is not there.
        """
        if signal.name not in self.signals:
            raise ValueError(
                f"observation has no signal {signal.name!r}; the loop must ask for policy.signals"
            )
        return self.signals[signal.name]

    def within(self, signals: Signals) -> Observation:
        """Return what a policy that wants ``signals`` is shown of it; conditions stay."""
        kept = {n: v for n, v in self.signals.items() if n in signals.names or SIGNALS[n].condition}
        return replace(self, confidence=self.confidence[..., : signals.top_k], signals=kept)


@dataclass(frozen=True)
class Steps(Rows):
    """Recorded steps of many rollouts, one row a step, in no particular order.

    Attributes:
        rollout: ``[N]`` int64, index of the rollout (row of :class:`Rollout`) that took the step.
        index: ``[N]`` int64, number of the step within its rollout, from 0.
        observation: What the policy saw.
        action: ``[N, ...]``, what the policy did, in the form of its distribution.
        chosen: ``[N, L]`` bool, positions that the action opens, before any forcing by the
            environment.
        log_prob: ``[N]`` float32, log-probability of ``action`` under the acting policy.
        committed: ``[N, L]`` bool, positions that got their token at this step, chosen or forced.
    """

    rollout: Tensor
    index: Tensor
    observation: Observation
    action: Tensor
    chosen: Tensor
    log_prob: Tensor
    committed: Tensor

    def __len__(self) -> int:
        return self.rollout.shape[0]


@dataclass(frozen=True)
class Experience:
    """What the policy-gradient update needs from one round of rollouts.

    Attributes:
        steps: The recorded steps.
        advantage: ``[B]`` float32, one for each rollout.
        decisions: ``[B]`` int64, steps of each rollout.
        rewards: ``[B]`` float32.
        correct: ``[B]`` float32 verdicts in ``[0, 1]``.
        expert: ``[B]`` bool, rollouts of experts; the behaviour of their steps is a mixture.
        diagnostics: Scalars to log, by name.
    """

    steps: Steps
    advantage: Tensor
    decisions: Tensor
    rewards: Tensor
    correct: Tensor
    expert: Tensor
    diagnostics: dict[str, float]
