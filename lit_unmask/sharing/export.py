"""The command line ``lit-unmask-export``: from a checkpoint to a folder that can be shared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from lit_unmask.errors import ConfigurationError, Sentences, check_name, refuse
from lit_unmask.files import check_folder
from lit_unmask.sharing.card import model_card
from lit_unmask.sharing.description import TrainedWith, build, describe, head
from lit_unmask.sharing.hub import CARD, TRAINING, check_repository, push_to_hub
from lit_unmask.sharing.saved import (
    SavedPolicy,
    check_free,
    read_checkpoint,
    read_saved,
    save_policy,
)


def export(
    checkpoint: Path,
    folder: Path,
    store: Path | None = None,
    training: Path | None = None,
    push: str | None = None,
) -> None:
    """Turn a checkpoint into a folder for load_policy, with a model card.

    Args:
        checkpoint: A checkpoint of ``lit-unmask fit``, or a folder that holds a saved policy.
        folder: New folder for ``config.json``, ``model.safetensors`` and ``README.md``.
        store: Folder of a results store whose test results go into the card.
        training: Configuration of the training run, to lie beside the card; by default the
            ``config.yaml`` of the run that the checkpoint lies in, if it is there.
        push: Hub id such as ``user/name`` to upload the folder to.
    """
    check_name("the folder", str(folder))
    check_free(folder)
    check_folder(folder.parent)
    if push is not None:
        check_repository(push)
    training = training or _run_config(checkpoint)
    written = None if training is None else _text(training)
    saved = _read(checkpoint, training)
    card = model_card(saved, push or str(folder), store, has_training=training is not None)
    documents = {CARD: card}
    if written is not None:
        documents[TRAINING] = written
    save_policy(saved.build(), folder, saved.trained_with, documents)
    print(f"policy:  {folder}")
    if push is not None:
        print(f"pushed:  {push_to_hub(folder, push)}")


def _text(config: Path) -> str:
    """Return the text of a configuration, before anything else is read."""
    try:
        return config.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"--training {config} cannot be read ({error}); give the config.yaml that lit-unmask "
            "fit left in the run's folder"
        ) from error


def _run_config(checkpoint: Path) -> Path | None:
    """Return the configuration beside a checkpoint, as ``lit-unmask fit`` leaves it."""
    place = checkpoint.resolve()
    found = place / TRAINING if place.is_dir() else place.parent.parent / "config.yaml"
    usual = place.is_dir() or place.parent.name == "checkpoints"
    return found if usual and found.is_file() else None


def _read(checkpoint: Path, training: Path | None) -> SavedPolicy:
    if not checkpoint.exists():
        raise FileNotFoundError(f"{checkpoint} does not exist; give a checkpoint or a folder")
    if checkpoint.is_dir():
        return read_saved(checkpoint)
    return read_checkpoint(checkpoint, None if training is None else _entry(training))


def _entry(config: Path) -> dict[str, Any]:
    """Return what the configuration of a run says of its policy."""
    try:
        settings: Any = OmegaConf.to_container(OmegaConf.load(config), resolve=True)
        model = settings["model"]
        decoding = model["decoding"]
        trained_with = TrainedWith(
            **{name: decoding.get(name) for name in
               ("gen_length", "block_length", "temperature", "on_empty")},
            reward=model.get("reward"),
            seed=model.get("rounds", {}).get("seed"),
        )  # fmt: skip
        return head(describe(build(model["policy"])), trained_with)
    except (KeyError, TypeError, AttributeError, YAMLError, OmegaConfBaseException) as error:
        raise ConfigurationError(
            f"{config} is not the configuration of a training run ({type(error).__name__}: "
            f"{error}); give the config.yaml that lit-unmask fit left in the run's folder"
        ) from error


class _Parser(Sentences, ArgumentParser):
    """A parser whose errors are one sentence."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; what goes wrong is one sentence."""
    parser = _Parser("lit-unmask-export", description=(export.__doc__ or "").split("\n")[0])
    parser.add_function_arguments(export, as_positional=True)
    try:
        export(**vars(parser.parse_args(arguments)))
    except (ConfigurationError, OSError) as error:
        refuse(error)


if __name__ == "__main__":
    main()
