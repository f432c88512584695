"""Trajectories of single problems: a page to watch them on, and text in TensorBoard."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path
from textwrap import indent

from lightning.pytorch import Callback, LightningModule, Trainer
from lit_unmask.callbacks.accuracy_nfe import Baseline, decodings
from lit_unmask.callbacks.figures import tensorboard
from rich import get_console

from lit_unmask.errors import ConfigurationError
from lit_unmask.evaluation.decode import Evaluation
from lit_unmask.files import check_folder
from lit_unmask.inspection.text import as_text
from lit_unmask.inspection.trajectories import (
    NamedPolicy,
    Trajectory,
    record_trajectories,
    save,
)
from lit_unmask.inspection.viewer import write_viewer
from lit_unmask.policies import ConfidenceThreshold
from lit_unmask.rollout import Decoding
from lit_unmask.tasks.base import ProblemSet
from lit_unmask.tasks.datamodule import attached_data, is_fast_dev_run
from lit_unmask.training.module import LitUnmask
from lit_unmask.types import Problem

_THRESHOLD = 0.9
_SHORT_BLOCKS = 8  # in a generation length


class Trajectories(Callback):
    """Writes an HTML page on which to watch the policy and baselines decode, when predict starts.

    The page shows the first problems of every test set, which are those of ``predict``, with any
    two of the policies side by side; it is complete in itself. The same data goes to a ``.json``
    file beside it, which :func:`lit_unmask.inspection.trajectories.load` reads. Baselines see the
    same noise as the policy. ``lit-unmask predict --trajectories out.html`` adds this callback.

    ```yaml
    callbacks:
      - class_path: lit_unmask.callbacks.Trajectories
        init_args:
          path: runs/trajectories.html
          count: 20
          baselines:
            entropy-bound-0.3:
              policy:
                class_path: lit_unmask.policies.EntropyBound
                init_args: {gamma: 0.3}
    ```

    Args:
        path: Page to write; its name ends in ``.html``.
        count: Problems of each set.
        baselines: Policies to compare with, by name; None takes the confidence threshold 0.9, with
            the policy's block length and with blocks of an eighth of the generation length.
        policy_name: What the policy is called.

    Raises:
        ValueError: If ``count`` is below 1.
        ConfigurationError: If a file is there already, its name or folder does not do, or a
            baseline cannot be run.
    """

    def __init__(
        self,
        path: str,
        count: int = 20,
        baselines: dict[str, Baseline] | None = None,
        policy_name: str = "policy",
    ) -> None:
        if count < 1:
            raise ValueError(f"count={count} must be at least 1")
        self.path, self.count = Path(path), count
        self.baselines, self.policy_name = baselines, policy_name

    @property
    def data_path(self) -> Path:
        """Where the data of the page goes."""
        return self.path.with_suffix(".json")

    def check_run(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check files and baselines before any work starts."""
        if stage != "predict":
            return
        assert isinstance(pl_module, LitUnmask)
        if self.path.suffix != ".html":
            raise ConfigurationError(f"the path of trajectories, {self.path}, must end in .html")
        for file in (self.path, self.data_path):
            if file.exists():
                raise ConfigurationError(f"{file} exists; move it away or choose another path")
        check_folder(self.path.parent)
        self._policies(pl_module)

    setup = check_run

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record and write, before the predictions, of which there may be many."""
        assert isinstance(pl_module, LitUnmask)
        if trainer.is_global_zero:
            trying = is_fast_dev_run(trainer)
            count = 1 if trying else self.count
            runs = [
                run
                for name, problems in attached_data(trainer).test.items()
                for run in self._record(pl_module, name, _first(problems, count))
            ]
            if not trying:
                save(self.data_path, runs)
                write_viewer(self.path, runs)
                _say(f"trajectories: {self.path}, {self.data_path}")
        trainer.strategy.barrier("trajectories")

    def _record(self, module: LitUnmask, name: str, problems: list[Problem]) -> list[Trajectory]:
        policies, seed, grader = self._policies(module), module.rounds.seed, module.grader
        labels = ", ".join(who.label for who in policies)
        _say(f"{name}: recording {len(problems)} problems for {labels}")
        return [
            replace(run, dataset=name)
            for who in policies
            for run in record_trajectories(module.denoiser, who, problems, seed, grader)
        ]

    def _policies(self, module: LitUnmask) -> list[NamedPolicy]:
        """Return the module's policy and the baselines, ready to run."""
        decoding = module.eval_decoding
        baselines = usual_baselines(decoding) if self.baselines is None else self.baselines
        if self.policy_name in baselines:
            raise ConfigurationError(
                f"a baseline of Trajectories is called {self.policy_name!r}, as the policy is; "
                "give it another name or set policy_name"
            )
        return [
            NamedPolicy(self.policy_name, module.policy, decoding),
            *(
                NamedPolicy(name, baselines[name].policy, way)
                for name, way in decodings(baselines, decoding, "Trajectories").items()
            ),
        ]


class TrajectoryText(Callback):
    """Writes the first trajectories of each validation set to TensorBoard, step by step as text.

    The tag is ``val/<set>/trajectory``; :func:`lit_unmask.inspection.text.as_text` says how to
    read it. The problems are decoded once more for it.

    ```yaml
    callbacks:
      - class_path: lit_unmask.callbacks.TrajectoryText
        init_args: {count: 2}
    ```

    Args:
        count: Trajectories a set.

    Raises:
        ValueError: If ``count`` is below 1.
    """

    def __init__(self, count: int = 1) -> None:
        if count < 1:
            raise ValueError(f"count={count} must be at least 1")
        self.count = count

    def on_validation_batch_end(  # type: ignore[override]
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Evaluation,
        batch: list[Problem],
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write the text of the first problems of the first batch."""
        writer = tensorboard(trainer)
        if batch_idx or writer is None or trainer.sanity_checking:
            return
        assert isinstance(pl_module, LitUnmask)
        runs = record_trajectories(
            pl_module.denoiser,
            NamedPolicy("policy", pl_module.policy, pl_module.eval_decoding),
            batch[: self.count],
            pl_module.rounds.seed,
            pl_module.grader,
        )
        name = list(attached_data(trainer).val)[dataloader_idx]
        # Indented text is code in Markdown, whatever stands in it.
        text = "\n\n".join(indent(as_text(run), "    ") for run in runs)
        writer.add_text(f"val/{name}/trajectory", text, trainer.global_step)


def usual_baselines(decoding: Decoding) -> dict[str, Baseline]:
    """Return the confidence threshold 0.9, in the blocks given and in short ones."""
    policy, length = ConfidenceThreshold(_THRESHOLD), decoding.gen_length
    longest = max(length // _SHORT_BLOCKS, 1)
    short = max(block for block in range(1, longest + 1) if length % block == 0)
    baselines = {f"threshold {_THRESHOLD}": Baseline(policy)}
    if short != decoding.block_length:
        baselines[f"threshold {_THRESHOLD}, blocks of {short}"] = Baseline(policy, short)
    return baselines


def _say(line: str) -> None:
    """Print a line as it is."""
    get_console().print(line, soft_wrap=True, highlight=False, markup=False)


def _first(problems: ProblemSet, count: int) -> list[Problem]:
    """Return the first problems, each once: a set of drawn problems may repeat one."""
    different = {problem.uid: problem for problem in islice(problems, 5 * count)}
    return list(different.values())[:count]
