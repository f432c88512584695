"""How numbers are written, the same in sentences and tables."""

from __future__ import annotations

import math

from lit_unmask.statistics import Estimate


def p_text(value: float) -> str:
    """Write a p-value, for instance ``p = 0.0004`` or ``p < 0.0001``."""
    if value < 1e-4:
        return "p < 0.0001"
    return f"p = {value:.4f}" if value < 0.01 else f"p = {value:.2f}"


def interval_text(estimate: Estimate, digits: int, scale: float = 1) -> str:
    """Write the ends of an interval, ``4.1 to 12.6``."""
    if math.isnan(estimate.low):
        return "unknown"
    return f"{number(estimate.low * scale, digits)} to {number(estimate.high * scale, digits)}"


def number(value: float, digits: int) -> str:
    """Write a number with a true minus sign and without a negative zero."""
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text.replace("-", "\N{MINUS SIGN}")


def signed(value: float, digits: int) -> str:
    """Write a number with its sign, unless it is zero."""
    text = number(value, digits)
    return f"+{text}" if value > 0 and float(text) != 0 else text


def points(estimate: Estimate) -> str:
    """Write a difference of shares in percentage points, with its interval."""
    return f"{signed(estimate.value * 100, 1)} ({interval_text(estimate, 1, 100)})"


def with_interval(estimate: Estimate, digits: int) -> str:
    """Write a number and its interval, ``0.740 (0.675 to 0.796)``."""
    return f"{number(estimate.value, digits)} ({interval_text(estimate, digits)})"


def count(number_of: int, noun: str) -> str:
    """Write a number of things, ``1 run`` or ``2 runs``."""
    return f"{number_of} {noun}{'' if number_of == 1 else 's'}"
