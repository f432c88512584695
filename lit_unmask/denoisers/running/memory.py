"""Going on when memory runs out."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

Result = TypeVar("Result")


class RowLimit:
    """Splits batches into calls that fit into memory.

    The limit is found by trying: when a call runs out of memory, the limit is halved and the same
    rows are computed again, so nothing is lost. It is kept for later batches.

    Attributes:
        rows: Most rows in one call, or None as long as every call has fitted.
    """

    def __init__(self) -> None:
        self.rows: int | None = None

    def run(
        self,
        call: Callable[[slice], Result],
        rows: int,
        recover: Callable[[], None] | None = None,
    ) -> list[Result]:
        """Run a call on all rows, in as many parts as needed.

        Args:
            call: Computes the rows of a slice; it is repeated after it has run out of memory.
            rows: Rows in all.
            recover: Called after a call has run out of memory, before it is repeated.

        Returns:
            The results of consecutive slices.

        Raises:
            RuntimeError: If one row alone does not fit (``torch.OutOfMemoryError`` on a GPU).
        """
        results: list[Result] = []
        start = 0
        while start < rows or not results:
            size = min(self.rows or rows, rows - start)
            try:
                results.append(call(slice(start, start + size)))
            except RuntimeError as error:
                if not _ran_out_of_memory(error) or size <= 1:
                    raise
                self.rows = size // 2
            else:
                start += size
                continue
            # Outside the handler, where the traceback no longer holds the failed call's tensors.
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            if recover is not None:
                recover()
        return results


def _ran_out_of_memory(error: RuntimeError) -> bool:
    # The CPU's allocator has no exception class of its own.
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)
