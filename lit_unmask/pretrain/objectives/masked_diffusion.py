"""The masked diffusion objective of MDLM and LLaDA, over whole responses and over blocks."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from lit_unmask.pretrain.data import Demonstrations
from lit_unmask.pretrain.objectives.base import Network, Objective, weighted_loss
from lit_unmask.pretrain.objectives.masks import (
    Masks,
    Noised,
    OneMask,
    draw_windows,
    stratified_times,
)
from lit_unmask.types import Prompt


@dataclass(frozen=True)
class MaskedDiffusion(Objective):
    """Cross entropy of the masked tokens.

    Any number of the response's tokens is masked, each number as often, and the loss is the mean
    cross entropy of the masked ones: over all masks of a whole response, LLaDA's bound a token in
    the form with a number of masks in place of a time (arXiv 2502.09992, equation 3 and appendix A;
    MDLM, arXiv 2406.07524). Later, a share of the responses is noised in one block, with a clean
    text before it and masks behind it, which is what decoding in blocks asks for. From the start,
    networks did not learn to read the prompt: a block has few tokens to learn from. Responses are
    filled up with the end token, which is learned like any other, as in LLaDA's fine-tuning.

    Attributes:
        block_share: Share of the responses that are noised in one block, in ``[0, 1]``.
        whole_share: Share of the training, in ``[0, 1]``, in which all are noised as a whole first.
        least: Smallest time, the share of tokens that are masked, in ``[0, 1)``.
        masks: How masks are drawn.

    Raises:
        ValueError: If a share or the time lies outside its range.
    """

    block_share: float = 0.5
    whole_share: float = 0.2
    least: float = 0.0
    masks: Masks = OneMask()  # noqa: RUF009  (frozen)

    def __post_init__(self) -> None:
        if not (0 <= self.block_share <= 1 and 0 <= self.whole_share <= 1):
            raise ValueError(
                f"block_share={self.block_share} and whole_share={self.whole_share} must lie in "
                "[0, 1]"
            )
        if not 0 <= self.least < 1:
            raise ValueError(f"least={self.least}, a time, must lie in [0, 1)")

    def noise(self, batch: Demonstrations, network: Network) -> tuple[Noised, Prompt, Tensor]:
        """Return noisy rows, and for each its prompt and its clean tokens ``[M, L]``."""
        clean = batch.response
        written = (clean != network.end_id).sum(1) + 1
        share = self.block_share if network.done >= self.whole_share else 0.0
        window = draw_windows(clean.shape[1], written, share)
        times = self.least + (1 - self.least) * stratified_times(len(clean))
        noised = self.masks.draw(clean, window, times, network.mask_id)
        prompt = Prompt(batch.prompt.tokens[noised.row], batch.prompt.attention[noised.row])
        return noised, prompt, clean[noised.row]

    def loss(self, batch: Demonstrations, network: Network) -> Tensor:
        """Return the loss on a batch with fresh masks; see :meth:`Objective.loss`."""
        noised, prompt, clean = self.noise(batch, network)
        asked = noised.weight > 0
        logits = network.logits(prompt, noised.tokens, asked)
        target = network.meant[clean[asked]]
        return weighted_loss(logits, target, noised.weight[asked], len(batch.response))
