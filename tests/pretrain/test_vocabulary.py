"""Word-level tokenizers: every word and every special token is one token, both ways."""

import pytest

from lit_unmask.pretrain import DreamVocabulary, LLaDAVocabulary
from lit_unmask.tasks import ShoppingSums, ShortFunctions

TASKS = [ShoppingSums, ShortFunctions]
WORDS = [word for task in TASKS for word in task.words()]


@pytest.fixture(params=[LLaDAVocabulary, DreamVocabulary], ids=lambda kind: kind.__name__)
def vocabulary(request):
    return request.param()


@pytest.fixture
def tokenizer(vocabulary):
    return vocabulary.build(WORDS)


def encode(tokenizer, text):
    return tokenizer.encode(text, add_special_tokens=False)


def test_solutions_come_back_from_their_tokens(tokenizer):
    for task in TASKS:
        for problem in task("train", 20):
            tokens = encode(tokenizer, problem.solution)
            assert len(tokens) == len(problem.solution.split())
            assert tokenizer.unk_token_id not in tokens
            assert tokenizer.decode(tokens) == problem.solution


def test_special_tokens_are_single_and_known(vocabulary, tokenizer):
    special = [vocabulary.end, vocabulary.mask, *vocabulary.special]
    for token in special:
        assert encode(tokenizer, token) == [tokenizer.convert_tokens_to_ids(token)]
    assert len(set(tokenizer.convert_tokens_to_ids(special))) == len(special)
    assert encode(tokenizer, "".join(special)) == tokenizer.convert_tokens_to_ids(special)
    assert tokenizer.mask_token == vocabulary.mask
    assert tokenizer.eos_token == tokenizer.pad_token == vocabulary.end


def test_special_tokens_vanish_from_decoded_text(vocabulary, tokenizer):
    text = f"the answer is 7 {vocabulary.end} {vocabulary.mask}"
    assert tokenizer.decode(encode(tokenizer, text), skip_special_tokens=True) == "the answer is 7"


def test_a_repeated_word_has_one_id_and_ids_are_dense(vocabulary):
    tokenizer = vocabulary.build(["fig", "fig", "user", "pear"])
    known = tokenizer.get_vocab()
    assert sorted(known.values()) == list(range(len(known))) and len(tokenizer) == len(known)
    assert encode(tokenizer, "quince") == [tokenizer.unk_token_id]


def prompt_of(tokenizer, generate):
    chat = [{"role": "user", "content": "cart 1 : fig ; total ?"}]
    text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=generate)
    return tokenizer.convert_ids_to_tokens(encode(tokenizer, text))


def test_a_prompt_ends_where_llada_answers():
    asked = ["<|startoftext|>", "<|start_header_id|>", "user", "<|end_header_id|>"]
    asked += [*"cart 1 : fig ; total ?".split(), "<|eot_id|>"]
    tokenizer = LLaDAVocabulary().build(WORDS)
    assert prompt_of(tokenizer, False) == asked
    turn = ["<|start_header_id|>", "assistant", "<|end_header_id|>"]
    assert prompt_of(tokenizer, True) == asked + turn


def test_a_prompt_ends_where_dream_answers():
    asked = ["<|im_start|>", "user", *"cart 1 : fig ; total ?".split(), "<|im_end|>"]
    tokenizer = DreamVocabulary().build(WORDS)
    assert prompt_of(tokenizer, False) == asked
    assert prompt_of(tokenizer, True) == [*asked, "<|im_start|>", "assistant"]


def test_a_saved_tokenizer_is_the_same(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    loaded = type(tokenizer).from_pretrained(tmp_path)
    problem = ShoppingSums("train", 1)[0]
    assert encode(loaded, problem.solution) == encode(tokenizer, problem.solution)
    assert loaded.mask_token_id == tokenizer.mask_token_id
    assert prompt_of(loaded, True) == prompt_of(tokenizer, True)
