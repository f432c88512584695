"""Word-level tokenizers in the chat formats of LLaDA and Dream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from tokenizers import AddedToken, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import PreTrainedTokenizerFast

UNKNOWN = "<unk>"


class Vocabulary:
    """Builds a tokenizer of whole words; a subclass names the special tokens and the template.

    Attributes:
        mask: Mask token.
        end: End-of-text token, which pads responses too.
        special: Further special tokens.
        template: Jinja chat template.
    """

    mask: ClassVar[str]
    end: ClassVar[str]
    special: ClassVar[tuple[str, ...]]
    template: ClassVar[str]

    def build(self, words: Sequence[str]) -> PreTrainedTokenizerFast:
        """Return a tokenizer of the given words, roles of a chat included."""
        special = [self.end, self.mask, *self.special, UNKNOWN]
        known = list(dict.fromkeys([*special, "user", "assistant", "system", *words]))
        tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(known)}, UNKNOWN))
        tokenizer.pre_tokenizer = WhitespaceSplit()
        tokenizer.add_special_tokens([AddedToken(token, special=True) for token in special])
        return PreTrainedTokenizerFast(
            tokenizer_object=tokenizer,
            mask_token=self.mask,
            eos_token=self.end,
            pad_token=self.end,
            unk_token=UNKNOWN,
            chat_template=self.template,
            clean_up_tokenization_spaces=False,
        )


class LLaDAVocabulary(Vocabulary):
    """LLaDA's special tokens and chat format."""

    mask = "<|mdm_mask|>"
    end = "<|endoftext|>"
    special = ("<|startoftext|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
    template = (
        "<|startoftext|>{% for message in messages %}<|start_header_id|>{{ message['role'] }}"
        "<|end_header_id|>\n\n{{ message['content'] | trim }}<|eot_id|>{% endfor %}"
        "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
    )


class DreamVocabulary(Vocabulary):
    """Dream's special tokens and chat format (ChatML)."""

    mask = "<|mask|>"
    end = "<|endoftext|>"
    special = ("<|im_start|>", "<|im_end|>")
    template = (
        "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
        "{{ message['content'] | trim }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
