"""Learning-rate schedules by hand."""

import pytest
import torch

from lit_unmask.training.schedule import Stages, WarmupCosine, WarmupStableDecay


@pytest.mark.parametrize(
    ("number", "expected"),
    [(0, 0.25), (1, 0.5), (3, 1.0), (4, 1.0), (8, 0.5), (12, 0.0), (50, 0.0)],
)
def test_cosine_warms_up_then_falls_to_zero(number, expected):
    schedule = WarmupCosine(warmup_rounds=4)
    assert schedule.factor(number, 12) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("number", "expected"),
    [(0, 0.5), (1, 1.0), (5, 1.0), (6, 1.0), (7, 0.75), (8, 0.5), (9, 0.25), (10, 0.0), (11, 0.0)],
)
def test_stable_decay_warms_up_stays_and_falls_to_zero(number, expected):
    schedule = WarmupStableDecay(warmup_rounds=2, decay_share=0.4)
    assert schedule.factor(number, 10) == pytest.approx(expected)


@pytest.mark.parametrize("schedule", [WarmupCosine(0), WarmupStableDecay(0)])
def test_without_warm_up_the_first_round_has_the_full_rate(schedule):
    assert schedule.factor(0, 10) == 1.0


@pytest.mark.parametrize("schedule", [WarmupCosine(5), WarmupStableDecay(5)])
def test_a_run_shorter_than_its_warm_up_stays_within_bounds(schedule):
    assert all(0 <= schedule.factor(number, 3) <= 1 for number in range(5))


def test_the_scheduler_multiplies_the_rate_of_every_round():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    schedule = WarmupStableDecay(warmup_rounds=2, decay_share=0.5)
    scheduler, rates = schedule.build(optimizer, 4), []
    for _ in range(5):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates == pytest.approx([1.0, 2.0, 2.0, 1.0, 0.0])


def test_stages_follow_each_other():
    first, then = WarmupStableDecay(1, 0.5), WarmupCosine(2)
    both = Stages(first, 4, then)
    assert [both.factor(n, 10) for n in range(4)] == [first.factor(n, 4) for n in range(4)]
    assert [both.factor(n, 10) for n in range(4, 10)] == [then.factor(n, 6) for n in range(6)]
    faster = Stages(first, 4, then, rate=3.0)
    assert [faster.factor(n, 10) for n in (1, 5)] == [3 * both.factor(1, 10), both.factor(5, 10)]
    # A run that ends before the first stage does has all of its fall.
    assert [both.factor(n, 2) for n in range(2)] == [first.factor(n, 2) for n in range(2)]
