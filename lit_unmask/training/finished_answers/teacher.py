"""Rounds of teaching: label states, keep them, and learn from all that there are."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from lit_unmask.errors import ConfigurationError
from lit_unmask.files import check_folder
from lit_unmask.policies.base import Policy
from lit_unmask.policies.learned import behind_threshold
from lit_unmask.rollout import Listener
from lit_unmask.training.demonstrations import Demonstrator, ImitationData, Recipe
from lit_unmask.training.demonstrations.shards import Shard, read_shard, shard_path, write_shard
from lit_unmask.training.finished_answers.labelling import Labeller
from lit_unmask.training.finished_answers.settings import FinishedAnswers
from lit_unmask.types import Problem, Steps


@dataclass(frozen=True)
class Lessons:
    """The labelled states so far, of one rank.

    Attributes:
        shards: Files of states.
        seed: Of the draws, different in every round.
        batch_size: States an update.
        caution: Weight of the positions that are not safe.
        readings: Scalars to log about the newest of them, by name.
    """

    shards: Sequence[Shard]
    seed: int
    batch_size: int
    caution: float
    readings: dict[str, float]

    @staticmethod
    def taught(policy: Policy) -> Policy:
        """Return the policy, with the same weights, at the temperature at which it is taught: 1.

        Labels are about chances. At a temperature of its own below 1 the policy then draws, in the
        rounds of rewards, more nearly what it is likely to do.
        """
        return policy.at(temperature=1.0)

    def draw(self, update: int) -> Steps:
        """Return the states of an update, drawn with replacement; none if there are none yet."""
        counts = torch.tensor([len(shard.tensors["masked"]) for shard in self.shards])
        total = int(counts.sum())
        if not total:
            return self.shards[0].at(torch.zeros(0, dtype=torch.int64))
        generator = torch.Generator().manual_seed(self.seed * 1009 + update)
        drawn = torch.randint(total, (self.batch_size,), generator=generator)
        ends = counts.cumsum(0)
        found = torch.searchsorted(ends, drawn, right=True)
        place = drawn - (ends - counts)[found]
        numbers = found.unique().tolist()
        return Steps.cat([self.shards[number].at(place[found == number]) for number in numbers])


class Teacher:
    """Labels the states of each round, and keeps them on the disk.

    Args:
        settings: What is taught.
        labeller: Labels states.
        folder: Of the store.
        rank: Of this process; each one learns from the states that it labelled.
    """

    def __init__(
        self, settings: FinishedAnswers, labeller: Labeller, folder: Path, rank: int = 0
    ) -> None:
        self.settings, self.labeller, self.folder, self.rank = settings, labeller, folder, rank
        self._shards: dict[Path, Shard] = {}

    @cached_property
    def recipe(self) -> Recipe:
        """What the states follow from, but for problems and policy."""
        return self.described(loaded=True)

    def described(self, loaded: bool) -> Recipe:
        """Return the recipe, without hashes where weights are not loaded."""
        who, settings = self.labeller, self.settings
        expert = Demonstrator(
            who.denoiser, who.expert.policy, who.decoding, who.seed, who.grader, who.signals
        )
        recipe = Recipe.of(expert, loaded=loaded)
        own = {
            "rounds": settings.rounds,
            "oracle_rounds": settings.oracle_rounds,
            "thresholds": list(settings.thresholds),
            "block_length": who.expert.block_length,
        }
        return replace(recipe, further={**recipe.further, "finished_answers": own})

    def go_on(self, checkpoint: Mapping[str, Any]) -> None:
        """Go on with the store of the run that wrote a checkpoint, if its teaching was not over.

        Raises:
            ConfigurationError: If the store is not there any more.
        """
        if not 0 < checkpoint["global_step"] < self.settings.rounds:
            return
        folder = Path(checkpoint.get("teaching") or self.folder)
        if not folder.is_dir():
            raise ConfigurationError(
                f"the labelled states of the checkpoint's first {checkpoint['global_step']} rounds "
                f"were in {folder}, which is not there; put it back, or begin anew"
            )
        self.folder = folder

    def lesson(
        self, problems: Sequence[Problem], number: int, listener: Listener | None = None
    ) -> Lessons:
        """Label the states of a round, unless the store has them, and return all up to now.

        Args:
            problems: Of this rank.
            number: The round, from 0.
            listener: Told about the progress of rollouts.

        Raises:
            ConfigurationError: If the store is of other settings, or the oracle's rounds are over
                and no problem was solved.
        """
        prefix = f"{self.rank:03d}-{number:05d}-"
        file = shard_path(self.folder, [problem.uid for problem in problems], prefix)
        readings: dict[str, float] = {}
        if not file.is_file():
            if number < self.settings.oracle_rounds:
                found = self.labeller.of_oracle(problems, listener)
            else:
                turn = (number - self.settings.oracle_rounds) % len(self.settings.thresholds)
                threshold = self.settings.thresholds[turn]
                found = self.labeller.of_policy(problems, threshold, listener)
            self.recipe.write(self.folder)
            write_shard(self.folder, found.shown, False, self.recipe.signals, prefix)
            readings = {**found.readings, "row_forwards": float(found.shown.ledger.computed)}
        for path in sorted(self.folder.glob(f"{self.rank:03d}-*.safetensors")):
            # Later ones are of a run that went further.
            if path not in self._shards and int(path.name.split("-")[1]) <= number:
                self._shards[path] = read_shard(path)
        shards = list(self._shards.values())
        states = sum(len(shard.tensors["masked"]) for shard in shards)
        if not states and number >= self.settings.oracle_rounds:
            tried = sum(len(shard.tried) for shard in shards)
            raise ConfigurationError(
                f"model.teaching.expert solved none of the {tried} problems so far, and only right "
                "answers teach; choose a better expert, smaller blocks for it, or easier problems"
            )
        readings["states"] = float(states)
        seed = (self.labeller.seed * 2**20 + number) * 4096 + self.rank
        named = {f"teaching/{name}": value for name, value in readings.items()}
        settings = self.settings
        return Lessons(shards, seed, settings.batch_size, settings.caution, named)


def check_data(module: Any, data: Any) -> None:
    """Check that a policy can learn from what ``fit`` is given, as far as is known without weights.

    Args:
        module: The :class:`~lit_unmask.training.LitUnmask` whose policy it is.
        data: Problems, or demonstrations.

    Raises:
        ConfigurationError: If it cannot imitate the demonstrations, it is to be taught and there
            are no problems, or labelled states cannot be kept in the folder that is given.
    """
    settings = module.teaching
    if isinstance(data, ImitationData):
        if settings is not None:
            raise ConfigurationError(
                "model.teaching labels states of problems, and data is ImitationData, which has "
                "recorded steps; leave model.teaching out, or give data.train problems"
            )
        data.check_imitable(module.policy, module.decoding, module.denoiser)
    elif settings is not None and settings.folder is not None:
        folder = Path(settings.folder)
        check_folder(folder)
        _teacher(settings, module, folder).described(loaded=False).check(folder)


def hired(settings: FinishedAnswers, module: Any) -> Teacher:
    """Return the teacher of a run.

    Args:
        settings: What is taught.
        module: The :class:`~lit_unmask.training.LitUnmask` whose policy it is, with its trainer.
    """
    return _teacher(settings, module, _store(settings, module.trainer))


def _teacher(settings: FinishedAnswers, module: Any, folder: Path) -> Teacher:
    labeller = Labeller(
        module.denoiser, Lessons.taught(behind_threshold(module.policy)), settings.expert,
        module.decoding, module.rounds.seed, module.grader,
    )  # fmt: skip
    return Teacher(settings, labeller, folder, module.global_rank)


def _store(settings: FinishedAnswers, trainer: Any) -> Path:
    """Return where a run keeps its labelled states."""
    if settings.folder is not None:
        return Path(settings.folder)
    if trainer.fast_dev_run:
        return Path(tempfile.mkdtemp(prefix="lit-unmask-"))
    return Path(trainer.log_dir or trainer.default_root_dir) / "finished_answers"
