"""A small network and a few solutions to train it on."""

import torch

from lit_unmask.denoisers import DenoiserShape, Dream
from lit_unmask.pretrain.data import Demonstrations
from lit_unmask.pretrain.objectives import Network
from lit_unmask.pretrain.objectives.base import token_distributions
from lit_unmask.types import Prompt

MASK, END, VOCABULARY = 9, 0, 12


def network(family=Dream, seed=0, synonyms=()):
    """Return a random network of a family, told that half of the training is over."""
    torch.manual_seed(seed)
    shape = DenoiserShape(16, 1, 2, 24, VOCABULARY, 64, MASK, END, END)
    meant = token_distributions(VOCABULARY, synonyms)
    return Network(family.initialise(shape), family.shift, MASK, END, meant, done=0.5)


def batch(rows=4, length=10, seed=0):
    """Return left-padded prompts with solutions of several lengths, filled up with ends."""
    draw = torch.Generator().manual_seed(seed)
    prompt = torch.randint(1, MASK, (rows, 5), generator=draw)
    attention = torch.arange(5) >= torch.arange(rows)[:, None] % 3
    response = torch.randint(1, MASK, (rows, length), generator=draw)
    written = torch.randint(1, length, (rows, 1), generator=draw)
    return Demonstrations(
        Prompt(prompt, attention), response.masked_fill(torch.arange(length) >= written, END)
    )


def train(objective, network, batch, steps=12):
    """Return the losses of a few steps, all with the noise of one seed."""
    optimizer = torch.optim.AdamW(network.stock.parameters(), lr=3e-3)
    losses = []
    for _ in range(steps):
        torch.manual_seed(1)
        loss = objective.loss(batch, network)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses
