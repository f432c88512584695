"""The signal ``change``: how far distributions moved, whatever is skipped, shared or cached."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from toy_rollouts import LENGTH, SEED, ToyDenoiser, decode, make_prompts

from lit_unmask.denoisers import Denoiser, LLaDA, Wrapper
from lit_unmask.denoisers.running.reduction import divergence
from lit_unmask.policies import KLASS, Policy
from lit_unmask.policies.actions.bernoulli import Bernoulli
from lit_unmask.rollout import Approximate, Decoding, Noise, Rollout, Scheduling, rollout
from lit_unmask.types import CHANGE, Observation, Prompt, Signals
from tests.toy_systems import SCHEDULES, Doubt, Takeover
from tests.toy_systems import decode as decode_by_system

SLOW = Scheduling(skip=False, share=False, lookahead=1, call_tokens=None)


class Wavering(Policy):
    """Draws positions, those that stand still more often, and so waits now and then."""

    signals = Signals(names={CHANGE.name})

    def forward(self, observation: Observation) -> Bernoulli:
        logits = torch.where(observation[CHANGE] < 1.0, 0.5, -2.0)
        return Bernoulli(logits, observation.eligible)


def seen(result: Rollout) -> list[Any]:
    """Return what was committed when, and the changes at each step, in a common order."""
    steps = result.steps
    assert steps is not None and set(steps.observation.signals) == {"change"}
    order = (steps.rollout * 1000 + steps.index).argsort()
    change = steps.observation[CHANGE][order]
    return [result.response, result.committed_at, result.nfe, steps.chosen[order], change]


def assert_same(found: Rollout, wanted: Rollout) -> None:
    for one, other in zip(seen(found), seen(wanted), strict=True):
        torch.testing.assert_close(one, other)


def test_a_divergence_by_hand() -> None:
    inf = torch.inf
    logits = torch.tensor([[0.75, 0.25, 0.0], [0.5, 0.5, 0.0], [1.0, 0.0, 0.0]]).log()
    before = torch.tensor([[0.5, 0.5, 0.0], [0.5, 0.5, 0.0], [0.25, 0.75, 0.0]]).log()
    # 0.75 log 1.5 + 0.25 log 0.5, nothing, and log 4; the last token is the mask.
    expected = torch.tensor([0.130812, 0.0, 1.386294])
    torch.testing.assert_close(divergence(logits + 3, before - 1), expected, atol=1e-6, rtol=0)
    assert divergence(before[2:], logits[2:]).tolist() == [inf]


@pytest.mark.parametrize("policy", [KLASS(0.3, 0.5), Wavering()], ids=["klass", "waits"])
def test_the_signal_is_that_of_full_distributions(tiny_llada: LLaDA, policy: Policy) -> None:
    denoiser = copy.deepcopy(tiny_llada).double()
    tokens = torch.tensor([[5, 6, 7], [8, 9, 9], [8, 9, 9]])
    prompt = Prompt(tokens, torch.ones_like(tokens).bool())
    decoding, noise = Decoding(LENGTH, 4, on_empty="wait"), Noise(SEED, torch.arange(3))
    result = rollout(denoiser, policy, prompt, decoding, noise, record=True)
    steps = result.steps
    assert steps is not None
    for row in range(3):
        mine = (steps.rollout == row).nonzero()[:, 0]
        mine = mine[steps.index[mine].argsort()]
        last, known, moved = None, None, [torch.full((LENGTH,), torch.inf)] * 2
        for step in mine.tolist():
            masked = steps.observation.masked[step]
            buffer = result.response[row].masked_fill(masked, denoiser.mask_id)
            if last is None or not torch.equal(buffer, last):
                logits = denoiser.logits(prompt.select(torch.tensor([row])), buffer[None])[0]
                now = logits.double().softmax(-1)
                if known is not None:
                    ratio = torch.special.xlogy(now, now) - torch.special.xlogy(now, known)
                    moved = [*moved[1:], ratio.sum(-1).float()]
                last, known = buffer, now
            found = steps.observation[CHANGE][step]
            torch.testing.assert_close(found, torch.maximum(*moved), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("temperature", [0.0, 0.7])
@pytest.mark.parametrize("policy", [KLASS(0.3, 2.0), Wavering()], ids=["klass", "waits"])
def test_no_saving_changes_what_is_seen(policy: Policy, temperature: float) -> None:
    ways: dict[str, Any] = {"on_empty": "wait", "temperature": temperature}
    slow = decode(policy, Decoding(LENGTH, 4, scheduling=SLOW, **ways), record=True)
    for scheduling in (
        Scheduling(), Scheduling(skip=False), Scheduling(share=False), Scheduling(max_rows=2),
        Scheduling(lookahead=3, max_tokens=12), Scheduling(deterministic=True, static_rows=4),
    ):  # fmt: skip
        assert_same(decode(policy, Decoding(LENGTH, 4, scheduling=scheduling, **ways),
                           record=True), slow)  # fmt: skip
    finite = seen(slow)[-1].isfinite()
    assert finite.any() and not finite.all()
    alone = decode(policy, Decoding(LENGTH, 4, **ways), rows=slice(2, 3), record=True)
    assert torch.equal(alone.response[0], slow.response[2])
    assert torch.equal(alone.committed_at[0], slow.committed_at[2])


@pytest.mark.parametrize("cache", ["prefix", "dual"])
def test_rows_with_a_cache_see_the_same_skipped_or_shared(tiny_llada: LLaDA, cache: Any) -> None:
    denoiser = copy.deepcopy(tiny_llada).double()
    tokens = torch.tensor([[5, 6, 7], [8, 9, 9], [8, 9, 9]])
    prompt = Prompt(tokens, torch.ones_like(tokens).bool())
    found = []
    for scheduling in (Scheduling(), SLOW, Scheduling(max_rows=1)):
        decoding = Decoding(LENGTH, 4, 0.0, "wait", scheduling, Approximate(cache))
        noise = Noise(SEED, torch.arange(3))
        found.append(rollout(denoiser, Wavering(), prompt, decoding, noise, record=True))
    for other in found[1:]:
        assert_same(other, found[0])


@pytest.mark.parametrize("system", [{"corrector": Doubt()}, {"resampler": Takeover(3)}], ids=str)
def test_systems_beside_the_policy_leave_it_exact(system: dict[str, Any]) -> None:
    results = [decode_by_system(KLASS(0.3, 2.0), scheduling=one, **system) for one in SCHEDULES]
    for other in results[1:]:
        assert torch.equal(other.response, results[0].response)
        assert torch.equal(other.committed_at, results[0].committed_at)


def test_a_denoiser_that_cannot_compare_is_refused_before_any_forward(tiny_llada: LLaDA) -> None:
    class Uncalled(Wrapper):
        def forward(self, *arguments: Any, **options: Any) -> Any:
            raise AssertionError

    denoiser: Denoiser = Uncalled(tiny_llada)
    noise = Noise(0, torch.arange(6))
    with pytest.raises(ValueError, match=r"Uncalled cannot say how far .* another policy"):
        rollout(denoiser, KLASS(), make_prompts(), Decoding(LENGTH, 4), noise)
    assert ToyDenoiser.compares
