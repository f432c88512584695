"""Figures of what a policy did: pure functions of findings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator, ScalarFormatter, SymmetricalLogLocator

from lit_unmask.inspection.inspection import CONFIDENCE_EDGES, PERIODS, Band, Findings

# Okabe-Ito colours: distinguishable without full colour vision.
_POLICY, _CONTENT, _TAIL, _END = "#000000", "#0072B2", "#D55E00", "#009E73"
_BASELINES = ("#E69F00", "#56B4E9", "#CC79A7", "#009E73", "#D55E00", "#0072B2")
_DASHES = ("--", "-.", ":")
_NOTHING = "#d9d9d9"
_STEP = "number of the forward, from 0"
_TIME = "share of the problem's forwards that are over"
# Steps that fewer problems reach are not drawn: their means jump.
_FEWEST_RUNNING = 0.1


@dataclass(frozen=True)
class Portrait:
    """What the figures of one set show.

    Attributes:
        title: First words of every title: the set and the round.
        policy: Findings about the policy.
        baselines: Findings about baselines on the same problems, by name.
        threshold: Confidence at which a step function is drawn for comparison.
    """

    title: str
    policy: Findings
    baselines: Mapping[str, Findings] = field(default_factory=dict)
    threshold: float = 0.9

    def draw_baselines(self, axes: Axes, points: Callable[[Findings], tuple], of: str = "") -> None:
        """Draw one line a baseline, each with its colour and dashes.

        Args:
            axes: Where to draw.
            points: Gives the places and the values of a baseline.
            of: What the line shows, if the axes show several things.
        """
        for index, (name, findings) in enumerate(self.baselines.items()):
            colour = _BASELINES[index % len(_BASELINES)]
            dashes = _DASHES[index % len(_DASHES)]
            axes.plot(
                *points(findings), color=colour, linestyle=dashes, linewidth=1.4, label=name + of
            )


def figures(portrait: Portrait) -> dict[str, Figure]:
    """Draw all figures, by name."""
    return {
        "order": order_figure(portrait),
        "response": response_figure(portrait),
        "pace": pace_figure(portrait),
        "probability": probability_figure(portrait),
        "tail": tail_figure(portrait),
    }


def order_figure(portrait: Portrait) -> Figure:
    """Draw when each position of each problem was committed, and the mean over problems."""
    findings = portrait.policy
    rows = np.argsort(findings.content, kind="stable")
    figure = Figure(figsize=(8, 6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])
    image = upper.imshow(
        findings.order[rows], aspect="auto", interpolation="nearest", vmin=0, vmax=1, cmap=_map()
    )
    ends = np.append(findings.content[rows], findings.content[rows[-1]]) - 0.5
    upper.step(ends, np.arange(len(ends)) - 0.5, where="pre", color="white", linewidth=1.5)
    figure.colorbar(
        image, ax=upper, label="committed when this share of\nits forwards was over (grey: never)"
    )
    upper.yaxis.set_major_locator(MaxNLocator(integer=True))
    upper.set(
        ylabel="problem, by length of content",
        title=f"{portrait.title}: order of unmasking (white line: first end token)",
    )
    lower.plot(*_mean_order(findings), color=_POLICY, linewidth=1.8, label="policy")
    portrait.draw_baselines(lower, _mean_order)
    lower.set(xlabel="position (token)", ylabel="mean over problems", ylim=(0, 1.02))
    _finish(lower)
    return figure


def response_figure(portrait: Portrait) -> Figure:
    """Draw the probability of opening a position against its confidence, by period."""
    figure = Figure(figsize=(11, 5.5), layout="constrained")
    panels = figure.subplots(2, len(PERIODS), sharex=True, sharey="row", height_ratios=[4, 1])
    threshold = portrait.threshold
    for name, upper, lower in zip(PERIODS, *panels, strict=True):
        seen = portrait.policy.response[name]
        band = seen.known
        _shade(upper, band, _POLICY, "policy")
        upper.plot(
            band.at, band.median, color=_CONTENT, linestyle="none", marker="D", markersize=4,
            label="policy, median",
        )  # fmt: skip
        upper.plot(
            band.at, band.mean, color=_POLICY, marker="o", markersize=3, label="policy, mean"
        )
        upper.plot(
            [0, threshold, threshold, 1], [0, 0, 1, 1], color="#7f7f7f", linewidth=3, alpha=0.5,
            label=f"step function at {threshold:g}",
        )  # fmt: skip
        portrait.draw_baselines(upper, _Response(name), of=", mean")
        upper.set(title=f"{name} third of a problem's forwards", ylim=(-0.03, 1.03))
        upper.grid(alpha=0.3)
        widths = np.diff(CONFIDENCE_EDGES)
        lower.bar(seen.at, seen.count, width=widths, color=_POLICY, alpha=0.5)
        lower.set(xlabel="confidence (largest token probability)", xlim=(0, 1))
    panels[0, 0].set_ylabel("probability of opening an\neligible position")
    panels[1, 0].set(ylabel="positions\nseen", yscale="log")
    panels[1, 0].yaxis.set_minor_locator(NullLocator())
    figure.legend(
        *panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8
    )
    figure.suptitle(f"{portrait.title}: response to confidence")
    return figure


def pace_figure(portrait: Portrait) -> Figure:
    """Draw tokens committed a step, by step number and by relative time."""
    findings, steps = portrait.policy, _steps(portrait.policy)
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    _shade(left, findings.tokens_by_step.first(steps), _POLICY, "policy")
    left.plot(*_tokens_by_step(findings), color=_POLICY, marker="o", markersize=3, label="policy")
    portrait.draw_baselines(left, _tokens_by_step)
    left.set(xlabel=_STEP, ylabel="tokens committed a forward, mean")
    left.xaxis.set_major_locator(MaxNLocator(integer=True))
    _shade(right, findings.tokens_by_time, _POLICY, "policy")
    right.plot(*_tokens_by_time(findings), color=_POLICY, marker="o", markersize=3, label="policy")
    portrait.draw_baselines(right, _tokens_by_time)
    right.set(xlabel=_TIME, xlim=(0, 1))
    # The first forward may commit ten times as much as the others; without forcing, some none.
    left.set_yscale("symlog", linthresh=1)
    waits = np.nanmin(findings.tokens_by_step.low) < 1
    left.set_ylim(0 if waits else 0.9, findings.order.shape[1])
    left.yaxis.set_major_locator(SymmetricalLogLocator(linthresh=1, base=10, subs=[1, 2, 5]))
    left.yaxis.set_minor_locator(NullLocator())
    left.yaxis.set_major_formatter(ScalarFormatter())
    for axes in (left, right):
        _finish(axes)
    figure.suptitle(f"{portrait.title}: tokens committed a forward")
    return figure


def probability_figure(portrait: Portrait) -> Figure:
    """Draw the mean probability of opening an eligible position over steps and positions."""
    findings, steps = portrait.policy, _steps(portrait.policy)
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes, side = figure.subplots(1, 2, sharey=True, width_ratios=[7, 1])
    image = axes.imshow(
        findings.probability[:steps], aspect="auto", interpolation="nearest", vmin=0, vmax=1,
        cmap=_map(),
    )  # fmt: skip
    figure.colorbar(
        image, ax=side, label="mean probability of opening\n(grey: nothing was eligible)"
    )
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="position (token)", ylabel=_STEP)
    side.barh(np.arange(steps), findings.running[:steps], height=1, color=_CONTENT, alpha=0.6)
    side.set(xlabel="problems\nrunning", xlim=(0, 1), xticks=[0, 1], xticklabels=["0", "all"])
    figure.suptitle(f"{portrait.title}: probability of opening over time and position")
    return figure


def tail_figure(portrait: Portrait) -> Figure:
    """Draw what is spent on end tokens, and when the tail is committed beside the content."""
    findings, steps = portrait.policy, _steps(portrait.policy)
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(
        findings.end_share[:steps], color=_END, marker="o", markersize=4,
        label="policy, end tokens",
    )  # fmt: skip
    left.plot(
        findings.tail_share[:steps], color=_TAIL, marker="s", markersize=3, linestyle="--",
        label="policy, tail (behind the first end token)",
    )  # fmt: skip
    left.set(xlabel=_STEP, ylabel="share of the forward's committed tokens", ylim=(-0.03, 1.03))
    left.xaxis.set_major_locator(MaxNLocator(integer=True))
    for band, colour, name in (
        (findings.content_done, _CONTENT, "content"),
        (findings.tail_done, _TAIL, "tail"),
    ):
        right.plot(band.at, band.mean, color=colour, linewidth=1.8, label=f"policy, {name}")
        _shade(right, band, colour, name)
    portrait.draw_baselines(right, _tail_done, of=", tail")
    right.set(xlabel=_TIME, ylabel="share of it that is committed", xlim=(0, 1), ylim=(-0.03, 1.03))
    for axes in (left, right):
        _finish(axes)
    figure.suptitle(f"{portrait.title}: the tail behind the first end token")
    return figure


@dataclass(frozen=True)
class _Response:
    """Gives the mean response to confidence in one period."""

    period: str

    def __call__(self, findings: Findings) -> tuple:
        band = findings.response[self.period].known
        return band.at, band.mean


def _mean_order(findings: Findings) -> tuple:
    means = np.ma.masked_invalid(findings.order).mean(0).filled(np.nan)
    return np.arange(len(means)), means


def _tokens_by_step(findings: Findings) -> tuple:
    band = findings.tokens_by_step.first(_steps(findings))
    return band.at, band.mean


def _tokens_by_time(findings: Findings) -> tuple:
    return findings.tokens_by_time.at, findings.tokens_by_time.mean


def _tail_done(findings: Findings) -> tuple:
    return findings.tail_done.at, findings.tail_done.mean


def _steps(findings: Findings) -> int:
    """Return how many steps enough problems take."""
    return int((findings.running >= _FEWEST_RUNNING).sum())


def _map() -> Colormap:
    return colormaps["viridis"].with_extremes(bad=_NOTHING)


def _shade(axes: Axes, band: Band, colour: str, name: str) -> None:
    """Shade from the 10 % to the 90 % quantile."""
    axes.fill_between(
        band.at, band.low, band.high, color=colour, alpha=0.15, linewidth=0,
        label=f"{name}, 10 % to 90 %",
    )  # fmt: skip


def _finish(axes: Axes) -> None:
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
