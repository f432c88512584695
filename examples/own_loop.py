"""A decoding loop of your own on a transformers model, with a policy that says what to unmask.

``python examples/own_loop.py [POLICY]`` takes a saved policy, a checkpoint or a hub id; without one
a heuristic decides, which is called alike.
"""

import sys

import torch

from lit_unmask import LLaDA, load_policy
from lit_unmask.policies import ConfidenceThreshold, Policy

QUESTION = "cart 5 : fig tea rice egg corn pear ; total ?"


@torch.no_grad()
def generate(question: str, policy: Policy, length: int = 64) -> tuple[str, int]:
    """Return the answer to a question and the number of forwards that it took."""
    checkpoint = LLaDA("tiny-llada")  # reads LLaDA's layout into a stock LlamaForCausalLM
    network, tokenizer, mask = checkpoint.network, checkpoint.tokenizer, checkpoint.mask_id
    chat = [{"role": "user", "content": question}]
    text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    prompt = torch.tensor([tokenizer.encode(text, add_special_tokens=False)])
    response = torch.full((1, length), mask)
    step = 0
    while (masked := response == mask).any():
        logits = network(torch.cat([prompt, response], dim=1)).logits[:, prompt.shape[1] :]
        logits[..., mask] = -torch.inf  # the mask is no answer
        probabilities, tokens = logits.softmax(-1).topk(policy.signals.top_k)
        opened = policy.select(probabilities, masked, masked, step, length)
        response = torch.where(opened, tokens[..., 0], response)
        step += 1
    return checkpoint.decode(response)[0], step  # up to its first end token


if __name__ == "__main__":
    chosen = load_policy(sys.argv[1]) if len(sys.argv) > 1 else ConfidenceThreshold(0.9)
    answer, forwards = generate(QUESTION, chosen)
    print(f"{answer}\n({forwards} forwards for {type(chosen).__name__})")
