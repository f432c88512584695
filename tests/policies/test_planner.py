"""The planner on hidden states: what it is told, and what it refuses."""

from dataclasses import replace

import pytest
import torch

from lit_unmask import load_policy, save_policy
from lit_unmask.policies import LearnedPolicy, Planner
from lit_unmask.randomness import Noise
from lit_unmask.rollout import Decoding
from lit_unmask.rollout.loop import rollout
from lit_unmask.tasks import ShoppingSums
from lit_unmask.types import HIDDEN, UNMASKED, Observation


def seen(share):
    generator = torch.Generator().manual_seed(0)
    masked = torch.tensor([[True, False, True, True]])
    hidden = torch.randn(1, 4, 6, generator=generator)
    signals = {HIDDEN.name: hidden, UNMASKED.name: torch.tensor([share])}
    return Observation(masked, masked, torch.rand(1, 4, 1), torch.zeros(1), signals)


def test_a_planner_is_told_the_share_of_prompt_and_response_that_is_not_masked(tiny_llada):
    problems = list(ShoppingSums("train", size=3))
    prompt = tiny_llada.encode(problems)
    policy = LearnedPolicy(Planner(16, width=16, heads=2, feed_forward=16))
    noise = Noise(0, torch.arange(3))
    steps = rollout(tiny_llada, policy, prompt, Decoding(8, 4), noise, record=True).steps
    assert not prompt.attention.all()  # padding is no part of a sequence
    for row, step in enumerate(steps.rollout.tolist()):
        length = int(prompt.attention[step].sum()) + 8
        left = int(steps.observation.masked[row].sum())
        found = float(steps.observation[UNMASKED][row])
        assert found == pytest.approx((length - left) / length)


def test_a_planner_begins_blind_to_its_condition_and_can_learn_it():
    torch.manual_seed(0)
    planner = Planner(6, width=8, heads=2, feed_forward=8)
    assert torch.equal(planner(seen(0.1)), planner(seen(0.9)))
    torch.nn.init.normal_(planner.final_conditioning.weight)
    assert not torch.allclose(planner(seen(0.1)), planner(seen(0.9)))
    other = seen(0.1)
    assert not torch.allclose(
        planner(other), planner(replace(other, masked=torch.ones(1, 4).bool()))
    )


def test_a_planner_refuses_states_of_another_width_and_is_saved_whole(tmp_path):
    policy = LearnedPolicy(Planner(6, width=8, heads=2, feed_forward=8))
    again = load_policy(save_policy(policy, tmp_path / "planner"))
    assert torch.equal(again.network(seen(0.5)), policy.network(seen(0.5)))
    with pytest.raises(ValueError, match="hidden_width=5 must be the width"):
        Planner(5, width=8, heads=2, feed_forward=8)(seen(0.5))
    with pytest.raises(ValueError, match="layers=0 must be at least 1"):
        Planner(6, width=8, layers=0)
