"""A toy denoiser, prompts for it and policies that decode them."""

import torch
from torch import nn

from lit_unmask.denoisers.running.memory import RowLimit
from lit_unmask.policies import (
    KLASS,
    Ancestral,
    Conditioned,
    ConfidenceThreshold,
    ConfidenceTransformer,
    Dilated,
    EarlyExit,
    EntropyBound,
    Factor,
    LearnedPolicy,
    LeftToRight,
    LowConfidence,
    LowEntropy,
    Margin,
    Random,
)
from lit_unmask.randomness import uniform
from lit_unmask.rollout import Noise, rollout
from lit_unmask.types import Prompt, Reading

LENGTH, VOCABULARY, MASK = 8, 7, 0
SEED = 5
NUMBERS = torch.tensor([3, 2**40, 17, 18, 0, 99])


class ToyDenoiser(nn.Module):
    """Draws its logits from a hash of all real tokens of the row and of their places."""

    mask_id = MASK
    row_limit = RowLimit()
    device = torch.device("cpu")
    compares = True

    def divergence(self, states, before):
        now, then = states.log_softmax(-1), before.log_softmax(-1)
        return (now.exp() * (now - then)).sum(-1)

    def check_length(self, prompt, gen_length):
        if prompt.tokens.shape[1] + gen_length > 64:
            raise ValueError("max_length=64")

    def logits(self, prompt, response):
        tokens = torch.cat([prompt.tokens.where(prompt.attention, -1), response], 1)
        places = torch.arange(tokens.shape[1]).flip(0) + 1
        key = ((tokens + 1) * places**3 * 1_000_003).sum(1)
        numbers = uniform(0, key, torch.zeros_like(key), LENGTH * VOCABULARY, 0)
        return 5 * numbers.view(-1, LENGTH, VOCABULARY)

    def forward(self, prompt, response, signals, uniform_numbers=None, temperature=0.0):
        logits = self.logits(prompt, response)
        logits[..., MASK] = -torch.inf
        probability = logits.softmax(-1)
        proposal = logits.argmax(-1)
        if temperature > 0:
            below = (logits / temperature).softmax(-1).cumsum(-1)
            proposal = (below <= uniform_numbers[..., None]).sum(-1).clamp(max=VOCABULARY - 1)
        entropy = -torch.special.xlogy(probability, probability).sum(-1)
        found = {
            "entropy": entropy,
            "hidden": logits[..., 1:],
            "likelihood": probability.gather(2, proposal[..., None])[..., 0].log(),
            "standing": probability.gather(2, response[..., None])[..., 0],
        }
        asked = {name: value for name, value in found.items() if name in signals.names}
        return Reading(proposal, probability.topk(signals.top_k).values, asked)


def learned(output_bias=-2.0):
    torch.manual_seed(0)
    network = ConfidenceTransformer(
        width=16, heads=2, feed_forward=32, top_p=2, output_bias=output_bias
    )
    return LearnedPolicy(network).eval()


def conditioned(speed=3.0):
    torch.manual_seed(0)
    network = ConfidenceTransformer(width=16, heads=2, feed_forward=32, speed=True)
    with torch.no_grad():
        for weight in network.parameters():  # away from its start, so that the speed matters
            weight.add_(0.1 * torch.randn_like(weight))
    return Conditioned(speed, LearnedPolicy(network)).eval()


POLICIES = {
    "random": lambda: Random(2),
    "low-confidence": lambda: LowConfidence(1),
    "margin": lambda: Margin(2),
    "left-to-right": lambda: LeftToRight(2),
    "threshold": lambda: ConfidenceThreshold(0.5),
    "entropy-bound": lambda: EntropyBound(0.8),
    "low-entropy": lambda: LowEntropy(2),
    "factor": lambda: Factor(1.5),
    "ancestral": lambda: Ancestral(5),
    "dilated": lambda: Dilated(block_length=4),
    "klass": lambda: KLASS(0.3, 2.0),
    "early-exit-learned": lambda: EarlyExit(Dilated(learned(), 4), (1.5, 1.0, 0.5)),
    "learned": learned,
    "conditioned": conditioned,
}


def make_prompts():
    """Return six prompts: rows 1 and 2 alike, rows 3 and 4 alike but for what is padding."""
    tokens = torch.tensor([[1, 1, 4], [2, 3, 4], [2, 3, 4], [1, 5, 5], [1, 5, 5], [6, 2, 2]])
    attention = torch.ones(6, 3, dtype=torch.bool)
    attention[0, :2] = attention[3, 0] = False
    return Prompt(tokens, attention)


def decode(policy, decoding, rows=slice(None), **arguments):
    rows = torch.arange(6)[rows]
    noise = Noise(SEED, NUMBERS[rows])
    return rollout(ToyDenoiser(), policy, make_prompts().select(rows), decoding, noise, **arguments)
