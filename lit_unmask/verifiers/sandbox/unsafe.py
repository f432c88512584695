"""No containment at all, for programs that are trusted."""

from __future__ import annotations

from typing import Any

from lit_unmask.verifiers.sandbox.base import Sandbox


class Unsafe(Sandbox):
    """Runs programs with nothing but limits of memory, CPU and file size between them and you.

    A program can read and write all that you can, and reach the network.
    It is never chosen for you; take it for programs that you trust, or inside a container that may
    be lost.
    """

    def command(self, inner: list[str], folder: str) -> list[str]:
        """Return the command itself."""
        return inner

    def settings(self) -> dict[str, Any]:
        """Return limits alone."""
        return super().settings() | {"contained": False}

    def probe(self) -> None:
        """Do nothing; there is no containment to check."""
