"""A test makes, tokenises and decodes everything once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import pytest
import yaml
from lit_unmask.callbacks import Frontier
from transformers import PreTrainedTokenizerBase

from lit_unmask.cli import main
from lit_unmask.denoisers import Denoiser
from lit_unmask.evaluation import decode
from lit_unmask.evaluation.store import Store
from lit_unmask.policies import LearnedPolicy
from lit_unmask.tasks.datamodule import TaskDataModule


def counting(calls: Counter[str], name: str, real: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(real)  # parsers read its parameters
    def call(*args: Any, **named: Any) -> Any:
        calls[name] += 1
        return real(*args, **named)

    return call


def test_everything_is_made_tokenised_and_decoded_once(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, texts, decoded = Counter[str](), Counter[str](), Counter[int]()
    kinds: tuple[Any, ...] = (Denoiser, LearnedPolicy, TaskDataModule, Frontier)
    for kind in kinds:
        monkeypatch.setattr(kind, "__init__", counting(made, kind.__name__, kind.__init__))
    encode, rollout = PreTrainedTokenizerBase.encode, decode.rollout

    def counted_encode(self: Any, text: str, **named: Any) -> Any:
        texts[text] += 1
        return encode(self, text, **named)

    def counted_rollout(denoiser: Any, policy: Any, prompt: Any, *rest: Any, **named: Any) -> Any:
        decoded.update(rest[1].rollout.tolist())
        return rollout(denoiser, policy, prompt, *rest, **named)

    monkeypatch.setattr(PreTrainedTokenizerBase, "encode", counted_encode)
    monkeypatch.setattr(decode, "rollout", counted_rollout)
    given = yaml.safe_load(base.read_text())
    arguments = {"folder": str(tmp_path / "store"), "grids": {}}
    given["trainer"]["callbacks"] = [
        {"class_path": "lit_unmask.callbacks.Frontier", "init_args": arguments}
    ]
    base.write_text(yaml.safe_dump(given))
    main(["test", f"--config={base}"])
    assert made == {kind.__name__: 1 for kind in kinds}
    assert len(texts) == 9 and set(texts.values()) == {1}  # 4 to tune on, 5 to test on
    assert len(decoded) == 9 and set(decoded.values()) == {1}
    store = Store(tmp_path / "store")
    runs = {run.stage: len(store.outcomes(run)) for run in store.runs()}
    assert runs == {"tuning": 4, "test": 5}
