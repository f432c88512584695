"""A denoiser whose weights two ranks share, by itself and under the trainer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import sharded_ranks
import torch
from sharded_ranks import JOBS
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from toys import make_data, make_module, make_trainer

from lit_unmask.cli import main
from lit_unmask.denoisers import LLaDA, Placement
from lit_unmask.errors import ConfigurationError
from lit_unmask.training.strategy import ShardedDenoiser


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ranks")


@pytest.fixture(scope="module")
def ranks(home: Path, tiny_checkpoint: Path) -> list[dict[str, Any]]:
    """What two ranks found that did all jobs, one after the other, and then trained."""
    return sharded_ranks.run(home, tiny_checkpoint)


@pytest.mark.parametrize("job", JOBS)
def test_ranks_that_step_together_decode_what_each_would_alone(
    job: str, ranks: list[dict[str, Any]], tiny_llada: LLaDA
) -> None:
    rows, decoding = JOBS[job]
    steps = []
    for rank, mine in enumerate(rows):
        assert (job in ranks[rank]) == bool(mine)
        if not mine:
            continue
        alone = sharded_ranks.contents(sharded_ranks.decode(tiny_llada, mine, decoding))
        found = ranks[rank][job]
        assert found.keys() == alone.keys() and {"action", "confidence", "nfe"} <= found.keys()
        for name, value in alone.items():
            if value is None or not value.is_floating_point():
                assert value is found[name] or torch.equal(value, found[name]), name
            else:
                torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-6)
        steps.append(len(found["index"]))
    assert len(set(steps)) == len(steps)  # the ranks had different amounts of work


def test_only_one_rank_ran_out_of_memory(ranks: list[dict[str, Any]]) -> None:
    job = "memory that runs out on one rank"
    assert [rank[f"{job}: failures"] > 0 for rank in ranks] == [True, False]


def test_each_rank_has_about_half_of_the_frozen_weights(
    ranks: list[dict[str, Any]], tiny_llada: LLaDA
) -> None:
    total = sum(weight.numel() for weight in tiny_llada.parameters())
    shares = [rank["local numbers"] for rank in ranks]
    assert sum(shares) == total and max(shares) < 0.55 * total
    assert all(rank["sharded"] and rank["frozen"] and rank["stays"] for rank in ranks)


def test_shared_weights_and_logits_are_those_of_the_checkpoint(
    ranks: list[dict[str, Any]], tiny_llada: LLaDA
) -> None:
    whole = dict(tiny_llada.named_weights())
    for rank in ranks:
        assert rank["weights"].keys() == whole.keys()
        assert all(torch.equal(rank["weights"][name], whole[name]) for name in whole)
    response = torch.full((7, 4), tiny_llada.mask_id)
    expected = tiny_llada.logits(sharded_ranks.prompts(), response)
    torch.testing.assert_close(ranks[0]["logits"], expected)


def scalars(folder: Path) -> dict[str, list[float]]:
    events = EventAccumulator(str(folder / "run" / "version_0")).Reload()
    return {tag: [p.value for p in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_two_ranks_that_share_a_denoiser_train_as_one_with_a_whole(
    home: Path, ranks: list[dict[str, Any]], tiny_checkpoint: Path
) -> None:
    main(["fit", "--config", str(sharded_ranks.write_config(home / "one", tiny_checkpoint))])
    folders = [home / "one", home / "two"]
    one, two = (
        torch.load(folder / "run/version_0/checkpoints/last.ckpt", weights_only=True)["state_dict"]
        for folder in folders
    )
    assert one.keys() == two.keys() and all(name.startswith("policy.") for name in two)
    assert max(float((one[name] - two[name]).abs().max()) for name in one) < 1e-6
    logged, shared = (scalars(folder) for folder in folders)
    tags = [tag for tag in logged if tag.startswith("val/")] + ["train/reward", "imitation/loss"]
    assert {"val/coins/accuracy", "val/coins/threshold/nfe"} <= set(tags)
    for tag in tags:
        assert shared[tag] == pytest.approx(logged[tag], abs=1e-6), tag
    rows = [json.loads((folder / "comparison/results.json").read_text()) for folder in folders]
    for row in rows[0] + rows[1]:
        del row["seconds"]
    assert rows[0] == rows[1]


def test_ddp_knows_the_policy_alone(home: Path, ranks: list[dict[str, Any]]) -> None:
    for rank in range(2):
        held = json.loads((home / f"watch-{rank}.json").read_text())
        assert held["sharded"]
        assert held["ddp"] and all("policy." in name for name in held["ddp"])
        assert not any("denoiser" in name for name in held["ddp"])


def test_one_rank_has_nobody_to_share_with(tiny_llada: LLaDA, tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, strategy=ShardedDenoiser())
    with pytest.raises(ConfigurationError, match=r"over 1 of 1 ranks.*change trainer\.devices"):
        trainer.fit(make_module(tiny_llada), make_data())
    assert tiny_llada.shards is None
    torch.distributed.destroy_process_group()


def test_what_is_placed_otherwise_is_not_spread(tiny_checkpoint: Path) -> None:
    denoiser = LLaDA(str(tiny_checkpoint), placement=Placement("cpu"))
    with pytest.raises(ValueError, match=r"device_map='cpu'.*leave the denoiser's placement out"):
        denoiser.shard(None)  # type: ignore[arg-type]
