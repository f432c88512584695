from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tokenizers import Tokenizer, decoders, models
from toy_trajectories import SHORT, SLOW, written
from toys import Coins, decode_problems, small_policy
from transformers import PreTrainedTokenizerFast

from lit_unmask.denoisers import Dream, LLaDA
from lit_unmask.evaluation.decode import evaluate
from lit_unmask.inspection.text import as_text
from lit_unmask.inspection.trajectories import (
    NamedPolicy,
    Trajectory,
    _separator,
    _texts,
    as_json,
    load,
    record_trajectories,
    save,
)
from lit_unmask.policies import (
    ConfidenceThreshold,
    ConfidenceTransformer,
    LearnedPolicy,
    LowConfidence,
    Policy,
    Random,
)
from lit_unmask.rollout import Approximate, Decoding
from lit_unmask.types import Observation, Prompt

PROBLEMS = list(Coins("test", 3))
LENGTH = 16
SEED = 3


def shy_policy() -> LearnedPolicy:
    """Return a policy that hardly ever chooses anything."""
    torch.manual_seed(0)
    return LearnedPolicy(ConfidenceTransformer(16, 2, 16, output_bias=-9.0)).eval()


POLICIES = {
    "learned": small_policy,
    "shy": shy_policy,
    "threshold": lambda: ConfidenceThreshold(0.3),
    "pairs": lambda: LowConfidence(2),
    "random": lambda: Random(3),
}


@pytest.fixture(params=POLICIES)
def policy(request: pytest.FixtureRequest) -> Policy:
    return POLICIES[request.param]()


@pytest.fixture(params=[LENGTH, 4], ids=["one block", "blocks of 4"])
def decoding(request: pytest.FixtureRequest) -> Decoding:
    return Decoding(LENGTH, request.param)


def record(denoiser: LLaDA | Dream, policy: Policy, decoding: Decoding) -> list[Trajectory]:
    return record_trajectories(denoiser, NamedPolicy("name", policy, decoding), PROBLEMS, SEED)


def test_trajectories_are_what_an_evaluation_measures(
    tiny_llada: LLaDA, policy: Policy, decoding: Decoding
) -> None:
    runs = record(tiny_llada, policy, decoding)
    measured = evaluate(tiny_llada, policy, PROBLEMS, decoding, SEED)
    assert [run.nfe for run in runs] == measured.nfe.tolist()
    assert [len(run.steps) for run in runs] == measured.nfe.tolist()
    assert [run.verdict for run in runs] == measured.correct.tolist()
    assert [run.content for run in runs] == measured.tokens.tolist()
    response = decode_problems(tiny_llada, policy, PROBLEMS, decoding, SEED).response
    for run, problem, tokens in zip(runs, PROBLEMS, response.tolist(), strict=True):
        assert (run.uid, run.answer, run.label) == (problem.uid, problem.answer, "name")
        assert run.question == problem.messages[-1]["content"]
        assert run.separator.join(map(str, run.tokens)) == tiny_llada.tokenizer.decode(tokens)


def test_a_trajectory_follows_from_its_own_tokens(
    tiny_llada: LLaDA, policy: Policy, decoding: Decoding
) -> None:
    # The slow twin: decode the buffers that the trajectory claims, one at a time.
    response = decode_problems(tiny_llada, policy, PROBLEMS, decoding, SEED).response
    for row, run in enumerate(record(tiny_llada, policy, decoding)[:2]):
        prompt = tiny_llada.encode([PROBLEMS[row]])
        buffer = torch.full((1, LENGTH), tiny_llada.mask_id)
        for index, step in enumerate(run.steps):
            masked = (buffer[0] == tiny_llada.mask_id).nonzero()[:, 0].tolist()
            assert list(step.masked) == masked
            block = masked[0] // decoding.block_length
            eligible = [place for place in masked if place // decoding.block_length == block]
            assert list(step.eligible) == eligible
            check_numbers(step, see(tiny_llada, policy, prompt, buffer, eligible, index), policy)
            places = list(step.committed)
            assert set(step.forced) <= set(places) <= set(eligible)
            buffer[0, places] = response[row, places]
        assert torch.equal(buffer[0], response[row])


def see(
    denoiser: LLaDA,
    policy: Policy,
    prompt: Prompt,
    buffer: torch.Tensor,
    eligible: list[int],
    index: int,
) -> Observation:
    output = denoiser(prompt, buffer, policy.signals)
    allowed = torch.zeros_like(buffer, dtype=torch.bool)
    allowed[0, eligible] = True
    masked = buffer == denoiser.mask_id
    time = torch.tensor([index / LENGTH])
    return Observation(masked, allowed, output.confidence, time, output.signals)


def check_numbers(step, observation: Observation, policy: Policy) -> None:
    with torch.no_grad():
        probability = policy(observation).probability()[0]
    assert step.confidence == pytest.approx(observation.confidence[0, :, 0].tolist(), abs=6e-4)
    assert step.probability == pytest.approx(probability.tolist(), abs=6e-4)


def test_what_the_policy_did_not_choose_was_forced(tiny_llada: LLaDA) -> None:
    runs = record(tiny_llada, shy_policy(), Decoding(LENGTH, LENGTH))
    steps = [step for run in runs for step in run.steps]
    forced = [step for step in steps if step.forced]
    assert len(forced) > len(steps) / 2
    assert all(step.forced == step.committed and len(step.forced) == 1 for step in forced)
    assert not any(step.forced for run in record(tiny_llada, LowConfidence(2), Decoding(LENGTH, 4))
                   for step in run.steps)  # fmt: skip


def test_a_mask_that_is_left_has_no_token(tiny_llada: LLaDA) -> None:
    runs = record(tiny_llada, shy_policy(), Decoding(LENGTH, LENGTH, on_empty="wait"))
    left = [place for run in runs for place, token in enumerate(run.tokens) if token is None]
    assert left
    for run in runs:
        committed = {place for step in run.steps for place in step.committed}
        assert {place for place, token in enumerate(run.tokens) if token is not None} == committed
    assert "·" in as_text(runs[0]).splitlines()[-1]


def test_what_an_early_stop_fills_was_committed_by_nobody(tiny_llada: LLaDA) -> None:
    decoding = Decoding(LENGTH, 4, temperature=9.0, approximate=Approximate(early_stop=True))
    many = list(Coins("validation", 30))
    runs = record_trajectories(tiny_llada, NamedPolicy("a", LowConfidence(4), decoding), many)
    stopped = [run for run in runs if run.nfe < LENGTH // 4]
    assert stopped
    for run in stopped:
        assert None not in run.tokens
        committed = {place for step in run.steps for place in step.committed}
        assert len(committed) == 4 * run.nfe


def test_a_shifted_denoiser_is_recorded_too(tiny_dream: Dream) -> None:
    decoding = Decoding(LENGTH, 8)
    runs = record(tiny_dream, LowConfidence(4), decoding)
    assert [run.nfe for run in runs] == [4] * len(runs)
    assert all({place for step in run.steps for place in step.committed} == set(range(LENGTH))
               for run in runs)  # fmt: skip


def test_no_problems_have_no_trajectories(tiny_llada: LLaDA) -> None:
    who = NamedPolicy("name", LowConfidence(), Decoding(LENGTH, LENGTH))
    assert record_trajectories(tiny_llada, who, []) == []


def test_tokens_that_hold_their_spaces_or_part_of_a_character() -> None:
    # GPT-2's alphabet of bytes: "Ġ" is a space, "Ã©" the two bytes of "é".
    vocabulary = {"[M]": 0, "a": 1, "Ġb": 2, "Ã": 3, "©": 4}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    core.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, mask_token="[M]")
    denoiser: object = SimpleNamespace(tokenizer=tokenizer, mask_id=0)
    response = torch.tensor([[1, 2, 3, 4, 0]])
    text = _texts(denoiser, response)
    texts = [text[token] for token in range(1, 5)]
    assert texts == ["a", " b", "Ã", "©"] and text[0] is None
    assert _separator(denoiser, [1, 2, 0], [*texts[:2], None]) == ""


def test_the_text_shows_masks_commits_and_what_was_forced() -> None:
    assert as_text(SHORT).splitlines() == [
        "say hello",
        "policy, block length 2: correct, 3 forwards, 0.67 tokens a forward",
        "(· masked, [token] committed at this step, {token} forced)",
        "   1  · [you] · ·",
        "   2  {hello} you · ·",
        "   3  hello you [<end>] [<end>]",
    ]


def test_the_text_is_short_and_one_line_a_step() -> None:
    step = replace(SHORT.steps[0], masked=tuple(range(9)), committed=(0, 7, 8), forced=())
    tokens = ("a\nb", *[None] * 6, " \x1b[31m", " \u202e")
    run = replace(SHORT, tokens=tokens, steps=(step,), separator="", verdict=0.5, question="\x07?")
    lines = as_text(written(replace(run, gen_length=9))).splitlines()
    assert lines[0] == r"\x07?"
    assert "verdict 0.5" in lines[1]
    assert lines[3:] == ["   1  [a⏎b]·\u00d76[ \\x1b[31m][ \\u202e]"]


def test_what_is_saved_is_loaded(tiny_llada: LLaDA, tmp_path: Path) -> None:
    runs = [*record(tiny_llada, small_policy(), Decoding(LENGTH, 4)), SHORT, SLOW]
    file = tmp_path / "new" / "folder" / "runs.json"
    save(file, runs)
    assert load(file) == runs
    assert json.loads(file.read_text())["version"] == 2
    assert [path.name for path in file.parent.iterdir()] == ["runs.json"]


def test_numbers_have_three_decimals(tiny_llada: LLaDA) -> None:
    run = record(tiny_llada, small_policy(), Decoding(LENGTH, LENGTH))[0]
    content = json.loads(as_json([run]))["trajectories"][0]
    numbers = [n for step in content["steps"] for n in step["confidence"] + step["probability"]]
    assert all(len(str(number)) <= len("0.123") for number in numbers)
    assert any(0 < number < 1 for number in numbers)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("no json", "holds no trajectories"),
        ("[1]", "holds no trajectories"),
        ('{"rows": []}', "holds no trajectories"),
        ('{"schema": "lit_unmask.trajectories", "version": 99}', "version 99, not .* version 2"),
        ('{"schema": "another", "version": 1}', "'another'"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "file.json"
    file.write_text(text)
    with pytest.raises(ValueError, match=words):
        load(file)


def test_a_failed_save_leaves_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "runs.json"
    save(file, [SHORT])
    with pytest.raises(ValueError, match="JSON"):
        save(file, [replace(SHORT, verdict=float("nan"))])
    assert load(file) == [SHORT]
    assert [path.name for path in tmp_path.iterdir()] == ["runs.json"]
