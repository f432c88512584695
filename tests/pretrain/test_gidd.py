"""Noise of masks and random tokens: its laws, its weights, and its loss against slow oracles."""

import math
from itertools import pairwise

import pytest
import torch
from toy_objectives import MASK, VOCABULARY, batch, network

from lit_unmask.pretrain.objectives import GIDD, BoundWeights, DynamicWeights, HybridNoise

SIZE, HIDDEN, TOKEN = 5, 3, 1
NOISES = [HybridNoise(0.2), HybridNoise(0.6, gamma=1.7)]


def marginal(noise, time):
    """Return ``q_t(. | x)`` of the token, ``[V]``."""
    times = torch.tensor([time], dtype=torch.float64)
    return noise.alpha(times) * torch.eye(SIZE)[TOKEN] + noise.rest(times, SIZE, HIDDEN)[0]


def step(noise, before, after):
    """Return the kernel between two times: the share that stays, and what is entered ``[V]``."""
    early, late = (torch.tensor([t], dtype=torch.float64) for t in (before, after))
    stays = noise.alpha(late) / noise.alpha(early)
    entered = noise.rest(late, SIZE, HIDDEN)[0] - stays * noise.rest(early, SIZE, HIDDEN)[0]
    return float(stays), entered


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("time", [1e-4, 0.3, 0.5, 0.9, 1 - 1e-4])
def test_a_token_becomes_something(noise, time):
    found = marginal(noise, time)
    assert float(found.sum()) == pytest.approx(1, abs=1e-12) and (found > 0).all()


@pytest.mark.parametrize("noise", NOISES)
def test_random_tokens_have_their_share_at_time_one_half(noise):
    others = marginal(noise, 0.5)
    assert float(others[0] * (SIZE - 1)) == pytest.approx(noise.uniform)


@pytest.mark.parametrize("noise", NOISES)
def test_steps_of_the_kernel_lead_to_the_marginal(noise):
    times, rows = [1e-12, 0.2, 0.5, 0.7, 0.95], 40_000
    draw = torch.Generator().manual_seed(0)
    tokens = torch.full((rows,), TOKEN)
    for before, after in pairwise(times):
        stays, entered = step(noise, before, after)
        assert (entered >= 0).all() and stays + float(entered.sum()) == pytest.approx(1)
        other = torch.multinomial(entered, rows, replacement=True, generator=draw)
        tokens = torch.where(torch.rand(rows, generator=draw) < stays, tokens, other)
        share = tokens.bincount(minlength=SIZE) / rows
        torch.testing.assert_close(share.double(), marginal(noise, after), atol=0.01, rtol=0)


@pytest.mark.parametrize("noise", NOISES)
def test_noisy_texts_are_drawn_from_the_marginal(noise):
    torch.manual_seed(0)
    noisy, times = GIDD(noise).draw(torch.full((400, 500), TOKEN), SIZE, HIDDEN)
    share = torch.stack([row.bincount(minlength=SIZE) / 500 for row in noisy]).double()
    expected = torch.stack([marginal(noise, float(time)) for time in times])
    assert (share - expected).abs().max() < 0.12
    torch.testing.assert_close(share.mean(0), expected.mean(0), atol=0.005, rtol=0)


@pytest.mark.parametrize("noise", NOISES)
def test_the_weights_of_the_bound_are_rates_over_probabilities(noise):
    time, later = 0.37, 1e-6
    table = BoundWeights().table(noise, torch.tensor([time], dtype=torch.float64), SIZE)[0]
    rates = step(noise, time, time + later)[1] / later / marginal(noise, time)
    expected = rates[[HIDDEN, 0, TOKEN]]
    torch.testing.assert_close(table, expected, rtol=1e-4, atol=0)
    clipped = BoundWeights(2.0).table(noise, torch.tensor([time], dtype=torch.float64), SIZE)[0]
    torch.testing.assert_close(clipped, table.clamp(max=2))


def test_dynamic_weights_by_hand():
    times = torch.tensor([0.5], dtype=torch.float64)
    found = DynamicWeights().table(HybridNoise(0.2), times, SIZE)[0].tolist()
    logistic = 1 / (1 + math.exp(0.5))
    assert found == pytest.approx([2, 1, 2 * 0.2 / 0.8 / 5 * math.exp(logistic / 2)])


def loss_and_gradient(net, loss):
    net.stock.zero_grad()
    loss.backward()
    return loss.item(), torch.cat([p.grad.flatten() for p in net.stock.parameters()])


def test_without_random_tokens_it_is_masked_diffusion_in_value_and_gradient():
    net, data = network(), batch()
    objective = GIDD(HybridNoise(0.0), BoundWeights())
    torch.manual_seed(2)
    noisy, times = objective.draw(data.response, VOCABULARY, MASK)
    everywhere = torch.ones_like(noisy, dtype=torch.bool)
    said = net.without_mask(net.logits(data.prompt, noisy, everywhere)).log_softmax(-1)
    entropy = -said.gather(1, data.response.flatten()[:, None]).view(noisy.shape)
    expected = ((noisy == MASK) * entropy / times[:, None]).mean()
    expected, gradient = loss_and_gradient(net, expected)
    torch.manual_seed(2)
    found, other = loss_and_gradient(net, objective.loss(data, net))
    assert 0 < (noisy == MASK).sum() < noisy.numel()
    assert found == pytest.approx(expected, rel=1e-5)
    torch.testing.assert_close(other, gradient, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("weights", [BoundWeights(), DynamicWeights()])
def test_the_loss_is_the_weighted_divergence_of_each_position(weights):
    noise, net, data = HybridNoise(0.5), network(), batch()
    objective = GIDD(noise, weights)
    torch.manual_seed(4)
    noisy, times = objective.draw(data.response, VOCABULARY, MASK)
    everywhere = torch.ones_like(noisy, dtype=torch.bool)
    said = net.without_mask(net.logits(data.prompt, noisy, everywhere)).double().softmax(-1)
    rest, table = noise.rest(times, VOCABULARY, MASK), weights.table(noise, times, VOCABULARY)
    expected, seen = 0.0, set()
    for row in range(4):
        alpha = float(noise.alpha(times)[row])
        for place in range(10):
            token, stands = int(data.response[row, place]), int(noisy[row, place])
            state = 0 if stands == MASK else 2 if stands == token else 1
            q = [float(rest[row, v]) + alpha * (v == token) for v in range(VOCABULARY)]
            p = [
                float(rest[row, v] + alpha * said[10 * row + place, v].detach())
                for v in range(VOCABULARY)
            ]
            divergence = sum(a * math.log(a / b) for a, b in zip(q, p, strict=True))
            ratio = q[stands] / p[stands]
            score = divergence + ratio - math.log(ratio) - 1
            expected += float(table[row, state]) * score / 40
            seen.add(state)
    torch.manual_seed(4)
    assert float(objective.loss(data, net)) == pytest.approx(expected, rel=1e-4)
    assert seen == {0, 1, 2}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: HybridNoise(1.0), "uniform=1.0"),
        (lambda: HybridNoise(gamma=2.5), "gamma=2.5"),
        (lambda: GIDD(least=0.0), "least=0.0"),
    ],
)
def test_settings_outside_their_range_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
