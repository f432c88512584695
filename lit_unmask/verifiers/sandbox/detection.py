"""Which sandbox runs here: bubblewrap, else sandlock, else none is used."""

from __future__ import annotations

from functools import cache
from typing import Any

from lit_unmask.verifiers.sandbox.base import NoSandbox, Sandbox, SandboxError
from lit_unmask.verifiers.sandbox.bubblewrap import Bubblewrap
from lit_unmask.verifiers.sandbox.landlock import Sandlock

KINDS: tuple[type[Sandbox], ...] = (Bubblewrap, Sandlock)
_REMEDIES = """\
Do one of these:
  - install bubblewrap (Debian, Ubuntu: apt-get install bubblewrap), and in a container allow
    namespaces (docker run --security-opt seccomp=unconfined, or --privileged);
  - pip install 'lit-unmask[sandbox]' for sandlock, on Linux 6.7 or later with Landlock;
  - if this machine may be lost, ask for no containment by name:
    lit_unmask.verifiers.sandbox.Unsafe as the verifier's sandbox
    (--data.verifier.sandbox=lit_unmask.verifiers.sandbox.Unsafe with CodeDataModule)."""


@cache
def strongest() -> Sandbox:
    """Return the strongest sandbox that really runs here; each is tried once in a process.

    Raises:
        NoSandbox: If none does; the message says why, and names the remedies.
    """
    reasons = []
    for kind in KINDS:
        sandbox = kind()
        try:
            sandbox.probe()
        except SandboxError as error:
            reasons.append(f"  {kind.__name__}: {error}")
        else:
            return sandbox
    tried = "\n".join(reasons)
    raise NoSandbox(f"no sandbox for model-written programs runs here:\n{tried}\n{_REMEDIES}")


class Strongest(Sandbox):
    """Runs programs in the strongest sandbox that runs on the machine that grades them.

    That is :class:`~lit_unmask.verifiers.sandbox.Bubblewrap`, else
    :class:`~lit_unmask.verifiers.sandbox.Sandlock`; where neither runs, grading refuses with
    :class:`~lit_unmask.verifiers.sandbox.NoSandbox`, and nothing is run without containment. Which
    one it is, is found out once in each process, so that workers on other machines find their own.
    """

    def command(self, inner: list[str], folder: str) -> list[str]:
        """Return the command of the sandbox that was found."""
        return self._found.command(inner, folder)

    def shown(self) -> str:
        """Return the harness' place in the sandbox that was found."""
        return self._found.shown()

    def settings(self) -> dict[str, Any]:
        """Return the settings of the sandbox that was found."""
        return self._found.settings()

    @property
    def _found(self) -> Sandbox:
        return type(strongest())(self.limits, self.packages)
