"""What weight files say about themselves, read before any weight is.

A safetensors file begins with the names and shapes of its tensors. Reading that much takes
milliseconds, however large the checkpoint is, so a wrong one is refused before it is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open

from lit_unmask.files import parse_json

WHOLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
# Names in a message; a wrong family misses hundreds.
_LISTED = 12

Shapes = dict[str, tuple[int, ...]]


def read_shapes(folder: Path) -> Shapes:
    """Return the shapes of a checkpoint's tensors by their names in its files.

    Args:
        folder: With ``model.safetensors``, or an index and its shards.

    Raises:
        FileNotFoundError: If there are no weights, or shards that the index names are missing.
        ValueError: If a file is damaged, or index and shards disagree; the message names the keys.
    """
    if (folder / WHOLE).is_file():
        return file_shapes(folder / WHOLE)
    if (folder / INDEX).is_file():
        return _indexed_shapes(folder)
    loose = sorted(file.name for file in folder.glob("*.safetensors"))
    if loose:
        raise FileNotFoundError(
            f"{folder} holds {listing(loose)} but neither {WHOLE} nor {INDEX}; download the index "
            "too"
        )
    raise FileNotFoundError(
        f"{folder} holds no *.safetensors; convert other weight files to safetensors first"
    )


def file_shapes(file: Path) -> Shapes:
    """Return the shapes of one file's tensors.

    Raises:
        ValueError: If it is truncated or no safetensors file.
    """
    try:
        with safe_open(file, framework="pt") as tensors:
            return {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}
    except SafetensorError as error:
        raise ValueError(
            f"{file} is truncated or damaged ({error}, {file.stat().st_size} bytes); download it "
            "again"
        ) from error


def _indexed_shapes(folder: Path) -> Shapes:
    """Return the shapes of all shards, after comparing them with their index."""
    index = folder / INDEX
    try:
        said = parse_json(index.read_bytes())
        shard_of: dict[str, str] = {**said["weight_map"]}
        _ = {**said["metadata"]}  # which transformers reads
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{index} must be JSON with weight_map and metadata; download it again"
        ) from error
    for shard in shard_of.values():
        if not isinstance(shard, str) or Path(shard).name != shard:
            raise ValueError(
                f"{index} names {shard!r}, which is no file beside it; nothing else is read, so "
                "correct it or download it again"
            )
    shards = sorted(set(shard_of.values()))
    missing = [shard for shard in shards if not (folder / shard).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{index} names shards that are not there: {listing(missing)}; download them too"
        )
    shapes: Shapes = {}
    faults = []
    for shard in shards:
        found = file_shapes(folder / shard)
        named = {key for key, home in shard_of.items() if home == shard}
        if named - found.keys():
            faults.append(f"{shard} lacks {listing(sorted(named - found.keys()))}")
        if found.keys() - named:
            faults.append(f"{shard} has, unnamed, {listing(sorted(found.keys() - named))}")
        shapes |= found
    if faults:
        raise ValueError(f"{index} and its shards disagree: {'; '.join(faults)}; download again")
    return shapes


def refuse_misfit(
    found: Mapping[str, tuple[int, ...]],
    expected: Mapping[str, tuple[int, ...]],
    optional: str | None,
    title: str,
) -> None:
    """Refuse tensors that are missing, unexpected or of another shape.

    Args:
        found: Shapes in the files.
        expected: Shapes that the network has, under the same names.
        optional: An expected tensor that may be missing: a head that is tied.
        title: How the message begins.

    Raises:
        ValueError: Names the keys and, of misshapen ones, both shapes.
    """
    missing = [key for key in expected if key not in found and key != optional]
    unexpected = [key for key in found if key not in expected]
    misshapen = [
        f"{key} is {list(found[key])}, must be {list(expected[key])}"
        for key in expected
        if key in found and tuple(found[key]) != tuple(expected[key])
    ]
    faults = {"missing": missing, "unexpected": unexpected, "mismatched": misshapen}
    if any(faults.values()):
        said = "; ".join(f"{kind}: {listing(sorted(k))}" for kind, k in faults.items() if k)
        raise ValueError(f"{title}: {said}; use the config.json that was saved with them")


def listing(names: list[str]) -> str:
    """Return names in a row, the first dozen of many."""
    more = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f" and {more} more" if more > 0 else "")
