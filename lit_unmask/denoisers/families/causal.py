"""Stock Qwen2 that looks ahead nowhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from lit_unmask.denoisers.families.dream import Dream
from lit_unmask.denoisers.families.layout import StockConfig


class CausalQwen2(Dream):
    """A causal ``Qwen2ForCausalLM`` in transformers' own layout, shifted by one.

    ``transformers.AutoModelForCausalLM`` loads its folders. Its config has one field more than
    theirs, ``mask_token_id``, so an original Qwen2 is no checkpoint of this class before it has a
    mask. A network that was trained on the next token alone knows nothing of masks: read from left
    to right, in blocks of one token, it decodes as ever, with a forward for each token. CARD trains
    one to fill several. All stock classes of this package could be causal in the same way: they are
    unless ``config.is_causal`` is false.

    Args:
        path: A folder or a hub id.
        revision: Commit on the hub; a tag or branch works, with a warning that it may move. None
            for folders.
        dtype: Type of the weights; softmax is float32 whatever it is.
        max_logits: Largest number of logits (positions times **V**) that exist at once; bounds
            memory, does not change results. None takes what is fast on the device.
        placement: Device map and quantisation, for what does not fit one device.
        adapter: LoRA adapter to put on top.
        compile: How the layers are compiled; None runs them as they are.
    """

    causal = True
    model_types = ("qwen2",)
    published: ClassVar[Mapping[str, Any]] = {**Dream.published, "model_type": "qwen2"}

    @classmethod
    def original_config(cls, config: StockConfig) -> dict[str, Any]:
        """Return the ``config.json`` of a Qwen2 with a mask; undoes :meth:`stock_config`."""
        names = {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]}
        return {**super().original_config(config), **names}
