"""What holds of any denoiser around another one, shown by the smallest ones."""

import json
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from lit_unmask.denoisers import Denoiser, LLaDA, Wrapper
from lit_unmask.denoisers.face import Adjust
from lit_unmask.denoisers.running.cache import Kept, KeyValues, Span
from lit_unmask.evaluation.fingerprints import denoiser_name
from lit_unmask.policies import ConfidenceThreshold
from lit_unmask.rollout import Decoding, Noise, Scheduling, rollout
from lit_unmask.tasks import ShoppingSums
from lit_unmask.types import Prompt, Reading, Signals
from tests.denoisers.conftest import make_prompt, make_response

EVERYTHING = Signals(3, {"entropy", "hidden", "likelihood", "standing"})


class Identity(Wrapper):
    """Changes nothing, for two more forwards."""

    def change(self, reading: Reading, prompt: Prompt, response: Tensor) -> Reading:
        return replace(reading)

    def price(self) -> dict[str, int]:
        return {"reward": 2}


class Sharper(Wrapper):
    """Multiplies logits, by a number of each row if there are several."""

    def __init__(self, inner: Denoiser, by: float | list[float] = 1.0) -> None:
        super().__init__(inner)
        self.by = by

    def adjust(self, prompt: Prompt, response: Tensor) -> Adjust:
        by = torch.as_tensor(self.by).expand(len(response))

        def sharpen(logits: Tensor, place: Tensor) -> Tensor:
            return logits.mul_(by[place // response.shape[1], None])

        return sharpen


@pytest.fixture
def asked() -> tuple[Prompt, Tensor, Tensor]:
    numbers = torch.rand(4, 6, generator=torch.Generator().manual_seed(0))
    return make_prompt(4, 5), make_response(4, 6), numbers


def assert_alike(found: Reading, wanted: Reading) -> None:
    assert torch.equal(found.proposal, wanted.proposal)
    assert torch.equal(found.confidence, wanted.confidence)
    assert found.signals.keys() == wanted.signals.keys()
    for name, value in wanted.signals.items():
        torch.testing.assert_close(found.signals[name], value, rtol=0, atol=0)


def test_an_identity_changes_nothing_and_costs_what_it_says(denoiser, asked) -> None:
    prompt, response, numbers = asked
    plain = denoiser(prompt, response, EVERYTHING, numbers, 0.7)
    found = Identity(Identity(denoiser))(prompt, response, EVERYTHING, numbers, 0.7)
    assert_alike(found, plain)
    assert {kind: value.tolist() for kind, value in found.price.items()} == {
        "predictor": [1] * 4,
        "reward": [4] * 4,
    }


def test_sharpening_by_a_constant_equals_a_temperature(denoiser, asked) -> None:
    prompt, response, numbers = asked
    sharp = Sharper(denoiser, 2.0)
    for temperature in (0.0, 0.8):
        found = sharp(prompt, response, EVERYTHING, numbers, temperature)
        wanted = denoiser(prompt, response, Signals(), numbers, temperature / 2)
        assert torch.equal(found.proposal, wanted.proposal)
    probability = (2 * denoiser.logits(prompt, response)).softmax(-1)
    torch.testing.assert_close(found.confidence, probability.topk(3).values)
    proposed = probability.gather(-1, found.proposal[..., None])[..., 0]
    torch.testing.assert_close(found.signals["likelihood"].exp(), proposed)
    stands = probability.gather(-1, response[..., None])[..., 0]
    torch.testing.assert_close(found.signals["standing"], stands)


def test_wrappers_compose_and_know_the_rows_of_their_calls(denoiser, asked) -> None:
    prompt, response, _ = asked
    by = [1.0, 2.0, 3.0, 0.5]
    nested = Sharper(Sharper(denoiser, by), 2.0)
    denoiser.row_limit.rows, limit = 3, denoiser.row_limit.rows
    found = nested(prompt, response, EVERYTHING)
    denoiser.row_limit.rows = limit
    for row, factor in enumerate(by):
        alone = Sharper(denoiser, 2 * factor)
        one = torch.tensor([row])
        wanted = alone(prompt.select(one), response[one], EVERYTHING)
        torch.testing.assert_close(found.confidence[one], wanted.confidence)


def test_probabilities_of_what_stands_there_are_zero_at_masks(denoiser) -> None:
    prompt = make_prompt(2, 5)
    response = torch.full((2, 6), denoiser.mask_id)
    reading = denoiser(prompt, response, Signals(1, {"standing", "likelihood"}))
    assert not reading.signals["standing"].any()
    top = reading.confidence[..., 0]
    torch.testing.assert_close(reading.signals["likelihood"].exp(), top)


def test_a_wrapper_is_decoded_as_any_denoiser_and_charged_by_kind(tiny_llada) -> None:
    problems = list(ShoppingSums("validation", 4))
    prompt = tiny_llada.encode(problems)
    noise = Noise(0, torch.arange(len(problems)))
    for scheduling in (Scheduling(), Scheduling(skip=False, share=False, max_rows=2)):
        ways = Decoding(16, 8, scheduling=scheduling)
        plain = rollout(tiny_llada, ConfidenceThreshold(0.6), prompt, ways, noise)
        found = rollout(Identity(tiny_llada), ConfidenceThreshold(0.6), prompt, ways, noise)
        assert torch.equal(found.response, plain.response)
        assert torch.equal(found.price["predictor"], plain.nfe)
        assert torch.equal(found.price["reward"], 2 * plain.nfe)
        assert torch.equal(found.nfe, 3 * plain.nfe)
        assert found.ledger.skipped == plain.ledger.skipped
        assert found.ledger.charged == int(found.nfe.sum())


def test_the_settings_of_a_wrapper_are_part_of_its_identity(tiny_llada) -> None:
    wrapped = Sharper(Identity(tiny_llada), 2.0)
    kinds = [kind for kind, _ in json.loads(str(wrapped.identity["wrappers"]))]
    assert [kind.rpartition(".")[2] for kind in kinds] == ["Identity", "Sharper"]
    names = {
        denoiser_name(one)
        for one in (
            tiny_llada,
            Identity(tiny_llada),
            Sharper(tiny_llada, 2.0),
            Sharper(tiny_llada, 3.0),
            wrapped,
            Identity(Sharper(tiny_llada, 2.0)),
        )
    }
    assert len(names) == 6


def test_a_wrapper_is_not_spread_over_ranks(tiny_llada) -> None:
    mesh: Any = None
    with pytest.raises(ValueError, match=r"weights of Identity are not spread.*without a wrapper"):
        Identity(tiny_llada).shard(mesh)


def test_settings_have_the_same_name_in_every_run_or_none(tiny_llada) -> None:
    by: Any = len
    assert "builtins.len" in str(Sharper(tiny_llada, by).identity["wrappers"])
    by = object()
    with pytest.raises(TypeError, match=r"is a setting of a wrapper.*use numbers"):
        _ = Sharper(tiny_llada, by).identity


def test_logits_of_a_span_are_not_adjusted(write_checkpoint) -> None:
    denoiser = Sharper(LLaDA(str(write_checkpoint(LLaDA))))
    prompt, response = make_prompt(2, 4), make_response(2, 5)
    store = KeyValues(9)
    store.slots = 2
    kept = Kept(store, torch.arange(2))
    denoiser(prompt, response, Signals(), kept=kept)
    with pytest.raises(ValueError, match=r"span cannot be adjusted; leave out decoding\.approx"):
        part = Kept(store, torch.arange(2), Span(torch.zeros(2, dtype=torch.int64), 3))
        denoiser(prompt, response, Signals(), kept=part)
