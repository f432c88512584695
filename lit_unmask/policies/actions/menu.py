"""One of several listed sets of positions."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from lit_unmask.policies.actions.base import UnmaskDistribution, broken, check_shapes


class Menu(UnmaskDistribution):
    """A categorical distribution over listed sets of positions.

    An action is ``[B]`` int64, the number of the set; ``log p = log_softmax(logits)[action]`` over
    the sets that are on offer. A row in which nothing is eligible has the set 0 alone.

    Args:
        logits: ``[B, C]`` float.
        offered: ``[B, C]`` bool, sets that may be drawn; set 0 always.
        eligible: ``[B, L]`` bool.

    Raises:
        ValueError: If the shapes differ.
    """

    opens_any_set = False

    def __init__(self, logits: Tensor, offered: Tensor, eligible: Tensor) -> None:
        check_shapes(eligible)
        if logits.shape != offered.shape or logits.shape[0] != eligible.shape[0]:
            raise ValueError(
                f"logits {tuple(logits.shape)} must be [B, C] like the sets on offer "
                f"{tuple(offered.shape)}, B={len(eligible)}"
            )
        super().__init__(eligible)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        self.offered = offered
        self.log_chances = logits.masked_fill(~offered, -torch.inf).log_softmax(-1)

    @abstractmethod
    def sets(self) -> Tensor:
        """Return the sets, ``[B, C, L]`` bool, within ``eligible``."""

    def sample(self, uniform: Tensor) -> Tensor:
        """Draw a set by the row's first uniform number."""
        below = self.log_chances.exp().cumsum(-1)
        drawn = (uniform[:, :1] >= below).sum(-1)
        # The sum may end below 1 by rounding; the last set on offer takes what is left.
        places = torch.arange(self.offered.shape[1], device=drawn.device)
        return torch.minimum(drawn, (places * self.offered).amax(-1))

    def mode(self) -> Tensor:
        """Return the number of the most probable set, ``[B]`` int64."""
        return self.log_chances.argmax(-1)

    def log_prob(self, action: Tensor) -> Tensor:
        """Return the log-probability ``[B]`` of ``action`` ``[B]`` int64."""
        inside = (action >= 0) & (action < self.log_chances.shape[1])
        each = self.log_chances.gather(-1, torch.where(inside, action, 0)[:, None]).squeeze(-1)
        return each.masked_fill(~inside, -torch.inf)

    def positions(self, action: Tensor) -> Tensor:
        """Return the drawn set, ``[B, L]`` bool."""
        index = action[:, None, None].expand(-1, 1, self.eligible.shape[1])
        return self.sets().gather(1, index).squeeze(1)

    def broken(self) -> Tensor:
        """Return the rows whose preferences or chances are not finite."""
        counts = self.offered & self.eligible.any(-1, keepdim=True)
        return super().broken() | broken(self.log_chances, counts)

    def entropy(self) -> Tensor:
        """Return the entropy of each row's number of a set, ``[B]`` in nats; exact."""
        logs = self.log_chances.masked_fill(~self.offered, 0.0)
        return -(self.log_chances.exp() * logs).sum(-1)

    def probability(self) -> Tensor:
        """Return the marginals: the sum of the chances of the sets that hold a position."""
        chances = self.log_chances.exp()
        return torch.bmm(chances[:, None], self.sets().to(chances.dtype)).squeeze(1)
