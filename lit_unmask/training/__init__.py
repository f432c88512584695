"""From a round of prompts to a checkpoint.

The names load on first use, as formulas need torch alone.
"""

from lit_unmask import lazily

_HOMES = {
    "AdditiveSpeed": "rewards",
    "GRPO": "grpo",
    "LitUnmask": "module",
    "MeanOverSteps": "grpo",
    "MultiplicativeSpeed": "rewards",
    "NearTarget": "rewards",
    "ShardedDenoiser": "strategy",
    "SumOverSteps": "grpo",
    "WarmupCosine": "schedule",
    "WarmupStableDecay": "schedule",
}

__all__ = sorted(_HOMES)

__getattr__ = lazily(__name__, _HOMES)
