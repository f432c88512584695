"""One round of rollouts: problems in, experience out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lit_unmask.denoisers.base import Denoiser
from lit_unmask.evaluation import encode_groups, rollout_numbers
from lit_unmask.grading import Grader, Verdicts
from lit_unmask.grpo import group_advantages, mixture_log_prob
from lit_unmask.imitation import without_blocks
from lit_unmask.policies.base import Policy
from lit_unmask.rewards import SpeedReward
from lit_unmask.rollout import Decoding, Listener, Noise, Rollout, rollout
from lit_unmask.rounds import Rounds, round_diagnostics
from lit_unmask.types import Experience, Problem, Steps


@dataclass(frozen=True)
class Expert:
    """A policy whose rollouts join those of the policy that is trained.

    Expert steering of arXiv 2512.09106, for full diffusion: the expert shows answers that the
    policy does not find by itself. Its steps are scored under the mixture of the policy and point
    masses, over all masked positions, so that the policy learns blocks of its own accord.

    Attributes:
        policy: Usually a heuristic; its actions are taken to be certain.
        block_length: Block length that the expert is held to; the policy is not.
        count: Rollouts of the expert in each group; more than one make sense for a policy that
            draws.

    Raises:
        ValueError: If there is not at least one rollout.
    """

    policy: Policy
    block_length: int
    count: int = 1

    def __post_init__(self) -> None:
        """Check the count."""
        if self.count < 1:
            raise ValueError(f"count={self.count} must be at least 1, or leave the expert out")


@dataclass(frozen=True)
class _Casting:
    """Who decodes which rollouts of each group, and how.

    Attributes:
        policy: Decides.
        decoding: Lengths and forcing.
        places: Places of the rollouts in their group; they key the noise.
    """

    policy: Policy
    decoding: Decoding
    places: range


@dataclass(frozen=True)
class _Played:
    """Graded rollouts of one policy, those of one problem side by side.

    Attributes:
        result: The rollouts, **B** of them.
        steps: Their steps, as the policy that is trained will see them.
        correct: ``[B]`` float32 verdicts.
        rewards: ``[B]`` float32.
    """

    result: Rollout
    steps: Steps
    correct: Tensor
    rewards: Tensor


@dataclass(frozen=True)
class Collector:
    """Plays rounds: rolls out, grades, scores.

    Attributes:
        denoiser: The frozen dLLM.
        policy: The policy that is trained.
        decoding: How it decodes.
        reward: Trade between correctness and speed.
        rounds: Group size, and how many steps are looked at together.
        grader: Where verifiers run.
        experts: By name, policies whose rollouts join each group.
    """

    denoiser: Denoiser
    policy: Policy
    decoding: Decoding
    reward: SpeedReward
    rounds: Rounds
    grader: Grader
    experts: Mapping[str, Expert]

    @property
    def group_size(self) -> int:
        """Rollouts of each problem, experts included."""
        return self.rounds.group_size + sum(expert.count for expert in self.experts.values())

    @torch.no_grad()
    def play(
        self, problems: Sequence[Problem], seed: int, listener: Listener | None = None
    ) -> Experience:
        """Play one round.

        Args:
            problems: One group each.
            seed: Of the round's noise.
            listener: Told about the progress of the rollouts.
        """
        first = self.rounds.group_size
        own = self._roll_out(
            _Casting(self.policy, self.decoding, range(first)), problems, seed, listener
        )
        shown = []
        for expert in self.experts.values():
            decoding = replace(self.decoding, block_length=expert.block_length)
            casting = _Casting(expert.policy, decoding, range(first, first + expert.count))
            shown.append(self._as_own(self._roll_out(casting, problems, seed, listener)))
            first += expert.count
        parts = [own, *shown]
        advantages = self._advantages([part.rewards for part in parts], len(problems))
        diagnostics = round_diagnostics(
            own.result, own.rewards, own.correct, self.rounds.group_size
        )
        for name, part, advantage in zip(self.experts, shown, advantages[1:], strict=True):
            diagnostics |= _expert_diagnostics(name, part, advantage)
        return Experience(
            steps=_joined(parts),
            advantage=torch.cat(advantages),
            nfe=torch.cat([part.result.nfe for part in parts]),
            rewards=torch.cat([part.rewards for part in parts]),
            correct=torch.cat([part.correct for part in parts]),
            expert=torch.cat([torch.full_like(p.rewards, p is not own).bool() for p in parts]),
            diagnostics=diagnostics,
        )

    def _roll_out(
        self,
        casting: _Casting,
        problems: Sequence[Problem],
        seed: int,
        listener: Listener | None,
    ) -> _Played:
        """Roll out and grade."""
        count = len(casting.places)
        prompt = encode_groups(self.denoiser, problems, count)
        numbers = rollout_numbers(problems, count) + casting.places.start
        repeated = [problem for problem in problems for _ in range(count)]
        verdicts = Verdicts(self.grader, self.denoiser, repeated, listener)
        result = rollout(
            self.denoiser, casting.policy, prompt, casting.decoding,
            Noise(seed, numbers.to(prompt.tokens.device)), record=True, listener=verdicts,
            signals=self.policy.signals,
        )  # fmt: skip
        assert result.steps is not None
        correct = verdicts.wait().to(prompt.tokens.device)
        rewards = self.reward(correct, result.nfe, casting.decoding.gen_length)
        return _Played(result, result.steps, correct, rewards)

    def _as_own(self, played: _Played) -> _Played:
        """Return an expert's rollouts with actions and likelihoods of the policy's mixture."""
        steps = without_blocks(played.steps)
        actions, log_probs = [], []
        rows = torch.arange(len(steps), device=steps.rollout.device)
        for part in rows.split(self.rounds.replay_chunk):
            seen = steps.select(part)
            distribution = self.policy(seen.observation)
            actions.append(distribution.action_of(seen.chosen))
            log_probs.append(distribution.log_prob(actions[-1]))
        group = self.rounds.group_size
        behaviour = mixture_log_prob(torch.cat(log_probs), group, self.group_size - group)
        return replace(played, steps=replace(steps, action=torch.cat(actions), log_prob=behaviour))

    def _advantages(self, rewards: Sequence[Tensor], groups: int) -> list[Tensor]:
        """Return the advantages in the groups that all parts make up together."""
        table = torch.cat([part.view(groups, -1) for part in rewards], dim=1)
        advantage = group_advantages(table.flatten(), table.shape[1], self.rounds.scale_by_std)
        widths = [len(part) // groups for part in rewards]
        return [part.flatten() for part in advantage.view_as(table).split(widths, dim=1)]


def _joined(parts: Sequence[_Played]) -> Steps:
    """Return the steps of all parts, with rollouts numbered through them."""
    numbered, first = [], 0
    for part in parts:
        numbered.append(replace(part.steps, rollout=part.steps.rollout + first))
        first += len(part.rewards)
    return Steps.cat(numbered)


def _expert_diagnostics(name: str, played: _Played, advantage: Tensor) -> dict[str, float]:
    """Return the scalars that are logged for one expert of one round, by name."""
    return {
        f"expert/{name}/advantage": float(advantage.mean()),
        f"expert/{name}/accuracy": float(played.correct.mean()),
        f"expert/{name}/nfe": float(played.result.nfe.float().mean()),
        f"expert/{name}/reward": float(played.rewards.mean()),
    }
