"""The store of demonstrations: what was recorded is what is read."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lit_unmask.errors import ConfigurationError
from lit_unmask.policies import ConfidenceThreshold
from lit_unmask.training.demonstrations import (
    DemonstrationStore,
    DemonstrationWriter,
    Demonstrator,
    Recipe,
    demonstrate,
)
from lit_unmask.types import Problem, Signals, Steps

SIGNALS = Signals(top_k=2, names={"entropy"})


def by_step(steps: Steps, uids: list[str]) -> dict[tuple[str, int], int]:
    """Return the row of each step, by problem and number."""
    pairs = zip(steps.rollout.tolist(), steps.index.tolist(), strict=True)
    return {(uids[rollout], index): row for row, (rollout, index) in enumerate(pairs)}


def tensors(steps: Steps) -> dict[str, torch.Tensor]:
    """Return all tensors of some steps by name."""
    return vars(steps) | vars(steps.observation) | dict(steps.observation.signals)


@pytest.mark.parametrize("on_empty", ["force", "wait"])
@pytest.mark.parametrize("keep_wrong", [False, True])
def test_what_is_read_is_what_was_recorded(
    expert: Demonstrator, problems: list[Problem], tmp_path: Path, keep_wrong: bool, on_empty: str
) -> None:
    from toys import small_policy

    # A policy that sometimes opens nothing: forced positions, or steps without any.
    decoding = replace(expert.decoding, on_empty=on_empty)
    expert = replace(expert, policy=small_policy(), decoding=decoding)
    writer = DemonstrationWriter(tmp_path, Recipe.of(expert, keep_wrong))
    shown = demonstrate(expert, problems)
    writer.add(shown)
    store = DemonstrationStore(tmp_path, only_correct=not keep_wrong)
    read = store.__getitems__(range(len(store)))
    steps = shown.steps if keep_wrong else shown.correct_steps
    assert 0 < len(shown.correct_steps) < len(shown.steps)
    mine = by_step(steps, [problem.uid for problem in problems])
    theirs = by_step(read, store.uids)
    assert mine.keys() == theirs.keys()
    rows = torch.tensor([mine[key] for key in theirs])
    for name in ("masked", "chosen", "time", "index"):
        assert torch.equal(tensors(read)[name], tensors(steps)[name][rows]), name
    assert (read.chosen.sum(1) == 0).any() == (on_empty == "wait")
    for name in ("confidence", "entropy"):
        stored, exact = tensors(read)[name], tensors(steps)[name][rows]
        assert torch.equal(stored, exact.half().float()), name
    error = (read.observation.confidence - steps.observation.confidence[rows]).abs().max()
    assert 0 < error <= 2.5e-4


def test_any_steps_can_be_asked_for_in_any_order(store: Path) -> None:
    opened = DemonstrationStore(store)
    assert len(list(store.glob("*.safetensors"))) == 3
    whole = opened.__getitems__(range(len(opened)))
    rows = torch.randperm(len(opened), generator=torch.Generator().manual_seed(1))
    some = opened.__getitems__(rows.tolist())
    for name in ("rollout", "index", "masked", "chosen", "confidence", "entropy"):
        assert torch.equal(tensors(some)[name], tensors(whole)[name][rows]), name
    last = opened[len(opened) - 1]
    assert torch.equal(last.observation.masked[0], whole.observation.masked[-1])


def test_recording_goes_on_where_it_stopped(
    expert: Demonstrator, problems: list[Problem], store: Path, tmp_path: Path
) -> None:
    folder, recipe = tmp_path / "store", Recipe.of(expert)
    writer = DemonstrationWriter(folder, recipe)
    writer.add(demonstrate(expert, problems[:4]))
    # Killed in the middle of the second file.
    (folder / "half.tmp").write_bytes(b"\x00\x01")
    writer = DemonstrationWriter(folder, recipe)
    left = writer.missing([*problems, problems[0]])
    assert [problem.uid for problem in left] == [problem.uid for problem in problems[4:]]
    for start in (0, 4):
        writer.add(demonstrate(expert, left[start : start + 4]))
    assert writer.missing(problems) == []
    assert {f.name: f.read_bytes() for f in folder.glob("*.safetensors")} == {
        f.name: f.read_bytes() for f in store.glob("*.safetensors")
    }
    assert writer.trajectories == len(DemonstrationStore(folder).uids) < len(problems)


def test_problems_of_which_none_was_solved_are_not_tried_again(
    expert: Demonstrator, problems: list[Problem], tmp_path: Path
) -> None:
    hopeless = [replace(problem, verifier=lambda *_: 0.0) for problem in problems[:3]]
    writer = DemonstrationWriter(tmp_path, Recipe.of(expert))
    writer.add(demonstrate(expert, hopeless))
    again = DemonstrationWriter(tmp_path, Recipe.of(expert))
    assert again.missing(hopeless) == []
    with pytest.raises(ConfigurationError, match="3 problems were tried, and none was solved"):
        DemonstrationStore(tmp_path)


def test_another_recipe_is_refused(expert: Demonstrator, store: Path) -> None:
    for other, message in (
        (Recipe.of(replace(expert, signals=Signals(top_k=4))), "top_k=2"),
        (Recipe.of(replace(expert, seed=6)), "seed=5"),
        (Recipe.of(replace(expert, policy=ConfidenceThreshold())), "expert="),
    ):
        with pytest.raises(ConfigurationError, match=f"{message}.*choose another folder"):
            DemonstrationWriter(store, other)


def test_damage_is_named_with_the_remedy(store: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"holds no demonstrations.*lit-unmask predict"):
        DemonstrationStore(tmp_path)
    folder = Path(shutil.copytree(store, tmp_path / "copy"))
    shard = next(folder.glob("*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:100])
    with pytest.raises(ConfigurationError, match=rf"{shard.name} is damaged.*remove it"):
        DemonstrationStore(folder)
    recipe = json.loads((folder / "recipe.json").read_text())
    (folder / "recipe.json").write_text(json.dumps(recipe | {"version": 9}))
    with pytest.raises(ConfigurationError, match="version=9 must be 3"):
        DemonstrationStore(folder)
