"""Tokenizers as data, and whether one belongs to a network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast, Qwen2Tokenizer

from lit_unmask.files import parse_json


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Load a tokenizer from its data files alone, whatever class its config names.

    Args:
        folder: The checkpoint, with ``tokenizer.json``, or ``vocab.json`` and ``merges.txt``
            (Dream's own class is Qwen2's byte-pair encoding under another name).

    Returns:
        The tokenizer, chat template included where the checkpoint has one.

    Raises:
        FileNotFoundError: If the folder has neither.
        ValueError: If a file is damaged.
    """
    kinds: dict[tuple[str, ...], type[PreTrainedTokenizerBase]] = {
        ("tokenizer.json",): PreTrainedTokenizerFast,
        ("vocab.json", "merges.txt"): Qwen2Tokenizer,
    }
    for names, kind in kinds.items():
        if all((folder / name).is_file() for name in names):
            return _loaded(folder, kind)
    raise FileNotFoundError(
        f"{folder} holds no tokenizer: download tokenizer.json, or vocab.json and merges.txt"
    )


def _loaded(folder: Path, kind: type[PreTrainedTokenizerBase]) -> PreTrainedTokenizerBase:
    """Load a tokenizer; what its libraries raise of damaged files has many classes.

    Raises:
        ValueError: If a file is damaged.
    """
    for file in folder.glob("*token*.json"):
        try:
            if not isinstance(parse_json(file.read_bytes()), dict):
                raise ValueError("no JSON object")
        except ValueError as error:
            raise ValueError(f"{file} is damaged ({error}); download it again") from error
    try:
        return kind.from_pretrained(folder, local_files_only=True)
    except Exception as error:
        # The library of tokenizers raises Exception itself, and transformers misses keys.
        if type(error) is not Exception and not isinstance(
            error, LookupError | TypeError | ValueError
        ):
            raise
        raise ValueError(
            f"the tokenizer in {folder} cannot be loaded ({type(error).__name__}: {error}); "
            "download its files again"
        ) from error


def check_vocabulary(
    tokenizer: PreTrainedTokenizerBase, token_ids: Mapping[str, int], rows: int
) -> None:
    """Check that a tokenizer and an embedding speak of the same tokens.

    Args:
        tokenizer: The checkpoint's tokenizer.
        token_ids: Special tokens by role, ``mask`` among them.
        rows: Rows of the embedding, which may be more than the tokenizer has tokens.

    Raises:
        ValueError: If a special token has no row, the tokenizer does not know the mask, or it has
            tokens without a row.
    """
    for role, token in token_ids.items():
        if not 0 <= token < rows:
            raise ValueError(
                f"{role}_token_id={token} must lie in [0, {rows}), the rows of the embedding; "
                "correct config.json, or use the tokenizer that belongs to the weights"
            )
    known = tokenizer.get_vocab()
    if token_ids["mask"] not in known.values():
        raise ValueError(
            f"mask_token_id={token_ids['mask']} is none of the tokenizer's {len(known)} tokens; "
            "use the tokenizer that belongs to the weights"
        )
    last = max(known, key=lambda token: known[token])
    if known[last] >= rows:
        raise ValueError(
            f"the tokenizer's token {last!r} has the id {known[last]}, but the embedding has "
            f"{rows} rows; use the tokenizer that belongs to the weights"
        )
