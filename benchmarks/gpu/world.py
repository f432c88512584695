"""Random checkpoints in the original layouts, at full size, and questions for them.

Most words of the vocabulary are boxed answers, two in three of which are right: so rewards differ
between rollouts, and the update has something to do although the weights are random.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from lit_unmask.denoisers import Dream, LLaDA, StockDenoiser
from lit_unmask.pretrain import DreamVocabulary, LLaDAVocabulary
from lit_unmask.pretrain.vocabulary import UNKNOWN, Vocabulary
from lit_unmask.tasks.mathematics import math_problem

ROOT = Path(__file__).parents[2]
SHARD = 2 * 10**9  # bytes
WRITERS = 4
QUESTIONS = 240
NAMES = ("Ada", "Ben", "Cleo", "Dan", "Eva", "Finn")
THINGS = ("apples", "books", "coins", "pens", "shells", "stamps")
HEAD_GAIN = 4.0
"""Of logits with unit variance; the largest probability of 126,464 is then about 0.1."""


@dataclass(frozen=True)
class Family:
    """A family of denoisers and its tokens.

    Attributes:
        kind: Its class.
        vocabulary: Special tokens and chat format.
        ids: Special token -> id in the published checkpoint; the mask and the end are those of its
            config.
        small: Fields of ``config.json`` for a rehearsal.
        small_ids: Special token -> id in a rehearsal.
    """

    kind: type[StockDenoiser]
    vocabulary: type[Vocabulary]
    ids: dict[str, int]
    small: dict[str, Any]
    small_ids: dict[str, int]


FAMILIES = {
    "llada": Family(
        LLaDA,
        LLaDAVocabulary,
        {"<|endoftext|>": 126081, "<|mdm_mask|>": 126336, "<|eot_id|>": 126348},
        {"d_model": 64, "mlp_hidden_size": 128, "n_layers": 2, "n_heads": 4,
         "embedding_size": 1024, "max_sequence_length": 512, "mask_token_id": 1000,
         "eos_token_id": 1001, "pad_token_id": 1001},
        {"<|endoftext|>": 1001, "<|mdm_mask|>": 1000, "<|eot_id|>": 1002},
    ),
    "dream": Family(
        Dream,
        DreamVocabulary,
        {"<|endoftext|>": 151643, "<|mask|>": 151666, "<|im_end|>": 151645},
        {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
         "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 1024,
         "max_position_embeddings": 512, "mask_token_id": 1000, "eos_token_id": 1001,
         "pad_token_id": 1001},
        {"<|endoftext|>": 1001, "<|mask|>": 1000, "<|im_end|>": 1002},
    ),
}  # fmt: skip


def checkpoint(name: str, folder: Path, tiny: bool, device: str) -> Path:
    """Return the folder of a random checkpoint, which is written if it is not there.

    Args:
        name: Key of ``FAMILIES``.
        folder: Where it lies, under its name.
        tiny: Whether a small one is enough.
        device: Where the weights are made.
    """
    place = folder / name
    done = place / "done"
    if done.exists():
        return place
    family = FAMILIES[name]
    original = dict(family.kind.published) | (family.small if tiny else {})
    config = family.kind.stock_config(original)
    place.mkdir(parents=True, exist_ok=True)
    (place / "config.json").write_text(json.dumps(original))
    ids = family.small_ids if tiny else family.ids
    tokenizer(family.vocabulary, ids, config.vocab_size).save_pretrained(place)
    with torch.device("meta"):
        state = family.kind.architecture(config).state_dict()
    shapes = {family.kind.original_name(key): tuple(value.shape) for key, value in state.items()}
    head = family.kind.original_name("lm_head.weight")
    write_weights(place, shapes, head, device)
    done.touch()
    return place


def write_weights(
    folder: Path, shapes: dict[str, tuple[int, ...]], head: str, device: str, shard: int = SHARD
) -> None:
    """Write random bfloat16 weights in shards with an index.

    Args:
        folder: Where to.
        shapes: Shape of each weight by its name in the file.
        head: Name of the vocabulary head.
        device: Where they are made.
        shard: Bytes of a shard, about.
    """
    parts: list[dict[str, tuple[int, ...]]] = [{}]
    size = total = 0
    for name, shape in shapes.items():
        if size >= shard:
            parts.append({})
            size = 0
        parts[-1][name] = shape
        size += 2 * torch.Size(shape).numel()
        total += 2 * torch.Size(shape).numel()
    if (free := shutil.disk_usage(folder).free) < total:
        raise OSError(
            f"{folder} has {free / 1e9:.1f} GB free and the checkpoint takes {total / 1e9:.1f}; "
            "choose another folder with --scratch"
        )
    home = {}

    def write(number: int) -> None:
        generator = torch.Generator(device).manual_seed(number)
        weights = {
            name: _random(shape, HEAD_GAIN if name == head else 1.0, generator)
            for name, shape in parts[number].items()
        }
        save_file(weights, folder / _file(number, len(parts)), metadata={"format": "pt"})

    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(write, range(len(parts))))
    for number, part in enumerate(parts):
        home |= dict.fromkeys(part, _file(number, len(parts)))
    index = {"metadata": {"total_size": total}, "weight_map": home}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def _file(number: int, parts: int) -> str:
    return f"model-{number + 1:05}-of-{parts:05}.safetensors"


def _random(shape: tuple[int, ...], gain: float, generator: torch.Generator) -> Tensor:
    """Return a matrix that keeps the variance of what it multiplies; norms of 1 (biases too)."""
    if len(shape) == 1:
        return torch.ones(shape, dtype=torch.bfloat16)
    options = {"dtype": torch.bfloat16, "device": generator.device}
    made = torch.randn(shape, generator=generator, **options).mul_(gain * shape[1] ** -0.5)
    return made.cpu()


def tokenizer(kind: type[Vocabulary], ids: dict[str, int], rows: int) -> PreTrainedTokenizerFast:
    """Return a tokenizer of whole words with a word for every row of the embedding.

    Args:
        kind: Special tokens and chat format.
        ids: Special tokens whose ids are given.
        rows: Rows of the embedding.
    """
    taken = set(ids.values())
    free = (number for number in range(rows) if number not in taken)
    words = dict(ids)
    others = [token for token in (*kind.special, UNKNOWN) if token not in ids]
    for word in (*others, "user", "assistant", "system", *question_words()):
        words.setdefault(word, next(free))
    words |= {f"\\boxed{{{min(number % 3, 1)}}}~{number}": number for number in free}
    backend = Tokenizer(WordLevel(words, UNKNOWN))
    backend.pre_tokenizer = WhitespaceSplit()
    special = [*ids, *others]
    backend.add_special_tokens([AddedToken(token, special=True) for token in special])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        mask_token=kind.mask,
        eos_token=kind.end,
        pad_token=kind.end,
        unk_token=UNKNOWN,
        chat_template=kind.template,
        clean_up_tokenization_spaces=False,
    )


def question(number: int) -> str:
    """Return a question of 60 to 150 words whose answer is 1."""
    rng = random.Random(number)
    story = []
    for _ in range(rng.randint(4, 10)):
        name, thing = rng.choice(NAMES), rng.choice(THINGS)
        given = rng.randint(1, 99)
        story.append(f"{name} has {given} {thing} and gives {given} {thing} to {rng.choice(NAMES)}")
    return f"{' . '.join(story)} . One friend is left . How many friends is that ? ( {number} )"


def question_words() -> list[str]:
    """Return the words of all prompts, each once."""
    texts = (math_problem("", question(n), "1").messages[0]["content"] for n in range(QUESTIONS))
    return list(dict.fromkeys(word for text in texts for word in text.split()))


def write_questions(folder: Path) -> Path:
    """Write the files of ``configs/offline/math.yaml`` and that overlay with their places.

    Returns:
        The overlay.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for stem, rows in _tables().items():
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{stem}.jsonl").write_text(text)
    overlay = (ROOT / "configs" / "offline" / "math.yaml").read_text()
    overlay = overlay.replace("path: data/", f"path: {folder}/").replace("size: 96", "size: 2")
    file = folder / "math.yaml"
    file.write_text(overlay)
    return file


def _tables() -> dict[str, Iterable[dict[str, str]]]:
    """Return the rows of each file, in its dataset's schema."""
    questions = [question(number) for number in range(QUESTIONS)]
    gsm8k = [{"question": text, "answer": "Count the friends.\n#### 1"} for text in questions]
    math = [{"problem": f"{text} !", "solution": "It is $\\boxed{1}$."} for text in questions]
    test = [
        {"problem": row["problem"], "answer": "1", "unique_id": f"test/{number}.json"}
        for number, row in enumerate(math)
    ]
    return {
        "gsm8k_train": gsm8k, "gsm8k_test": gsm8k, "math_train": math, "math500": test
    }  # fmt: skip
