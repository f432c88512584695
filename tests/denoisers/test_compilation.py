"""Compiled layers: the same numbers, and few compilations however many calls."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, ClassVar

import jsonargparse
import pytest
import torch
from torch import Tensor

from lit_unmask.denoisers import (
    Adapter,
    Compile,
    Denoiser,
    Dream,
    LLaDA,
    Placement,
    Qwen3Diffusion,
)
from lit_unmask.denoisers.running.cache import Kept, KeyValues
from lit_unmask.policies import ConfidenceThreshold
from lit_unmask.rollout import Decoding, Noise, Scheduling, rollout
from lit_unmask.types import Prompt, Signals
from tests.denoisers.conftest import PAD, Writer, make_prompt, make_response, values

ALL = Signals(top_k=3, names={"entropy", "hidden"})
STATIC = Decoding(8, 4, scheduling=Scheduling(deterministic=True, static_rows=3, static_tokens=4))


class Counting(Compile):
    """Traces as for any backend, notes each graph, and runs it as it is."""

    graphs: ClassVar[list[Any]] = []

    def arguments(self) -> dict[str, Any]:
        def backend(graph: Any, inputs: Any) -> Callable[..., Any]:
            self.graphs.append(graph)
            return graph.forward

        return {"backend": backend, "fullgraph": self.fullgraph, "dynamic": self.dynamic}


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """Leave no compiled code behind."""
    Counting.graphs.clear()
    yield
    torch.compiler.reset()


def ragged() -> Prompt:
    """Return prompts of 2, 3 and 7 tokens, left padded."""
    full = make_prompt(6, 7)
    sizes = torch.tensor([2, 3, 7, 7, 2, 3])
    attention = torch.arange(7) >= 7 - sizes[:, None]
    return Prompt(full.tokens.where(attention, PAD), attention)


def decode(denoiser: Denoiser, decoding: Decoding = STATIC) -> Tensor:
    noise = Noise(1, torch.arange(6))
    result = rollout(denoiser, ConfidenceThreshold(0.3), ragged(), decoding, noise)
    return torch.stack([result.response, result.committed_at])


@pytest.mark.parametrize("family", [Dream, Qwen3Diffusion])
def test_compiled_layers_give_the_same_numbers(family: Any, write_checkpoint: Writer) -> None:
    folder = str(write_checkpoint(family))
    plain, compiled = family(folder), family(folder, compile=Counting())
    assert not Counting.graphs
    response = make_response(6, 8)
    expected, found = plain(ragged(), response, ALL), compiled(ragged(), response, ALL)
    assert len(Counting.graphs) == 1
    assert torch.equal(found.proposal, expected.proposal)
    for name in ("confidence", "entropy", "hidden"):
        torch.testing.assert_close(values(found)[name], values(expected)[name])
    assert dict(compiled.named_weights()).keys() == dict(plain.named_weights()).keys()


def test_each_shape_is_compiled_once_for_rounds_evaluations_and_policies(
    write_checkpoint: Writer,
) -> None:
    folder = str(write_checkpoint(LLaDA))
    plain, compiled = LLaDA(folder), LLaDA(folder, compile=Counting())
    with torch.no_grad():
        assert torch.equal(decode(compiled), decode(plain))
    # Prompts of 2 and 3 tokens are padded to 4, those of 7 to 8; calls have 3 rows.
    assert len(Counting.graphs) == 2
    with torch.inference_mode():
        decode(compiled)
    decode(compiled, replace(STATIC, block_length=8, temperature=0.5, on_empty="wait"))
    assert len(Counting.graphs) == 2


def test_a_dynamic_graph_serves_calls_of_any_shape(write_checkpoint: Writer) -> None:
    folder = str(write_checkpoint(LLaDA))
    plain, compiled = LLaDA(folder), LLaDA(folder, compile=Counting(dynamic=True))
    decoding = Decoding(8, 4, scheduling=Scheduling(call_tokens=0))
    assert torch.equal(decode(compiled, decoding), decode(plain, decoding))
    # One row alone is a shape of its own to torch.
    assert 1 <= len(Counting.graphs) <= 2


def test_a_copy_is_compiled_by_itself(write_checkpoint: Writer) -> None:
    compiled = LLaDA(str(write_checkpoint(LLaDA)), compile=Counting())
    double = copy.deepcopy(compiled).double()
    prompt, response = make_prompt(2, 4), make_response(2, 5)
    assert double(prompt, response, ALL).signals["hidden"].dtype == torch.float64
    assert compiled(prompt, response, ALL).signals["hidden"].dtype == torch.float32
    assert len(Counting.graphs) == 2


def test_calls_of_any_shape_are_refused_before_any_of_them(write_checkpoint: Writer) -> None:
    folder = str(write_checkpoint(LLaDA))
    for how in (Counting(), Counting(mode="reduce-overhead", dynamic=True)):
        with pytest.raises(ValueError, match=r"fixed shapes.*scheduling\.deterministic: true"):
            decode(LLaDA(folder, compile=how), Decoding(8, 4))
    assert not Counting.graphs


def test_what_was_not_tried_together_is_refused(write_checkpoint: Writer) -> None:
    with pytest.raises(ValueError, match=r"on one device in its own type.*leave compile or"):
        LLaDA("tiny-llada", placement=Placement("cpu"), compile=Compile())
    with pytest.raises(ValueError, match="in the weights; set merge: true"):
        LLaDA("tiny-llada", adapter=Adapter("a/b", merge=False), compile=Compile())
    denoiser = LLaDA(str(write_checkpoint(LLaDA)), compile=Compile())
    mesh: Any = None
    with pytest.raises(ValueError, match="spread over ranks exclude each other; leave the"):
        denoiser.shard(mesh)
    prompt, response = make_prompt(2, 4), make_response(2, 5)
    store = KeyValues(9)
    store.slots = 2
    with pytest.raises(ValueError, match="compiled denoiser keeps no keys and values"):
        denoiser(prompt, response, ALL, kept=Kept(store, torch.arange(2)))


def test_compilation_is_chosen_in_yaml_by_known_modes_alone() -> None:
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(Denoiser, "denoiser")

    def parse(how: dict[str, Any]) -> Any:
        arguments = {"path": "tiny-llada", "compile": how}
        chosen = {"class_path": "lit_unmask.denoisers.LLaDA", "init_args": arguments}
        return parser.parse_object({"denoiser": chosen})

    made = parser.instantiate(parse({"mode": "reduce-overhead", "dynamic": None})).denoiser
    assert made.compilation == Compile("reduce-overhead", True, None)
    with pytest.raises(Exception, match="fastest"):
        parse({"mode": "fastest"})
    with pytest.raises(ValueError, match=r"compile\.mode='fastest' must be one of default, redu"):
        Compile("fastest")  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["default", "reduce-overhead"])
def test_generated_code_gives_the_same_numbers_within_rounding(mode: Any) -> None:
    plain, compiled = LLaDA("tiny-llada"), LLaDA("tiny-llada", compile=Compile(mode))
    prompt = Prompt(torch.randint(5, 50, (4, 12)), torch.arange(12) >= torch.arange(1, 5)[:, None])
    response = torch.full((4, 16), plain.mask_id)
    expected, found = plain(prompt, response, ALL), compiled(prompt, response, ALL)
    assert torch.equal(found.proposal, expected.proposal)
    for name in ("confidence", "entropy", "hidden"):
        torch.testing.assert_close(
            values(found)[name], values(expected)[name], atol=1e-4, rtol=1e-4
        )
    again = compiled(prompt, response, ALL)
    assert torch.equal(again.signals["hidden"], found.signals["hidden"])
