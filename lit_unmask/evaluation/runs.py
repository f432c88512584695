"""What was run, and what came out of each problem."""

from __future__ import annotations

import hashlib
import math
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from lit_unmask.errors import check_name
from lit_unmask.files import canonical_json


@dataclass(frozen=True)
class Run:
    """What was run: one policy with one way of decoding and one seed, on one set of problems.

    Attributes:
        dataset: Name of the problem set.
        stage: Whether the problems chose settings (``tuning``) or are reported on (``test``).
        problems: Fingerprint of the set: uids and encoded prompts, in order.
        num_problems: Problems of the set, each uid counted once.
        denoiser: What names the denoiser and its weights.
        name: What to call the policy in tables; no part of ``key``.
        kind: Whether the policy was trained.
        policy: Class name of the policy.
        params: Settings of the policy, as JSON.
        weights: Short hash of the policy's weights and settings; empty for a heuristic.
        gen_length: Generation length in tokens.
        block_length: Block length in tokens.
        temperature: Token temperature.
        on_empty: What happens when the policy chooses nothing.
        approximate: Approximations of the decoding, as JSON.
        seed: Seed of the noise.
        limits: What grading may use, such as time and memory of programs, each set of limits once;
            empty where verdicts do not depend on any.
        further: Settings of the decoding that are in use beside, such as a corrector, as JSON.
    """

    dataset: str
    stage: Literal["tuning", "test"]
    problems: str
    num_problems: int
    denoiser: str
    name: str
    kind: Literal["heuristic", "learned"]
    policy: str
    params: dict[str, Any]
    weights: str
    gen_length: int
    block_length: int
    temperature: float
    on_empty: str
    approximate: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    limits: list[dict[str, Any]] = field(default_factory=list)
    further: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the names, which go into reports."""
        for what in ("dataset", "name", "policy"):
            check_name(what, getattr(self, what))

    @property
    def key(self) -> str:
        """16 hex digits that follow from everything but ``name``."""
        said = {name: value for name, value in asdict(self).items() if name != "name"}
        if not self.further:
            del said["further"]
        return hashlib.blake2b(canonical_json(said).encode(), digest_size=8).hexdigest()

    @property
    def setting(self) -> str:
        """The key that its runs with every seed have in common."""
        return replace(self, seed=0).key

    @property
    def approximations(self) -> dict[str, Any]:
        """The approximations that are in use; empty for the exact engine."""
        off = ("none", False, None)
        return {name: value for name, value in self.approximate.items() if value not in off}

    @property
    def label(self) -> str:
        """Name, settings and block length, for instance ``threshold (threshold=0.9), BL 8``."""
        settings = ", ".join(f"{name}={value}" for name, value in self.params.items())
        parts = {name: _named(value) for name, value in self.further.items()}
        used = self.approximations | parts
        mode = "".join(f", {name}={value}" for name, value in used.items())
        return f"{self.name}{f' ({settings})' * bool(settings)}, BL {self.block_length}{mode}"


def _named(part: Any) -> Any:
    """Return a part of a decoding as its class and settings."""
    known = isinstance(part, dict)
    return part["class_path"].rpartition(".")[2] + str(part["init_args"]) if known else part


@dataclass(frozen=True)
class Outcome:
    """What came out of one problem in one run.

    Attributes:
        uid: The problem's uid.
        correct: Verdict in ``[0, 1]``.
        nfe: Denoiser forwards that the row was charged for.
        nfe_by_kind: The same by kind: ``fresh`` forwards had a new buffer to look at, ``unchanged``
            ones that of the step before, and need not be computed.
        tokens: Tokens before the first end token.
        still_masked: Whether the response ended with masks.
        seconds: Share of the wall time of the batch; left out where outcomes are compared.
    """

    uid: str
    correct: float
    nfe: int
    nfe_by_kind: dict[str, int]
    tokens: int
    still_masked: bool
    seconds: float

    def agrees(self, other: Outcome) -> bool:
        """Return whether everything but ``seconds`` is the same."""
        return replace(self, seconds=other.seconds) == other

    def check(self) -> None:
        """Check that it can have come out of a problem.

        Raises:
            ValueError: If a value breaks its rule; names both.
        """
        if not isinstance(self.uid, str):
            raise ValueError(f"uid={self.uid!r} must be text")
        if not (isinstance(self.correct, int | float) and 0 <= self.correct <= 1):
            raise ValueError(f"correct={self.correct!r} must be a number from 0 to 1")
        for name, count in {"nfe": self.nfe, "tokens": self.tokens, **self.nfe_by_kind}.items():
            if type(count) is not int or count < 0:
                raise ValueError(f"{name}={count!r} must be a whole number from 0")
        if type(self.still_masked) is not bool:
            raise ValueError(f"still_masked={self.still_masked!r} must be True or False")
        if not (isinstance(self.seconds, int | float) and 0 <= self.seconds < math.inf):
            raise ValueError(f"seconds={self.seconds!r} must be a finite number from 0")
