"""Frozen diffusion language models behind one face."""

from lit_unmask.denoisers.adapter import Adapter
from lit_unmask.denoisers.base import Denoiser
from lit_unmask.denoisers.compilation import Compile
from lit_unmask.denoisers.dream import Dream
from lit_unmask.denoisers.layout import DenoiserShape
from lit_unmask.denoisers.llada import LLaDA
from lit_unmask.denoisers.placement import Placement
from lit_unmask.denoisers.qwen3 import Qwen3Diffusion, ShiftedQwen3Diffusion
from lit_unmask.denoisers.remote import Code, RemoteCode
from lit_unmask.denoisers.stock import StockDenoiser

__all__ = [
    "Adapter",
    "Code",
    "Compile",
    "Denoiser",
    "DenoiserShape",
    "Dream",
    "LLaDA",
    "Placement",
    "Qwen3Diffusion",
    "RemoteCode",
    "ShiftedQwen3Diffusion",
    "StockDenoiser",
]
