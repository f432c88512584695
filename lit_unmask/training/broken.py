"""Rounds whose numbers break: noticed, put back to their start, and saved to be replayed."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Callable
from contextlib import nullcontext, suppress
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from lit_unmask.errors import NotFinite
from lit_unmask.files import replace_file
from lit_unmask.policies.networks.reference import not_finite
from lit_unmask.tasks.datamodule import ResumableLoader
from lit_unmask.types import Problem

if TYPE_CHECKING:
    from lit_unmask.training.module import LitUnmask

_ELSEWHERE = "numbers of this round on another rank"


@dataclass(frozen=True)
class Broken:
    """A round that this rank could not play; it stands in the place of its experience."""

    error: NotFinite


def elsewhere() -> NotFinite:
    """Return what a rank says whose own numbers are sound."""
    return NotFinite(_ELSEWHERE, "see what that rank says")


def _diagnosis(module: LitUnmask, optimizer: Optimizer, loss: float, update: int) -> NotFinite:
    """Return what broke in an update; looks at each gradient and weight.

    Args:
        module: The module, with the gradients of the update.
        optimizer: Its optimizer.
        loss: The mean over the ranks.
        update: Its number in the round, from 1.
    """
    named = dict(module.policy.named_parameters())
    slopes = {name: weight.grad for name, weight in named.items() if weight.grad is not None}
    found = {"the gradients of": not_finite(slopes), "the weights": not_finite(named)}
    parts = [f"{kind} {names}" for kind, names in found.items() if names]
    if not math.isfinite(loss):
        parts.insert(0, f"the loss ({loss})")
    rate = optimizer.param_groups[0]["lr"]
    return NotFinite(
        f"in update {update} of round {module.global_step}: {', '.join(parts)}",
        f"set trainer.gradient_clip_val, or begin anew with a lower rate, which is {rate:g} now",
    )


class BrokenRounds:
    """What becomes of rounds whose numbers break.

    At the start of each round it copies the policy, the moments of its optimizer and the state of
    the condition. They are what is saved, in an ordinary checkpoint from which the round comes
    again, and what a run goes on with that leaves the round out.

    Attributes:
        left_out: Whether the round under way is left out.
    """

    def __init__(self) -> None:
        self.left_out, self._in_a_row = False, 0
        self._start: dict[str, Any] = {}
        self._problems: list[Problem] = []

    def play(self, module: LitUnmask, batch: Any, play: Callable[[Any], Any]) -> Any:
        """Return what becomes of a batch, or what broke; the other ranks hear of it with the loss.

        Args:
            module: The module.
            batch: Problems, or something else.
            play: Rolls out.
        """
        self._begin(module, batch)
        try:
            return play(batch)
        except NotFinite as error:
            return Broken(error)

    def loss(self, module: LitUnmask, batch: Any, loss: Callable[[Any], Tensor]) -> Tensor:
        """Return the loss of a batch, 0 if its round is left out.

        Args:
            module: The module.
            batch: What came of :meth:`play`.
            loss: Begins with a count over the ranks.

        Raises:
            NotFinite: If the round is broken on any rank, on all of them.
        """
        try:
            if isinstance(batch, Broken):
                with suppress(NotFinite):
                    module.total(math.nan)
                raise batch.error
            return loss(batch)
        except NotFinite as error:
            self._end(module, error)
        # Lightning takes no other answer on several ranks, whose backward pass has all weights.
        weights = [weight for weight in module.trained if weight.requires_grad]
        return torch.stack([weight.sum() for weight in weights]).sum() * 0

    def update(
        self, module: LitUnmask, optimizer: Optimizer, told: tuple[Tensor, Tensor], number: int
    ) -> float:
        """Check loss and weights after an update; the host waits once for all of them.

        Args:
            module: The module.
            optimizer: Its optimizer.
            told: Scalars, how far the policy has moved and the loss.
            number: Of the update in its round, from 1.

        Returns:
            How far the policies of all ranks have moved; 0 if the round is left out.

        Raises:
            NotFinite: If loss or weights are not finite, on all ranks.
        """
        if self.left_out:  # weight decay and moments have moved it all the same
            self._restore(module)
            return 0.0
        weights = [weight.detach() for weight in module.trained]
        size = torch.nn.utils.get_total_norm(weights, math.inf)
        # The mean over ranks, so that all of them stop together.
        means = module.trainer.strategy.reduce(torch.stack([*told, size]), reduce_op="mean")
        moved, loss, size = means.tolist()
        if math.isfinite(loss) and math.isfinite(size):
            return float(moved)
        self._end(module, _diagnosis(module, optimizer, loss, number))
        return 0.0

    def _begin(self, module: LitUnmask, batch: Any) -> None:
        """Remember the state that a round begins in, and its problems, if it has any."""
        self._in_a_row = self._in_a_row if self.left_out else 0
        self.left_out, self._problems = False, batch if isinstance(batch, list) else []
        self._start = deepcopy(
            {
                "policy": module.policy.state_dict(),
                "joint": module.joint.state_dict() if module.joint else None,
                "optimizers": [one.state_dict() for one in module.trainer.optimizers],
                "condition": module.condition.state_dict() if module.condition else {},
            }
        )

    def _end(self, module: LitUnmask, error: NotFinite) -> None:
        """Put the start of the round back and save it; all ranks do so together.

        Raises:
            NotFinite: If no further round in a row may be left out.
        """
        self._restore(module)
        error.add(self._save(module, error))
        self._in_a_row += 1
        if self._in_a_row > module.rounds.skip_broken:
            raise error
        self.left_out = True
        module.print(f"round {module.global_step} is left out: {error}")

    def _restore(self, module: LitUnmask) -> None:
        start = deepcopy(self._start)
        module.policy.load_state_dict(start["policy"])
        if module.joint is not None:
            module.joint.load_state_dict(start["joint"])
        for optimizer, state in zip(module.trainer.optimizers, start["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        if module.condition is not None:
            module.condition.load_state_dict(start["condition"])

    def _save(self, module: LitUnmask, error: NotFinite) -> str:
        """Write a checkpoint of the start, and beside it what was asked; say how to replay it."""
        trainer, number = module.trainer, module.global_step
        if getattr(trainer, "fast_dev_run", False):
            return "a fast_dev_run saves nothing"
        log = Path(trainer.log_dir or trainer.default_root_dir)
        file = log / "broken" / f"round-{number}.ckpt"
        file.parent.mkdir(parents=True, exist_ok=True)
        loader = trainer.train_dataloader
        with loader.put_back() if isinstance(loader, ResumableLoader) else nullcontext():
            trainer.save_checkpoint(file, weights_only=False)
        configs = sorted(log.glob("config*.yaml"), key=lambda path: path.stat().st_mtime)
        config = str(configs[-1]) if configs else "CONFIG"
        command = shlex.join(["lit-unmask", "fit", "--config", config, "--ckpt_path", str(file)])
        if error.what != _ELSEWHERE:
            rank = f"-rank-{module.global_rank}" if trainer.world_size > 1 else ""
            record = {
                "error": str(error),
                "round": number,
                "seed": module.rounds.of_round(number),
                "prompts": [{"uid": p.uid, "messages": p.messages} for p in self._problems],
                "replay": command,
            }
            text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
            replace_file(file.with_name(f"round-{number}{rank}.json"), text.encode())
        return f"this replays the round: {command}"
