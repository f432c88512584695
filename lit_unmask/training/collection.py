"""One round of rollouts: problems in, experience out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lit_unmask.denoisers.face import Denoiser
from lit_unmask.errors import ConfigurationError, NotFinite
from lit_unmask.evaluation.decode import attempt, encode_groups, rollout_numbers
from lit_unmask.evaluation.grading import Grader, Verdicts
from lit_unmask.policies.base import Policy
from lit_unmask.rollout import Decoding, Listener, Noise, Rollout
from lit_unmask.training.conditioning import Condition, ConditionedRollouts, check_condition
from lit_unmask.training.experts import Expert, check_experts
from lit_unmask.training.grpo import group_advantages, mixture_log_prob
from lit_unmask.training.imitation import as_committed, in_view
from lit_unmask.training.joint import Joint
from lit_unmask.training.rewards import SpeedReward
from lit_unmask.training.settings import Rounds, round_diagnostics
from lit_unmask.types import Experience, Problem, Prompt, Steps


@dataclass(frozen=True)
class _RolloutSpec:
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
class _Round:
    """What is rolled out, by each policy in turn.

    Attributes:
        problems: One group each.
        seed: Of the round's noise, and of the speeds that are drawn.
        listener: Told about the progress of the rollouts.
    """

    problems: Sequence[Problem]
    seed: int
    listener: Listener | None


@dataclass(frozen=True)
class _Graded:
    """Graded rollouts of one policy, those of one problem side by side.

    Attributes:
        result: The rollouts, **B** of them.
        steps: Their steps, as the policy that is trained will see them.
        correct: ``[B]`` float32 verdicts.
        unfinished: Verdicts that are 0 because grading ran into a deadline or a memory limit.
        rewards: ``[B]`` float32.
        speed: ``[B]`` float32, the speed that it was conditioned on, or None.
    """

    result: Rollout
    steps: Steps
    correct: Tensor
    unfinished: int
    rewards: Tensor
    speed: Tensor | None


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
        condition: Draws the speed of each group, for a policy that is conditioned on one.
        joint: The denoiser as it is trained with the policy, or None.
    """

    denoiser: Denoiser
    policy: Policy
    decoding: Decoding
    reward: SpeedReward
    rounds: Rounds
    grader: Grader
    experts: Mapping[str, Expert]
    condition: Condition | None = None
    joint: Joint | None = None

    @property
    def group_size(self) -> int:
        """Rollouts of each problem, experts included."""
        return self.rounds.group_size + sum(expert.count for expert in self.experts.values())

    def check(self) -> None:
        """Check that the settings fit together.

        Raises:
            ConfigurationError: If the policy cannot act as the experts do, or the conditions do
                not fit policy or reward.
        """
        if self.decoding.resampler is not None:
            raise ConfigurationError(
                f"decoding.resampler={type(self.decoding.resampler).__name__} replaces rollouts, "
                "and the policy gradient needs those that the policy made; train without it, and "
                "validate or test with it"
            )
        check_experts(self.experts, self.policy, self.decoding, self.denoiser)
        check_condition(self.condition, self.policy, self.reward, self.decoding.gen_length)

    @torch.no_grad()
    def play(
        self, problems: Sequence[Problem], seed: int, listener: Listener | None = None
    ) -> Experience:
        """Play one round.

        Args:
            problems: One group each.
            seed: Of the round's noise.
            listener: Told about the progress of the rollouts.

        Raises:
            NotFinite: If a reward is not, or the denoiser or the policy says NaN or infinity.
        """
        first = self.rounds.group_size
        batch = _Round(problems, seed, listener)
        own = self._roll_out(_RolloutSpec(self.policy, self.decoding, range(first)), batch)
        cloned = []
        for expert in self.experts.values():
            places = range(first, first + expert.count)
            spec = _RolloutSpec(expert.policy, expert.decoding(self.decoding), places)
            cloned.append(self._as_own(self._roll_out(spec, batch)))
            first += expert.count
        parts = [own, *cloned]
        try:
            advantages = self._advantages([part.rewards for part in parts], len(problems))
        except NotFinite as error:
            error.name([problem.uid for problem in problems])
            raise
        steps = _joined(parts)
        diagnostics = round_diagnostics(
            own.result, own.rewards, own.correct, self.rounds.group_size
        )
        for kind, spent in self.decoding.by_kind(own.result.price).items():
            diagnostics[f"forwards/{kind}"] = float(spent.float().mean())
        for name, part, advantage in zip(self.experts, cloned, advantages[1:], strict=True):
            diagnostics |= _expert_diagnostics(name, part, advantage)
        diagnostics["row_forwards"] = float(sum(part.result.ledger.computed for part in parts))
        graded = sum(len(part.correct) for part in parts)
        diagnostics["unfinished_share"] = sum(part.unfinished for part in parts) / graded
        if self.condition is not None and own.speed is not None:
            diagnostics |= self.condition.close_round(
                ConditionedRollouts(own.correct, own.result.nfe, own.speed)
            )
        return Experience(
            steps=steps,
            advantage=torch.cat(advantages),
            decisions=torch.cat([part.result.decisions for part in parts]),
            rewards=torch.cat([part.rewards for part in parts]),
            correct=torch.cat([part.correct for part in parts]),
            expert=torch.cat([torch.full_like(p.rewards, p is not own).bool() for p in parts]),
            diagnostics=diagnostics,
        )

    def prompts(self, problems: Sequence[Problem], count: int, seed: int) -> Prompt:
        """Return the prompts of ``count`` rollouts a problem, with the speed of their group."""
        prompt = encode_groups(self.denoiser, problems, count)
        if self.condition is None:
            return prompt
        speed = self.condition.draw(rollout_numbers(problems).to(prompt.tokens.device), seed)
        return replace(prompt, speed=speed.repeat_interleave(count))

    def _roll_out(self, spec: _RolloutSpec, batch: _Round) -> _Graded:
        """Roll out and grade."""
        count = len(spec.places)
        prompt = self.prompts(batch.problems, count, batch.seed)
        numbers = rollout_numbers(batch.problems, count) + spec.places.start
        repeated = [problem for problem in batch.problems for _ in range(count)]
        verdicts = Verdicts(self.grader, self.denoiser, repeated, batch.listener)
        noise = Noise(batch.seed, numbers.to(prompt.tokens.device))
        result, correct = attempt(
            verdicts, spec.policy, prompt, spec.decoding, noise,
            record=True, signals=self.policy.signals,
        )  # fmt: skip
        steps = result.steps
        assert steps is not None
        if self.joint is not None:
            steps = self.joint.recorded(steps, prompt, result.response, self.rounds.replay_chunk)
        rewards = self._rewards(correct, result.nfe, prompt.speed)
        return _Graded(result, steps, correct, verdicts.unfinished, rewards, prompt.speed)

    def _rewards(self, correct: Tensor, nfe: Tensor, speed: Tensor | None) -> Tensor:
        """Return the rewards of rollouts, ``[B]`` float32, by the speed of each."""
        length = self.decoding.gen_length
        if self.condition is None or speed is None:
            return self.reward(correct, nfe, length)
        return self.condition.rewards(self.reward, ConditionedRollouts(correct, nfe, speed), length)

    def _as_own(self, graded: _Graded) -> _Graded:
        """Return an expert's rollouts with actions and likelihoods of the policy's mixture."""
        steps = as_committed(graded.steps)
        steps = in_view(steps, self.policy.signals, self.decoding.block_length)
        actions, log_probs = [], []
        for seen in self._chunks(steps):
            distribution = self.policy(seen.observation)
            actions.append(distribution.action_of(seen.chosen))
            log_probs.append(distribution.log_prob(actions[-1]))
        group = self.rounds.group_size
        behaviour = mixture_log_prob(torch.cat(log_probs), group, self.group_size - group)
        return replace(graded, steps=replace(steps, action=torch.cat(actions), log_prob=behaviour))

    def _chunks(self, steps: Steps) -> Iterator[Steps]:
        """Iterate over the steps, some at a time."""
        rows = torch.arange(len(steps), device=steps.rollout.device)
        return (steps.select(part) for part in rows.split(self.rounds.replay_chunk))

    def _advantages(self, rewards: Sequence[Tensor], groups: int) -> list[Tensor]:
        """Return the advantages in the groups that all parts make up together."""
        table = torch.cat([part.view(groups, -1) for part in rewards], dim=1)
        advantage = group_advantages(table.flatten(), table.shape[1], self.rounds.scale_by_std)
        advantage = self.rounds.advantages(advantage)
        if bool((~advantage.isfinite()).any()):
            broken = (~table.isfinite()).any(1).nonzero()[:, 0].tolist()
            raise NotFinite(
                "rewards" if broken else "advantages",
                "let model.reward or model.condition return finite numbers, or set "
                "rounds.scale_by_std=false",
                broken,
            )
        widths = [len(part) // groups for part in rewards]
        return [part.flatten() for part in advantage.view_as(table).split(widths, dim=1)]


def _joined(parts: Sequence[_Graded]) -> Steps:
    """Return the steps of all parts, with rollouts numbered through them."""
    numbered, first = [], 0
    for part in parts:
        numbered.append(replace(part.steps, rollout=part.steps.rollout + first))
        first += len(part.rewards)
    return Steps.cat(numbered)


def _expert_diagnostics(name: str, graded: _Graded, advantage: Tensor) -> dict[str, float]:
    """Return the scalars that are logged for one expert of one round, by name."""
    return {
        f"expert/{name}/advantage": float(advantage.mean()),
        f"expert/{name}/accuracy": float(graded.correct.mean()),
        f"expert/{name}/nfe": float(graded.result.nfe.float().mean()),
        f"expert/{name}/reward": float(graded.rewards.mean()),
    }
