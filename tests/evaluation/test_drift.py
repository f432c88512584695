"""The drift of approximate decoding, against readings that are repeated one by one."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from lit_unmask.denoisers import Denoiser
from lit_unmask.evaluation.decode import Evaluation, evaluate, rollout_numbers
from lit_unmask.evaluation.drift import Agreement, Drift, denoiser_drift, drift
from lit_unmask.policies import ConfidenceThreshold, LowConfidence
from lit_unmask.rollout import Approximate, Decoding, Ledger, Noise, rollout
from lit_unmask.tasks import ShoppingSums
from lit_unmask.types import Problem, Signals

LENGTH, BLOCK = 12, 4


@pytest.fixture(scope="module")
def problems() -> list[Problem]:
    """Three problems, one of them twice."""
    some = list(ShoppingSums("test", 3, seed=1))
    return [*some, some[1]]


@pytest.fixture(params=["tiny_llada", "tiny_dream"])
def denoiser(request: pytest.FixtureRequest) -> Denoiser:
    """Each family in turn."""
    return request.getfixturevalue(request.param)


class Hidden(LowConfidence):
    """Sees hidden states, so that recorded steps tell the proposals."""

    signals = Signals(names={"hidden"})


def by_hand(
    denoiser: Denoiser, problems: list[Problem], decoding: Decoding
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return masked, eligible, same proposal and difference of every partial reading.

    With one forced commit a step, the readings of a block after its first are the partial ones.
    """
    prompt, noise = denoiser.encode(problems), Noise(0, rollout_numbers(problems))
    result = rollout(denoiser, Hidden(1), prompt, decoding, noise, record=True)
    assert result.steps is not None
    steps = result.steps.select(result.steps.index % BLOCK != 0)
    committed = result.committed_at[steps.rollout]
    buffer = result.response[steps.rollout].masked_fill(
        committed >= steps.index[:, None], denoiser.mask_id
    )
    exact = denoiser(prompt.select(steps.rollout), buffer, Signals())
    seen = steps.observation
    same = denoiser.head(seen.signals["hidden"]).argmax(-1) == exact.proposal
    return seen.masked, seen.eligible, same, (seen.confidence - exact.confidence).abs()[..., 0]


@pytest.mark.parametrize("cache", ["prefix", "dual"])
@torch.no_grad()
def test_agreement_is_that_of_readings_repeated_one_by_one(
    denoiser: Denoiser, problems: list[Problem], cache: str
) -> None:
    decoding = Decoding(LENGTH, BLOCK, approximate=Approximate(cache))  # type: ignore[arg-type]
    found = drift(denoiser, LowConfidence(1), problems[:3], decoding)
    masked, eligible, same, difference = by_hand(denoiser, problems[:3], decoding)
    assert found.readings == len(masked) == 3 * (LENGTH - LENGTH // BLOCK)
    for agreement, where in ((found.masked, masked), (found.eligible, eligible)):
        assert agreement.positions == where.sum()
        assert agreement.same_proposal == pytest.approx(float(same[where].float().mean()))
        expected = float(difference[where].mean())
        assert agreement.confidence_difference == pytest.approx(expected, abs=1e-5)
    assert 0 < found.masked.confidence_difference and found.masked.same_proposal < 1


@pytest.mark.parametrize("cache", ["prefix", "dual"])
def test_both_sides_are_what_evaluation_says(
    denoiser: Denoiser, problems: list[Problem], cache: str
) -> None:
    decoding = Decoding(LENGTH, BLOCK, approximate=Approximate(cache))  # type: ignore[arg-type]
    policy = ConfidenceThreshold(0.3)
    found = drift(denoiser, policy, problems, decoding, seed=3)
    mine = evaluate(denoiser, policy, problems, decoding, seed=3)
    exact = evaluate(
        denoiser, policy, problems, replace(decoding, approximate=Approximate()), seed=3
    )
    for one, same in ((found.approximate, mine), (found.exact, exact)):
        assert torch.equal(one.correct, same.correct) and torch.equal(one.nfe, same.nfe)
        assert replace(one.ledger, seconds=0.0) == replace(same.ledger, seconds=0.0)
    assert found.readings == mine.ledger.partial > 0
    assert mine.ledger.tokens < exact.ledger.tokens
    assert exact.ledger.partial == 0
    assert found.nfe_difference == mine.mean_nfe - exact.mean_nfe
    equal = [a == b for a, b in zip(mine.completions, exact.completions, strict=True)]
    assert found.same_completions == sum(equal) / 4


@pytest.mark.parametrize("cache", ["prefix", "dual"])
@torch.no_grad()
def test_nothing_drifts_where_tokens_do_not_attend_to_one_another(
    denoiser: Denoiser, problems: list[Problem], cache: str
) -> None:
    deaf = copy.deepcopy(denoiser)
    for layer in deaf.network.model.layers:
        layer.self_attn.o_proj.weight.zero_()
    decoding = Decoding(LENGTH, BLOCK, approximate=Approximate(cache))  # type: ignore[arg-type]
    found = drift(deaf, LowConfidence(1), problems, decoding)
    assert found.readings > 0
    compared = [found.eligible]
    # The last token of a block predicts the first of the next, if shifted, and that prediction is
    # outside a span that ends with the block.
    if not denoiser.shift or cache == "prefix":
        compared.append(found.masked)
    for agreement in compared:
        assert agreement.same_proposal == 1
        assert agreement.confidence_difference == pytest.approx(0, abs=1e-6)
    assert found.same_completions == 1
    assert found.accuracy_difference == found.nfe_difference == 0
    assert found.forwards_saved == 0 and found.tokens_saved > 0


def test_an_early_stop_has_no_readings_of_its_own(
    denoiser: Denoiser, problems: list[Problem], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(denoiser, "end_ids", tuple(range(5, denoiser.vocab_size)))
    decoding = Decoding(LENGTH, LENGTH, approximate=Approximate(early_stop=True))
    found = drift(denoiser, LowConfidence(1), problems, decoding)
    assert found.readings == 0
    assert found.masked == found.eligible == Agreement(0, 1.0, 0.0)
    assert found.nfe_difference < 0 and found.forwards_saved > 0 and found.tokens_saved > 0


def test_the_denoiser_is_watched_no_longer_than_needed(
    denoiser: Denoiser, problems: list[Problem]
) -> None:
    class Broken(LowConfidence):
        def forward(self, observation):  # type: ignore[no-untyped-def]
            raise RuntimeError("broken")

    decoding = Decoding(LENGTH, BLOCK, approximate=Approximate("dual"))
    with pytest.raises(RuntimeError, match="broken"):
        drift(denoiser, Broken(1), problems, decoding)
    assert not denoiser._forward_hooks


def test_differences_are_approximate_minus_exact() -> None:
    def of(correct: list[int], nfe: list[int], ledger: Ledger) -> Evaluation:
        none = torch.zeros(4)
        return Evaluation(
            torch.tensor(correct).float(), torch.tensor(nfe), none, none, [], ledger, 0.0
        )

    nothing = Agreement(0, 1.0, 0.0)
    found = Drift(
        0,
        nothing,
        nothing,
        1.0,
        of([1, 0, 1, 0], [9] * 4, Ledger(computed=40, partial=30, tokens=600)),
        of([1, 0, 1, 1], [8] * 4, Ledger(computed=32, tokens=800)),
    )
    assert (found.accuracy_difference, found.nfe_difference) == (-0.25, 1.0)
    assert (found.forwards_saved, found.tokens_saved) == (-0.25, 0.25)


def test_drawn_tokens_are_refused_with_the_remedy(
    denoiser: Denoiser, problems: list[Problem]
) -> None:
    decoding = Decoding(LENGTH, BLOCK, 0.5, approximate=Approximate("dual"))
    with pytest.raises(ValueError) as error:
        drift(denoiser, LowConfidence(1), problems, decoding)
    assert all(part in str(error.value) for part in ("temperature=0.5", "temperature=0"))


@torch.no_grad()
def test_another_denoiser_is_compared_reading_by_reading(
    denoiser: Denoiser, problems: list[Problem]
) -> None:
    rounded = copy.deepcopy(denoiser)
    for weight in rounded.network.model.layers.parameters():
        weight.copy_((weight * 4).round() / 4)
    decoding = Decoding(LENGTH, LENGTH)
    found = denoiser_drift(rounded, denoiser, LowConfidence(1), problems[:3], decoding)
    prompt, noise = denoiser.encode(problems[:3]), Noise(0, rollout_numbers(problems[:3]))
    result = rollout(rounded, LowConfidence(1), prompt, decoding, noise)
    assert found.readings == 3 * LENGTH == found.approximate.ledger.full
    masked, same, difference = 0, 0, 0.0
    for step in range(LENGTH):
        buffer = result.response.masked_fill(result.committed_at >= step, denoiser.mask_id)
        one, two = (which(prompt, buffer, Signals()) for which in (rounded, denoiser))
        where = buffer == denoiser.mask_id
        masked += int(where.sum())
        same += int((one.proposal == two.proposal)[where].sum())
        difference += float((one.confidence - two.confidence)[..., 0].abs()[where].sum())
    assert found.masked.positions == masked and 0 < same < masked
    assert found.masked.same_proposal == pytest.approx(same / masked)
    assert found.masked.confidence_difference == pytest.approx(difference / masked, abs=1e-5)
    assert found.eligible.positions == 0 and found.nfe_difference == 0
    itself = denoiser_drift(denoiser, denoiser, LowConfidence(1), problems[:3], decoding)
    assert (itself.masked.same_proposal, itself.masked.confidence_difference) == (1.0, 0.0)
    assert itself.same_completions == 1
    with pytest.raises(ValueError, match="one approximation at a time"):
        cached = Decoding(LENGTH, BLOCK, approximate=Approximate("dual"))
        denoiser_drift(rounded, denoiser, LowConfidence(1), problems, cached)
