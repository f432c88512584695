"""Logits scaled by a reward of the text that they would fill in."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from lit_unmask.denoisers.face import Adjust, Denoiser
from lit_unmask.denoisers.network import NetworkDenoiser
from lit_unmask.denoisers.running.cache import Kept
from lit_unmask.denoisers.running.reduction import Draw
from lit_unmask.denoisers.wrappers.base import Wrapper
from lit_unmask.types import HIDDEN, Prompt, Reading, Signals

REWARD = "reward"
"""Kind of the calls of a reward."""


class RewardWeighted(Wrapper):
    """Scales the logits of a row by a reward of the text with its masks filled.

    Source: reward-weighted sampling, arXiv 2509.00707, which fills all masks with the most probable
    tokens at each step, scores the text and scales the logits by the score. Its formula is open to
    us; ours is ``s = 1 + weight * reward``, kept within ``[smallest, largest]``, the same for all
    positions of a row. A constant reward is then a token temperature of ``1 / s``. At temperature 0
    proposals stay and confidences change, in their order over positions too.

    Every reading costs a call of the reward on top of the forward, of which the output layer runs
    twice. The reward must follow from the text alone; give it scores of about unit scale.

    Args:
        inner: The denoiser, of one network.
        reward: Scores a text, as :meth:`decode` returns it.
        weight: Of the reward.
        smallest: Least factor, above 0.
        largest: Largest factor.

    Raises:
        ValueError: If the factors are no range above 0, or the denoiser is wrapped already.
    """

    def __init__(
        self,
        inner: Denoiser,
        reward: Callable[[str], float],
        weight: float = 1.0,
        smallest: float = 0.1,
        largest: float = 10.0,
    ) -> None:
        super().__init__(inner)
        if not 0 < smallest <= largest < math.inf:
            raise ValueError(
                f"smallest={smallest} and largest={largest} must be a range above 0; logits are "
                "multiplied by a number in it"
            )
        if not isinstance(inner, NetworkDenoiser):
            raise ValueError(
                f"inner={type(inner).__name__} must be a denoiser of one network, as its output "
                "layer is asked twice; put other wrappers around this one"
            )
        self.reward, self.weight, self.smallest, self.largest = reward, weight, smallest, largest

    def factor(self, text: Tensor) -> Tensor:
        """Return what the logits of texts ``[B, L]`` are multiplied by, ``[B]`` float32.

        Raises:
            ValueError: If a reward is no finite number.
        """
        rewards = [float(self.reward(one)) for one in self.decode(text)]
        if not all(map(math.isfinite, rewards)):
            raise ValueError(
                f"reward gave {next(r for r in rewards if not math.isfinite(r))}; it must return a "
                "finite number for any text"
            )
        factor = 1 + self.weight * torch.tensor(rewards, device=text.device)
        return factor.clamp(self.smallest, self.largest)

    @torch.no_grad()
    def forward(
        self,
        prompt: Prompt,
        response: Tensor,
        signals: Signals,
        uniform: Tensor | None = None,
        temperature: float = 0.0,
        kept: Kept | None = None,
        adjust: Adjust | None = None,
    ) -> Reading:
        """Ask the network once, and its output layer again; see :meth:`Denoiser.forward`.

        Raises:
            ValueError: If keys and values are kept, or an argument does not fit.
        """
        if kept is not None:
            raise ValueError(
                "a reward is one of whole texts, of which a cache computes a part; leave out "
                "decoding.approximate.cache or RewardWeighted"
            )
        network, draw = self.inner, Draw.of(response, uniform, temperature)
        assert isinstance(network, NetworkDenoiser)
        plain = network(prompt, response, Signals(1, {HIDDEN.name}))
        filled = torch.where(response == self.mask_id, plain.proposal, response)
        factor, length = self.factor(filled), response.shape[1]

        def scale(logits: Tensor, place: Tensor) -> Tensor:
            by = factor.to(logits.device)[place // length, None]
            scaled = logits.mul_(by)
            return scaled if adjust is None else adjust(scaled, place)

        states = plain.signals[HIDDEN.name]
        reading = network.read(states, signals, draw, response, scale)
        calls = {REWARD: torch.ones_like(reading.proposal[:, 0])}
        return replace(reading, price=dict(reading.price) | calls)
