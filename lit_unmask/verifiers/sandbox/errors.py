"""Failures of a sandbox itself; never a verdict about a program."""

from __future__ import annotations

from lit_unmask.errors import ConfigurationError


class SandboxError(RuntimeError):
    """A sandbox did not do its work."""


class NoSandbox(ConfigurationError):
    """No sandbox runs on this machine; the message says why and what helps."""
