"""Stock Qwen2 that looks ahead nowhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from lit_unmask.denoisers.families.dream import Dream


class CausalQwen2(Dream):
    """A causal ``Qwen2ForCausalLM`` in transformers' own layout, shifted by one.

    ``transformers.AutoModelForCausalLM`` loads its folders. Its config has one field more than
    theirs, ``mask_token_id``, so an original Qwen2 is no checkpoint of this class before it has a
    mask. A network that was trained on the next token alone knows nothing of masks: read from left
    to right, in blocks of one token, it decodes as ever, with a forward for each token. CARD trains
    one to fill several. All stock classes of this package could be causal in the same way: they are
    unless ``config.is_causal`` is false.
    """

    causal = True
    original_class = "Qwen2ForCausalLM"
    model_types = ("qwen2",)
    published: ClassVar[Mapping[str, Any]] = {**Dream.published, "model_type": "qwen2"}
