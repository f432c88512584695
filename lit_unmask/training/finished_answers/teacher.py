"""Rounds of teaching: label states, keep them, and learn from all that there are."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from lit_unmask.denoisers.face import Denoiser
from lit_unmask.errors import ConfigurationError
from lit_unmask.policies import Conditioned
from lit_unmask.policies.actions import Bernoulli
from lit_unmask.policies.base import Policy
from lit_unmask.policies.learned import behind_threshold
from lit_unmask.rollout import Decoding, Listener
from lit_unmask.training.demonstrations import Demonstrator, ImitationData, Recipe
from lit_unmask.training.demonstrations.shards import Shard, read_shard, shard_path, write_shard
from lit_unmask.training.experts import Expert, probe
from lit_unmask.training.finished_answers.labelling import Labeller
from lit_unmask.training.schedule import Schedule, Stages, WarmupStableDecay
from lit_unmask.types import SPEED, Problem, Steps


@dataclass(frozen=True)
class FinishedAnswers:
    """The first rounds of a run label states by finished answers; no reward is needed.

    Attributes:
        expert: Finishes states, in blocks of its own: slow and right is what it takes.
        rounds: Rounds of teaching; those after them learn from rewards.
        oracle_rounds: Of these, the first, which label the states of the oracle's own schedule;
            the others label those that the policy visits.
        updates: Gradient updates a round, on all states so far.
        batch_size: States an update, for each rank.
        thresholds: Probabilities above which the policy commits in a round, in turn.
        caution: Weight of the positions that are not safe. With 4 the policy is more likely than
            not to commit from a probability of 0.8 on.
        rate: Learning rate of teaching, as a multiple of the optimizer's.
        schedule: Learning rate over the rounds of teaching.
        folder: Store of the labelled states, which
            :class:`~lit_unmask.training.demonstrations.ImitationData` reads too; None is a folder
            beside the run's log.

    Raises:
        ValueError: If a value is out of range.
    """

    expert: Expert
    rounds: int = 60
    oracle_rounds: int = 20
    updates: int = 15
    batch_size: int = 256
    thresholds: tuple[float, ...] = (0.6, 0.8, 0.7, 0.9)
    caution: float = 4.0
    rate: float = 10.0
    schedule: Schedule = WarmupStableDecay(warmup_rounds=2)  # noqa: RUF009  (frozen)
    folder: str | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.oracle_rounds <= self.rounds:
            raise ValueError(
                f"oracle_rounds={self.oracle_rounds} must lie in [1, rounds={self.rounds}]; the "
                "first states are the oracle's"
            )
        if min(self.updates, self.batch_size) < 1:
            raise ValueError(
                f"updates={self.updates} and batch_size={self.batch_size} must be at least 1"
            )
        if not self.thresholds or not all(0 < value < 1 for value in self.thresholds):
            raise ValueError(f"thresholds={self.thresholds} must be probabilities in (0, 1)")
        if not (self.caution > 0 and self.rate > 0):
            raise ValueError(
                f"caution={self.caution} and rate={self.rate} must be positive; 1 changes nothing"
            )

    def stages(self, then: Schedule) -> Stages:
        """Return the schedule of a run that goes on with another one."""
        return Stages(self.schedule, self.rounds, then, self.rate)

    def check(self, policy: Policy, decoding: Decoding, denoiser: Denoiser) -> None:
        """Check that a policy can be taught.

        Args:
            policy: The policy.
            decoding: How it decodes.
            denoiser: The frozen dLLM; it is not run.

        Raises:
            ConfigurationError: If it cannot, or the block lengths do not fit.
        """
        if SPEED in policy.signals or any(isinstance(p, Conditioned) for p in policy.modules()):
            raise ConfigurationError(
                f"model.teaching: policy {type(policy).__name__} is conditioned on a speed, and "
                "labels are the same at all of them; teach one that is not, and use "
                "lit_unmask.policies.Thresholded for its speed"
            )
        kind = type(probe(behind_threshold(policy), denoiser))
        if not issubclass(kind, Bernoulli):
            raise ConfigurationError(
                f"model.teaching: policy {type(policy).__name__} acts by {kind.__name__}, and a "
                "label is about one position; use a head that draws each for itself, such as "
                "lit_unmask.policies.BernoulliHead"
            )
        if decoding.temperature or decoding.on_empty != "force" or decoding.corrector is not None:
            raise ConfigurationError(
                f"model.teaching: decoding.temperature={decoding.temperature}, on_empty="
                f"{decoding.on_empty!r} and corrector={decoding.corrector} must be 0, 'force' and "
                "null; what is committed later must follow from the state"
            )
        if decoding.block_length % self.expert.block_length:
            raise ConfigurationError(
                f"model.teaching.expert.block_length={self.expert.block_length} must divide the "
                f"policy's decoding.block_length={decoding.block_length}"
            )


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
        who, settings = self.labeller, self.settings
        expert = Demonstrator(
            who.denoiser, who.expert.policy, who.decoding, who.seed, who.grader, who.signals
        )
        recipe = Recipe.of(expert)
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


def hired(settings: FinishedAnswers, module: Any) -> Teacher:
    """Return the teacher of a run.

    Args:
        settings: What is taught.
        module: The :class:`~lit_unmask.training.LitUnmask` whose policy it is, with its trainer.

    Raises:
        ConfigurationError: If the data are recorded steps, which are imitated as they are.
    """
    if isinstance(getattr(module.trainer, "datamodule", None), ImitationData):
        raise ConfigurationError(
            "model.teaching labels states of problems, and data is ImitationData, which has "
            "recorded steps; leave model.teaching out, or give data.train problems"
        )
    labeller = Labeller(
        module.denoiser, Lessons.taught(behind_threshold(module.policy)), settings.expert,
        module.decoding, module.rounds.seed, module.grader,
    )  # fmt: skip
    return Teacher(settings, labeller, _store(settings, module.trainer), module.global_rank)


def _store(settings: FinishedAnswers, trainer: Any) -> Path:
    """Return where a run keeps its labelled states."""
    if settings.folder is not None:
        return Path(settings.folder)
    if trainer.fast_dev_run:
        return Path(tempfile.mkdtemp(prefix="lit-unmask-"))
    return Path(trainer.log_dir or trainer.default_root_dir) / "finished_answers"
