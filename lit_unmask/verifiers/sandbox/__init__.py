"""Sandboxes for programs that a model wrote: bubblewrap, else sandlock, else none is used."""

from lit_unmask.verifiers.sandbox.base import (
    Limits,
    NoSandbox,
    Outcome,
    Sandbox,
    SandboxError,
    Trial,
)
from lit_unmask.verifiers.sandbox.bubblewrap import Bubblewrap
from lit_unmask.verifiers.sandbox.detection import Strongest, strongest
from lit_unmask.verifiers.sandbox.landlock import Sandlock
from lit_unmask.verifiers.sandbox.unsafe import Unsafe
from lit_unmask.verifiers.sandbox.visible import places_of
