"""One denoiser after the other on a device that has no room for two."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from lit_unmask.denoisers.base import Denoiser


@contextmanager
def in_place_of(own: Denoiser, guest: Denoiser, device: torch.device) -> Iterator[None]:
    """Have another denoiser on a device for the time of a ``with``, and one's own on the CPU.

    Their places are changed back afterwards, also if something fails. Nothing moves where both are
    the same one or the device is the CPU, whose memory holds both in any case. A denoiser that a
    device map or ranks have in its place stays there, as it does under every ``to``.

    Args:
        own: The denoiser that is on the device.
        guest: The one to have there.
        device: The device.
    """
    if guest is own or device.type == "cpu":
        yield
        return
    own.to("cpu")
    try:
        guest.to(device)
        yield
    finally:
        guest.to("cpu")
        own.to(device)
