from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from toys import DECODING, Coins, decode_problems, small_policy

from lit_unmask.denoisers import LLaDA
from lit_unmask.evaluation.decode import evaluate
from lit_unmask.inspection.trace import Trace, record
from lit_unmask.policies import ConfidenceThreshold, Policy, Random
from lit_unmask.rollout import Decoding, Noise, Rollout, rollout

PROBLEMS = list(Coins("validation", 6))
DECODINGS = {
    "force": DECODING,
    "wait": replace(DECODING, on_empty="wait"),
    "full diffusion": replace(DECODING, block_length=8, temperature=0.0),
}
POLICIES = {
    "learned": small_policy(),
    "threshold": ConfidenceThreshold(0.3),
    "random": Random(2),
}


def run(denoiser: LLaDA, policy: Policy, decoding: Decoding, record: bool = True) -> Rollout:
    noise = Noise(0, torch.arange(len(PROBLEMS)))
    return rollout(denoiser, policy, denoiser.encode(PROBLEMS), decoding, noise, record=record)


@pytest.mark.parametrize("decoding", DECODINGS)
@pytest.mark.parametrize("policy", POLICIES)
def test_what_was_committed_is_what_the_masks_lost(
    tiny_llada: LLaDA, policy: str, decoding: str
) -> None:
    result = run(tiny_llada, POLICIES[policy], DECODINGS[decoding])
    trace = Trace.of(POLICIES[policy], result, tiny_llada.end_ids)
    assert result.steps is not None
    steps = result.steps
    for row in range(len(PROBLEMS)):
        mine = [int(n) for n in np.flatnonzero(trace.rollout == row)]
        mine.sort(key=lambda n: trace.index[n])
        assert [trace.index[n] for n in mine] == list(range(trace.nfe[row]))
        masks = [steps.observation.masked[n] for n in mine] + [
            result.response[row] == tiny_llada.mask_id
        ]
        for n, before, after in zip(mine, masks, masks[1:], strict=False):
            assert np.array_equal(trace.committed[n], (before & ~after).numpy())
            forced = trace.committed[n] & ~steps.chosen[n].numpy()
            assert np.array_equal(trace.forced[n], forced)
            if decoding == "wait" or steps.chosen[n].any():
                assert not forced.any()
            else:
                assert forced.sum() == 1
    assert len(trace.index) == trace.nfe.sum()
    if policy == "learned" and decoding != "wait":
        assert trace.forced.any()


@pytest.mark.parametrize("policy", POLICIES)
def test_probabilities_are_those_of_the_acting_policy(tiny_llada: LLaDA, policy: str) -> None:
    result = run(tiny_llada, POLICIES[policy], DECODING)
    assert result.steps is not None
    trace = Trace.of(POLICIES[policy], result, tiny_llada.end_ids)
    for n in range(len(result.steps)):
        one = result.steps.select(torch.tensor([n])).observation
        alone = POLICIES[policy](one).probability()[0].detach().numpy()
        assert trace.probability[n] == pytest.approx(alone, abs=1e-6)
    assert not trace.probability[~trace.eligible].any()
    if policy == "threshold":
        assert np.array_equal(trace.probability, result.steps.chosen.numpy())


def test_a_record_is_the_rollout_that_an_evaluation_makes(tiny_llada: LLaDA) -> None:
    policy = POLICIES["learned"]
    trace = record(tiny_llada, policy, PROBLEMS, DECODING, seed=5)
    assert trace.nfe.tolist() == evaluate(tiny_llada, policy, PROBLEMS, DECODING, 5).nfe.tolist()
    result = decode_problems(tiny_llada, policy, PROBLEMS, DECODING, 5)
    assert trace.committed_at.tolist() == result.committed_at.tolist()


def test_the_first_end_token_parts_content_and_tail() -> None:
    end = np.array([[0, 0, 1, 0, 1], [1, 1, 1, 1, 1], [0, 0, 0, 0, 0]], dtype=bool)
    none = np.zeros((0, 5))
    trace = Trace(
        rollout=np.zeros(0, int), index=np.zeros(0, int), masked=none > 0,
        eligible=none > 0, confidence=none,
        probability=none, committed=none > 0, forced=none > 0,
        committed_at=np.full((3, 5), -1), decisions=np.ones(3, int),
        nfe=np.ones(3, int), end=end,
    )  # fmt: skip
    assert trace.content.astype(int).tolist() == [[1, 1, 0, 0, 0], [0] * 5, [1] * 5]
    assert trace.tail.astype(int).tolist() == [[0, 0, 0, 1, 1], [0, 1, 1, 1, 1], [0] * 5]
    assert np.isnan(trace.order).all()


def test_rollouts_without_a_record_are_refused(tiny_llada: LLaDA) -> None:
    result = run(tiny_llada, POLICIES["random"], DECODING, record=False)
    with pytest.raises(ValueError, match="record=True"):
        Trace.of(POLICIES["random"], result, tiny_llada.end_ids)
