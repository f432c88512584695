"""Decoding and grading of problems: what every reported number is made of.

The names load on first use: reports read stores without torch.
"""

from lit_unmask import lazily

_HOMES = {
    "Evaluation": "evaluate",
    "InProcess": "grading",
    "WorkerPool": "grading",
    "drift": "drift",
    "evaluate": "evaluate",
}

__all__ = ["Evaluation", "InProcess", "WorkerPool", "drift", "evaluate"]

__getattr__ = lazily(__name__, _HOMES)
