"""What holds of logits that a reward of the text scales."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lit_unmask.denoisers import LLaDA, RewardWeighted
from lit_unmask.denoisers.running.cache import Kept, KeyValues
from lit_unmask.policies import ConfidenceThreshold
from lit_unmask.rollout import Decoding, Noise, Scheduling, rollout
from lit_unmask.tasks import ShoppingSums
from lit_unmask.types import Signals
from tests.denoisers.conftest import make_prompt, make_response
from tests.denoisers.test_wrappers import EVERYTHING, Identity, Sharper, assert_alike


def one(text: str) -> float:
    return 1.0


def vowels(text: str) -> float:
    return sum(letter in "aeiou" for letter in text) / 4


def test_a_constant_reward_is_a_temperature(denoiser) -> None:
    prompt, response = make_prompt(4, 5), make_response(4, 6)
    numbers = torch.rand(4, 6, generator=torch.Generator().manual_seed(0))
    for weight, factor in ((0.5, 1.5), (-0.5, 0.5), (9.0, 4.0)):
        found = RewardWeighted(denoiser, one, weight, largest=4.0)
        for heat in (0.0, 0.8):
            asked = prompt, response, EVERYTHING, numbers, heat
            wanted = Sharper(denoiser, factor)(*asked)
            assert_alike(found(*asked), wanted)
            cooler = denoiser(prompt, response, Signals(), numbers, heat / factor)
            assert torch.equal(wanted.proposal, cooler.proposal)
        outer = Sharper(found, 2.0)(prompt, response, EVERYTHING)
        wanted = Sharper(denoiser, 2 * factor)(prompt, response, EVERYTHING)
        torch.testing.assert_close(outer.confidence, wanted.confidence)


def test_rows_are_scaled_by_the_reward_of_their_filled_texts(denoiser) -> None:
    prompt, response = make_prompt(5, 4), make_response(5, 6)
    weighted = RewardWeighted(denoiser, vowels, 0.7)
    plain = denoiser(prompt, response, Signals())
    texts = denoiser.decode(torch.where(response == denoiser.mask_id, plain.proposal, response))
    by = [1 + 0.7 * vowels(text) for text in texts]
    assert len(set(by)) > 1
    found = weighted(prompt, response, EVERYTHING)
    assert_alike(found, Sharper(denoiser, by)(prompt, response, EVERYTHING))
    assert {kind: price.tolist() for kind, price in found.price.items()} == {
        "predictor": [1] * 5, "reward": [1] * 5,
    }  # fmt: skip
    for row in range(5):
        only = torch.tensor([row])
        alone = weighted(prompt.select(only), response[only], EVERYTHING)
        torch.testing.assert_close(alone.confidence, found.confidence[only])


def test_rewards_are_charged_and_trajectories_hang_on_no_schedule(tiny_llada: LLaDA) -> None:
    prompt = tiny_llada.encode(list(ShoppingSums("validation", 3)) * 2)
    noise, policy = Noise(0, torch.arange(6)), ConfidenceThreshold(0.6)
    weighted = RewardWeighted(tiny_llada, vowels, 0.3)
    found = rollout(weighted, policy, prompt, Decoding(16, 8), noise)
    assert torch.equal(found.price["reward"], found.price["predictor"])
    assert torch.equal(found.nfe, 2 * found.decisions)
    scheduling = Scheduling(skip=False, share=False, max_rows=2)
    again = rollout(weighted, policy, prompt, Decoding(16, 8, scheduling=scheduling), noise)
    assert torch.equal(again.response, found.response)
    assert torch.equal(again.committed_at, found.committed_at)


def test_what_cannot_be_weighed_is_refused(tiny_llada: LLaDA) -> None:
    with pytest.raises(ValueError, match=r"smallest=0 and largest=10\.0 must be a range above 0"):
        RewardWeighted(tiny_llada, one, smallest=0)
    with pytest.raises(ValueError, match=r"inner=Identity must be a denoiser of one network"):
        RewardWeighted(Identity(tiny_llada), one)
    prompt = tiny_llada.encode(list(ShoppingSums("validation", 1)))
    masks: Any = torch.full((1, 4), tiny_llada.mask_id)
    with pytest.raises(ValueError, match=r"reward gave nan; it must return a finite number"):
        RewardWeighted(tiny_llada, lambda text: float("nan"))(prompt, masks, Signals())
    store = KeyValues(prompt.tokens.shape[1] + 4)
    store.slots = 1
    with pytest.raises(ValueError, match=r"leave out decoding\.approximate\.cache"):
        kept = Kept(store, torch.zeros(1, dtype=torch.int64))
        RewardWeighted(tiny_llada, one)(prompt, masks, Signals(), kept=kept)


def test_rewards_tell_runs_apart(tiny_llada: LLaDA) -> None:
    names = {str(RewardWeighted(tiny_llada, reward, weight).identity["wrappers"])
             for reward in (one, vowels) for weight in (0.5, 1.0)}  # fmt: skip
    assert len(names) == 4
