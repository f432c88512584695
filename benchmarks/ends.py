"""Short runs of two ranks, some of them disturbed, all of which must end: part of ``soak.py``."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROUNDS = 8
DEADLINE = (
    900.0  # seconds from the start of a run, or from a signal, to its end; the machine may be busy
)
# Of ten runs. A signal comes while a run starts, or once it has saved a round.
KINDS = ("undisturbed",) * 6 + ("told", "told", "killed", "killed")
TOLD = 128 + signal.SIGTERM


def short(config: dict[str, Any]) -> dict[str, Any]:
    """Return a run of short rounds, each of which is saved, on two ranks."""
    checkpoint = {
        "class_path": "lightning.pytorch.callbacks.ModelCheckpoint",
        "init_args": {"every_n_train_steps": 1, "save_last": True},
    }
    few = {"devices": 2, "strategy": "ddp", "max_steps": ROUNDS, "limit_val_batches": 0}
    trainer = config["trainer"] | few | {"callbacks": [checkpoint]}
    model = config["model"] | {"rounds": {"group_size": 2}}
    model["decoding"] = {"gen_length": 4, "block_length": 4, "temperature": 1.0}
    return config | {"trainer": trainer, "model": model}


def run_ranks(config: dict[str, Any], home: Path, runs: int, seed: int) -> Iterator[dict[str, Any]]:
    """Start runs, one after the other; yields what became of them.

    Args:
        config: Of a run.
        home: Where they write.
        runs: Number of them.
        seed: Draws ranks and times of signals.
    """
    rng, ends, lost, longest, usual = random.Random(seed), Counter[str](), 0, 0.0, 20.0
    for number in range(runs):
        folder, kind = home / f"run-{number}", KINDS[number % len(KINDS)]
        folder.mkdir()
        content = short(config)
        content["trainer"]["logger"]["init_args"]["save_dir"] = str(folder)
        (folder / "config.yaml").write_text(json.dumps(content))  # which is YAML
        code, sent, seconds = _one(folder, kind, rng, usual)
        usual = seconds if kind == "undisturbed" else usual
        done = f"`max_steps={ROUNDS}` reached" in (folder / "log.txt").read_text()
        right = _is_right(code, kind, sent, done)
        lost, longest = lost + (not right), max(longest, seconds)
        sent += " and done" * (done and bool(sent))
        ends[f"{kind}{sent and ', ' + sent}: {'hangs' if code is None else code}"] += 1
        print(f"{number}: {kind} {sent} {code} after {seconds:.0f} s{'' if right else ' LOST'}",
              flush=True)  # fmt: skip
        if not right:
            print((folder / "log.txt").read_text()[-3000:], flush=True)
        yield {
            "injected": number + 1, "survived": number + 1 - lost, "lost": lost,
            "hung": sum(n for end, n in ends.items() if end.endswith("hangs")),
            "longest_seconds_to_end": round(longest, 1), "ends": dict(sorted(ends.items())),
        }  # fmt: skip


def _is_right(code: int | None, kind: str, sent: str, done: bool) -> bool:
    """Return whether a run ended as it should; once it is done, in whatever way.

    Args:
        code: Its exit code.
        kind: One of ``KINDS``.
        sent: Who was sent a signal, and when.
        done: Whether it says that all rounds are played.
    """
    if kind == "undisturbed":
        return code == 0
    if done:
        return code is not None
    if kind == "told" and "rounds" in sent:
        return code == TOLD
    return code is not None and code != 0


def _one(
    folder: Path, kind: str, rng: random.Random, usual: float
) -> tuple[int | None, str, float]:
    """Start a run, and wait until all of its ranks have ended.

    Args:
        folder: Of the run.
        kind: One of ``KINDS``.
        rng: Draws who gets a signal, and when.
        usual: Seconds that a run takes which nobody disturbs.

    Returns:
        Its exit code, None if a process of it hung; what it was sent; and the seconds from then, or
        from the start, to the end of all ranks.
    """
    with (folder / "log.txt").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "lit_unmask", "fit", "--config", str(folder / "config.yaml")],
            stdout=log, stderr=log, start_new_session=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip
    start, sent = time.time(), ""
    if kind != "undisturbed":
        rank, early = rng.randrange(2), rng.random() < 0.4
        target = _rank(process, rank)
        while not early and process.poll() is None and not any(folder.rglob("*.ckpt")):
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.9 * usual if early else 0.02 * usual))
        begun = any(folder.rglob("*.ckpt"))
        start, sent = time.time(), f"rank {rank} {'in its rounds' if begun else 'at the start'}"
        with contextlib.suppress(ProcessLookupError):
            os.kill(target, signal.SIGKILL if kind == "killed" else signal.SIGTERM)
    try:
        code: int | None = process.wait(DEADLINE)
    except subprocess.TimeoutExpired:
        code = None
    while _alive(process.pid) and time.time() < start + DEADLINE:
        time.sleep(0.05)
    seconds = time.time() - start
    if _alive(process.pid):
        code = None
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return code, sent, seconds


def _rank(process: subprocess.Popen[bytes], rank: int) -> int:
    """Wait until a rank is there; returns its process."""
    import psutil

    while rank and process.poll() is None:
        for child in psutil.Process(process.pid).children():
            with contextlib.suppress(psutil.Error):
                if child.environ().get("LOCAL_RANK") == str(rank):
                    return child.pid
        time.sleep(0.01)
    return process.pid


def _alive(group: int) -> bool:
    """Return whether any process of a group is there."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
