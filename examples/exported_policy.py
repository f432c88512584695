"""An exported policy in two loops that know nothing of this package.

``python examples/exported_policy.py [POLICY]`` turns a saved policy, a checkpoint or a hub id into
one graph of tensors with ``torch.export`` (a ``.pt2`` file, which needs torch alone), and decodes
with it: in a plain loop on a transformers model, and block by block with a scheduler's ``step`` and
a callback, which is the form of block refinement pipelines in diffusers.
"""

import io
import sys
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.export import Dim, export, load, save

from lit_unmask import LLaDA, load_policy
from lit_unmask.policies import ConfidenceThreshold, Plain, Policy

QUESTION = "cart 5 : fig tea rice egg corn pear ; total ?"


def exported(policy: Policy, length: int) -> nn.Module:
    """Return a policy for any number of rows of a length, by way of a file's bytes."""
    masked, any_rows = torch.ones(2, length, dtype=torch.bool), {0: Dim("rows")}
    confidence = torch.rand(2, length, policy.signals.top_k).sort(-1, descending=True).values
    inputs = confidence, masked, masked, torch.zeros(2)
    with io.BytesIO() as file:
        save(export(Plain(policy), inputs, dynamic_shapes=(any_rows,) * 4), file)
        file.seek(0)
        return load(file).module()


@dataclass
class Unmasking:
    """A scheduler: from logits of a response to the response with more tokens."""

    decide: nn.Module
    top_k: int
    mask: int

    def step(self, logits: Tensor, response: Tensor, block: slice, taken: int) -> Tensor:
        """Commit tokens of a block; ``taken`` is how many steps came before."""
        masked = response == self.mask
        eligible = torch.zeros_like(masked)
        eligible[:, block] = masked[:, block]
        logits[..., self.mask] = -torch.inf  # the mask is no answer
        probabilities, tokens = logits.float().softmax(-1).topk(self.top_k)
        time = torch.full((len(response),), taken / response.shape[1])
        opened = self.decide(probabilities, masked, eligible, time)
        return torch.where(opened, tokens[..., 0], response)


@torch.no_grad()
def plain_loop(network: nn.Module, prompt: Tensor, scheduler: Unmasking, length: int) -> Tensor:
    """Decode in one block with a transformers model."""
    response, taken = torch.full((len(prompt), length), scheduler.mask), 0
    while (response == scheduler.mask).any():
        logits = network(torch.cat([prompt, response], 1)).logits[:, prompt.shape[1] :]
        response = scheduler.step(logits, response, slice(None), taken)
        taken += 1
    return response


@torch.no_grad()
def block_refinement(
    network: nn.Module,
    prompt: Tensor,
    scheduler: Unmasking,
    blocks: tuple[int, int],
    callback_on_step_end: Callable[[int, dict[str, Tensor]], dict[str, Tensor]],
) -> Tensor:
    """Decode ``(number, length)`` blocks from left to right.

    The callback gets the step and the latents, here ``response``, and returns them.
    """
    number, size = blocks
    response, taken = torch.full((len(prompt), number * size), scheduler.mask), 0
    for start in range(0, number * size, size):
        block = slice(start, start + size)
        while (response[:, block] == scheduler.mask).any():
            logits = network(torch.cat([prompt, response], 1)).logits[:, prompt.shape[1] :]
            response = scheduler.step(logits, response, block, taken)
            response = callback_on_step_end(taken, {"response": response})["response"]
            taken += 1
    return response


def main(policy: Policy) -> None:
    """Decode a question in both loops."""
    checkpoint = LLaDA("tiny-llada")  # reads LLaDA's layout into a stock LlamaForCausalLM
    network, tokenizer = checkpoint.network, checkpoint.tokenizer
    chat = [{"role": "user", "content": QUESTION}]
    text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    prompt = torch.tensor([tokenizer.encode(text, add_special_tokens=False)])
    scheduler = Unmasking(exported(policy, 64), policy.signals.top_k, checkpoint.mask_id)

    def count(step: int, latents: dict[str, Tensor]) -> dict[str, Tensor]:
        print(f"step {step}: {int((latents['response'] == checkpoint.mask_id).sum())} masks left")
        return latents

    for response in (
        plain_loop(network, prompt, scheduler, 64),
        block_refinement(network, prompt, scheduler, (2, 32), count),
    ):
        print(tokenizer.decode(response[0], skip_special_tokens=True))


if __name__ == "__main__":
    main(load_policy(sys.argv[1]) if len(sys.argv) > 1 else ConfidenceThreshold(0.9))
