"""Muon beside AdamW is just that, and goes on from a stored state."""

import copy
import io

import pytest
import torch
from torch import nn
from torch.optim import AdamW, Muon

from lit_unmask.training.optimizers import MuonWithAdamW


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(4, 16), nn.SiLU(), nn.Linear(16, 16), nn.SiLU(), nn.Linear(16, 1)
    )


def train(net, optimizers, updates, start=0):
    schedulers = [
        torch.optim.lr_scheduler.LambdaLR(each, lambda n: 1 / (1 + n + start))
        for each in optimizers
    ]
    for number in range(start, start + updates):
        x = torch.randn(8, 4, generator=torch.Generator().manual_seed(number))

        def closure(x=x):
            for each in optimizers:
                each.zero_grad()
            loss = (net(x) - x[:, :1].sin()).square().mean()
            loss.backward()
            return loss

        if len(optimizers) == 1:
            optimizers[0].step(closure)
        else:
            closure()
            for each in optimizers:
                each.step()
        for each in schedulers:
            each.step()


def weights(net):
    return torch.cat([p.detach().flatten() for p in net.parameters()])


def test_it_updates_as_both_do_apart():
    together, apart = network(), network()
    train(together, [MuonWithAdamW(together.parameters(), 1e-2, 4e-2)], 5)
    matrices = [apart[2].weight]
    others = [p for p in apart.parameters() if p is not apart[2].weight]
    muon = Muon(matrices, lr=4e-2, weight_decay=0.01)
    adam = AdamW(others, lr=1e-2, betas=(0.9, 0.99), weight_decay=0.01)
    train(apart, [muon, adam], 5)
    assert torch.equal(weights(together), weights(apart))
    assert not torch.equal(weights(together), weights(network()))


def test_a_stored_state_goes_on_where_it_was():
    whole, first = network(), network()
    train(whole, [MuonWithAdamW(whole.parameters())], 6)
    optimizer = MuonWithAdamW(first.parameters())
    train(first, [optimizer], 3)
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    second = copy.deepcopy(first)
    resumed = MuonWithAdamW(second.parameters(), lr=9.0, matrix_lr=9.0)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    rates = [group["initial_lr"] for group in resumed.param_groups]
    assert rates == [4e-3, 1e-3]
    train(second, [resumed], 3, start=3)
    # A scheduler starts from the rate that is there, so that both are compared by their moments.
    train(first, [optimizer], 3, start=3)
    assert torch.equal(weights(first), weights(second))
    assert len(resumed.state) == len(list(second.parameters()))


def test_parameters_without_a_matrix_are_adamws_alone():
    optimizer = MuonWithAdamW(nn.Linear(3, 3).parameters(), lr=0.5)
    assert [group["lr"] for group in optimizer.param_groups] == [0.5]
    with pytest.raises(ValueError, match="empty parameter list"):
        MuonWithAdamW([])
