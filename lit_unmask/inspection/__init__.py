"""What a policy saw and did: traces, figures' numbers, trajectories of single problems."""

from lit_unmask import lazily

_HOMES = {
    "Band": "inspection",
    "Findings": "inspection",
    "confidence_response": "inspection",
    "pace": "inspection",
    "probability_map": "inspection",
    "share_done": "inspection",
    "summary": "inspection",
}

__all__ = sorted(_HOMES)

__getattr__ = lazily(__name__, _HOMES)
