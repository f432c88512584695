"""Frozen diffusion language models behind one face."""

from lit_unmask.denoisers.face import Denoiser
from lit_unmask.denoisers.families.causal import CausalQwen2
from lit_unmask.denoisers.families.dream import Dream
from lit_unmask.denoisers.families.layout import DenoiserShape
from lit_unmask.denoisers.families.llada import LLaDA
from lit_unmask.denoisers.families.qwen3 import Qwen3Diffusion, ShiftedQwen3Diffusion
from lit_unmask.denoisers.families.remote import Code, RemoteCode
from lit_unmask.denoisers.families.stock import StockDenoiser
from lit_unmask.denoisers.loading.adapter import Adapter
from lit_unmask.denoisers.loading.placement import Placement
from lit_unmask.denoisers.network import NetworkDenoiser
from lit_unmask.denoisers.running.compilation import Compile
from lit_unmask.denoisers.wrappers.adaptive_parallel import AdaptiveParallel
from lit_unmask.denoisers.wrappers.base import Wrapper
from lit_unmask.denoisers.wrappers.reward_weighted import RewardWeighted
