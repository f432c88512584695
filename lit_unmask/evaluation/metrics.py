"""Metrics of evaluated rollouts, exact over batches and ranks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torchmetrics import MeanMetric

from lit_unmask.evaluation.decode import Evaluation


class RolloutMetrics(nn.Module):
    """Accumulates accuracy, NFE and speed over the batches of one evaluation set.

    ``accuracy`` and ``still_masked`` are shares of problems, ``nfe`` is forwards a problem,
    ``tokens_per_forward`` is the ratio of sums, ``reward`` the mean reward, and
    ``unfinished_share`` the share of problems whose grading ran into a deadline or memory limit.
    """

    def __init__(self) -> None:
        super().__init__()
        names = (
            *("accuracy", "nfe", "tokens_per_forward", "still_masked", "reward"),
            "unfinished_share",
        )
        self.means: Any = nn.ModuleDict({name: MeanMetric() for name in names})

    def update(
        self, evaluation: Evaluation, rewards: Tensor, forwards: Mapping[str, Tensor] | None = None
    ) -> None:
        """Add the problems of one evaluation.

        Args:
            evaluation: Its verdicts and costs.
            rewards: ``[B]`` float32.
            forwards: ``[B]`` by kind, each a mean ``forwards/<kind>``; None has none of these.
        """
        for kind, spent in (forwards or {}).items():
            if f"forwards/{kind}" not in self.means:
                self.means[f"forwards/{kind}"] = MeanMetric().to(self.means["nfe"].device)
            self.means[f"forwards/{kind}"].update(spent.float())
        nfe = evaluation.nfe.float()
        self.means["accuracy"].update(evaluation.correct)
        self.means["nfe"].update(nfe)
        self.means["tokens_per_forward"].update(evaluation.tokens / nfe, weight=nfe)
        self.means["still_masked"].update(evaluation.still_masked.float())
        self.means["reward"].update(rewards)
        problems = len(evaluation.correct)
        self.means["unfinished_share"].update(evaluation.unfinished / problems, weight=problems)
