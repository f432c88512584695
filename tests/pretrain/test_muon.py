"""Muon's update is nearly orthogonal, matrix by matrix, and it trains."""

import pytest
import torch
from torch import nn

from lit_unmask.pretrain.muon import Muon, orthogonalise


def matrices(rows, columns, seed=0):
    return torch.randn(5, rows, columns, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(8, 24), (24, 8), (4, 5), (1, 6)])
def test_singular_values_come_near_one_and_directions_stay(shape):
    original = matrices(*shape)
    result = orthogonalise(original)
    values = torch.linalg.svdvals(result)
    assert values.min() > 0.6 and values.max() < 1.3
    left, _, right = torch.linalg.svd(original, full_matrices=False)
    inner = left.mT @ result @ right.mT
    torch.testing.assert_close(
        inner, torch.diag_embed(inner.diagonal(dim1=1, dim2=2)), atol=1e-3, rtol=0
    )


@pytest.mark.parametrize("shape", [(6, 9), (9, 6)])
def test_matrices_taken_together_equal_a_loop(shape):
    together = matrices(*shape)
    alone = [orthogonalise(matrix[None])[0] for matrix in together]
    torch.testing.assert_close(orthogonalise(together), torch.stack(alone))
    torch.testing.assert_close(orthogonalise(1000 * together), torch.stack(alone))


def test_a_zero_gradient_is_a_zero_update():
    assert (orthogonalise(torch.zeros(2, 3, 4)) == 0).all()


def test_two_steps_by_hand():
    start, first, second = (matrices(6, 3, seed)[0] for seed in range(3))
    weight = nn.Parameter(start.clone())
    optimizer = Muon([weight], lr=0.1, momentum=0.9, weight_decay=0.5)
    expected, momentum = start, torch.zeros_like(start)
    for gradient in (first, second):
        weight.grad = gradient.clone()
        optimizer.step()
        momentum = 0.9 * momentum + 0.1 * gradient
        update = orthogonalise((0.1 * gradient + 0.9 * momentum)[None])[0]
        expected = expected * (1 - 0.1 * 0.5) - 0.1 * 2**0.5 * update
        torch.testing.assert_close(weight.data, expected)


def test_parameters_without_gradient_stay():
    weight = nn.Parameter(torch.ones(2, 2))
    Muon([weight]).step()
    assert (weight == 1).all()


def test_the_loss_of_a_toy_goes_down_and_comes_back_from_the_closure():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 16, bias=False), nn.Tanh(), nn.Linear(16, 2, bias=False))
    inputs = torch.randn(64, 4)
    target = torch.stack([inputs[:, 0] * inputs[:, 1], inputs[:, 2]], 1)
    optimizer = Muon(network.parameters(), lr=0.02)

    def closure():
        optimizer.zero_grad()
        loss = (network(inputs) - target).square().mean()
        loss.backward()
        return loss

    losses = [optimizer.step(closure).item() for _ in range(150)]
    assert losses[-1] < 0.3 * losses[0]
