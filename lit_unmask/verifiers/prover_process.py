"""The process behind :class:`~lit_unmask.verifiers.prover.Prover`: one comparison a line."""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
import sys


def compare(gold: str, answer: str) -> bool | None:
    """Return whether an answer is found equal to the reference, None if memory ends."""
    from lit_unmask.verifiers.algebra import equal

    try:
        return bool(equal(gold, answer))
    except MemoryError:
        return None
    except Exception:  # what cannot be read or compared is not equal
        return False


def main() -> None:
    """Answer lines of standard input until it ends.

    Arguments of the command line: address space in MiB, and the CPU seconds after which a
    comparison ends this process, by a signal that nothing handles.
    """
    memory, seconds = int(sys.argv[1]) * 2**20, float(sys.argv[2])
    # Libraries may print; answers have a descriptor that they do not know.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    compare("x+1", "1+x")
    logging.disable()
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    answers.write("ready\n")
    answers.flush()
    for line in sys.stdin:
        signal.setitimer(signal.ITIMER_PROF, seconds)
        verdict = compare(*json.loads(line))
        signal.setitimer(signal.ITIMER_PROF, 0)
        answers.write(json.dumps(verdict) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
