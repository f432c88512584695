"""Figures of accuracy against forwards, and the TensorBoard that they go to."""

from __future__ import annotations

import json
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.box import SIMPLE_HEAD
from rich.table import Table
from torch.utils.tensorboard import SummaryWriter

from lit_unmask.evaluation.points import Point, pareto_front
from lit_unmask.files import replace_file

# Okabe-Ito colours: distinguishable without full colour vision.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#999999")
_LEARNED = "#000000"


def accuracy_axes(title: str, size: tuple[float, float] = (6, 4)) -> tuple[Figure, Axes]:
    """Return an empty figure of accuracy against forwards."""
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    axes.set(xlabel="denoiser forwards a problem (NFE)", ylabel="accuracy", title=title)
    axes.set_ylim(-0.02, 1.02)
    axes.grid(alpha=0.3)
    axes.margins(x=0.1)
    return figure, axes


def frontier_figure(
    tested: Sequence[Point], tuned: Sequence[Point] = (), title: str = ""
) -> Figure:
    """Draw test points with intervals over the tuning grid's Pareto front of each heuristic.

    Args:
        tested: Points with intervals: heuristics as circles, learned policies as stars.
        tuned: Tuning results; each heuristic's front is drawn as a thin line.
        title: Title of the figure.
    """
    figure, axes = accuracy_axes(title, (7, 4.5))
    names = list(dict.fromkeys(p.name for p in [*tuned, *tested] if p.kind == "heuristic"))
    colour = {name: _COLOURS[i % len(_COLOURS)] for i, name in enumerate(names)}
    for name in names:
        front = pareto_front([point for point in tuned if point.name == name])
        if front:
            axes.plot(
                [p.nfe for p in front], [p.accuracy for p in front],
                color=colour[name], linewidth=1, alpha=0.6, label=f"{name}, tuning front",
            )  # fmt: skip
    labelled: set[str] = set()
    for point in tested:
        learned = point.kind == "learned"
        axes.errorbar(
            point.nfe,
            point.accuracy,
            yerr=[[point.accuracy - point.ci_low], [point.ci_high - point.accuracy]],
            fmt="*" if learned else "o",
            markersize=13 if learned else 6,
            color=_LEARNED if learned else colour[point.name],
            capsize=3,
            label=None if point.name in labelled else f"{point.name}, test",
        )
        labelled.add(point.name)
        setting = ", ".join([*map(str, point.params.values()), f"BL {point.block_length}"])
        axes.annotate(
            setting, (point.nfe, point.accuracy),
            textcoords="offset points", xytext=(6, -10), fontsize=7,
        )  # fmt: skip
    figure.legend(fontsize=8, loc="outside lower center", ncols=3, frameon=False)
    return figure


def points_table(name: str, points: Sequence[Point]) -> Table:
    """Return a table of test results for the console."""
    title = f"{name}: {points[0].num_problems} held-out problems (BL: block length)"
    table = Table(title=title, box=SIMPLE_HEAD, padding=0)
    table.add_column("policy", no_wrap=True)
    for column in ("BL", "accuracy", "95 % interval", "NFE", "tok/fwd", "seconds"):
        table.add_column(column, justify="right", no_wrap=True)
    for point in points:
        table.add_row(
            point.label.rpartition(", BL ")[0],
            str(point.block_length),
            f"{point.accuracy:.3f}",
            f"{point.ci_low:.3f}-{point.ci_high:.3f}",
            f"{point.nfe:.1f}",
            f"{point.tokens_per_forward:.2f}",
            f"{point.seconds:.1f}",
            style="bold" if point.kind == "learned" else None,
        )
    return table


def save_points(
    trainer: Trainer, folder: Path, tested: dict[str, list[Point]], tuned: dict[str, list[Point]]
) -> list[str]:
    """Write results as files, and their figures into TensorBoard too.

    Args:
        trainer: The trainer, for its logger.
        folder: Gets ``results.json``, ``tuning.json`` and a figure for each set.
        tested: Points on the test problems, by set.
        tuned: Points of the heuristics on the tuning problems, by set.

    Returns:
        The files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files, writer = [], tensorboard(trainer)
    for file, points in (("results.json", tested), ("tuning.json", tuned)):
        rows = [{"dataset": name, **one.as_row()} for name in points for one in points[name]]
        replace_file(folder / file, json.dumps(rows, indent=1).encode())
        files.append(str(folder / file))
    for name in tested:
        title = f"{name}: accuracy against forwards"
        figure = frontier_figure(tested[name], tuned[name], title)
        files.append(f"{folder}/frontier{f'-{name}' if len(tested) > 1 else ''}.png")
        image = BytesIO()
        figure.savefig(image, format="png", dpi=120)
        replace_file(Path(files[-1]), image.getvalue())
        if writer is not None:
            writer.add_figure(f"test/{name}/frontier", figure, trainer.global_step)
    return files


def path_figure(
    path: Sequence[tuple[int, float, float]],
    baselines: dict[str, tuple[float, float]],
    title: str,
) -> Figure:
    """Draw how accuracy and NFE moved over training, beside fixed baselines.

    Args:
        path: ``(round, accuracy, nfe)`` at each validation.
        baselines: ``(accuracy, nfe)`` by name.
        title: Title of the figure.
    """
    figure, axes = accuracy_axes(title)
    for index, (name, (accuracy, nfe)) in enumerate(baselines.items()):
        axes.plot(nfe, accuracy, "o", color=_COLOURS[index % len(_COLOURS)], label=name)
    accuracies = [point[1] for point in path]
    nfes = [point[2] for point in path]
    axes.plot(nfes, accuracies, color=_LEARNED, linewidth=0.8, alpha=0.6)
    dots = axes.scatter(nfes, accuracies, c=[point[0] for point in path], cmap="viridis", zorder=3)
    figure.colorbar(dots, label="training round")
    if baselines:
        figure.legend(fontsize=8, loc="outside lower center", ncols=3, frameon=False)
    return figure


def tensorboard(trainer: Trainer) -> SummaryWriter | None:
    """Return the writer of the trainer's first TensorBoard logger, or None without one."""
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger) and trainer.is_global_zero:
            return logger.experiment
    return None
