"""A policy in somebody else's loop: the same decisions as in ours, on plain tensors."""

import pytest
import torch
from toy_rollouts import POLICIES

from lit_unmask.evaluation.decode import rollout_numbers
from lit_unmask.policies import (
    Choice,
    ConfidenceTransformer,
    EntropyBound,
    LearnedPolicy,
    LowConfidence,
    Margin,
    Policy,
)
from lit_unmask.rollout import Decoding, Noise, rollout
from lit_unmask.tasks import ShoppingSums
from lit_unmask.types import Observation, Signals

LENGTH, SEED = 8, 11


def own_loop(denoiser, policy, prompt, decoding, numbers):
    """Decode as a stranger would: all rows in step, whole softmax, one mask to look at."""
    length = decoding.gen_length
    response = torch.full((len(prompt), length), denoiser.mask_id)
    step, committed_at = torch.zeros(len(prompt), dtype=torch.int64), torch.full_like(response, -1)
    block_of = torch.arange(length) // decoding.block_length
    while True:
        masked = response == denoiser.mask_id
        active = masked.any(1) & (step < length)
        if not active.any():
            return response, step, committed_at
        block = torch.where(masked, block_of, length).min(1, keepdim=True).values
        eligible = masked & (block_of == block) & active[:, None]
        probabilities = denoiser.logits(prompt, response).softmax(-1)
        entropy = torch.special.entr(probabilities).sum(-1)
        top, tokens = probabilities.topk(policy.signals.top_k)
        choice = Choice(
            on_empty=decoding.on_empty, seed=SEED, rollout=numbers, signals={"entropy": entropy}
        )  # fmt: skip
        opened = policy.select(top, masked, eligible, step, length, choice)
        response = torch.where(opened, tokens[..., 0], response)
        committed_at = torch.where(opened, step[:, None], committed_at)
        step = step + active


@pytest.mark.parametrize("decoding", [
    Decoding(LENGTH, LENGTH),
    Decoding(LENGTH, 4),
    Decoding(LENGTH, LENGTH, on_empty="wait"),
], ids=["full", "blocks", "wait"])  # fmt: skip
# One reading alone does not say how far distributions moved.
@pytest.mark.parametrize("name", sorted(POLICIES.keys() - {"klass"}))
def test_a_plain_loop_with_the_same_noise_goes_where_the_rollout_goes(name, decoding, tiny_llada):
    policy, problems = POLICIES[name](), list(ShoppingSums("test", size=5))
    prompt, numbers = tiny_llada.encode(problems), rollout_numbers(problems)
    expected = rollout(tiny_llada, policy, prompt, decoding, Noise(SEED, numbers))
    response, step, committed_at = own_loop(tiny_llada, policy, prompt, decoding, numbers)
    assert torch.equal(response, expected.response)
    assert torch.equal(step, expected.nfe)
    assert torch.equal(committed_at, expected.committed_at)


def tensors(rows=6):
    generator = torch.Generator().manual_seed(0)
    confidence = torch.rand(rows, LENGTH, generator=generator)
    masked = torch.rand(rows, LENGTH, generator=generator) < 0.7
    masked[:, 2] = True
    return confidence, masked, masked & (torch.arange(LENGTH) < 4)


def learned(output_bias=0.0):
    torch.manual_seed(0)
    network = ConfidenceTransformer(16, 2, 16, output_bias=output_bias, confidence_gain=4.0)
    return LearnedPolicy(network).eval()


def test_every_row_with_something_eligible_opens_its_best_position_at_least():
    confidence, masked, eligible = tensors()
    eligible[4] = False
    policy = learned(output_bias=-50.0)
    opened = policy.select(confidence, masked, eligible, 0, LENGTH)
    assert opened.sum(1).tolist() == [1, 1, 1, 1, 0, 1]
    seen = Observation(masked, eligible, confidence[..., None], torch.zeros(6))
    best = policy(seen).ranking().argmax(1)
    rows = torch.tensor([0, 1, 2, 3, 5])
    assert opened[rows, best[rows]].all()
    waiting = policy.select(confidence, masked, eligible, 0, LENGTH, Choice(on_empty="wait"))
    assert not waiting.any()


def test_a_greedy_choice_is_the_mode_and_the_others_are_drawn():
    confidence, masked, eligible = tensors()
    policy = learned(output_bias=-2.0)
    asked = (confidence, masked, eligible, 0, LENGTH)
    seen = Observation(masked, eligible, confidence[..., None], torch.zeros(6))
    wait = Choice(greedy=True, on_empty="wait")
    assert torch.equal(policy.select(*asked, wait), policy(seen).mode())
    torch.manual_seed(3)
    drawn = [policy.select(*asked) for _ in range(8)]
    torch.manual_seed(3)
    assert torch.equal(policy.select(*asked), drawn[0])
    assert any(not torch.equal(other, drawn[0]) for other in drawn)


def test_with_a_seed_a_row_does_not_depend_on_its_batch_or_on_earlier_draws():
    confidence, masked, eligible = tensors()
    policy, steps = learned(), torch.arange(6)
    together = policy.select(confidence, masked, eligible, steps, LENGTH, Choice(seed=1))
    for row in range(6):
        part = slice(row, row + 1)
        choice = Choice(seed=1, rollout=torch.tensor([row]))
        alone = policy.select(
            confidence[part], masked[part], eligible[part], row, LENGTH, choice
        )  # fmt: skip
        assert torch.equal(alone, together[part])
    other = policy.select(confidence, masked, eligible, steps, LENGTH, Choice(seed=2))
    assert not torch.equal(other, together)


def test_the_time_is_the_share_of_steps_taken():
    seen = []

    class Watch(LowConfidence):
        def forward(self, observation):
            seen.append(observation.time.tolist())
            return super().forward(observation)

    confidence, masked, eligible = tensors(2)
    Watch().select(confidence, masked, eligible, 2, LENGTH)
    Watch().select(confidence, masked, eligible, torch.tensor([0, 8]), LENGTH)
    assert seen == [[0.25, 0.25], [0.0, 1.0]]


def test_half_precision_and_positions_that_are_not_masked_are_welcome():
    confidence, masked, _ = tensors()
    everywhere = torch.ones_like(masked)
    opened = LowConfidence(LENGTH).select(confidence.bfloat16(), masked, everywhere, 0, LENGTH)
    assert torch.equal(opened, masked)
    assert not learned().select(confidence, masked, masked, 0, LENGTH).requires_grad


class NeedsHidden(Policy):
    signals = Signals(names={"hidden"})

    def forward(self, observation):
        raise AssertionError("not reached")


@pytest.mark.parametrize("policy, change, message", [
    (Margin(), {}, r"Margin looks at the 2 largest .* holds 1; pass probabilities.topk\(2\)"),
    (EntropyBound(), {}, r"looks at entropy; pass Choice\(signals=\{'entropy': ...\}\)"),
    (NeedsHidden(), {}, r"NeedsHidden looks at hidden; pass Choice\(signals=\{'hidden': ...\}\)"),
    (LowConfidence(), {"length": 9}, "length=9, but the tensors have 8 positions"),
    (LowConfidence(), {"step": 9}, r"step=9 must lie in \[0, length=8\]"),
    (LowConfidence(), {"step": torch.tensor([0, -1])}, "must lie in"),
    (LowConfidence(), {"step": 0.5}, r"step \(\) torch.float32 must be an int or a \[B\] int"),
    (LowConfidence(), {"step": torch.zeros(3, dtype=torch.int64)}, r"step \(3,\) .* B=2"),
    (LowConfidence(), {"eligible": torch.ones(2, 9, dtype=torch.bool)}, r"eligible \(2, 9\)"),
    (LowConfidence(), {"masked": torch.ones(2, 8)}, "masked .* torch.float32 must be a .* bool"),
    (LowConfidence(), {"confidence": torch.rand(2, 12)}, "leave the prompt's positions out"),
    (EntropyBound(), {"choice": Choice(signals={"entropy": torch.rand(2, 9)})},
     r"entropy \(2, 9\) must begin"),
])  # fmt: skip
def test_what_does_not_fit_is_named(policy, change, message):
    confidence, masked, eligible = tensors(2)
    asked = {"confidence": confidence, "masked": masked, "eligible": eligible, "step": 0}
    with pytest.raises(ValueError, match=message):
        policy.select(**{**asked, "length": LENGTH, **change})


def test_choices_that_contradict_themselves_are_refused():
    with pytest.raises(ValueError, match="on_empty='hope' must be 'force' or 'wait'"):
        Choice(on_empty="hope")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="seed=None; the draws need both"):
        Choice(rollout=torch.arange(2))
    with pytest.raises(
        ValueError, match="signal 'entropie' must be one of entropy, hidden, likelihood, "
    ):
        Choice(signals={"entropie": torch.zeros(2, 8)})
