"""What ends a run: signals, the checkpoint that they leave, and a first rank that is gone."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import distributed

FILE = "interrupted.ckpt"
_FIRST_RANK = "LIT_UNMASK_FIRST_RANK"  # the process that starts the others, which inherit it


class Interruption(Callback):
    """Saves and ends ``fit`` after the round or validation at hand, once a signal asks for it.

    SIGTERM and SIGINT (Ctrl-C) are heeded; whichever rank gets one, all of them stop together. The
    checkpoint, :data:`FILE`, lies in the folder of the first ``ModelCheckpoint``, takes the place
    of that of an earlier interruption, and is what ``--ckpt_path=last`` goes on from. The process
    ends with 128 and the number of the signal. A second signal ends it at once.

    ``lit-unmask fit`` adds it behind all other callbacks, so that they have seen the round.

    Attributes:
        asked: The signal that this process was sent, if it was.
    """

    def __init__(self) -> None:
        self.asked: int | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Take the place of Lightning's handler.

        It exchanges something with the other ranks wherever each of them happens to be, and what
        they are exchanging then gets mixed up with it.
        """
        if stage == "fit":
            self.asked = None
            trainer._signal_connector._sigterm_notifier_fn = self._handler(trainer)  # type: ignore[method-assign]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Heed both signals; Lightning puts those of before back when it is done."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, self._handler(trainer))

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Save and stop, if a rank was asked to.

        Raises:
            SIGTERMException: If one was; with the exit code of this process.
        """
        if not trainer.strategy.reduce_boolean_decision(self.asked is not None, all=False):
            return
        callbacks = trainer.checkpoint_callbacks
        folders = [found.dirpath for found in callbacks if isinstance(found, ModelCheckpoint)]
        if folders and folders[0] is not None:
            file = Path(folders[0]) / FILE
            trainer.save_checkpoint(file)
            _say(trainer, f"saved {file}; --ckpt_path=last goes on from it")
        # Lightning kills the first rank where another one ends with an error.
        code = 128 + (self.asked or signal.SIGTERM) if trainer.is_global_zero else 0
        raise SIGTERMException(code)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Do the same after a validation."""
        if trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking:
            self.on_train_batch_end(trainer, pl_module)

    def _handler(self, trainer: Trainer) -> Any:
        def ask(number: int, frame: FrameType | None) -> None:
            if self.asked is None:
                self.asked = number
                _say(
                    trainer, "ends after this round or validation; a second signal ends it at once"
                )
                return
            if trainer.strategy.launcher is not None:
                trainer.strategy.launcher.kill(signal.SIGKILL)
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

        return ask


def is_interrupted(trainer: Trainer) -> bool:
    """Return whether this process has been sent a signal that asks it to end."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    found = (callback for callback in callbacks if isinstance(callback, Interruption))
    return trainer.received_sigterm or any(one.asked is not None for one in found)


def end_with_first_rank(every: float = 1.0) -> None:
    """End this process, if it is a rank that another one started, once that one is gone.

    Ranks that have met notice it by themselves. Before, the others would wait for the first one as
    long as for one that is slow: half an hour.

    Args:
        every: Seconds between two looks.
    """
    first, parent = os.environ.get(_FIRST_RANK, ""), os.getppid()
    if "LOCAL_RANK" not in os.environ or not first:
        os.environ[_FIRST_RANK] = str(os.getpid())
    elif "TORCHELASTIC_RUN_ID" in os.environ:
        pass  # torchrun watches its ranks itself
    elif first == str(parent) or not _is_there(int(first)):
        threading.Thread(target=_watch, args=(int(first), every), daemon=True).start()


def _is_there(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        pass
    return True


def _watch(first: int, every: float) -> None:
    """Look whether the first rank is there, until all ranks have met."""
    while os.getppid() == first and not distributed.is_initialized():
        time.sleep(every)
    if not distributed.is_initialized():
        os.write(2, b"error: the first rank ended before all ranks had met; see its output\n")
        os._exit(1)


def _say(trainer: Trainer, what: str) -> None:
    """Write a line past Python's buffers, in which a signal may have come."""
    if trainer.is_global_zero:
        os.write(2, f"\n{what}\n".encode())
