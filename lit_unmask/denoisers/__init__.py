"""Frozen diffusion language models behind one face, loaded without remote code."""

from lit_unmask.denoisers.base import Denoiser
from lit_unmask.denoisers.dream import Dream
from lit_unmask.denoisers.layout import DenoiserShape
from lit_unmask.denoisers.llada import LLaDA

__all__ = ["Denoiser", "DenoiserShape", "Dream", "LLaDA"]
