"""What the study trains: every run, as what it changes of a configuration."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
BASE = HERE / "base.yaml"
ALPHAS = (0.0, 0.3, 1.0, 3.0, 10.0)
BLOCKS = (16, 64)
TARGETS = (6, 8, 12, 16, 20)
# The weight of speed of all runs that are not about it.
ALPHA = 3.0
DEMONSTRATIONS = "demonstrations"
# Policies that are told alpha, and that are told a number of forwards: trained for it from the
# start, and after ``CONTINUED``.
TOLD_ALPHA = ("told/conditioned", "told/conditioned-continued")
TOLD_TARGET = ("told/budget", "told/budget-continued")
CONTINUED = "bernoulli/alpha-1-block-64-seed-0"


@dataclass(frozen=True)
class Run:
    """One training run, or the recording that one needs.

    Attributes:
        name: Names its folder and its rows in the tables.
        settings: Command line of ``lit-unmask`` after the first configuration.
        config: The first configuration.
        subcommand: Of ``lit-unmask``.
        weights: Run whose best policy this one starts from.
    """

    name: str
    settings: tuple[str, ...] = ()
    config: Path = BASE
    subcommand: str = "fit"
    weights: str | None = None


# Runs that must follow one another.
Chain = tuple[Run, ...]


def chains() -> list[Chain]:
    """Return everything that is trained, the most important first."""
    return [
        *((bernoulli(alpha, 64),) for alpha in ALPHAS),
        *((run,) for run in _told()),
        _imitation(),
        (Run("imitation/none", _variant("untaught")),),
        *((run,) for run in _heads()),
        *((bernoulli(alpha, 16),) for alpha in ALPHAS),
        *((bernoulli(ALPHA, 64, seed),) for seed in (1, 2)),
    ]


def bernoulli(alpha: float, block_length: int, seed: int = 0) -> Run:
    """Return the run of the reference distribution at one weight of speed."""
    return Run(
        f"bernoulli/alpha-{alpha:g}-block-{block_length}-seed-{seed}",
        (
            f"--model.reward.init_args.alpha={alpha}",
            f"--model.decoding.block_length={block_length}",
            f"--seed_everything={seed}",
        ),
    )


def _heads() -> list[Run]:
    """Return the other distributions and ways of training, at one weight of speed."""
    taught = ("dpls", "bernoulli-argmax", "beta-intensity", "expert-steering", "sum-over-steps")
    untaught = ("beta-threshold", "count", "block-threshold")
    return [
        *(Run(f"heads/{name}", _variant(name)) for name in taught),
        *(Run(f"heads/{name}", (*_variant("untaught"), *_variant(name))) for name in untaught),
    ]


def _told() -> list[Run]:
    """Return the policies that are told the wanted speed, the last two after one that was not."""
    told = ("conditioned", "budget")
    recipe = ("--config", str(ROOT / "configs" / "base" / "recipe_conditioned.yaml"))
    return [
        *(Run(f"told/{name}", (*recipe, *_variant(name))) for name in told),
        *(Run(f"told/{name}-continued", _variant(f"{name}-continued")) for name in told),
    ]


def _imitation() -> Chain:
    """Return imitation alone, rewards after it, and the recording that it needs."""
    recording = ROOT / "configs" / "demonstrations.yaml"
    teaching = ROOT / "configs" / "imitation.yaml"
    afterwards = (*_variant("untaught"), "--trainer.max_steps=75")
    return (
        Run(DEMONSTRATIONS, _variant("demonstrations"), recording, "predict"),
        Run("imitation/alone", _variant("imitation"), teaching),
        Run("imitation/then-rewards", afterwards, weights="imitation/alone"),
    )


def _variant(name: str) -> tuple[str, ...]:
    """Return the command line of a file of changes."""
    return ("--config", str(HERE / "variants" / f"{name}.yaml"))
