"""Sandboxes for programs that a model wrote: bubblewrap, else sandlock, else none is used."""

from lit_unmask.verifiers.sandbox.base import Limits, Outcome, Sandbox, Trial
from lit_unmask.verifiers.sandbox.bubblewrap import Bubblewrap
from lit_unmask.verifiers.sandbox.errors import NoSandbox, SandboxError
from lit_unmask.verifiers.sandbox.ladder import Strongest, strongest
from lit_unmask.verifiers.sandbox.landlock import Sandlock
from lit_unmask.verifiers.sandbox.packages import places_of
from lit_unmask.verifiers.sandbox.unsafe import Unsafe

__all__ = [
    "Bubblewrap",
    "Limits",
    "NoSandbox",
    "Outcome",
    "Sandbox",
    "SandboxError",
    "Sandlock",
    "Strongest",
    "Trial",
    "Unsafe",
    "places_of",
    "strongest",
]
