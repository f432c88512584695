"""What a GPU has to hold."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lit_unmask.denoisers.network import MAX_LOGITS_ACCELERATOR, MAX_LOGITS_CPU
from lit_unmask.policies.learned import behind_threshold
from lit_unmask.preflight.devices import GIB
from lit_unmask.preflight.dry_run import Request
from lit_unmask.preflight.spec import Sizes, Spec
from lit_unmask.types import CHANGE, ENTROPY, HIDDEN, SIGNALS, Observation, Signals

# CUDA's context with the kernels of torch, and what its allocator cannot use.
CONTEXT = 0.75 * GIB
SLACK = 0.08
_FLOAT = 4


@dataclass(frozen=True)
class Shape:
    """Sizes of one denoiser call: rows at once, and tokens of their prompts and responses."""

    rows: int
    prompt: int
    length: int

    @property
    def tokens(self) -> int:
        """Tokens of a row."""
        return self.prompt + self.length


@dataclass(frozen=True)
class Memory:
    """Bytes that one rank needs on its device.

    Attributes:
        weights: Of the denoiser, or of those that are there at once.
        row: Activations of one more row.
        rows: Activations of all rows at once.
        logits: The chunk of logits that exists at once.
        cache: Kept keys and values, and states to compare readings with.
        steps: Recorded steps of a round.
        replay: What the policy keeps for the backward pass, weights and optimizer included.
        context: CUDA's own.
    """

    weights: float
    row: float
    rows: float
    logits: float
    cache: float
    steps: float
    replay: float
    context: float

    @property
    def total(self) -> float:
        """Largest sum: rollouts and updates do not overlap, but steps outlive the rollouts."""
        rollout, update = self.rows + self.logits + self.cache, self.replay
        return (self.weights + self.steps + max(rollout, update)) * (1 + SLACK) + self.context


def row_bytes(sizes: Sizes, tokens: int, itemsize: int) -> float:
    """Return the activations of a row of ``S`` tokens at their peak, within one layer.

    Attention holds the residual stream, its normalised copy, queries before and after the
    rotation, keys likewise, values and the output:
    ``S * itemsize * (3 D + 2 H d + 3 H_kv d + H d)``. The feed-forward part holds the residual
    stream, its normalised copy, and gate, its activation and the other factor:
    ``S * itemsize * (2 D + 3 F)``. Earlier layers leave nothing behind, as there is no backward
    pass. For LLaDA-8B with 456 tokens in bfloat16 this is 41 MB.
    """
    queries = sizes.heads * sizes.head_width
    keys = sizes.key_value_heads * sizes.head_width
    attention = 3 * sizes.width + 3 * queries + 3 * keys
    return tokens * itemsize * max(attention, 2 * sizes.width + 3 * sizes.feed_forward)


def logits_limit(spec: Spec, on_cpu: bool) -> int:
    """Return how many logits may exist at once."""
    usual = MAX_LOGITS_CPU if on_cpu else MAX_LOGITS_ACCELERATOR
    return int(spec.arguments.get("max_logits") or usual)


def logits_bytes(spec: Spec, shape: Shape, signals: Signals, on_cpu: bool) -> float:
    """Return the memory of the logits of ``M`` positions, ``M V`` of them.

    ``M`` is as many as ``max_logits`` allows, at most all positions of all rows. The head's
    output (in the denoiser's type) and its float32 copy exist together, ``M V (itemsize + 4)``;
    after that float32 weights beside them where the entropy is asked for, ``8 M V``.
    """
    vocab = spec.sizes.vocab_size
    positions = min(max(logits_limit(spec, on_cpu) // vocab, 1), shape.rows * shape.length)
    size = spec.dtype.itemsize
    copies = _FLOAT if size == _FLOAT else size + _FLOAT
    return positions * vocab * max(copies, 2 * _FLOAT if ENTROPY in signals else 0)


def cache_bytes(sizes: Sizes, shape: Shape, rows: int, itemsize: int) -> float:
    """Return keys and values of all rows of a round: ``2 layers H_kv d S itemsize`` each."""
    each = 2 * sizes.layers * sizes.key_value_heads * sizes.head_width * shape.tokens * itemsize
    return rows * each


def change_bytes(sizes: Sizes, signals: Signals, length: int, rows: int, itemsize: int) -> float:
    """Return what ``change`` keeps of all rows: states ``2 L D`` and two float32 a position.

    The states of the last reading and of the one before it are in the denoiser's own type; see
    :class:`~lit_unmask.rollout.changes.Changes`.
    """
    each = length * (2 * sizes.width * itemsize + 2 * _FLOAT)
    return rows * each if CHANGE in signals else 0.0


def step_bytes(sizes: Sizes, signals: Signals, length: int, itemsize: int) -> float:
    """Return the size of one recorded step.

    For each of the **L** positions: masked, eligible, action and chosen in a byte each, **K**
    confidences and perhaps entropy and change in float32, perhaps **D** hidden numbers; 32 bytes
    besides. They are counted twice, as joining them needs both copies.
    """
    floats = signals.top_k + int(ENTROPY in signals) + int(CHANGE in signals)
    hidden = sizes.width * itemsize if HIDDEN in signals else 0
    return 2 * (length * (4 + _FLOAT * floats + hidden) + 32)


def observed(
    signals: Signals, shape: Shape, width: int, device: torch.device | None = None
) -> Observation:
    """Return random numbers in the form of what a policy sees, all masked and eligible.

    Args:
        signals: What the policy asks the denoiser for.
        shape: Rows and generation length.
        width: Hidden width **D** of the denoiser.
        device: Where.
    """
    rows, length = shape.rows, shape.length
    masked = torch.ones(rows, length, dtype=torch.bool, device=device)
    confidence = torch.rand(rows, length, signals.top_k, device=device)
    named = {name: SIGNALS[name].shape(B=rows, L=length, D=width) for name in signals.names}
    return Observation(
        masked=masked,
        eligible=masked,
        confidence=confidence.sort(-1, descending=True).values,
        time=torch.rand(rows, device=device),
        signals={name: torch.rand(size, device=device) for name, size in named.items()},
    )


def saved_bytes(policy: torch.nn.Module, signals: Signals, length: int, width: int) -> float:
    """Return what autograd keeps of one replayed step, by replaying some on the CPU."""
    held = [_saved(policy, observed(signals, Shape(n, 0, length), width)) for n in (1, 3)]
    return (held[1] - held[0]) / 2


def _saved(policy: torch.nn.Module, observation: Observation) -> float:
    sizes: dict[int, int] = {}
    kept: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
        kept.append(tensor)  # so that its address is not used again
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        distribution = policy(observation)
        distribution.log_prob(distribution.mode())
    return float(sum(sizes.values()))


def memory_of(request: Request, shape: Shape, rollouts: int, on_cpu: bool) -> Memory:
    """Return what one rank needs.

    The replay keeps ``saved * n`` bytes, with ``n`` the steps that are replayed at once: a chunk
    where they are recomputed, else all steps of the round. Weights, gradient and Adam's two
    moments of the policy take ``16`` bytes a parameter.

    An evaluation records nothing and updates nothing. A transfer cell with a denoiser of its own
    has it on the device in the place of the module's, one cell at a time. What a device map places
    stays there, and on a CPU all of them are in memory all the time.

    Args:
        request: The configuration.
        shape: Of the largest denoiser call.
        rollouts: Rollouts of a rank at once.
        on_cpu: Whether it is no GPU that holds it.
    """
    model, trains = request.model, request.stage == "fit"
    specs = [request.spec] if trains else request.specs
    stays = [each.weight_bytes for each in specs if on_cpu or each.placement.device_map]
    moves = [each.weight_bytes for each in specs if not (on_cpu or each.placement.device_map)]
    sizes, itemsize, signals = request.spec.sizes, request.spec.dtype.itemsize, model.policy.signals
    row = max(row_bytes(each.sizes, shape.tokens, each.dtype.itemsize) for each in specs)
    decoding = model.decoding if trains else model.eval_decoding
    cached = decoding.approximate.cache != "none"
    steps = rollouts * request.assumptions.learned_nfe(decoding).high if trains else 0.0
    replay = (4.0 if trains else 1.0) * _FLOAT * request.policy_size
    if trains and request.policy_size:
        at_once = min(model.rounds.replay_chunk, steps) if model.rounds.recompute else steps
        replay += (
            saved_bytes(behind_threshold(model.policy), signals, shape.length, sizes.width)
            * at_once
        )
    return Memory(
        weights=sum(stays) + max(moves, default=0.0),
        row=row,
        rows=row * shape.rows,
        logits=logits_bytes(request.spec, shape, signals, on_cpu),
        cache=(cache_bytes(sizes, shape, rollouts, itemsize) if cached else 0.0)
        + change_bytes(sizes, signals, shape.length, rollouts, itemsize),
        steps=steps * step_bytes(sizes, signals, shape.length, itemsize),
        replay=replay,
        context=0.0 if on_cpu else CONTEXT,
    )
