"""Two synthetic sources, their mixture, and how well one was heard out of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lit_unmask.rows import Rows

RATE = 8000
"""Samples a second."""
_FFT, _HOP = 256, 128


@dataclass(frozen=True)
class Mixtures(Rows):
    """Sounds of two sources, and what a microphone hears of them.

    Attributes:
        target: ``[B, S]`` float32, the source that is wanted.
        other: ``[B, S]`` float32, the one that is not.
    """

    target: Tensor
    other: Tensor

    @property
    def heard(self) -> Tensor:
        """The mixture, ``[B, S]``."""
        return self.target + self.other


def mixtures(count: int, samples: int, seed: int) -> Mixtures:
    """Return random mixtures of a vibrato tone, which is wanted, with rhythmic filtered noise.

    The tone is as loud as the noise, up to 5 dB more or less.

    Args:
        count: Mixtures **B**.
        samples: Length **S**.
        seed: Of all that is random.
    """
    draw = torch.Generator().manual_seed(seed)
    time = torch.arange(samples) / RATE
    target, other = _tones(count, time, draw), _noises(count, time, draw)
    decibel = _between(count, -5, 5, draw)
    return Mixtures(_loud(target), _loud(other) * 10 ** (-decibel / 20))


def _between(count: int, low: float, high: float, draw: torch.Generator) -> Tensor:
    """Return uniform numbers ``[B, 1]``."""
    return low + (high - low) * torch.rand(count, 1, generator=draw)


def _loud(sound: Tensor) -> Tensor:
    """Return sounds ``[B, S]`` of root mean square 0.1."""
    return 0.1 * sound / sound.square().mean(-1, keepdim=True).sqrt()


def _tones(count: int, time: Tensor, draw: torch.Generator) -> Tensor:
    """Return vibrato tones of eight harmonics whose pitch slides, ``[B, S]``."""
    pitch, slide = _between(count, 150, 450, draw), _between(count, -60, 60, draw)
    depth, speed = _between(count, 2, 12, draw), _between(count, 4, 7, draw)
    turn = 2 * math.pi
    swing = depth / (turn * speed) * (1 - torch.cos(turn * speed * time))
    phase = turn * (pitch * time + slide * time.square() / 2 + swing)
    fall = _between(count, 0.5, 1.2, draw)
    parts = [
        torch.sin(n * phase + turn * _between(count, 0, 1, draw)) / n**fall for n in range(1, 9)
    ]
    return torch.stack(parts).sum(0)


def _noises(count: int, time: Tensor, draw: torch.Generator) -> Tensor:
    """Return bursts of noise in a band of its own, in a rhythm of its own, ``[B, S]``."""
    noise = torch.randn(count, len(time), generator=draw)
    frequency = torch.fft.rfftfreq(len(time), 1 / RATE)
    center, width = _between(count, 300, 3000, draw), _between(count, 300, 900, draw)
    band = torch.exp(-((frequency - center) / width).square())
    noise = torch.fft.irfft(torch.fft.rfft(noise) * band, n=len(time))
    beats, shift = _between(count, 3, 9, draw), _between(count, 0, 1, draw)
    return noise * torch.exp(-5 * ((beats * time + shift) % 1))


def spectrogram(sound: Tensor) -> Tensor:
    """Return the short-time Fourier transform ``[B, F, T]``, complex, of ``[B, S]``."""
    window = torch.hann_window(_FFT, device=sound.device)
    return torch.stft(sound, _FFT, _HOP, window=window, return_complex=True)


def masked(heard: Tensor, mask: Tensor) -> Tensor:
    """Return the sound ``[B, S]`` of a mixture whose spectrogram is multiplied by a mask.

    The phase is the mixture's.

    Args:
        heard: ``[B, S]``, the mixture.
        mask: ``[B, F * T]`` in ``[0, 1]``.
    """
    seen, window = spectrogram(heard), torch.hann_window(_FFT, device=heard.device)
    return torch.istft(
        seen * mask.view(seen.shape), _FFT, _HOP, window=window, length=heard.shape[-1]
    )


def ratio_mask(sounds: Mixtures) -> Tensor:
    """Return the ideal ratio mask ``[B, F * T]``, the target's share of the energy of each bin.

    It knows the sources, and stands for the best that a mask can do (arXiv 1708.07524, equation 3,
    with exponent 1).
    """
    target, other = (spectrogram(s).abs().square() for s in (sounds.target, sounds.other))
    # A bin in which both are exactly silent has nothing to share.
    return (target / (target + other)).nan_to_num(0.5).flatten(1)


def si_sdr(estimate: Tensor, target: Tensor) -> Tensor:
    """Return the scale-invariant signal-to-distortion ratio ``[B]``, in dB.

    ``10 log10(|a s|^2 / |a s - e|^2)`` with ``a = <e, s> / |s|^2`` (arXiv 1811.02508, equation 5);
    neither sound is centred.

    Args:
        estimate: ``[B, S]``, **e**.
        target: ``[B, S]``, **s**.
    """
    scale = (estimate * target).sum(-1, keepdim=True) / target.square().sum(-1, keepdim=True)
    wanted = scale * target
    distortion = (wanted - estimate).square().sum(-1)
    return 10 * (wanted.square().sum(-1) / distortion).log10()
