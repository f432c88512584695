"""The masked diffusion objective against an enumeration of all maskings."""

import itertools

import pytest
import torch

from lit_unmask.pretrain.objective import (
    SMALLEST_TIME,
    mask_response,
    masked_diffusion_loss,
    stratified_times,
)

LENGTH, VOCABULARY, MASK = 3, 4, 9


def maskings():
    return torch.tensor(list(itertools.product([False, True], repeat=LENGTH)))


def logits_of(noisy):
    """Return the logits ``[B, L, V]`` of a model that reacts to every masking differently."""
    code = ((noisy == MASK) * 2 ** torch.arange(LENGTH)).sum(1)
    generator = torch.Generator().manual_seed(0)
    table = 2 * torch.randn(2**LENGTH, LENGTH, VOCABULARY, generator=generator)
    return table[code]


def loss_of(clean, noisy, times):
    hidden = noisy == MASK
    rows = hidden.nonzero()[:, 0]
    return masked_diffusion_loss(
        logits_of(noisy)[hidden], clean[hidden], times, rows, clean.numel()
    )


@pytest.mark.parametrize("time", [0.1, 0.5, 0.9])
def test_the_mean_over_random_maskings_is_the_enumerated_bound(time):
    target = torch.tensor([2, 0, 3])
    bound = 0.0
    for hidden in maskings():
        noisy = target.masked_fill(hidden, MASK)
        probability = time ** int(hidden.sum()) * (1 - time) ** int((~hidden).sum())
        scores = logits_of(noisy[None])[0].double().log_softmax(-1)
        entropy = -sum(float(scores[i, target[i]]) for i in range(LENGTH) if hidden[i])
        bound += probability * entropy / time / LENGTH
    rows = 60_000
    clean, times = target.expand(rows, LENGTH), torch.full((rows,), time)
    noisy = mask_response(clean, times, MASK, torch.Generator().manual_seed(1))
    assert float(loss_of(clean, noisy, times)) == pytest.approx(bound, rel=0.03)


def test_the_loss_of_one_masking_by_hand():
    logits = torch.log(torch.tensor([[0.5, 0.25, 0.25, 1e-9], [0.25, 0.25, 0.25, 0.25]]))
    target, times, rows = torch.tensor([0, 3]), torch.tensor([0.5, 0.25]), torch.tensor([0, 1])
    loss = masked_diffusion_loss(logits, target, times, rows, size=6)
    log_2 = torch.log(torch.tensor(2.0))
    torch.testing.assert_close(loss, (log_2 / 0.5 + 2 * log_2 / 0.25) / 6)


def test_nothing_masked_is_no_loss():
    empty = torch.zeros(0, dtype=torch.int64)
    loss = masked_diffusion_loss(torch.zeros(0, VOCABULARY), empty, torch.ones(2), empty, size=6)
    assert loss == 0


def test_every_token_is_masked_with_the_probability_of_its_row():
    times = torch.tensor([0.0, 0.2, 0.7, 1.0])
    clean = torch.zeros(4, 20_000, dtype=torch.int64)
    noisy = mask_response(clean, times, MASK, torch.Generator().manual_seed(0))
    torch.testing.assert_close((noisy == MASK).float().mean(1), times, atol=0.015, rtol=0)
    assert set(noisy.unique().tolist()) == {0, MASK}


@pytest.mark.parametrize("rows", [1, 5, 64])
def test_there_is_one_time_in_each_stratum(rows):
    times = stratified_times(rows, torch.Generator().manual_seed(3))
    assert times.shape == (rows,) and times.dtype == torch.float32
    assert sorted((times * rows).floor().int().tolist()) == list(range(rows))
    assert times.min() >= SMALLEST_TIME and times.max() <= 1


def test_times_are_uniform_and_in_random_order():
    generator = torch.Generator().manual_seed(0)
    many = torch.stack([stratified_times(4, generator) for _ in range(4000)])
    torch.testing.assert_close(many.mean(0), torch.full((4,), 0.5), atol=0.02, rtol=0)
    torch.testing.assert_close(many.var(0), torch.full((4,), 1 / 12), atol=0.01, rtol=0)
