"""Decoding and grading of problems: what every reported number is made of.

The names load on first use: reports read stores without torch.
"""

from lit_unmask import lazily

_HOMES = {
    "Evaluation": "decode",
    "InProcess": "grading",
    "WorkerPool": "grading",
    "content_tokens": "decode",
    "encode_groups": "decode",
    "evaluate": "decode",
    "rollout_numbers": "decode",
}

__all__ = sorted(_HOMES)

__getattr__ = lazily(__name__, _HOMES)
