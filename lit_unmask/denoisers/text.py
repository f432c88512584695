"""Chats into prompts, responses into text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from jinja2 import TemplateError
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from lit_unmask.errors import ConfigurationError
from lit_unmask.types import Problem, Prompt

# What a template raises that is wrong, or that does not take a chat.
_TEMPLATE_ERRORS = (TemplateError, TypeError, ArithmeticError, LookupError, RecursionError)
# Prompts whose tokens are kept.
_REMEMBERED = 2**14


class ChatText:
    """The text side of a denoiser: its chat template and its tokenizer.

    Attributes:
        tokenizer: The checkpoint's tokenizer.
        mask_id: Token id of the mask.
        pad_id: Token id of padding.
        end_ids: Token ids of which the first to appear ends a response.
        max_length: Largest prompt plus response, in tokens.
        template_arguments: What the chat template is rendered with beside the chat.
    """

    template_arguments: ClassVar[dict[str, Any]] = {}
    tokenizer: PreTrainedTokenizerBase
    mask_id: int
    pad_id: int
    end_ids: tuple[int, ...]
    max_length: int

    @property
    def device(self) -> torch.device:
        """Where prompts go."""
        raise NotImplementedError

    @property
    def identity(self) -> dict[str, str | None]:
        """What names the checkpoint, ``path`` first."""
        raise NotImplementedError

    def encode(self, problems: Sequence[Problem], max_prompt_length: int | None = None) -> Prompt:
        """Render chats with the template, up to where the model's turn starts, and pad left.

        Args:
            problems: One for each row.
            max_prompt_length: Largest prompt in tokens; None means ``max_length``.

        Returns:
            The prompts on the denoiser's device; **P** is the longest of them.

        Raises:
            ValueError: If there is no chat template, a prompt is too long, or a chat holds a token
                that only the template may write.
        """
        if self.tokenizer.chat_template is None:
            raise ValueError(
                f"the tokenizer of {self.identity['path']!r} has no chat template; add "
                "chat_template.jinja to the checkpoint"
            )
        limit = self.max_length if max_prompt_length is None else max_prompt_length
        rows = [self._encode_one(problem, limit) for problem in problems]
        longest = max((len(row) for row in rows), default=0)
        tokens = torch.full((len(rows), longest), self.pad_id, dtype=torch.int64)
        attention = torch.zeros(len(rows), longest, dtype=torch.bool)
        for index, row in enumerate(rows):
            tokens[index, longest - len(row) :] = torch.tensor(row, dtype=torch.int64)
            attention[index, longest - len(row) :] = True
        return Prompt(tokens, attention).to(self.device)

    def _encode_one(self, problem: Problem, limit: int) -> list[int]:
        # What checks, hashes and rollouts ask for is tokenised once.
        known = vars(self).setdefault("_encoded", {})
        chat = tuple(tuple(message.items()) for message in problem.messages)
        if chat not in known:
            if len(known) >= _REMEMBERED:
                known.clear()
            known[chat] = self._tokenised(problem)
        tokens: list[int] = known[chat]
        if len(tokens) > limit:
            raise ValueError(
                f"problem {problem.uid!r}: its prompt of {len(tokens)} tokens exceeds the limit of "
                f"{limit}; raise max_prompt_length (the model takes {self.max_length} with the "
                "response) or leave the problem out"
            )
        return tokens

    def _tokenised(self, problem: Problem) -> list[int]:
        chat: Any = list(problem.messages)
        added = self.tokenizer.added_tokens_decoder.values()
        special_ones = [token.content for token in added if token.special]
        mask = self.tokenizer.convert_ids_to_tokens(self.mask_id)
        for special in dict.fromkeys([mask, *special_ones]):
            if any(special in message["content"] for message in chat):
                raise ValueError(
                    f"problem {problem.uid!r}: its chat holds {special!r}, which the tokenizer "
                    "would read as that token and not as text; spell it otherwise, or leave the "
                    "problem out"
                )
        try:
            text = self.tokenizer.apply_chat_template(
                chat, tokenize=False, add_generation_prompt=True, **self.template_arguments
            )
        except _TEMPLATE_ERRORS as error:
            raise ConfigurationError(
                f"the chat template of {self.identity['path']!r} fails ({type(error).__name__}: "
                f"{error}) at problem {problem.uid!r}; correct chat_template.jinja"
            ) from error
        if chat[-1]["content"].strip() not in text:
            raise ConfigurationError(
                f"the chat template of {self.identity['path']!r} leaves out the question of "
                f"problem {problem.uid!r}; correct chat_template.jinja"
            )
        # The template writes the special tokens; the tokenizer must not add them again.
        return self.tokenizer.encode(text, add_special_tokens=False)

    def check_length(self, prompt: Prompt, gen_length: int) -> None:
        """Refuse a sequence with more positions than the model has.

        Args:
            prompt: The prompts.
            gen_length: Generation length **L**.

        Raises:
            ValueError: If ``P + L`` exceeds ``max_length``.
        """
        prompt_length = prompt.tokens.shape[1]
        if prompt_length + gen_length > self.max_length:
            raise ValueError(
                f"prompt length {prompt_length} + gen_length={gen_length} exceeds the model's "
                f"max_length={self.max_length}; lower gen_length or max_prompt_length"
            )

    def decode(self, response: Tensor) -> list[str]:
        """Turn responses into text, each cut at its first end token.

        Args:
            response: ``[B, L]`` int64. Masks and special tokens in it are left out.

        Returns:
            **B** texts, white space as generated.
        """
        texts = []
        for row in response.tolist():
            length = next((i for i, token in enumerate(row) if token in self.end_ids), len(row))
            kept = [token for token in row[:length] if token != self.mask_id]
            texts.append(str(self.tokenizer.decode(kept, skip_special_tokens=True)))
        return texts
