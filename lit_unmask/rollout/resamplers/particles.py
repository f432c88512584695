"""The particles of a rollout: who waits, who is replaced, and whose answer it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from lit_unmask.randomness import RESAMPLE, Noise, uniform
from lit_unmask.rollout.correctors.base import Edit
from lit_unmask.rollout.history import Charges
from lit_unmask.rollout.host import Flags, Indices, upload
from lit_unmask.rollout.resamplers.base import Resampler
from lit_unmask.rollout.state import RowState
from lit_unmask.types import CORRECTOR, LIKELIHOOD, PARTICLE, PREDICTOR, Prompt, Reading

# Far above the number of particles, so that numbers of replaced rows are new.
_GENERATION = 1 << 40


class Particles:
    """Groups of rows of one prompt.

    Args:
        resampler: What weighs and chooses.
        state: The rows, those of a group side by side.
        noise: Their random numbers, which are renewed where a row is replaced.

    Attributes:
        held: ``[B]`` bool on the host, rows that wait for their group.
    """

    def __init__(self, resampler: Resampler, state: RowState, noise: Noise) -> None:
        self.resampler, self.state, self.noise = resampler, state, noise
        count, device = len(state.host.finished), state.device
        self.held: Flags = state.host.finished.copy()
        self.log_weight = torch.zeros(count, device=device)
        self.likelihood = torch.zeros(count, device=device)
        self.generation = torch.zeros(count, dtype=torch.int64, device=device)
        self._groups, self._number = noise.rollout.clone(), noise.rollout.clone()
        self._parents: list[Tensor] = []

    @staticmethod
    def spread(prompt: Prompt, noise: Noise, particles: int) -> tuple[Prompt, Noise]:
        """Return prompts and numbers of all particles; one particle is the row itself."""
        offset = torch.arange(particles, device=noise.rollout.device)
        numbers = (noise.rollout[:, None] * particles + offset).flatten()
        return prompt.repeat(particles), Noise(noise.seed, numbers)

    def weigh(self, at: Tensor, edit: Edit, said: Reading) -> None:
        """Note what was written to rows ``[R]``, with the readings of these rows."""
        self.log_weight[at] += self.resampler.weigh(edit, said).float()
        logarithm = said.signals[LIKELIHOOD.name].where(edit.where, 0.0)
        self.likelihood[at] += logarithm.sum(1)

    def settle(self, rows: Indices) -> None:
        """Hold rows ``[R]`` that have ended a block, and resample groups that all have."""
        host, size = self.state.host, self.resampler.particles
        ended = (host.block_steps[rows] == 0) | host.finished[rows]
        self.held[rows[ended]] = True
        held, finished = self.held.reshape(-1, size), host.finished.reshape(-1, size)
        ready = np.flatnonzero(held.min(1) & ~finished.min(1))
        if len(ready):
            self._resample(upload(ready, self.state.device))
            self.held.reshape(-1, size)[ready] = host.finished.reshape(-1, size)[ready]

    def _resample(self, groups: Tensor) -> None:
        """Let particles of groups ``[G]`` take over the state of others."""
        size = self.resampler.particles
        own = groups[:, None] * size + torch.arange(size, device=groups.device)
        first = own[:, 0]
        keys = self._groups[first], self.generation[first]
        draws = uniform(self.noise.seed, *keys, size, RESAMPLE)
        parents = self.resampler.ancestors(self.log_weight[own], draws)
        kept = (parents < 0).any(1, keepdim=True)
        origin = torch.where(kept, own, own[:, :1] + parents)
        self.log_weight[own] = self.log_weight[own].where(kept, 0.0)
        self.likelihood[own] = self.likelihood[origin]
        self._remember(own, origin)
        moved = origin != own
        at, source = own[moved], origin[moved]
        self.noise.rollout[at] = self._number[at] + self.generation[at] * _GENERATION
        self.state.replace(at, source)

    def _remember(self, own: Tensor, origin: Tensor) -> None:
        """Note whose history particles ``[G, N]`` go on with."""
        latest = int(self.generation[own].max())
        if latest == len(self._parents):
            self._parents.append(torch.arange(len(self.generation), device=own.device))
        # All particles of a group are of one generation.
        for generation in self.generation[own[:, 0]].unique().tolist():
            mine = self.generation[own[:, 0]] == generation
            self._parents[generation][own[mine]] = origin[mine]
        self.generation[own] += 1

    def winners(self) -> Tensor:
        """Return the row of each group that is its answer, ``[G]`` int64."""
        size = self.resampler.particles
        best = self.resampler.answer(self.likelihood.view(-1, size))
        return torch.arange(len(best), device=best.device) * size + best

    def history(self, row: Tensor, generation: Tensor) -> Tensor:
        """Return which of **S** events belong to the past of an answer, ``[S]`` int64: the group.

        Args:
            row: ``[S]`` int64, the particle that something happened to.
            generation: ``[S]`` int64, its generation at the time.

        Returns:
            The group, or -1 where the particle was replaced since, or is not the answer.
        """
        size, line = self.resampler.particles, self.winners()
        last = self.generation[line]
        group = torch.full_like(row, -1)
        for number in range(len(self._parents), -1, -1):
            older = number < last
            if number < len(self._parents):
                line = torch.where(older, self._parents[number][line], line)
            of = row // size
            mine = (generation == number) & (line[of] == row) & (number <= last[of])
            group = torch.where(mine, of, group)
        return group

    def price(self, winners: Tensor) -> Mapping[str, Tensor]:
        """Return what each group is charged for, ``[G]`` int64 by kind.

        Forwards of the denoiser about other particles than the answer are of the kind
        ``particle``.
        """
        found, size = {}, self.resampler.particles
        rest = torch.zeros_like(winners)
        for kind, price in self.state.price.items():
            whole = price.view(-1, size).sum(1)
            if kind in (PREDICTOR, CORRECTOR):
                found[kind] = price[winners]
                rest = rest + whole - price[winners]
            else:
                found[kind] = whole
        return found | {PARTICLE: rest}

    def charged(self, charges: Charges, winners: Tensor) -> Charges:
        """Return what :meth:`price` adds up, numbered by groups; ``particle`` is the last kind."""
        group, kinds = charges.rollout // self.resampler.particles, list(self.state.price)
        rest = charges.rollout != winners[group]
        for place, kind in enumerate(kinds):
            rest &= (charges.kind != place) | (kind in (PREDICTOR, CORRECTOR))
        return replace(charges, rollout=group, kind=charges.kind.masked_fill(rest, len(kinds)))
