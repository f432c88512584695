"""One row of approximate decoding by its definition, nothing skipped, shared or batched."""

import oracles
import torch

from lit_unmask.denoisers.running.cache import Kept, KeyValues, Span
from lit_unmask.types import Observation


class SlowRow:
    """One row by the definition of the cache: full at a block's first buffer, else partial."""

    def __init__(self, denoiser, policy, prompt, decoding, key):
        self.denoiser, self.policy, self.prompt, self.decoding = denoiser, policy, prompt, decoding
        self.seed, self.number = key
        self.response = torch.full((1, decoding.gen_length), denoiser.mask_id)
        self.committed_at = torch.full_like(self.response, -1)
        self.actions, self.confidences, self.step, self.changed_at = [], [], 0, 0

    def numbers(self, step, stream):
        length = self.decoding.gen_length
        return torch.tensor(
            [
                [
                    oracles.splitmix_uniform(self.seed, self.number, step, j, stream)
                    for j in range(length)
                ]
            ]
        )

    def ask(self, buffer, kept):
        drawn = self.numbers(self.changed_at, 1) if self.decoding.temperature > 0 else None
        asked = self.prompt, buffer, self.policy.signals, drawn, self.decoding.temperature
        return self.denoiser(*asked, kept=kept)

    def read(self, base, start):
        store = KeyValues(self.prompt.tokens.shape[1] + self.decoding.gen_length)
        store.slots, slot = 1, torch.tensor([0])
        seen = self.ask(base, Kept(store, slot))
        mode = self.decoding.approximate.cache
        if mode == "none":
            return self.ask(self.response, None)
        if torch.equal(base, self.response):
            return seen
        stop = start + self.decoding.block_length if mode == "dual" else self.decoding.gen_length
        span = Span(torch.tensor([start]), stop - start)
        part = self.ask(self.response, Kept(store, slot, span))
        for value, new in (
            (seen.proposal, part.proposal),
            (seen.confidence, part.confidence),
            *((value, part.signals[name]) for name, value in seen.signals.items()),
        ):
            value[:, start:stop] = new
        return seen

    def stops(self):
        """Whether an end token has no mask before it; masks then become that token."""
        for place, token in enumerate(self.response[0].tolist()):
            if token == self.denoiser.mask_id:
                return False
            if token in self.denoiser.end_ids:
                masked = self.response[0] == self.denoiser.mask_id
                self.response[0, masked] = self.response[0, place].clone()
                return True
        return False

    def run(self):
        for start in range(0, self.decoding.gen_length, self.decoding.block_length):
            base = self.response.clone()
            for _ in range(self.decoding.block_length):
                masked = self.response == self.denoiser.mask_id
                places = torch.arange(self.decoding.gen_length)
                inside = (places >= start) & (places < start + self.decoding.block_length)
                if not (masked & inside).any():
                    break
                self.act(self.read(base, start), masked, masked & inside)
                if self.decoding.approximate.early_stop and self.stops():
                    return self
        return self

    def act(self, seen, masked, eligible):
        time = torch.tensor([self.step / self.decoding.gen_length])
        observation = Observation(masked, eligible, seen.confidence, time, seen.signals)
        distribution = self.policy(observation)
        chosen = distribution.sample(self.numbers(self.step, 0)) & eligible
        self.actions.append(chosen[0].tolist())
        self.confidences.append(seen.confidence[0])
        if self.decoding.on_empty == "force" and not chosen.any():
            chosen[0, distribution.ranking().argmax()] = True
        self.response[chosen] = seen.proposal[chosen]
        self.committed_at[chosen] = self.step
        self.step += 1
        self.changed_at = self.step if chosen.any() else self.changed_at
