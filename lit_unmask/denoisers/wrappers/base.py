"""A denoiser around another one."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from lit_unmask.denoisers.face import Adjust, Denoiser
from lit_unmask.denoisers.running.cache import Kept
from lit_unmask.types import PREDICTOR, Prompt, Reading, Signals


class Wrapper(Denoiser):
    """A denoiser that changes what another one says, and charges for it.

    A subclass overrides :meth:`adjust` to change logits, or :meth:`change` to change what was read
    from them; :meth:`price` says what it costs beside the forward of the inner one. Both may look
    at the row alone. Arguments of its ``__init__`` beside ``inner`` are kept as attributes of the
    same names: they, and all weights that are not the inner one's, tell wrappers apart in stores.

    Args:
        inner: The denoiser, which may be wrapped too.
    """

    def __init__(self, inner: Denoiser) -> None:
        super().__init__()
        self.inner = inner
        self.tokenizer, self.max_length = inner.tokenizer, inner.max_length
        self.mask_id, self.pad_id, self.end_ids = inner.mask_id, inner.pad_id, inner.end_ids
        self.template_arguments = inner.template_arguments  # type: ignore[misc]
        self.shift, self.row_limit = inner.shift, inner.row_limit
        self.shards, self.compilation = inner.shards, inner.compilation
        self.same_draws = inner.same_draws
        self.requires_grad_(False)
        self.eval()

    @classmethod
    def check(cls, *arguments: Any, **named: Any) -> None:
        """Refuse arguments of ``__init__`` that cannot work, before any weights are read.

        Args:
            *arguments: Those without a name; of a denoiser, only config and tokenizer may be known.
            **named: The others.

        Raises:
            ValueError: If one does not fit.
        """

    def check_signals(self, signals: Signals) -> None:
        """Refuse what the inner denoiser cannot give; see :meth:`Denoiser.check_signals`."""
        self.inner.check_signals(signals)

    @property
    def device(self) -> torch.device:
        """Where inputs go and outputs come from."""
        return self.inner.device

    @property
    def vocab_size(self) -> int:
        """Vocabulary **V**, mask token included."""
        return self.inner.vocab_size

    @property
    def width(self) -> int:
        """Hidden width **D**."""
        return self.inner.width

    @property
    def settings(self) -> dict[str, Any]:
        """Arguments of ``__init__`` beside ``inner``, by name."""
        names = list(inspect.signature(type(self)).parameters)
        return {name: getattr(self, name) for name in names if name != "inner"}

    @property
    def identity(self) -> dict[str, str | None]:
        """What names the inner denoiser, and ``wrappers``, innermost first."""
        identity = self.inner.identity
        kind = type(self)
        own = [f"{kind.__module__}.{kind.__qualname__}", self.settings]
        before = json.loads(identity.get("wrappers") or "[]")
        return identity | {"wrappers": json.dumps([*before, own], sort_keys=True, default=_named)}

    def named_weights(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the weights by name, first those of the inner denoiser."""
        yield from self.inner.named_weights()
        for name, weight in self.state_dict().items():
            if not name.startswith("inner."):
                yield f"wrapper.{name}", weight

    def adjust(self, prompt: Prompt, response: Tensor) -> Adjust | None:
        """Return what changes the logits of a call, or None.

        Args:
            prompt: **B** prompts.
            response: ``[B, L]`` int64.
        """
        return None

    def change(self, reading: Reading, prompt: Prompt, response: Tensor) -> Reading:
        """Return what is said instead of the inner denoiser's reading of **B** rows."""
        return reading

    def price(self) -> Mapping[str, int]:
        """Return the forwards that a row is charged for beside those of the inner one, by kind."""
        return {}

    def forward(
        self,
        prompt: Prompt,
        response: Tensor,
        signals: Signals,
        uniform: Tensor | None = None,
        temperature: float = 0.0,
        kept: Kept | None = None,
        adjust: Adjust | None = None,
    ) -> Reading:
        """Ask the inner denoiser, and change its answer; see :meth:`Denoiser.forward`."""
        changes = [change for change in (self.adjust(prompt, response), adjust) if change]

        def both(logits: Tensor, place: Tensor) -> Tensor:
            for change in changes:
                logits = change(logits, place)
            return logits

        asked = {} if kept is None else {"kept": kept}
        reading = self.inner(
            prompt, response, signals, uniform, temperature,
            **asked, **({"adjust": both} if changes else {}),
        )  # fmt: skip
        changed = self.change(reading, prompt, response)
        price = dict(changed.price)
        for kind, forwards in self.price().items():
            price[kind] = price.get(kind, torch.zeros_like(price[PREDICTOR])) + forwards
        return replace(changed, price=price)


def _named(value: Any) -> str:
    """Return what names a setting that is no JSON, in this run and in all others.

    Raises:
        TypeError: If it is neither a function, a class nor a module of torch.
    """
    kind = type(value) if isinstance(value, nn.Module) else value
    if not hasattr(kind, "__qualname__"):
        raise TypeError(
            f"{value!r} is a setting of a wrapper that names it in results stores; use numbers, "
            "words, lists, functions, classes or modules of torch"
        )
    return f"{kind.__module__}.{kind.__qualname__}"
