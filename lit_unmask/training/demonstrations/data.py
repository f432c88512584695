"""Demonstrations in the place of training problems."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from torch.utils.data import DataLoader

from lit_unmask.denoisers.face import Denoiser
from lit_unmask.errors import ConfigurationError
from lit_unmask.evaluation.fingerprints import denoiser_name
from lit_unmask.policies.base import Policy
from lit_unmask.rollout import Decoding
from lit_unmask.tasks.datamodule import ProblemSets, ResumableLoader, TaskDataModule, TrainingShards
from lit_unmask.training.demonstrations.reading import DemonstrationStore
from lit_unmask.training.experts import check_imitator
from lit_unmask.types import Steps


class _StepLoader(ResumableLoader):
    """A resumable loader that knows what it was reading."""

    def state_dict(self) -> dict[str, int]:
        """Return epoch, batches served, and the number of steps."""
        return {**super().state_dict(), "steps": len(self.dataset)}  # type: ignore[arg-type]

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue from a stored state with the next iteration."""
        now = len(self.dataset)  # type: ignore[arg-type]
        if state["steps"] != now:
            raise ConfigurationError(
                f"the store has {now} steps and had {state['steps']} when the checkpoint was "
                "written, so that its order is another one; restore the store, or begin anew"
            )
        super().load_state_dict(state)


class ImitationData(TaskDataModule):
    """Recorded steps to imitate, in the place of problems to roll out; evaluation is the same.

    ``lit-unmask fit`` with this data trains by teacher forcing: the policy is to do at each step
    what the expert did there. ``batch_size`` and everything that counts rounds count updates.

    ```yaml
    data:
      class_path: lit_unmask.training.demonstrations.ImitationData
      init_args:
        store: runs/demonstrations
        batch_size: 256
        val:
          math:
            class_path: lit_unmask.tasks.ShoppingSums
            init_args: {split: validation, size: 64}
    ```

    Args:
        store: Folder that ``Demonstrate`` recorded.
        val: Validation sets by name.
        test: Test sets by name. ``predict`` uses them too.
        tuning: Sets by name on which baselines are tuned.
        batch_size: Steps an update, over all ranks together.
        eval_batch_size: Prompts a validation batch, for each rank.
        seed: Seed of the order.
        only_correct: Whether trajectories to wrong answers are left out.
    """

    def __init__(
        self,
        store: str,
        val: ProblemSets | None = None,
        test: ProblemSets | None = None,
        tuning: ProblemSets | None = None,
        batch_size: int = 256,
        eval_batch_size: int = 128,
        seed: int = 0,
        only_correct: bool = True,
    ) -> None:
        super().__init__(
            val=val, test=test, tuning=tuning, batch_size=batch_size,
            eval_batch_size=eval_batch_size, seed=seed,
        )  # fmt: skip
        self.store, self.only_correct = store, only_correct

    @cached_property
    def demonstrations(self) -> DemonstrationStore:
        """The store, opened."""
        return DemonstrationStore(self.store, self.only_correct)

    def check_imitable(self, policy: Policy, decoding: Decoding, denoiser: Denoiser) -> None:
        """Check that a policy can imitate what is in the store.

        Args:
            policy: The policy that is to be trained.
            decoding: How it decodes.
            denoiser: What it is evaluated with; its weights are not needed.

        Raises:
            ConfigurationError: If the store is of another length, of longer blocks, lacks signals,
                or the policy has no action for what was done.
        """
        recipe = self.demonstrations.recipe
        if recipe.gen_length != decoding.gen_length:
            raise ConfigurationError(
                f"the demonstrations in {self.store} have gen_length={recipe.gen_length}, and "
                f"model.decoding.gen_length={decoding.gen_length}; set it to theirs, or record "
                "with this one"
            )
        if decoding.block_length % recipe.block_length:
            raise ConfigurationError(
                f"model.decoding.block_length={decoding.block_length} must be a multiple of the "
                f"block_length={recipe.block_length} of the demonstrations in {self.store}, which "
                "open positions outside of smaller blocks"
            )
        needed, kept = policy.signals, recipe.signals
        if (kept | needed) != kept:
            raise ConfigurationError(
                f"policy {type(policy).__name__} looks at {needed}, and the demonstrations in "
                f"{self.store} have {kept}; record them with these signals (Demonstrate.signals)"
            )
        check_imitator(policy, denoiser)

    def check_denoiser(self, denoiser: Denoiser) -> None:
        """Check that a denoiser is the one of the store.

        Raises:
            ConfigurationError: If it is another.
        """
        recorded, name = self.demonstrations.recipe.denoiser, denoiser_name(denoiser)
        # The path may be another on another machine; the hash is of config and weights.
        if recorded.rpartition("#")[2] != name.rpartition("#")[2]:
            raise ConfigurationError(
                f"the demonstrations in {self.store} are of denoiser {recorded}, and "
                f"model.denoiser is {name}; set it to theirs, or record with this one"
            )

    def train_dataloader(self) -> DataLoader:
        """Return this rank's share of the shuffled steps.

        Raises:
            ValueError: If the batch does not divide among the ranks.
            ConfigurationError: If the store has less than one batch.
        """
        rank, world = self._ranks
        if self.batch_size % world:
            raise ValueError(
                f"data.batch_size={self.batch_size} must be a multiple of the {world} ranks"
            )
        store = self.demonstrations
        if len(store) < self.batch_size:
            raise ConfigurationError(
                f"the store {self.store} has {len(store)} steps, fewer than one update of "
                f"data.batch_size={self.batch_size}; lower it, or record more"
            )
        sampler = TrainingShards(
            store, world, rank, shuffle=True, seed=self.seed, drop_last=True
        )  # fmt: skip
        return _StepLoader(
            store, batch_size=self.batch_size // world, sampler=sampler, collate_fn=_as_it_is,
            drop_last=True,
        )  # fmt: skip

    def transfer_batch_to_device(
        self, batch: Any, device: torch.device, dataloader_idx: int
    ) -> Any:
        """Move steps; problems are text."""
        return batch.to(device) if isinstance(batch, Steps) else batch


def _as_it_is(batch: Any) -> Any:
    """Return what the store has put together already."""
    return batch
