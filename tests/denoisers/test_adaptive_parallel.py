"""What holds of drafts that an autoregressive model lets stand."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from toys import write_autoregressive
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from lit_unmask.denoisers import AdaptiveParallel, Denoiser, LLaDA
from lit_unmask.denoisers.running.cache import Kept, KeyValues
from lit_unmask.errors import NotFinite
from lit_unmask.evaluation.fingerprints import denoiser_name
from lit_unmask.policies import ConfidenceThreshold, EntropyBound
from lit_unmask.randomness import TOKEN, VOCABULARY, uniform
from lit_unmask.rollout import Decoding, Noise, Rollout, Scheduling, rollout
from lit_unmask.tasks import ShoppingSums
from lit_unmask.types import Prompt, Signals
from tests.denoisers.conftest import edit_config
from tests.denoisers.test_wrappers import Identity, Sharper

LENGTH, SEED = 12, 7
NUMBERS = torch.tensor([3, 2**40, 0, 11])


@pytest.fixture(scope="module")
def partner(tiny_llada: LLaDA, tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_autoregressive(tiny_llada.tokenizer, tmp_path_factory.mktemp("ar")))


@pytest.fixture(scope="module")
def dream_partner(tiny_dream: Denoiser, tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_autoregressive(tiny_dream.tokenizer, tmp_path_factory.mktemp("ar")))


@pytest.fixture(params=["tiny_llada", "tiny_dream"])
def pair(request: pytest.FixtureRequest) -> tuple[Denoiser, str]:
    """A denoiser, shifted or not, and an autoregressive model with its tokens."""
    other = "dream_partner" if "dream" in request.param else "partner"
    return request.getfixturevalue(request.param), request.getfixturevalue(other)


def prompts(denoiser: Denoiser) -> Prompt:
    """Return four prompts, two of which are padded."""
    problems = [*ShoppingSums("validation", 2), *ShoppingSums("test", 2, steps=(4, 4))]
    return denoiser.encode(problems)


def decode(denoiser: Denoiser, temperature: float, block: int = LENGTH, **settings: Any) -> Rollout:
    prompt, ways = prompts(denoiser), Decoding(LENGTH, block, temperature, **settings)
    return rollout(denoiser, ConfidenceThreshold(0.5), prompt, ways, Noise(SEED, NUMBERS))


def vector(row: int, place: int, size: int) -> Tensor:
    """Return the Gumbel vector of a position of a rollout, written out."""
    draws = uniform(SEED, NUMBERS[row : row + 1], torch.zeros(1, dtype=torch.int64), LENGTH, TOKEN)
    key = (draws[0, place : place + 1].double() * 2**24).long()
    numbers = uniform(0, key, torch.tensor([place]), size, VOCABULARY)[0]
    return -(-numbers.log()).log()


def alone(partner: str, denoiser: Denoiser, temperature: float) -> Tensor:
    """Return what the autoregressive model draws by itself, a token at a time."""
    model = AutoModelForCausalLM.from_pretrained(partner)
    prompt, texts = prompts(denoiser), []
    for row in range(len(prompt)):
        text = prompt.tokens[row][prompt.attention[row]]
        begun = len(text)
        for place in range(LENGTH):
            with torch.no_grad():
                logits = model(text[None]).logits[0, -1]
            logits[denoiser.mask_id] = -torch.inf
            if temperature:
                logits = logits / temperature + vector(row, place, len(logits))
            text = torch.cat([text, logits.argmax()[None]])
        texts.append(text[begun:])
    return torch.stack(texts)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_mixture_0_is_the_autoregressive_model_token_for_token(pair, temperature) -> None:
    denoiser, partner = pair
    wanted = alone(partner, denoiser, temperature)
    assert len(wanted.unique(dim=0)) > 1
    for window, block in ((None, LENGTH), (3, LENGTH), (None, 4), (5, 4)):
        wrapped = AdaptiveParallel(denoiser, partner, mixture=0.0, window=window)
        found = decode(wrapped, temperature, block)
        assert torch.equal(found.response, wanted)
        assert (found.committed_at.diff(dim=1) >= 0).all() and (found.decisions <= LENGTH).all()


@pytest.mark.parametrize("first_accepted", [False, True])
def test_a_reading_is_that_of_the_formula(pair, first_accepted, monkeypatch) -> None:
    denoiser, partner = pair
    prompt, heat, share = prompts(denoiser), 0.9, 0.8
    draws = uniform(SEED, NUMBERS, torch.zeros(4, dtype=torch.int64), LENGTH, TOKEN)
    generator = torch.Generator().manual_seed(2)
    response = torch.randint(5, 40, (4, LENGTH), generator=generator)
    response[torch.rand(4, LENGTH, generator=generator) < 0.7] = denoiser.mask_id
    size = denoiser.vocab_size
    vectors = [vector(row, place, size) for row in range(4) for place in range(LENGTH)]
    noise = torch.stack(vectors).unflatten(0, (4, LENGTH))
    drafting = denoiser.logits(prompt, response)
    draft = (drafting / heat + noise).argmax(-1)
    filled = torch.where(response == denoiser.mask_id, draft, response)
    model, confidence = AutoModelForCausalLM.from_pretrained(partner), torch.zeros(4, LENGTH)
    proposal = draft.clone()
    for row in range(4):
        words = prompt.tokens[row][prompt.attention[row]]
        logits = model(torch.cat([words, filled[row]])[None]).logits[0, len(words) - 1 : -1]
        mixed = share * drafting[row] + (1 - share) * logits
        mixed[:, denoiser.mask_id] = -torch.inf
        target = (mixed / heat + noise[row]).argmax(-1)
        masks = (response[row] == denoiser.mask_id).nonzero()[:, 0].tolist()
        for count, place in enumerate(masks[:5]):
            same = bool(target[place] == draft[row, place])
            if same or not first_accepted:
                confidence[row, place], proposal[row, place] = 1, target[place]
            elif count == 0:
                confidence[row, place] = 1
            if not same and not (first_accepted and count == 0):
                break
    settings: dict[str, Any] = {"window": 5, "first_accepted": first_accepted}
    wrapped = AdaptiveParallel(denoiser, partner, mixture=share, **settings)
    for limit in (None, 3):
        monkeypatch.setattr(denoiser.row_limit, "rows", limit)
        found = wrapped(prompt, response, Signals(), draws, heat)
        assert torch.equal(found.confidence[..., 0], confidence)
        assert torch.equal(found.proposal, proposal)
    assert len(confidence.sum(1).unique()) > 1


def test_mixture_1_accepts_every_draft(pair) -> None:
    denoiser, partner = pair
    for temperature in (0.0, 1.0):
        whole = decode(AdaptiveParallel(denoiser, partner, mixture=1.0), temperature)
        assert whole.decisions.tolist() == [1] * 4
        if not temperature:
            masks = torch.full((4, LENGTH), denoiser.mask_id)
            plain = denoiser(prompts(denoiser), masks, Signals())
            assert torch.equal(whole.response, plain.proposal)
        parts = decode(AdaptiveParallel(denoiser, partner, mixture=1.0, window=5), temperature)
        assert parts.decisions.tolist() == [3] * 4
        blocks = decode(AdaptiveParallel(denoiser, partner, mixture=1.0, window=5), temperature, 4)
        assert blocks.decisions.tolist() == [3] * 4  # the block of 4 ends before the window of 5


def test_a_step_commits_what_agrees_and_the_first_token_that_does_not(tiny_llada, partner) -> None:
    mask = tiny_llada.mask_id
    response = torch.tensor([[mask, 9, mask, mask, mask], [8, mask, mask, mask, mask]])
    draft = torch.tensor([[1, 2, 3, 4, 5], [1, 2, 3, 4, 5]])
    target = torch.tensor([[1, 7, 3, 6, 5], [1, 6, 3, 4, 5]])
    cases: list[tuple[dict[str, Any], list[list[int]], list[list[int]]]] = [
        ({}, [[0, 2, 3], [1]], [[1, 2, 3, 6, 5], [1, 6, 3, 4, 5]]),
        ({"window": 1}, [[0], [1]], [[1, 2, 3, 4, 5], [1, 6, 3, 4, 5]]),
        ({"first_accepted": True}, [[0, 2], [1, 2, 3, 4]], [[1, 2, 3, 4, 5], [1, 2, 3, 4, 5]]),
    ]
    for settings, places, tokens in cases:
        made = AdaptiveParallel(tiny_llada, partner, **settings)
        found, accepted = made._accepted(response, draft, target)
        assert [row.nonzero()[:, 0].tolist() for row in accepted] == places
        assert found.tolist() == tokens


def test_forwards_are_charged_and_trajectories_hang_on_no_schedule(pair) -> None:
    denoiser, partner = pair
    wrapped = AdaptiveParallel(denoiser, partner, mixture=0.7, window=6)
    for temperature in (0.0, 0.8):
        found = decode(wrapped, temperature, 4)
        assert (found.decisions > 3).any()
        assert torch.equal(found.price["autoregressive"], found.price["predictor"])
        assert torch.equal(found.nfe, 2 * found.decisions)
        one = Scheduling(skip=False, share=False, max_rows=1)
        again = decode(wrapped, temperature, 4, scheduling=one)
        assert torch.equal(again.response, found.response)
        assert torch.equal(again.committed_at, found.committed_at)


def test_what_a_policy_cannot_be_told_is_refused_before_a_forward(tiny_llada, partner) -> None:
    wrapped = AdaptiveParallel(tiny_llada, partner)
    prompt, ways, noise = prompts(tiny_llada), Decoding(4, 4), Noise(0, NUMBERS)
    wrapped.model.forward = wrapped.inner = None  # nothing may be asked
    with pytest.raises(ValueError, match=r"only whether its token is accepted.*entropy"):
        rollout(wrapped, EntropyBound(0.1), prompt, ways, noise)
    with pytest.raises(ValueError, match=r"looks at top_k=3"):
        wrapped.check_signals(Signals(3))
    masks = torch.full((1, 4), tiny_llada.mask_id)
    kept, one = Kept(KeyValues(8), torch.zeros(1, dtype=torch.int64)), prompt.select(slice(1))
    with pytest.raises(ValueError, match=r"leave out decoding\.approximate\.cache"):
        wrapped(one, masks, Signals(), kept=kept)
    empty = Prompt(one.tokens, torch.zeros_like(one.attention))
    with pytest.raises(ValueError, match=r"every prompt must hold at least one token"):
        wrapped(empty, masks, Signals())


def test_settings_and_models_that_do_not_fit_are_refused(
    tiny_llada, tiny_checkpoint, partner, tmp_path
) -> None:
    make = partial(AdaptiveParallel, tiny_llada)
    for given, message in (
        ({"window": 0}, r"window=0 must be at least 1 mask"),
        ({"mixture": 1.5}, r"mixture=1\.5 must lie in \[0, 1\]"),
        ({"mixture": float("nan")}, r"mixture=nan must lie in"),
        ({"dtype": "int8"}, r"dtype='int8' must be one of"),
    ):
        with pytest.raises(ValueError, match=message):
            make(partner, **given)
    with pytest.raises(ValueError, match=r"inner=Identity must be a denoiser of one network"):
        AdaptiveParallel(Identity(tiny_llada), partner)
    with pytest.raises(ValueError, match=r"model_type='llada' is none of the causal language mod"):
        make(str(tiny_checkpoint))
    with pytest.raises(FileNotFoundError, match="must be a folder, a bundled name"):
        make(str(tmp_path / "nothing"))


def edited(partner: str, folder: Path, edit: Any) -> str:
    """Return a copy of an autoregressive model whose words are others."""
    shutil.copytree(partner, folder)
    said = json.loads((folder / "tokenizer.json").read_text())
    edit(said["model"]["vocab"])
    (folder / "tokenizer.json").write_text(json.dumps(said))
    return str(folder)


def test_an_autoregressive_model_with_other_tokens_is_refused(
    tiny_llada, partner, tmp_path
) -> None:
    words = [w for w in tiny_llada.tokenizer.get_vocab() if w.isalpha()][:2]

    def swapped(vocabulary: dict[str, int]) -> None:
        vocabulary |= dict(zip(words, (vocabulary[words[1]], vocabulary[words[0]]), strict=True))

    def lacking(vocabulary: dict[str, int]) -> None:
        del vocabulary[words[0]]

    for name, edit in {"swapped": swapped, "lacking": lacking}.items():
        with pytest.raises(ValueError, match=rf"{name}; both models must share a tokenizer"):
            AdaptiveParallel(tiny_llada, edited(partner, tmp_path / name, edit))
    small = Path(shutil.copytree(partner, tmp_path / "small"))
    edit_config(small, {"vocab_size": 20})
    with pytest.raises(ValueError, match=r"but the embedding of .*small has 20 rows"):
        AdaptiveParallel(tiny_llada, str(small))


def test_a_denoiser_may_have_special_tokens_of_its_own(
    tiny_llada, partner, tmp_path, monkeypatch
) -> None:
    plain, more = (PreTrainedTokenizerFast.from_pretrained(partner) for _ in range(2))
    more.add_special_tokens({"additional_special_tokens": ["<|more|>"]})
    roomy = str(write_autoregressive(plain, tmp_path / "roomy", spare=3))
    monkeypatch.setattr(tiny_llada, "tokenizer", more)
    with pytest.raises(ValueError, match=rf"'<\|more\|>' has the id {len(plain)}, but the embed"):
        AdaptiveParallel(tiny_llada, partner)
    wrapped = AdaptiveParallel(tiny_llada, roomy)
    assert wrapped.shared == tiny_llada.vocab_size
    decode(wrapped, 0.0)


def test_runs_are_told_apart_by_the_autoregressive_model(tiny_llada, partner, tmp_path) -> None:
    other = str(write_autoregressive(tiny_llada.tokenizer, tmp_path / "other", seed=1))
    names = {denoiser_name(tiny_llada), denoiser_name(AdaptiveParallel(tiny_llada, partner))}
    names |= {denoiser_name(AdaptiveParallel(tiny_llada, partner, mixture=0.2))}
    one, two = AdaptiveParallel(tiny_llada, partner), AdaptiveParallel(tiny_llada, other)
    two.autoregressive = one.autoregressive  # the weights alone tell them apart
    assert denoiser_name(one) in names
    assert len(names | {denoiser_name(two)}) == 4
    edit_config(Path(other), {"rope_theta": 77.0, "rope_parameters": None})
    three = AdaptiveParallel(tiny_llada, other)
    assert three.identity["autoregressive"] != two.identity["autoregressive"]


def test_logits_of_either_model_that_are_not_finite_end_a_rollout(tiny_llada, partner) -> None:
    wrapped = AdaptiveParallel(tiny_llada, partner)
    wrapped.model.lm_head.weight[7] = torch.nan
    with pytest.raises(NotFinite):
        decode(wrapped, 0.0)


def test_other_wrappers_go_around_it(tiny_llada, partner, monkeypatch) -> None:
    wrapped = AdaptiveParallel(tiny_llada, partner, mixture=0.4)
    found, plain = decode(Identity(wrapped), 1.0), decode(wrapped, 1.0)
    assert torch.equal(found.response, plain.response)
    assert torch.equal(found.nfe, 2 * plain.nfe)
    with pytest.raises(ValueError, match="only whether its token is accepted"):
        Identity(wrapped).check_signals(Signals(2))
    prompt, masks = prompts(tiny_llada), torch.full((4, LENGTH), tiny_llada.mask_id)
    all_drafts = AdaptiveParallel(tiny_llada, partner, mixture=1.0)
    numbers = torch.rand(4, LENGTH, generator=torch.Generator().manual_seed(0))
    sharper = Sharper(all_drafts, [1.0, 0.2, 3.0, 0.01])
    whole = sharper(prompt, masks, Signals(), numbers, 1.0)
    monkeypatch.setattr(tiny_llada.row_limit, "rows", 3)
    parts = sharper(prompt, masks, Signals(), numbers, 1.0)
    plain = all_drafts(prompt, masks, Signals(), numbers, 1.0)
    assert torch.equal(parts.proposal, whole.proposal)
    same = (parts.proposal == plain.proposal).all(1)
    assert same.tolist() == [True, False, False, False]  # each row by its own number
