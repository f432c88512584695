"""The examples run and decode as the package does."""

import runpy
import sys
from pathlib import Path

import pytest
import torch
from toys import decode_problems

from lit_unmask import LLaDA, save_policy
from lit_unmask.policies import (
    KLASS,
    ConfidenceThreshold,
    ConfidenceTransformer,
    Dilated,
    LearnedPolicy,
    LowConfidence,
    Plain,
    Policy,
)
from lit_unmask.policies.actions import Deterministic
from lit_unmask.rollout import Decoding
from lit_unmask.types import Problem

EXAMPLES = Path(__file__).parents[1] / "examples"
OWN_LOOP, EXPORTED = EXAMPLES / "own_loop.py", EXAMPLES / "exported_policy.py"


def test_the_own_loop_decodes_what_a_rollout_decodes():
    example = runpy.run_path(str(OWN_LOOP))
    denoiser = LLaDA("tiny-llada")
    question = example["QUESTION"]
    problem = Problem("one", ({"role": "user", "content": question},), "", lambda text, answer: 0.0)
    policy = LowConfidence(8)
    expected = decode_problems(denoiser, policy, [problem], Decoding(64, 64))
    text, forwards = example["generate"](question, policy)
    assert text.split() == denoiser.decode(expected.response)[0].split()
    assert forwards == int(expected.nfe) == 8


def test_the_own_loop_takes_a_saved_policy(tmp_path, monkeypatch, capsys):
    torch.manual_seed(0)
    network = ConfidenceTransformer(16, 2, 16, top_p=2, output_bias=2.0)
    folder = save_policy(LearnedPolicy(network), tmp_path / "policy")
    monkeypatch.setattr(sys, "argv", [str(OWN_LOOP), str(folder)])
    runpy.run_path(str(OWN_LOOP), run_name="__main__")
    said = capsys.readouterr().out
    assert said.endswith(" forwards for LearnedPolicy)\n") and len(said.splitlines()) == 2


@pytest.mark.parametrize("learned", [False, True])
def test_an_exported_policy_decodes_in_loops_of_others_what_a_rollout_decodes(learned):
    policy = ConfidenceThreshold(0.7)
    if learned:
        torch.manual_seed(0)
        network = ConfidenceTransformer(16, 2, 16, top_p=2, output_bias=0.5)
        policy = Dilated(LearnedPolicy(network), 32).eval()
    example, denoiser = runpy.run_path(str(EXPORTED)), LLaDA("tiny-llada")
    chat = ({"role": "user", "content": example["QUESTION"]},)
    problem = Problem("one", chat, "", lambda text, answer: 0.0)
    prompt = denoiser.encode([problem]).tokens
    decide = example["exported"](policy, 64)
    scheduler = example["Unmasking"](decide, policy.signals.top_k, denoiser.mask_id)
    policy = Greedy(policy)
    left = []

    def callback(step, latents):
        left.append(int((latents["response"] == denoiser.mask_id).sum()))
        return latents

    for block in (64, 32):
        expected = decode_problems(denoiser, policy, [problem], Decoding(64, block))
        if block == 64:
            found = example["plain_loop"](denoiser.network, prompt, scheduler, 64)
        else:
            blocks = denoiser.network, prompt, scheduler, (2, 32), callback
            found = example["block_refinement"](*blocks)
            assert len(left) == int(expected.nfe) and left[-1] == 0
        assert torch.equal(found, expected.response)


class Greedy(Policy):
    """A most probable action, as an exported policy takes it."""

    def __init__(self, policy):
        super().__init__()
        self.policy, self.signals = policy, policy.signals

    def forward(self, observation):
        distribution = self.policy(observation)
        opened = distribution.forced(distribution.mode())
        return Deterministic(opened, observation.eligible, distribution.ranking())


def test_a_policy_that_looks_at_more_is_not_exported():
    with pytest.raises(ValueError, match=r"KLASS looks at change beside probabilities"):
        Plain(KLASS())
