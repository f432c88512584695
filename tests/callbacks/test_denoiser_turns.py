"""Two denoisers are never on a device at once that has room for one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from lit_unmask.callbacks import Cell, TransferTest
from lit_unmask.callbacks.transfer_cell import in_place_of
from toys import Coins, make_data, make_module, make_trainer

from lit_unmask.denoisers import LLaDA
from lit_unmask.denoisers.loading.placement import Placement
from lit_unmask.evaluation.grid import HeuristicGrid
from lit_unmask.policies import LowConfidence
from lit_unmask.training.module import LitUnmask
from lit_unmask.types import Observation

FAR = torch.device("cuda")


class Placed(LLaDA):
    """A denoiser that notes where it was sent, and which ones were far when one was used."""

    def __init__(self, path: str, name: str, log: list[tuple[str, ...]]) -> None:
        super().__init__(path)
        self.name, self.log = name, log

    def to(self, device: Any) -> Placed:  # type: ignore[override]
        self.log.append((self.name, torch.device(device).type))
        return self

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        places = dict(line for line in self.log if len(line) == 2)
        far = sorted(name for name, place in places.items() if place == FAR.type)
        used = ("used", self.name, *far)
        if self.log[-1] != used:
            self.log.append(used)
        return super().forward(*args, **kwargs)


class Far(LitUnmask):
    """A module that says, from a time on, to be on a device that this machine need not have."""

    far = False

    @property
    def device(self) -> torch.device:
        return FAR if self.far else super().device


class Away(Callback):
    """Moves the module away when a test ends, before the callbacks behind it."""

    def on_test_end(self, trainer: Any, pl_module: Any) -> None:
        pl_module.far = True
        pl_module.denoiser.log[:] = [("own", FAR.type), ("guest", "cpu")]


class Breaking(LowConfidence):
    """A heuristic that runs out of memory."""

    def forward(self, observation: Observation) -> Any:
        raise torch.OutOfMemoryError


def transfer(checkpoint: Path, folder: Path, policy: Any, *first: Callback) -> list[Any]:
    """Test a cell of the module's denoiser, one of another, and one of its own again."""
    log: list[Any] = []
    own, guest = (Placed(str(checkpoint), name, log) for name in ("own", "guest"))
    plain = make_module(own)
    module = Far(own, plain.policy, plain.decoding)
    tuning, test = Coins("tuning", 2), Coins("test", 2)
    grids = {"low": HeuristicGrid(LowConfidence, [4], [8])}
    cells = {
        "home": Cell(test, tuning),
        "guest": Cell(test, tuning, guest, grids={"low": HeuristicGrid(policy, [4], [8])}),
        "home again": Cell(test, tuning, gen_length=16),
    }
    callback = TransferTest(cells, grids, str(folder / "out"))
    trainer = make_trainer(folder, *first, callback)
    try:
        trainer.test(module, datamodule=make_data(), verbose=False)
    except torch.OutOfMemoryError:
        log.append("failed")
    return log


def test_a_cell_has_the_device_for_its_denoiser_alone(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    log = transfer(tiny_checkpoint, tmp_path, LowConfidence, Away())
    assert log[2:-1] == [
        ("used", "own", "own"),
        *(("own", "cpu"), ("guest", "cuda")),
        ("used", "guest", "guest"),
        *(("guest", "cpu"), ("own", "cuda")),
        ("used", "own", "own"),
    ]
    assert log[-1] == ("own", "cpu")  # the module's own teardown


def test_the_denoiser_comes_back_after_a_failure(tiny_checkpoint: Path, tmp_path: Path) -> None:
    log = transfer(tiny_checkpoint, tmp_path, Breaking, Away())
    end = log.index("failed")
    assert log[end - 2 : end] == [("guest", "cpu"), ("own", "cuda")]


def test_nothing_moves_in_the_memory_of_the_cpu(tiny_checkpoint: Path, tmp_path: Path) -> None:
    log = transfer(tiny_checkpoint, tmp_path, LowConfidence)
    moves = [line for line in log if line[0] != "used"]
    assert moves == [("own", "cpu"), ("own", "cpu")]  # the module's setup and teardown
    assert ("used", "guest") in log


def test_a_denoiser_of_a_device_map_stays_where_it_is(tiny_checkpoint: Path) -> None:
    mapped = LLaDA(str(tiny_checkpoint), placement=Placement(device_map="cpu"))
    free, seen = LLaDA(str(tiny_checkpoint)), []
    # The meta device stands for an accelerator, from which this guest will not come back.
    target = torch.device("meta")
    with (
        pytest.raises(NotImplementedError, match="meta tensor"),
        in_place_of(mapped, free, target),
    ):
        seen += [mapped.device.type, free.device.type]
    assert seen == ["cpu", "meta"]
