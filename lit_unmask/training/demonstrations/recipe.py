"""What a store of demonstrations holds, and of what."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

from lit_unmask.errors import ConfigurationError
from lit_unmask.evaluation.fingerprints import decoding_fields, denoiser_name, policy_hash
from lit_unmask.files import parse_json, replace_file
from lit_unmask.rollout import Approximate
from lit_unmask.sharing.description import describe
from lit_unmask.training.demonstrations.recording import Demonstrator
from lit_unmask.types import Signals

FILE = "recipe.json"
_FORMAT = 3


@dataclass(frozen=True)
class Recipe:
    """All that demonstrations follow from, but for the problems.

    Where they are labelled states, the expert is who finishes them, and the decoding is that of the
    policy that was taught; what else they follow from is under ``finished_answers`` in
    ``further``.

    Attributes:
        denoiser: Path, revision and a hash of config and weights, as
            :func:`lit_unmask.evaluation.fingerprints.denoiser_name` makes it.
        gen_length: Generation length **L** in tokens.
        block_length: Block length that the expert was held to.
        temperature: Token temperature of the denoiser.
        on_empty: What happened when the expert chose nothing.
        further: Settings of the decoding that were in use beside, such as a corrector.
        expert: Its ``class_path`` and ``init_args``, or its class alone if it has no description.
        expert_hash: Hash of the expert's settings and weights.
        seed: Seed of the noise.
        top_k: Largest probabilities kept for each position, **K**.
        names: Signals that are kept, by name.
        keep_wrong: Whether trajectories to wrong answers are kept too.
        version: Of the format.
    """

    denoiser: str
    gen_length: int
    block_length: int
    temperature: float
    on_empty: str
    further: dict[str, Any]
    expert: dict[str, Any] | str
    expert_hash: str
    seed: int
    top_k: int
    names: list[str]
    keep_wrong: bool
    version: int = _FORMAT

    @classmethod
    def of(cls, who: Demonstrator, keep_wrong: bool = False, loaded: bool = True) -> Self:
        """Return the recipe of demonstrations that are about to be recorded.

        Args:
            who: The expert.
            keep_wrong: Whether trajectories to wrong answers are kept too.
            loaded: Whether weights are; else there are no hashes, and it serves to :meth:`check`.

        Raises:
            ConfigurationError: If the expert's decoding is approximate.
        """
        decoding = who.decoding
        if decoding.approximate != Approximate():
            raise ConfigurationError(
                f"demonstrations are recorded exactly, and decoding has {decoding.approximate}; "
                "leave decoding.approximate out"
            )
        settings = decoding_fields(decoding)
        del settings["approximate"]
        try:
            description: dict[str, Any] | str = describe(who.policy)
        except ConfigurationError:
            # Somebody's own class: the store serves without a description that can be built.
            description = type(who.policy).__qualname__
        return cls(
            denoiser=denoiser_name(who.denoiser) if loaded else "",
            **settings,
            expert=description,
            expert_hash=policy_hash(who.policy) if loaded else "",
            seed=who.seed,
            top_k=who.signals.top_k,
            names=sorted(who.signals.names),
            keep_wrong=keep_wrong,
        )

    @property
    def signals(self) -> Signals:
        """What the steps hold."""
        return Signals(self.top_k, frozenset(self.names))

    def check(self, folder: Path) -> None:
        """Check that a store, if there is one, is of this recipe.

        Raises:
            ConfigurationError: If it is of another one; names a setting that differs.
        """
        if not (folder / FILE).exists():
            return
        stored = asdict(self.read(folder))
        for name, value in asdict(self).items():
            if value not in ("", stored[name]):
                raise ConfigurationError(
                    f"{folder} holds demonstrations with {name}={stored[name]!r}, and these would "
                    f"have {value!r}; choose another folder"
                )

    def write(self, folder: Path) -> None:
        """Write the recipe of a store, unless it has one.

        Raises:
            ConfigurationError: If the store has another one; see :meth:`check`.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.check(folder)
        if not (folder / FILE).exists():
            data = (json.dumps(asdict(self), indent=2) + "\n").encode()
            replace_file(folder / FILE, data)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the recipe of a store.

        Raises:
            ConfigurationError: If there is none, or it is of another version.
        """
        file = folder / FILE
        if not file.is_file():
            raise ConfigurationError(
                f"{folder} holds no demonstrations ({FILE} is missing); record some with "
                "`lit-unmask predict --config configs/demonstrations.yaml`"
            )
        try:
            entries = parse_json(file.read_bytes())
            if entries["version"] != _FORMAT:
                raise ConfigurationError(
                    f"{file}: version={entries['version']} must be {_FORMAT}; record the "
                    "demonstrations again, or use the version of lit_unmask that wrote them"
                )
            return cls(**{field.name: entries[field.name] for field in fields(cls)})
        except (ValueError, KeyError, TypeError) as error:
            if isinstance(error, ConfigurationError):
                raise
            raise ConfigurationError(
                f"{file} is damaged ({error}); restore it from a copy, or record into another "
                "folder"
            ) from error
