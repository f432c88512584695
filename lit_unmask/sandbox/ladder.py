"""Which sandbox runs here."""

from __future__ import annotations

from functools import cache

from lit_unmask.sandbox.base import Sandbox
from lit_unmask.sandbox.bubblewrap import Bubblewrap
from lit_unmask.sandbox.errors import NoSandbox, SandboxError
from lit_unmask.sandbox.landlock import Sandlock

LADDER: tuple[type[Sandbox], ...] = (Bubblewrap, Sandlock)
_REMEDIES = """\
Do one of these:
  - install bubblewrap (Debian, Ubuntu: apt-get install bubblewrap), and in a container allow
    namespaces (docker run --security-opt seccomp=unconfined, or --privileged);
  - pip install 'lit-unmask[sandbox]' for sandlock, on Linux 6.7 or later with Landlock;
  - if this machine may be lost, ask for no containment by name:
    lit_unmask.sandbox.Unsafe as the verifier's sandbox."""


@cache
def strongest() -> Sandbox:
    """Return the strongest sandbox that really runs here; each is tried once in a process.

    Raises:
        NoSandbox: If none does; the message says why, and names the remedies.
    """
    reasons = []
    for kind in LADDER:
        sandbox = kind()
        try:
            sandbox.probe()
        except SandboxError as error:
            reasons.append(f"  {kind.__name__}: {error}")
        else:
            return sandbox
    tried = "\n".join(reasons)
    raise NoSandbox(f"no sandbox for model-written programs runs here:\n{tried}\n{_REMEDIES}")
