"""How long forwards take on the device at hand, by timing a part of the denoiser."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import torch

from lit_unmask.denoisers.running.reduction import reduce_logits
from lit_unmask.policies.learned import behind_threshold
from lit_unmask.preflight.devices import Devices
from lit_unmask.preflight.dry_run import Request
from lit_unmask.preflight.memory import Shape, logits_limit, observed
from lit_unmask.preflight.spec import Spec

# Of what is timed: weights of all its layers, and operations of a call. A CPU that takes a minute
# for a row of a large denoiser is told apart from a GPU by a few of its tokens as well.
_WEIGHTS = {"cpu": 3e8, "cuda": 1e9}
_OPERATIONS = {"cpu": 2e10, "cuda": 2e14}
_REPEATS = 5
_SECONDS = 1.0
# Rows of the policy, or steps of its update, that are timed at once.
_STEPS = 32
_VOCABULARY = 2**14


@dataclass(frozen=True)
class Rate:
    """Seconds that things take on one device.

    Attributes:
        row: A row-forward: one sequence through the denoiser once.
        decide: A step of a row through the policy that acts.
        replay: A step through the policy and back, in the update.
        device: Where this was measured.
        how: What was timed.
    """

    row: float
    decide: float
    replay: float
    device: str
    how: str


def measure(request: Request, shape: Shape, devices: Devices) -> Rate:
    """Time a part of the denoiser, and the policy, with random weights.

    Args:
        request: The configuration.
        shape: Of a denoiser call; fewer rows or tokens are timed where a call takes too long.
        devices: Where.
    """
    device, given, spec = devices.device, request.assumptions.rate, request.spec
    if given is not None and not devices.here:
        how = "given as plan.rate, without the policy's own time"
        return Rate(given / 1000, 0.0, 0.0, "another machine", how)
    decide, replay = _time_policy(request, shape, device)
    if given is not None:
        return Rate(given / 1000, decide, replay, devices.name, "given as plan.rate")
    network, layers = _part(spec, device)
    small = _affordable(spec, shape, layers, device)
    tokens = torch.zeros(small.rows, small.tokens, dtype=torch.int64, device=device)
    body = _timed(lambda: network.model(input_ids=tokens, use_cache=False), device)
    body /= layers * small.rows * small.tokens
    row = body * spec.sizes.layers * shape.tokens
    row += _time_head(request, small, device) * shape.length
    how = (
        f"{layers} of {spec.sizes.layers} layers and the vocabulary head, {small.rows} rows of "
        f"{small.tokens} tokens, {spec.arguments.get('dtype', 'float32')}"
    )
    return Rate(row, decide, replay, devices.name if devices.here else "the CPU", how)


def _part(spec: Spec, device: torch.device) -> tuple[Any, int]:
    """Return a network of some layers of the denoiser with random weights, and their number."""
    sizes = spec.sizes
    each = sizes.in_layers / sizes.layers
    layers = min(max(int(_WEIGHTS.get(device.type, 3e8) / each), 1), sizes.layers)
    config: Any = copy.deepcopy(spec.config)
    # One embedding serves, as which token it is does not matter, and the head is timed alone.
    config.num_hidden_layers, config.vocab_size = layers, 8
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[:layers]
    with torch.device("meta"):
        network = spec.kind.architecture(config).to(spec.dtype).eval()
    rotary = type(network.model.rotary_emb)(config)
    network.to_empty(device=device)
    network.model.rotary_emb = rotary.to(device)
    noise = torch.randn(2**16, device=device).to(spec.dtype) * 0.02
    for weight in network.parameters():
        _fill(weight.data, noise)
    return network.requires_grad_(False), layers


def _fill(weight: torch.Tensor, noise: torch.Tensor) -> None:
    """Fill a weight with repeated noise, which is quicker to make and as hard to multiply."""
    flat = weight.view(-1)
    whole = len(flat) // len(noise) * len(noise)
    flat[:whole].view(-1, len(noise)).copy_(noise.expand(whole // len(noise), -1))
    flat[whole:].copy_(noise[: len(flat) - whole])


def _affordable(spec: Spec, shape: Shape, layers: int, device: torch.device) -> Shape:
    """Return the largest call of that shape that does not take long."""
    sizes = spec.sizes
    token = 2 * sizes.in_layers / sizes.layers * layers
    most = max(int(_OPERATIONS.get(device.type, 2e10) / token), 16)
    if most >= shape.tokens:
        return Shape(min(shape.rows, most // shape.tokens), shape.prompt, shape.length)
    return Shape(1, 0, most)


def _time_head(request: Request, shape: Shape, device: torch.device) -> float:
    """Return the seconds that the head and the softmax take for one position.

    A chunk of as many positions is timed as may exist at once; of a large vocabulary on a CPU a
    part, to which both are proportional.
    """
    spec, signals, on_cpu = request.spec, request.model.policy.signals, device.type == "cpu"
    width, whole = spec.sizes.width, spec.sizes.vocab_size
    vocab = min(whole, _VOCABULARY) if on_cpu else whole
    affordable = _OPERATIONS.get(device.type, 2e10) / (2 * width * vocab)
    most = min(logits_limit(spec, on_cpu) / whole, shape.rows * shape.length, affordable)
    positions = max(int(most), 1)
    weight = torch.empty(vocab, width, dtype=spec.dtype, device=device)
    _fill(weight, torch.randn(2**16, device=device).to(spec.dtype) * 0.02)
    states = torch.randn(positions, width, device=device).to(spec.dtype)

    def read() -> None:
        reduce_logits(torch.nn.functional.linear(states, weight).float(), signals, 0)

    return _timed(read, device) / positions * whole / vocab


def _time_policy(request: Request, shape: Shape, device: torch.device) -> tuple[float, float]:
    """Return the seconds that a step takes in a rollout, and in the update."""
    policy, width = (
        copy.deepcopy(behind_threshold(request.model.policy)).to(device),
        request.spec.sizes.width,
    )
    rows = min(shape.rows, _STEPS)
    seen = observed(policy.signals, replace(shape, rows=rows), width, device)

    def decide() -> None:
        with torch.no_grad():
            distribution = policy(seen)
            distribution.log_prob(distribution.mode())
            distribution.forced(distribution.mode())

    decided = _timed(decide, device) / rows
    if not policy.has_parameters:
        return decided, 0.0
    steps = min(request.model.rounds.replay_chunk, _STEPS)
    replayed = observed(policy.signals, replace(shape, rows=steps), width, device)

    def replay() -> None:
        distribution = policy(replayed)
        loss = distribution.log_prob(distribution.mode()).sum() + 0 * distribution.entropy().sum()
        loss.backward()

    return decided, _timed(replay, device) / steps


def _timed(call: Callable[[], Any], device: torch.device) -> float:
    """Return the median seconds of a call, after one that is not counted."""
    taken: list[float] = []
    begun = time.perf_counter()
    for number in range(_REPEATS + 1):
        start = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(time.perf_counter() - start)
        if number and time.perf_counter() - begun > _SECONDS:
            break
    return median(taken[1:] or taken)
