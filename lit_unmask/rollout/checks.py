"""What is refused before the first forward of a rollout."""

from __future__ import annotations

from lit_unmask.denoisers.face import Denoiser
from lit_unmask.policies.base import Policy
from lit_unmask.randomness import Noise
from lit_unmask.rollout.decoding import Decoding
from lit_unmask.types import SPEED, Prompt, Signals


def check(policy: Policy, prompt: Prompt, noise: Noise, signals: Signals) -> None:
    """Refuse rows without noise of their own, and a policy without the speed it is conditioned on.

    Raises:
        ValueError: If there is not one rollout number a row, or no speed.
    """
    if noise.rollout.shape != (len(prompt),):
        raise ValueError(
            f"noise.rollout has shape {tuple(noise.rollout.shape)}, not ({len(prompt)},)"
        )
    if SPEED in signals and prompt.speed is None:
        raise ValueError(
            f"policy {type(policy).__name__} is conditioned on a speed and prompt.speed is None; "
            "wrap it in lit_unmask.policies.Conditioned"
        )


def check_policy(policy: Policy, decoding: Decoding) -> None:
    """Refuse a policy that cannot decode by itself in this way, as far as settings alone tell.

    Raises:
        ValueError: If it is conditioned on a speed that nobody gives it, or its actions do not fit.
    """
    if SPEED in policy.signals:
        raise ValueError(
            f"policy {type(policy).__name__} is conditioned on a speed and is given none; wrap it "
            "in lit_unmask.policies.Conditioned"
        )
    policy.check_decoding(decoding.on_empty)
    check_remasking(policy, decoding)
    check_placement(policy, decoding)


def check_remasking(policy: Policy, decoding: Decoding) -> None:
    """Refuse a policy that may go on for ever, or whose groups cannot be weighed.

    Raises:
        ValueError: If it takes tokens back and there is no bound on steps, or a resampler.
    """
    if policy.takes_back and (decoding.max_block_steps is None or decoding.resampler is not None):
        raise ValueError(
            f"a policy that takes tokens back needs a bound on its steps and no resampler, not "
            f"max_block_steps={decoding.max_block_steps} and resampler={decoding.resampler}; set "
            f"decoding.max_block_steps, as {2 * decoding.block_length}"
        )


def check_placement(policy: Policy, decoding: Decoding) -> None:
    """Refuse a policy that asks for corrections where nothing waits for it.

    Raises:
        ValueError: If there is no corrector, or one with another placement.
    """
    corrector = decoding.corrector
    if policy.corrects and (corrector is None or not corrector.placement.learned):
        raise ValueError(
            f"a policy that asks for corrections needs a corrector that waits for it, not "
            f"corrector={corrector}; set decoding.corrector, with placement: {{learned: true}}"
        )


def check_shapes(denoiser: Denoiser, decoding: Decoding) -> None:
    """Refuse calls for each of which a compiled denoiser would be compiled anew.

    Raises:
        ValueError: If it is compiled for fixed shapes and the calls have any.
    """
    how = getattr(denoiser, "compilation", None)
    if how is not None and how.fixed_shapes and not decoding.scheduling.deterministic:
        raise ValueError(
            f"the denoiser is compiled for fixed shapes ({how}), and calls of this decoding have "
            "any; set decoding.scheduling.deterministic: true, or compile: {mode: default, "
            "dynamic: true}"
        )
