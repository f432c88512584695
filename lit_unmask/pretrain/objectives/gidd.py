"""The objective of generalised interpolating discrete diffusion."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from lit_unmask.pretrain.data import Demonstrations
from lit_unmask.pretrain.objectives.base import Network, Objective
from lit_unmask.pretrain.objectives.masks import stratified_times

MASKED, NOISED, CLEAN = range(3)


@dataclass(frozen=True)
class HybridNoise:
    """Noise of masks and of random tokens: ``q_t(z | x) = alpha_t [z = x] + rest_t(z)``.

    Source: GIDD, arXiv 2503.04482: ``c = B (t (1 - t))^(gamma / 2)``,
    ``alpha = (1 - t) / (1 + c)``, and the rest is a mask with ``t / (1 + c)`` and any of the other
    ``V - 1`` tokens with ``c / (1 + c)``. All times are ``[B]`` float64 in ``(0, 1)``.

    Attributes:
        uniform: Probability of a random token at time one half, ``p_u``, in ``[0, 1)``. The
            release's least, ``e^-20``, is taken for 0.
        gamma: Exponent, in ``(0, 2]``.

    Raises:
        ValueError: If a value lies outside its range.
    """

    uniform: float = 0.1
    gamma: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.uniform < 1:
            raise ValueError(f"uniform={self.uniform} must lie in [0, 1)")
        if not 0 < self.gamma <= 2:
            raise ValueError(f"gamma={self.gamma} must lie in (0, 2], or noise would turn back")

    @property
    def scale(self) -> float:
        """The factor **B**."""
        share = max(self.uniform, math.exp(-20))
        return 2**self.gamma * share / (1 - share)

    def odds(self, time: Tensor) -> Tensor:
        """Return **c**, random tokens against all else, ``[B]``."""
        return self.scale * (time * (1 - time)) ** (self.gamma / 2)

    def alpha(self, time: Tensor) -> Tensor:
        """Return the probability that a token is left alone, ``[B]``."""
        return (1 - time) / (1 + self.odds(time))

    def rest(self, time: Tensor, size: int, mask_id: int) -> Tensor:
        """Return the probabilities of what it becomes otherwise, ``[B, V]``."""
        odds = self.odds(time)[:, None]
        hidden = F.one_hot(torch.tensor(mask_id, device=time.device), size).to(time.dtype)
        return (time[:, None] * hidden + odds * (1 - hidden) / (size - 1)) / (1 + odds)


class Weights(ABC):
    """Weights of positions; a subclass is one of :attr:`GIDD.weights`."""

    @abstractmethod
    def table(self, noise: HybridNoise, time: Tensor, size: int) -> Tensor:
        """Return ``[B, 3]`` weights of positions that are masked, noised, and clean.

        Args:
            noise: The noise.
            time: ``[B]`` float64.
            size: Vocabulary **V**, with the mask.
        """


@dataclass(frozen=True)
class BoundWeights(Weights):
    """The weights of the evidence bound: how fast a state is entered, over its probability.

    Attributes:
        most: Largest weight; 2 is the release's setting ``clip``.
    """

    most: float = math.inf

    def table(self, noise: HybridNoise, time: Tensor, size: int) -> Tensor:
        """Return the weights; see :meth:`Weights.table`."""
        odds, left = noise.odds(time), 1 - time
        # c + (1 - t) c', with the derivative c' of c.
        entering = odds * (1 + noise.gamma / 2 * (1 - 2 * time) / time)
        share = odds / (size - 1)
        columns = [
            1 / (time * left),
            entering / (left * odds),
            entering / (size - 1) / (left * (left + share)),
        ]
        return torch.stack(columns, 1).clamp(max=self.most)


@dataclass(frozen=True)
class DynamicWeights(Weights):
    """The release's default: masks count 2, noised tokens 1, and clean ones next to nothing.

    Clean tokens count ``B / V exp(gamma s / 2)``, where the release has the logistic function of
    ``-t`` for **s**, in the place of the logarithm of the signal-to-noise ratio, and no more than
    masks.
    """

    def table(self, noise: HybridNoise, time: Tensor, size: int) -> Tensor:
        """Return the weights; see :meth:`Weights.table`."""
        clean = noise.scale / size * (noise.gamma / 2 * torch.sigmoid(-time)).exp()
        columns = [torch.full_like(time, 2), torch.ones_like(time), clean]
        return torch.stack(columns, 1).clamp(max=2)


@dataclass(frozen=True)
class GIDD(Objective):
    """The bound of diffusion by masks and random tokens, a token, on whole responses.

    Source: GIDD, arXiv 2503.04482:
    ``w (KL(q_t(. | x) || q_t(. | x^)) + r - log r - 1)`` with ``r = q_t(z | x) / q_t(z | x^)``,
    where ``x^`` is what the network says, never a mask. Times are stratified over the batch.

    The paper's network is told the time. Checkpoints of the stock families have no place for it, so
    here it is not, as in MDLM: it must tell from the text how noisy that is. Synonyms are not at
    their mean: a random token or a clean one says which of them it is.

    Attributes:
        noise: What becomes of tokens.
        weights: Weights of positions.
        least: Smallest distance of times from 0 and 1, in ``(0, 0.5)``.

    Raises:
        ValueError: If that lies outside its range.
    """

    noise: HybridNoise = HybridNoise()
    weights: Weights = DynamicWeights()
    least: float = 1e-4

    def __post_init__(self) -> None:
        if not 0 < self.least < 0.5:
            raise ValueError(f"least={self.least}, a time, must lie in (0, 0.5)")

    def draw(self, clean: Tensor, size: int, mask_id: int) -> tuple[Tensor, Tensor]:
        """Return noisy tokens ``[B, L]`` and the times ``[B]`` float64 of their rows."""
        time = self.least + (1 - 2 * self.least) * stratified_times(len(clean)).double()
        chance, alpha = torch.rand(clean.shape).double(), self.noise.alpha(time)[:, None]
        hidden = time[:, None] / (1 + self.noise.odds(time)[:, None])
        other = torch.randint(size - 1, clean.shape)
        other = (other + (other >= mask_id)).to(clean.device)
        noisy = torch.where((chance < alpha).to(clean.device), clean, other)
        masked = (chance >= alpha) & (chance < alpha + hidden)
        return noisy.masked_fill(masked.to(clean.device), mask_id), time.to(clean.device)

    def loss(self, batch: Demonstrations, network: Network) -> Tensor:
        """Return the loss on a batch with fresh noise; see :meth:`Objective.loss`."""
        clean, mask_id, size = batch.response, network.mask_id, len(network.meant)
        noisy, time = self.draw(clean, size, mask_id)
        logits = network.logits(batch.prompt, noisy, torch.ones_like(clean, dtype=torch.bool))
        # Weights reach 1e4 and multiply differences of probabilities, hence float64.
        said = network.without_mask(logits.double()).softmax(-1).view(*clean.shape, size)
        rest = self.noise.rest(time, size, mask_id)[:, None]
        alpha = self.noise.alpha(time)[:, None, None]
        wanted = (alpha * F.one_hot(clean, size) + rest).log()
        found = (alpha * said + rest).log()
        divergence = (wanted.exp() * (wanted - found)).sum(-1)
        log_ratio = (wanted - found).gather(-1, noisy[..., None]).squeeze(-1)
        state = torch.where(noisy == clean, CLEAN, NOISED).masked_fill(noisy == mask_id, MASKED)
        weight = self.weights.table(self.noise, time, size).gather(1, state)
        return (weight * (divergence + log_ratio.expm1() - log_ratio)).mean().float()
