"""The files of a store: one shard of trajectories each, written once and never changed.

What was masked and what was committed at each step takes 2 bits a position. Signals are float16. A
confidence then is off by at most 2.5e-4, and by less the smaller it is: under a trained policy on
tiny-llada (four probabilities a position, 1288 steps) the log-probability of a step moved by 0.006
nats in the mean and 0.044 at most, below 0.1 % of itself.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from lit_unmask.errors import ConfigurationError
from lit_unmask.files import parse_json, replace_file
from lit_unmask.training.demonstrations.recipe import Recipe
from lit_unmask.training.demonstrations.recording import Demonstrated
from lit_unmask.types import SIGNALS, Observation, Problem, Signals, Steps

PATTERN = "*.safetensors"
# In the order of trajectories.
_OF_TRAJECTORIES = ("correct", "decisions")
_OF_STEPS = ("masked", "committed", "confidence")


@dataclass(frozen=True)
class Shard:
    """One file, read lazily: what is not asked for stays on the disk.

    Attributes:
        path: The file.
        tried: Verdict by uid of every problem that was decoded for it, those left out as well.
        uids: Problem of each trajectory.
        tensors: ``correct`` float32 and ``decisions`` int32 of **T** trajectories; ``masked`` and
            ``committed``, ``[N, L / 8]`` uint8, ``confidence`` ``[N, L, K]`` and what else there
            is, float16, of all their steps.
    """

    path: Path
    tried: dict[str, float]
    uids: list[str]
    tensors: dict[str, Tensor]

    @property
    def _signals(self) -> list[str]:
        return [name for name in SIGNALS if name in self.tensors]

    def at(self, place: Tensor) -> Steps:
        """Return the steps at some places of the shard, ``[N]`` int64, numbered within it."""
        ends = self.tensors["decisions"].long().cumsum(0)
        trajectory = torch.searchsorted(ends, place, right=True)
        first = ends - self.tensors["decisions"].long()
        return self.steps(trajectory, place - first[trajectory], place)

    def steps(self, trajectory: Tensor, index: Tensor, place: Tensor) -> Steps:
        """Return some steps.

        Args:
            trajectory: ``[N]`` int64, trajectory of each.
            index: ``[N]`` int64, number of each within it.
            place: ``[N]`` int64, number of each within the shard.
        """
        length = self.tensors["confidence"].shape[1]
        masked, chosen = (
            _unpacked(self.tensors[name][place], length) for name in ("masked", "committed")
        )
        confidence, *signals = (
            self.tensors[name][place].float() for name in ("confidence", *self._signals)
        )
        time = index.float() / masked.shape[1]
        seen = dict(zip(self._signals, signals, strict=True))
        observation = Observation(masked, masked, confidence, time, seen)
        log_prob = torch.zeros(len(index))
        return Steps(trajectory, index, observation, chosen, chosen, log_prob, chosen)


def _packed(flags: Tensor) -> Tensor:
    """Return ``[N, L]`` bool as bits, ``[N, ceil(L / 8)]`` uint8."""
    return torch.from_numpy(np.packbits(flags.cpu().numpy(), axis=1))


def _unpacked(bits: Tensor, length: int) -> Tensor:
    """Return ``[N, length]`` bool of the bits that :func:`_packed` made."""
    return torch.from_numpy(np.unpackbits(bits.numpy(), axis=1, count=length)).bool()


def shard_path(folder: Path, uids: Sequence[str], prefix: str = "") -> Path:
    """Return the file of some problems: neither ranks nor runs get in each other's way."""
    name = hashlib.blake2b(json.dumps(list(uids)).encode(), digest_size=8).hexdigest()
    return folder / f"{prefix}{name}.safetensors"


def write_shard(
    folder: Path, shown: Demonstrated, keep_wrong: bool, signals: Signals, prefix: str = ""
) -> Path:
    """Write what was demonstrated as one new file, as a whole or not at all.

    Args:
        folder: The store.
        shown: What was demonstrated.
        keep_wrong: Whether trajectories to wrong answers are kept.
        signals: What is kept of the steps.
        prefix: What its name begins with.
    """
    kept = torch.ones_like(shown.correct).bool() if keep_wrong else shown.correct == 1
    steps = shown.steps.select(kept[shown.steps.rollout])
    # By trajectory, then by step.
    most = int(steps.index.max()) + 1 if len(steps) else 1
    steps = steps.select((steps.rollout * most + steps.index).argsort())
    seen = steps.observation.within(signals)
    tensors = {
        "correct": shown.correct[kept],
        "decisions": shown.decisions[kept].int(),
        "masked": _packed(seen.masked),
        "committed": _packed(steps.committed),
        "confidence": seen.confidence.half(),
        **{name: value.half() for name, value in seen.signals.items() if name in signals.names},
    }
    uids = [problem.uid for problem in shown.problems]
    said: dict[str, Any] = {
        "tried": dict(zip(uids, shown.correct.tolist(), strict=True)),
        "uids": [uid for uid, keeps in zip(uids, kept.tolist(), strict=True) if keeps],
    }
    file = shard_path(folder, uids, prefix)
    found = {key: value.cpu().contiguous() for key, value in tensors.items()}
    # One entry: the order of several is not the same in every process.
    metadata = {"problems": json.dumps(said | {"digest": _digest(said, found)})}
    replace_file(file, save(found, metadata))
    return file


def _digest(said: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """Return a digest of all that a shard says."""
    digest = hashlib.sha256(json.dumps(said).encode())
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {value.dtype} {list(value.shape)}".encode())
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()


def read_shards(folder: Path) -> Sequence[Shard]:
    """Open the files of a store, in the order of their names.

    Raises:
        ConfigurationError: If one is damaged.
    """
    return [read_shard(file) for file in sorted(folder.glob(PATTERN))]


def read_shard(file: Path) -> Shard:
    """Open one file; it is read once as a whole, to compare it with its digest.

    Raises:
        ConfigurationError: If it is damaged.
    """
    try:
        # On a CPU the tensors are views of the file, mapped into memory.
        with safe_open(file, framework="pt") as opened:
            said = parse_json(opened.metadata()["problems"])
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}
            tried, uids = said["tried"], said["uids"]
        noted = said.pop("digest", None)  # files of before have none
        if noted is not None and noted != _digest(said, tensors):
            raise ValueError("its contents are not those that it has the digest of")
        missing = {*_OF_TRAJECTORIES, *_OF_STEPS} - tensors.keys()
        if missing:
            raise KeyError(*missing)
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise ConfigurationError(
            f"{file} is damaged ({error}); remove it and record again, which decodes its problems "
            "alone"
        ) from error
    return Shard(file, tried, uids, tensors)


class DemonstrationWriter:
    """Adds trajectories to a store, each problem once however often the recording is started.

    What was handed over is on the disk; an interrupted recording loses the batch at hand alone.

    Args:
        folder: The store; it is made if it is not there.
        recipe: What is recorded.

    Raises:
        ConfigurationError: If the folder holds demonstrations of another recipe, or is damaged.
    """

    def __init__(self, folder: str | Path, recipe: Recipe) -> None:
        self.folder, self.recipe = Path(folder), recipe
        recipe.write(self.folder)
        self.tried: dict[str, float] = {}
        self.trajectories = 0
        for shard in read_shards(self.folder):
            self.tried |= shard.tried
            self.trajectories += len(shard.uids)

    def missing(self, problems: Sequence[Problem]) -> list[Problem]:
        """Return the problems that have not been tried, each once."""
        distinct = {problem.uid: problem for problem in problems}
        return [problem for uid, problem in distinct.items() if uid not in self.tried]

    def add(self, shown: Demonstrated) -> None:
        """Add what was demonstrated."""
        recipe = self.recipe
        shard = read_shard(write_shard(self.folder, shown, recipe.keep_wrong, recipe.signals))
        self.tried |= shard.tried
        self.trajectories += len(shard.uids)
