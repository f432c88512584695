"""What a run writes, and where."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from lightning.pytorch.callbacks import ModelCheckpoint

from lit_unmask.callbacks import Frontier, TransferTest
from lit_unmask.errors import ConfigurationError
from lit_unmask.files import check_folder
from lit_unmask.preflight.devices import Missing
from lit_unmask.preflight.dry_run import Request
from lit_unmask.preflight.workload import Run

# Weights and Adam's two moments in float32, and what Lightning adds.
_CHECKPOINT, _CHECKPOINT_EXTRA = 12, 50_000


@dataclass(frozen=True)
class Disk:
    """Bytes that a run needs on disk.

    Attributes:
        weights: Checkpoints of denoisers, in 16 bits as they are published, or as they lie here.
        checkpoints: Checkpoints of the policy that are kept.
        folders: Where it writes.
        free: What is free in the first of these folders.
    """

    weights: float
    checkpoints: float
    folders: list[str]
    free: float


def disk_of(request: Request, run: Run) -> Disk:
    """Return what a run needs on disk, apart from its logs."""
    trains = request.stage == "fit"
    kept = sum(_kept(callback, run) for callback in _checkpoints(request)) if trains else 0
    folders = folders_of(request)
    first = Path(folders[0]).absolute()
    there = next(folder for folder in (first, *first.parents) if folder.exists())
    return Disk(
        weights=sum({str(spec.shown): spec.file_bytes for spec in request.specs}.values()),
        checkpoints=kept * (_CHECKPOINT * request.policy_size + _CHECKPOINT_EXTRA),
        folders=folders,
        free=float(shutil.disk_usage(there).free),
    )


def unwritable(request: Request) -> list[Missing]:
    """Return the folders that cannot be written."""
    found = []
    for folder in folders_of(request):
        try:
            check_folder(folder)
        except ConfigurationError as error:
            found.append(Missing.of(error))
    return found


def folders_of(request: Request) -> list[str]:
    """Return the folders that a run writes to, the logs' first."""
    loggers = request.trainer["logger"]
    loggers = loggers if isinstance(loggers, list) else [loggers]
    folders = [getattr(logger, "save_dir", None) for logger in loggers]
    folders += [callback.dirpath for callback in _checkpoints(request)]
    writers = Frontier, TransferTest
    folders += [found.folder for found in request.callbacks if isinstance(found, writers)]
    folders += [request.trainer["default_root_dir"]]
    return [str(folder) for folder in dict.fromkeys(folders) if folder] or [str(Path.cwd())]


def _checkpoints(request: Request) -> list[ModelCheckpoint]:
    return [found for found in request.callbacks if isinstance(found, ModelCheckpoint)]


def _kept(callback: ModelCheckpoint, run: Run) -> int:
    """Return how many files a callback keeps: the best ones, or all, and the last."""
    every = getattr(callback, "_every_n_train_steps", 0)
    written = (run.rounds or 0) // every if every else run.validations
    best = written if callback.save_top_k == -1 else min(callback.save_top_k, max(written, 1))
    return best + bool(callback.save_last)
