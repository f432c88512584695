"""Who wrote what: correctors, policies that take back, resamplers, early stops."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from toy_trajectories import MENDED
from toys import Coins, small_policy

from lit_unmask.denoisers import LLaDA
from lit_unmask.evaluation.decode import evaluate
from lit_unmask.inspection.text import as_text
from lit_unmask.inspection.trajectories import (
    NamedPolicy,
    load,
    record_trajectories,
    save,
)
from lit_unmask.inspection.writes import TrajectoryWrite, forwards_of, summed, writes_of
from lit_unmask.policies import (
    ConfidenceThreshold,
    LearnedPolicy,
    LowConfidence,
    Policy,
    RemaskingHead,
)
from lit_unmask.rollout import Approximate, Decoding
from lit_unmask.rollout.correctors import GIDD, BlockProSeCo, Placement, Remask
from lit_unmask.rollout.resamplers import SelfRewarding
from tests.toy_rollouts import MASK, POLICIES
from tests.toy_systems import First, decode

PROBLEMS = list(Coins("validation", 16))
WORDS = {MASK: None} | {token: str(token) for token in range(1, 8)}
HOT = {"temperature": 9.0}


def remasking() -> LearnedPolicy:
    return LearnedPolicy(small_policy().network, head=RemaskingHead(0.3)).eval()


# The policy, how it decodes, and a hand and a kind of forwards that have to be there.
SYSTEMS: dict[str, tuple[Any, dict[str, Any], str, str]] = {
    "proseco": (lambda: LowConfidence(1), {"corrector": BlockProSeCo(2)} | HOT,
                "corrector", "corrector"),
    "remask": (lambda: ConfidenceThreshold(0.3), {"corrector": Remask(1), "max_block_steps": 9},
               "corrector", "predictor"),
    "gidd at the end": (lambda: LowConfidence(2),
                        {"corrector": GIDD(3, placement=Placement(end=True))} | HOT,
                        "corrector", "corrector"),
    "remasking": (remasking, {"max_block_steps": 6}, "policy", "predictor"),
    "particles": (lambda: LowConfidence(2), {"resampler": SelfRewarding(3, 1.0)} | HOT,
                  "resampler", "particle"),
    "early stop": (lambda: LowConfidence(4), {"approximate": Approximate(early_stop=True)} | HOT,
                   "early stop", "predictor"),
}  # fmt: skip


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_writes_lead_to_the_answer_and_the_forwards_to_its_price(
    tiny_llada: LLaDA, name: str
) -> None:
    make, ways, hand, kind = SYSTEMS[name]
    policy: Policy = make()
    decoding = Decoding(16, 4, **ways)
    runs = record_trajectories(tiny_llada, NamedPolicy("it", policy, decoding), PROBLEMS)
    measured = evaluate(tiny_llada, policy, PROBLEMS, decoding)
    for row, run in enumerate(runs):
        before: list[str | None] = [None] * 16
        for step, after in zip(run.steps, run.texts(), strict=True):
            assert masks_of_the_policy(step.writes, before) == list(step.masked)
            before = list(after)
        assert tuple(before) == run.tokens
        price = {name: int(each[row]) for name, each in measured.price.items()}
        spent = summed([step.forwards for step in run.steps])
        assert spent == {name: each for name, each in price.items() if each}
    writes = [write for run in runs for step in run.steps for write in step.writes]
    assert hand in {write.by for write in writes}
    assert kind in {kind for run in runs for step in run.steps for kind in step.forwards}
    takes = [write for write in writes if None in write.tokens]
    assert bool(takes) == ("remask" in name) and all(write.by == hand for write in takes)


def masks_of_the_policy(writes: tuple[TrajectoryWrite, ...], before: list[str | None]) -> list[int]:
    """Replay what comes before the policy's write, and return the masks."""
    text = list(before)
    for write in writes:
        if write.by == "policy":
            break
        for position, token in zip(write.positions, write.tokens, strict=True):
            text[position] = token
    return [position for position, token in enumerate(text) if token is None]


def test_an_answer_of_another_particle_says_what_it_took_over() -> None:
    # All go on from the second particle after the first block, and the answer is the first.
    result = decode(LowConfidence(2), temperature=1.0, resampler=First(2))
    for row in range(len(result.response)):
        steps = writes_of(result, row, WORDS)
        assert [[write.by for write in writes] for writes in steps] == [
            ["policy"], ["policy"], ["resampler", "policy"], ["policy"],
        ]  # fmt: skip
        heir = steps[2][0]
        assert sorted(heir.positions) == [0, 1, 2, 3]
        stands = {position: WORDS[int(result.response[row, position])] for position in range(4)}
        assert dict(zip(heir.positions, heir.tokens, strict=True)) == stands
        assert forwards_of(result, row) == [{"predictor": 1, "particle": 1}] * 4


def test_steps_that_pass_together_pay_one_by_one() -> None:
    policy = POLICIES["learned"]()
    ways: dict[str, Any] = {"on_empty": "wait", "max_block_steps": 9}
    result = decode(policy, **ways)
    assert len(result.log.step) < int(result.decisions.sum())  # type: ignore[union-attr]
    for row, steps in enumerate(result.decisions.tolist()):
        assert forwards_of(result, row) == [{"predictor": 1}] * steps


def test_the_text_says_who_changed_what_and_at_what_price() -> None:
    assert as_text(MENDED).splitlines()[1:] == [
        "corrected, block length 2: correct, 6 forwards, 0.50 tokens a forward",
        "forwards: 3 predictor, 3 corrector",
        "(· masked, [token] committed at this step, {token} forced, |token| rewritten, "
        "(·) taken back)",
        "   1  · [me] · ·",
        "      forwards: 1 predictor",
        "   2  {hi} (·) · ·",
        "      corrector: 1 me > ·",
        "      forwards: 1 predictor, 2 corrector",
        "   3  |hello| [you] [two] [<end>]",
        "      corrector: 0 hi > hello",
        "      forwards: 1 predictor, 1 corrector",
    ]


def test_what_is_saved_is_read_whole(tmp_path: Path) -> None:
    file = tmp_path / "runs.json"
    save(file, [MENDED])
    assert load(file) == [MENDED]
