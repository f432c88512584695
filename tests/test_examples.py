"""The examples run and decode as the package does."""

import runpy
import sys
from pathlib import Path

import torch
from toys import decode_problems

from lit_unmask import LLaDA, save_policy
from lit_unmask.policies import ConfidenceTransformer, LearnedPolicy, LowConfidence
from lit_unmask.rollout import Decoding
from lit_unmask.types import Problem

OWN_LOOP = Path(__file__).parents[1] / "examples" / "own_loop.py"


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
