"""Panels of TensorBoard's custom scalars page."""

from __future__ import annotations

import re

from lightning.pytorch import Callback, LightningModule, Trainer
from lit_unmask.callbacks.figures import tensorboard

from lit_unmask.tasks.datamodule import attached_data

Panels = dict[str, dict[str, list]]


class ScalarLayout(Callback):
    """Arranges the scalars of a run in TensorBoard's *Custom Scalars* tab.

    Categories: accuracy, forwards and reward, one chart a validation set with the policy and the
    baselines of ``AccuracyNFE`` and one for training rounds; policy health; speed; and what
    ``Inspection`` measures. A chart of which nothing is logged stays empty.
    """

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the layout into the run's log."""
        writer = tensorboard(trainer)
        if writer is not None:
            writer.add_custom_scalars(scalar_layout(list(attached_data(trainer).val)))


def scalar_layout(sets: list[str]) -> Panels:
    """Return charts by category: regular expressions of the tags that each one draws."""
    categories: Panels = {
        title: {
            **{name: _lines(*_with_baselines(name, metric)) for name in sets},
            "training rounds": _lines(f"train/{metric}"),
        }
        for title, metric in (("Accuracy", "accuracy"), ("Forwards", "nfe"), ("Reward", "reward"))
    }
    categories["Policy health"] = {
        "entropy of a step (nats)": _lines("train/entropy", "unmasking/entropy"),
        "share of empty actions": _lines("unmasking/empty_actions"),
        "probability of opening": _lines(r"unmasking/probability_(mean|max)"),
        "KL to the acting policy": _lines("train/kl"),
        "clip ratios": _lines(r"train/clip_ratio/(low|high)"),
        "groups without a signal": _lines("train/frac_reward_zero_std"),
    }
    categories["Speed"] = {
        "rollouts a second": _lines("train/rollouts_per_s"),
        "useful share": _lines(r"train/(useful_share|forwards_saved|rank_balance)"),
    }
    categories["Inspection"] = {
        f"{name}, {title}": _lines(f"inspection/{re.escape(name)}/({metrics})")
        for name in sets
        for title, metrics in (
            ("order", "order_.*|confident_first|tail_delay"),
            ("forcing", "empty_forwards|forced_.*"),
        )
    }
    return categories


def _with_baselines(name: str, metric: str) -> tuple[str, str]:
    """Return the tags of a set's metric, of the policy and of each baseline."""
    escaped = re.escape(name)
    return f"val/{escaped}/{metric}", f"val/{escaped}/[^/]+/{metric}"


def _lines(*tags: str) -> list:
    """Return a chart of lines; TensorBoard would also match tags that only start like one."""
    return ["Multiline", [f"{tag}$" for tag in tags]]
