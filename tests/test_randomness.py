"""Counter-based numbers: equal to their definition, uniform, and unrelated for distinct keys."""

import oracles
import pytest
import torch
from scipy import stats

from lit_unmask.randomness import ACTION, TOKEN, uniform


def index(*values):
    return torch.tensor(values, dtype=torch.int64)


def test_equals_the_definition_in_unbounded_integers():
    for seed in (0, 42, -1, 2**63, 2**70 + 3):
        for stream in (ACTION, TOKEN):
            values = uniform(seed, index(0, 7, 2**62), index(0, 255, 3), 5, stream)
            for row, (rollout, step) in enumerate([(0, 0), (7, 255), (2**62, 3)]):
                slow = [oracles.splitmix_uniform(seed, rollout, step, j, stream) for j in range(5)]
                assert values[row].tolist() == slow


def test_rows_do_not_depend_on_their_batch_or_length():
    rollout, step = torch.arange(20), torch.arange(20) % 3
    together = uniform(1, rollout, step, 16, ACTION)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(0))
    assert torch.equal(uniform(1, rollout[order], step[order], 16, ACTION), together[order])
    assert torch.equal(uniform(1, rollout[4:5], step[4:5], 16, ACTION), together[4:5])
    assert torch.equal(uniform(1, rollout, step, 9, ACTION), together[:, :9])


def test_arguments_are_left_alone():
    rollout, step = torch.arange(4), torch.arange(4)
    uniform(3, rollout, step, 8, ACTION)
    assert torch.equal(rollout, torch.arange(4)) and torch.equal(step, torch.arange(4))


def test_values_are_float32_in_the_half_open_interval():
    values = uniform(0, torch.arange(4000), torch.zeros(4000, dtype=torch.int64), 64, ACTION)
    assert values.dtype == torch.float32
    assert values.min() >= 0 and values.max() < 1
    assert values.min() < 1e-4 and values.max() > 1 - 1e-4
    assert values.unique().numel() > 0.99 * values.numel()


def draws(seed=0, stream=ACTION, step=0):
    """Return ``[256, 64]`` numbers of consecutive rollouts."""
    return uniform(seed, torch.arange(256), torch.full((256,), step), 64, stream)


@pytest.mark.parametrize("axis", ["rollout", "step", "position", "seed", "stream"])
def test_uniform_along_every_axis(axis):
    fixed = index(5).expand(4096)
    counter = torch.arange(4096)
    if axis == "rollout":
        values = uniform(0, counter, fixed, 1, ACTION)
    elif axis == "step":
        values = uniform(0, fixed, counter, 1, ACTION)
    elif axis == "position":
        values = uniform(0, fixed[:1], fixed[:1], 4096, ACTION)
    elif axis == "seed":
        values = torch.cat([uniform(s, fixed[:1], fixed[:1], 1, ACTION) for s in range(1000)])
    else:
        values = torch.cat([uniform(0, fixed[:1], fixed[:1], 1, s) for s in range(1000)])
    values = values.flatten()
    assert stats.kstest(values.numpy(), "uniform").pvalue > 1e-3
    neighbours = torch.corrcoef(torch.stack([values[:-1], values[1:]]))[0, 1]
    assert abs(neighbours) < 4 / len(values) ** 0.5


@pytest.mark.parametrize("other", [{"seed": 1}, {"stream": TOKEN}, {"step": 1}], ids=str)
def test_distinct_keys_are_uncorrelated(other):
    pair = torch.stack([draws().flatten(), draws(**other).flatten()])
    assert abs(torch.corrcoef(pair)[0, 1]) < 4 / pair.shape[1] ** 0.5


def test_swapped_keys_differ():
    assert not torch.equal(
        uniform(0, index(1), index(2), 8, ACTION), uniform(0, index(2), index(1), 8, ACTION)
    )
    assert not torch.equal(
        uniform(0, index(1), index(0), 8, ACTION), uniform(1, index(0), index(0), 8, ACTION)
    )


def test_low_bits_are_uniform_too():
    low = (draws() * 2**24).long() % 256
    counts = torch.bincount(low.flatten(), minlength=256)
    assert stats.chisquare(counts.numpy()).pvalue > 1e-3


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match=r"rollout \(2,\)"):
        uniform(0, index(0, 1), index(0), 4, ACTION)
    with pytest.raises(ValueError, match="int64"):
        uniform(0, torch.zeros(2), index(0, 0), 4, ACTION)
