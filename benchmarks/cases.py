"""What the rollout benchmark decodes, and the targets that belong to each case.

- ``tiny/...``: the bundled tiny-llada on ShoppingSums, whose prompts have several lengths, all rows
  at once. Learned policies of the demo's size act on 8 rollouts a prompt: ``fresh`` as initialised,
  ``peaky`` close to a hard threshold on the confidence. A heuristic threshold, at block lengths L,
  L/4 and L/8, has one rollout a prompt: it would repeat itself in a group.
- ``tiny/start``, ``slow``, ``late``: the same prompts with replayed profiles (``profiles.py``), 16
  rows at a time as in the logs that they come from. A replay makes no sense with shorter blocks,
  where a trace would have to respect them: shorter blocks have heuristics alone.
- ``wide/...``: random weights, about 21 M parameters, vocabulary 32768, prompts of 200 tokens and
  responses of 128, one group of 8.
- ``ranks/...``: two gloo processes, each with half the prompts and its own loop.
- ``8b/...``: the architecture of LLaDA-8B with random bfloat16 weights, on CUDA alone.

Targets stand at the replayed profiles and at 8b alone: they were set for such step counts. A
threshold commits in every step, so that there is nothing to skip.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from profiles import PROFILES, Replay, traces
from torch import Tensor, nn

from lit_unmask.denoisers import Denoiser, DenoiserShape, LLaDA
from lit_unmask.denoisers.running.memory import RowLimit
from lit_unmask.evaluation.decode import encode_groups, rollout_numbers
from lit_unmask.policies import ConfidenceThreshold, ConfidenceTransformer, LearnedPolicy, Policy
from lit_unmask.rollout import Decoding, Noise, Scheduling
from lit_unmask.tasks import ShoppingSums
from lit_unmask.types import Prompt

GROUP = 8
ROWS_AT_A_TIME = 16
TINY_LENGTH = 64
SEED = 1


@dataclass(frozen=True)
class Workload:
    """One decoding job, the same for both loops.

    Attributes:
        denoiser: The frozen dLLM.
        policy: Chooses the positions.
        prompt: **B** prompts, those of a group side by side.
        decoding: Settings; ``max_rows`` of the scheduling holds for both loops.
        noise: Key of the random numbers.
        committed_at: ``[B, L]`` int64, what a replay must end with, or None.
    """

    denoiser: Denoiser
    policy: Policy
    prompt: Prompt
    decoding: Decoding
    noise: Noise
    committed_at: Tensor | None = None


@dataclass(frozen=True)
class Scale:
    """How much of a case one process decodes.

    Attributes:
        problems: Groups of rollouts in a tiny case, over all ranks.
        rank: Which share this process has: prompts ``rank``, ``rank + ranks``, ...
        ranks: Number of processes.
    """

    problems: int = 8
    rank: int = 0
    ranks: int = 1


@dataclass(frozen=True)
class Targets:
    """Goals that were set for the engine; None where there is none for such a case.

    Attributes:
        row_forwards: Row-forwards of the plain loop for each of the engine's.
        wall: Seconds of the plain loop for each of the engine's.
        eta: Seconds that the needed row-forwards take at best, over seconds taken.
        memory_per_row_gb: Peak memory a row beyond the weights, 1e9 bytes; an upper bound.
        ms_per_row_forward: Milliseconds of the engine for each row-forward; an upper bound.
    """

    row_forwards: float | None = None
    wall: float | None = None
    eta: float | None = None
    memory_per_row_gb: float | None = None
    ms_per_row_forward: float | None = None


@dataclass(frozen=True)
class Case:
    """A named job.

    Attributes:
        build: Makes the job.
        targets: What it is held against.
        ranks: Processes that share it.
        kind: ``tiny``, ``wide`` or ``8b``: what it takes to run it.
    """

    build: Callable[[Scale], Workload]
    targets: Targets = field(default_factory=Targets)
    ranks: int = 1
    kind: str = "tiny"


class RandomLLaDA(LLaDA):
    """LLaDA's architecture with random weights and no tokenizer: prompts are token ids.

    Args:
        shape: Size and token ids.
        device: Where the weights are made.
        dtype: Their type.
    """

    def __init__(
        self, shape: DenoiserShape, device: str = "cpu", dtype: torch.dtype = torch.float32
    ) -> None:
        nn.Module.__init__(self)
        usual = torch.get_default_dtype()
        torch.set_default_dtype(dtype)
        try:
            with torch.device(device):
                self.network = self.initialise(shape)
        finally:
            torch.set_default_dtype(usual)
        self.mask_id, self.pad_id = shape.mask_id, shape.pad_id
        self.end_ids = (shape.eos_id,)
        self.max_length, self.max_logits = shape.max_length, None
        self.row_limit = RowLimit()
        self.requires_grad_(False)
        self.eval()
        self.probe()


TOKENS = {"mask_id": 1, "eos_id": 0, "pad_id": 0}
WIDE = DenoiserShape(256, 4, 4, 1024, vocab_size=32768, max_length=328, **TOKENS)
EIGHT_BILLION = DenoiserShape(4096, 32, 32, 12288, vocab_size=126464, max_length=4096, **TOKENS)


@dataclass(frozen=True)
class RandomWeights:
    """A denoiser of random weights and what it decodes.

    Attributes:
        shape: Its size.
        prompt: Tokens of a prompt.
        length: Generation length **L**.
        rows: Rows, in groups of ``GROUP``.
        device: Where it runs.
        dtype: Type of the weights.
    """

    shape: DenoiserShape
    prompt: int
    length: int
    rows: int
    device: str = "cpu"
    dtype: torch.dtype = torch.float32


def tiny(
    policy: Callable[[], Policy], decoding: Decoding, scale: Scale, group: int = GROUP
) -> Workload:
    """Return this rank's share of ShoppingSums for tiny-llada.

    Args:
        policy: Makes the policy.
        decoding: Settings.
        scale: How much; the number of rows does not depend on ``group``.
        group: Rollouts a prompt.
    """
    denoiser = LLaDA("tiny-llada")
    problems = list(ShoppingSums("validation", scale.problems * GROUP // group))
    problems = problems[scale.rank :: scale.ranks]
    noise = Noise(SEED, rollout_numbers(problems, group))
    prompt = encode_groups(denoiser, problems, group)
    return Workload(denoiser, policy().eval(), prompt, decoding, noise)


def learned(output_bias: float, confidence_gain: float, temperature: float) -> Policy:
    """Return a policy of the demo's size with initial weights."""
    torch.manual_seed(0)
    network = ConfidenceTransformer(
        width=32,
        heads=2,
        feed_forward=64,
        output_bias=output_bias,
        confidence_gain=confidence_gain,
    )
    return LearnedPolicy(network, temperature)


fresh = partial(learned, output_bias=-2.0, confidence_gain=0.0, temperature=1.0)
peaky = partial(learned, output_bias=-2.5, confidence_gain=8.0, temperature=0.5)


def replay(profile: str, work: Workload, share: float = 1.0) -> Workload:
    """Return a job whose policy replays a profile, ``ROWS_AT_A_TIME`` rows at a time.

    Args:
        profile: Key of ``PROFILES``.
        work: Anything that decodes the same prompts.
        share: Of the profile's steps; fewer save time.
    """
    length = work.decoding.gen_length
    recorded = traces(PROFILES[profile].cut(share), len(work.prompt), ROWS_AT_A_TIME, length, SEED)
    policy = Replay(recorded, work.noise)
    scheduling = Scheduling(max_rows=ROWS_AT_A_TIME)
    decoding = Decoding(length, length, on_empty="wait", scheduling=scheduling)
    return replace(
        work, policy=policy, decoding=decoding, committed_at=recorded.to(work.noise.rollout.device)
    )


def tiny_replay(profile: str, scale: Scale) -> Workload:
    """Return ShoppingSums for tiny-llada with a replayed profile."""
    return replay(profile, tiny(ConfidenceThreshold, Decoding(TINY_LENGTH, TINY_LENGTH), scale))


def random_replay(profile: str, weights: RandomWeights, scale: Scale) -> Workload:
    """Return a replayed profile on random weights; these cases have one size and one process."""
    torch.manual_seed(0)
    denoiser = RandomLLaDA(weights.shape, weights.device, weights.dtype)
    shape = (weights.rows // GROUP, weights.prompt)
    tokens = torch.randint(2, weights.shape.vocab_size, shape)
    prompt = Prompt(tokens, torch.ones_like(tokens, dtype=torch.bool))
    noise = Noise(SEED, torch.arange(weights.rows).to(weights.device))
    decoding = Decoding(weights.length, weights.length)
    work = Workload(
        denoiser,
        ConfidenceThreshold(),
        prompt.repeat(GROUP).to(weights.device),
        decoding,
        noise,
    )
    return replay(profile, work)


def _cases() -> dict[str, Case]:
    whole, result = TINY_LENGTH, {}
    for name, policy in (("fresh", fresh), ("peaky", peaky)):
        for on_empty in ("wait", "force"):
            decoding = Decoding(whole, whole, on_empty=on_empty)
            result[f"tiny/{name}-{on_empty}"] = Case(partial(tiny, policy, decoding))
    for block in (whole, whole // 4, whole // 8):
        decoding = Decoding(whole, block)
        build = partial(tiny, partial(ConfidenceThreshold, 0.6), decoding, group=1)
        result[f"tiny/threshold-block-{block}"] = Case(build)
    for name in PROFILES:
        row_forwards = None if name == "slow" else 2.0
        targets = Targets(row_forwards=row_forwards, wall=1.9, eta=0.93)
        result[f"tiny/{name}"] = Case(partial(tiny_replay, name), targets)
    wide = RandomWeights(WIDE, prompt=200, length=128, rows=8)
    for name in ("start", "late"):
        targets = Targets(row_forwards=2.0, wall=2.5, eta=0.93)
        result[f"wide/{name}"] = Case(partial(random_replay, name, wide), targets, kind="wide")
    waiting = Decoding(whole, whole, on_empty="wait")
    result["ranks/fresh-wait"] = Case(partial(tiny, fresh, waiting), ranks=2)
    large = RandomWeights(EIGHT_BILLION, 200, 256, 16, "cuda", torch.bfloat16)
    targets = Targets(2.0, 3.5, 0.93, memory_per_row_gb=0.10, ms_per_row_forward=13.0)
    result["8b/late"] = Case(partial(random_replay, "late", large), targets, kind="8b")
    return result


CASES = _cases()
