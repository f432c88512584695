"""Files with a flipped bit or a few wrong bytes are refused by name, or read as they were."""

from __future__ import annotations

import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from toys import DECODING, Coins, make_data, make_module, make_trainer, small_policy

from lit_unmask import load_policy, save_policy
from lit_unmask.denoisers import Denoiser, LLaDA
from lit_unmask.denoisers.loading import checkpoint
from lit_unmask.errors import ConfigurationError
from lit_unmask.evaluation.grading import InProcess
from lit_unmask.evaluation.runs import Outcome, Run
from lit_unmask.evaluation.store import FILE, Store
from lit_unmask.policies import LowConfidence
from lit_unmask.sharing.saved import newest_whole, stored_in
from lit_unmask.training.checkpoints import check_checkpoint, saved_policy
from lit_unmask.training.demonstrations import Demonstrator, demonstrate
from lit_unmask.training.demonstrations.shards import read_shard, write_shard
from lit_unmask.types import Signals

FLIPS = 60


def flip(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def check_flips(
    file: Path, read: Callable[[], Any], same: Callable[[Any], bool], first: int = 0
) -> int:
    """Flip bits of a file and overwrite parts of it; returns how many were refused by its name."""
    data, rng, refused = file.read_bytes(), random.Random(5), 0
    damaged = [flip(data, rng.randrange(8 * first, 8 * len(data))) for _ in range(FLIPS)]
    place = rng.randrange(first, len(data) - 40)
    damaged.append(data[:place] + rng.randbytes(40) + data[place + 40 :])
    for content in damaged:
        file.write_bytes(content)
        try:
            assert same(read()), "another thing was read"
        except ValueError as error:
            assert str(file.parent) in str(error)
            refused += 1
    file.write_bytes(data)
    assert same(read())
    return refused


def equal(one: Any, two: Any) -> bool:
    """Return whether two nested things with tensors are the same."""
    if isinstance(one, torch.Tensor):
        return one.dtype == two.dtype and torch.equal(one, two)
    if isinstance(one, dict):
        return list(one) == list(two) and all(equal(one[key], two[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(two) and all(map(equal, one, two))
    return bool(one == two)


@pytest.fixture(scope="module")
def checkpoints(tiny_llada: LLaDA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of two checkpoints of one run."""
    folder = tmp_path_factory.mktemp("checkpoints")
    trainer = make_trainer(folder, max_steps=1, limit_val_batches=0)
    trainer.fit(make_module(tiny_llada), datamodule=make_data())
    for name in ("step=1.ckpt", "last.ckpt"):
        trainer.save_checkpoint(folder / name)
    return folder


def test_damage_to_a_checkpoint_is_refused_or_changes_nothing(checkpoints: Path) -> None:
    file = checkpoints / "last.ckpt"
    stored = stored_in(file)
    assert check_flips(file, lambda: stored_in(file), lambda now: equal(now, stored))


def test_every_flipped_bit_of_a_weight_in_a_checkpoint_is_refused(
    checkpoints: Path, tiny_llada: LLaDA
) -> None:
    file, rng = checkpoints / "last.ckpt", random.Random(1)
    data, module = file.read_bytes(), make_module(tiny_llada)
    said = re.escape(f"{file} is damaged") + r".*entry .*/data/\d+ .*"
    said += re.escape(f"the newest whole one beside it is {checkpoints / 'step=1.ckpt'}")
    weights = [value for value in stored_in(file)["state_dict"].values() if value.numel() > 8]
    for number in range(FLIPS):
        weight = weights[number % len(weights)].numpy().tobytes()
        start = data.index(weight)
        file.write_bytes(flip(data, 8 * start + rng.randrange(8 * len(weight))))
        uses: list[Callable[[], object]] = [
            lambda: stored_in(file), lambda: load_policy(file),
            lambda: check_checkpoint(file, module), lambda: saved_policy("x", str(file), module),
        ]  # fmt: skip
        with pytest.raises(ConfigurationError, match=said):
            uses[number % len(uses)]()
    file.write_bytes(data)


def test_the_newest_whole_checkpoint_is_found_among_torn_ones(
    checkpoints: Path, tmp_path: Path
) -> None:
    names = ("a.ckpt", "b.ckpt", "c.ckpt")
    for name in names:
        shutil.copyfile(checkpoints / "last.ckpt", tmp_path / name)
    files = [tmp_path / name for name in names]
    assert newest_whole(files) == tmp_path / "c.ckpt"
    files[2].write_bytes(files[2].read_bytes()[:-1000])
    assert newest_whole(files) == tmp_path / "b.ckpt"
    weights = {"state_dict": stored_in(files[0])["state_dict"]}
    torch.save(weights, files[1])  # nothing to go on from
    assert newest_whole(files) == tmp_path / "a.ckpt"
    files[0].unlink()
    assert newest_whole(files[1:]) is None


def test_damage_to_a_saved_policy_is_refused(tmp_path: Path) -> None:
    folder = save_policy(small_policy(), tmp_path / "policy")
    saved = dict(small_policy().state_dict())
    for name in ("model.safetensors", "config.json"):
        caught = check_flips(
            folder / name,
            lambda: load_policy(folder),
            lambda policy: equal(dict(policy.state_dict()), saved),
        )
        assert caught == FLIPS + 1


def test_damage_to_the_weights_of_a_denoiser_is_refused(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "tiny"
    shutil.copytree(tiny_checkpoint, folder)
    file = folder / "model.safetensors"
    monkeypatch.setitem(globals(), "FLIPS", 8)
    weights = dict(LLaDA(str(folder)).network.state_dict())

    def same(now: Denoiser) -> bool:
        return equal(dict(now.network.state_dict()), weights)  # type: ignore[attr-defined]

    assert check_flips(file, lambda: LLaDA(str(folder)), same) == 9


def test_damage_to_demonstrations_is_refused(tiny_llada: LLaDA, tmp_path: Path) -> None:
    signals = Signals(top_k=2)
    expert = Demonstrator(tiny_llada, LowConfidence(1), DECODING, 5, InProcess(), signals)
    file = write_shard(tmp_path, demonstrate(expert, list(Coins("train", size=6))), True, signals)
    with safe_open(file, framework="pt") as opened:
        assert "digest" in opened.metadata()["problems"]

    def read() -> list[Any]:
        shard = read_shard(file)
        return [shard.tried, shard.uids, dict(shard.tensors)]

    stored = read()
    stored[2] = {name: value.clone() for name, value in stored[2].items()}  # not mapped
    caught = check_flips(file, read, lambda now: equal(now, stored))
    assert caught >= FLIPS - 5  # names of things that nobody asks for may differ


def test_damage_to_a_results_store_is_refused_or_changes_nothing(tmp_path: Path) -> None:
    run = make_run()
    outcomes = [
        Outcome(f"problem-{n}", float(n % 2), n, {"fresh": n, "unchanged": 0}, 40, False, 0.25)
        for n in range(150)
    ]
    Store(tmp_path).append(run, outcomes)

    def read() -> list[Outcome]:
        store = Store(tmp_path)
        assert store.runs() == [run]
        return list(store.outcomes(run).values())

    caught = check_flips(tmp_path / FILE, read, lambda now: now == outcomes)
    assert caught >= 15  # most of the others are in what is empty of a page


def make_run() -> Run:
    return Run(
        "math", "test", "p0", 3, "tiny", "threshold", "heuristic", "ConfidenceThreshold",
        {"threshold": 0.9}, "", 64, 8, 0.0, "force", {"cache": "none", "early_stop": False},
    )  # fmt: skip


@pytest.mark.parametrize("breaks", ["write_sums", "save_file", "copytree", "rename"])
def test_a_denoiser_that_is_half_written_leaves_the_old_one_whole(
    breaks: str, tiny_llada: LLaDA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "denoiser"
    LLaDA.save(tiny_llada.network, tiny_llada.tokenizer, home)
    (home / "metrics.json").write_text("of the old one")
    other = LLaDA(str(home))
    other.network.model.embed_tokens.weight.add_(1)
    old = {file.name: file.read_bytes() for file in home.iterdir()}

    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    owner = {"copytree": shutil, "rename": Path}.get(breaks, checkpoint)
    with monkeypatch.context() as broken, pytest.raises(KeyboardInterrupt):
        broken.setattr(owner, breaks, stop)
        LLaDA.save(other.network, other.tokenizer, home)
    assert {file.name: file.read_bytes() for file in home.iterdir()} == old
    assert list(tmp_path.iterdir()) == [home]
    LLaDA.save(other.network, other.tokenizer, home)
    new = {file.name: file.read_bytes() for file in home.iterdir()}
    changed = {name for name in new if new[name] != old.get(name)}
    assert changed == {"SHA256SUMS", "model.safetensors"} and new.keys() == old.keys()
    assert list(tmp_path.iterdir()) == [home]
