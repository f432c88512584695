"""Entry point of ``lit-unmask`` and ``python -m lit_unmask``."""

from __future__ import annotations

import sys

from lit_unmask import __version__


def main() -> None:
    """Answer ``--version`` at once; leave everything else to the command line proper."""
    if sys.argv[1:] == ["--version"]:
        print(f"lit-unmask {__version__}")
        return
    from lit_unmask.cli import main as run

    run()


if __name__ == "__main__":
    main()
