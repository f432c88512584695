"""JSON on one line, for hashes."""

from __future__ import annotations

import json
from typing import Any


def canonical_json(value: Any) -> str:
    """Return JSON on one line that is the same for the same value.

    Raises:
        ValueError: If a number is not finite.
        TypeError: If there is no JSON for the value.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
