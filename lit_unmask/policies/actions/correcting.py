"""Independent draws at every position, and one about whether to correct the row."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from lit_unmask.policies.actions.bernoulli import Bernoulli
from lit_unmask.policies.actions.head import Head, Knobs, attached
from lit_unmask.policies.networks.confidence import ConfidenceTransformer
from lit_unmask.types import CORRECTABLE, STANDING, Observation, Signals


class Correcting(Bernoulli):
    """Bernoulli draws of what to open, and of whether the corrector shall act before the next step.

    An action is ``[B, L + 1]`` bool; its last column asks for the correction. The log-probability
    is the sum over all columns. Where no correction can follow, the last column is always False,
    with probability 1.

    Args:
        opening: What is opened.
        asking: ``[B]`` float, logits of asking, at the policy temperature.
        correctable: ``[B]`` bool.

    Raises:
        ValueError: If the shapes differ.
    """

    def __init__(self, opening: Bernoulli, asking: Tensor, correctable: Tensor) -> None:
        super().__init__(opening.logits, opening.eligible)
        self.opening, self.asking = opening, Bernoulli(asking[:, None], correctable[:, None])

    def sample(self, uniform: Tensor) -> Tensor:
        """Turn noise ``[B, L + 1]`` into an action."""
        return torch.cat(
            [self.opening.sample(uniform[:, :-1]), self.asking.sample(uniform[:, -1:])], 1
        )

    def mode(self) -> Tensor:
        """Return the columns with a probability above one half."""
        return torch.cat([self.opening.mode(), self.asking.mode()], 1)

    def log_prob(self, action: Tensor) -> Tensor:
        """Return the log-probability ``[B]`` of ``action`` ``[B, L + 1]`` bool."""
        return self.opening.log_prob(action[:, :-1]) + self.asking.log_prob(action[:, -1:])

    def positions(self, action: Tensor) -> Tensor:
        """Return what an action opens, ``[B, L]`` bool."""
        return action[:, :-1] & self.eligible

    def asked(self, action: Tensor) -> Tensor:
        """Return the rows for which an action asks the corrector, ``[B]`` bool."""
        return (action[:, -1:] & self.asking.eligible).squeeze(1)

    def asking_probability(self) -> Tensor:
        """Return the probability of each row to ask for it, ``[B]``."""
        return self.asking.probability().squeeze(1)

    def action_of(self, positions: Tensor) -> Tensor:
        """Return the action that opens given positions and asks for nothing."""
        return torch.cat([positions, torch.zeros_like(positions[:, :1])], 1)

    def entropy(self) -> Tensor:
        """Return the entropies of all columns together, ``[B]`` in nats."""
        return self.opening.entropy() + self.asking.entropy()

    def broken(self) -> Tensor:
        """Return the rows of which a logit is not finite."""
        return self.opening.broken() | self.asking.broken()


class CorrectingHead(Head):
    """Each mask is opened by a draw of its own, and another one says whether to correct the row.

    Masks have the network's own logits, as with
    :class:`~lit_unmask.policies.actions.bernoulli.BernoulliHead`. The logit of asking is a linear
    map of the mean of the network's features and of the least probability that the denoiser gives
    to a token where it stands. Its weights are zero at the start. The corrector of the decoding
    acts before the row's next step, and its forwards are on the row's price, as all are; so rewards
    weigh a correction against what it costs. No paper has such an action; that learned placements
    beat every N steps is not to be expected.

    It needs ``decoding.corrector`` with ``placement: {learned: true}``. In a loop of one's own,
    which has none, it is the policy without the draw.

    Args:
        initial: Probability of asking at the start, in ``(0, 1)``.

    Raises:
        ValueError: If the probability is out of range, or the network has no features.
    """

    corrects = True
    signals = Signals(names={STANDING.name})
    asking_proj: nn.Linear | None

    def __init__(self, initial: float = 0.1) -> None:
        super().__init__()
        if not 0 < initial < 1:
            raise ValueError(f"initial={initial} must lie in (0, 1); it is a probability")
        self.initial = initial
        self.register_module("asking_proj", None)

    def attach(self, network: nn.Module) -> None:
        """Make the map from features to a logit; see ``attached``."""
        self.asking_proj = attached(self, network, self.asking_proj, self.initial)

    def forward(self, network: nn.Module, observation: Observation, knobs: Knobs) -> Bernoulli:
        """Return the draws; temperature and scale are those of opening."""
        trunk = cast(ConfidenceTransformer, network)
        features = trunk.features(observation)
        logits = trunk.logits(features, observation)
        opening = Bernoulli(logits, observation.eligible, knobs.temperature, knobs.scale)
        correctable = observation.signals.get(CORRECTABLE.name)
        if correctable is None:
            return opening
        standing = observation[STANDING].to(features.dtype).masked_fill(observation.masked, 1.0)
        seen = torch.cat([features.mean(1), standing.amin(1, keepdim=True)], -1)
        asking = cast(nn.Linear, self.asking_proj)(seen).squeeze(-1)
        return Correcting(opening, asking / knobs.temperature, correctable)
