"""The final answer is found where people put it, and nothing that is written breaks the search."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lit_unmask.verifiers.answers import find_answer

CASES = {
    r"so \boxed{42}.": "42",
    r"\boxed{1} no, \boxed{\frac{1}{2}}": r"\frac{1}{2}",
    r"\boxed{\boxed{9}}": "9",
    r"\boxed{7} and then \boxed{8": "7",  # the last one that is closed
    r"\boxed{a \} b}": r"a \} b",
    r"\boxed 7 is it": "7",
    r"\fbox{3}": "3",
    "boxed{23}": "23",
    r"\boxed{} is empty, so 5": "5",
    r"\boxed{60\%" + "\n</answer}": r"60\%",
    "<answer>\n12 apples\n</answer>": "12 apples",
    "<answer>1</answer><answer>2": "2",
    "<answer>\n\\boxed{5\n</answer>": "5",
    "<answer>\n\\boxed{}32\n</answer>": "32",
    "<ANSWER>6</ANSWER> or 7": "6",
    "2 + 3\n#### 1,234\nbye": "1,234",
    "The answer is 17. Or not 18": "17",
    "The final answer is: $3.50.": "$3.50",
    "Answer: 3/4": "3/4",
    "first 3, then 4,000.5 in all": "4,000.5",
    r"costs \$12 or \frac{3}{4}": r"\frac{3}{4}",
    "minus -3": "-3",
    r"\boxed{4}<|eot_id|>\boxed{5}": "4",
    "no idea": None,
    "": None,
    "<answer></answer>": None,
}


@pytest.mark.parametrize("completion", CASES)
def test_the_answer_of(completion):
    assert find_answer(completion) == CASES[completion]


def test_a_box_beats_a_tag_beats_hashes_beats_a_phrase_beats_a_number():
    parts = [r"\boxed{1}", "<answer>2</answer>", "#### 3", "the answer is 4", "5"]
    for first in range(len(parts)):
        assert find_answer("\n".join(parts[first:])) == str(first + 1)
        assert find_answer("\n".join(reversed(parts[first:]))) == str(first + 1)


PIECES = [r"\boxed{", r"\boxed", "{", "}", "\\", "<answer>", "</answer>", "####", "answer is", "\n"]
PIECES += ["1,", "2.", "-", "$", "/", "%", r"\frac{", "=", "x", "<|eot_id|>", "\0", "٣", " "]


@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=4), max_size=30).map("".join))
def test_no_text_breaks_the_search(text):
    answer = find_answer(text)
    assert answer is None or (answer == answer.strip() != "" and len(answer) <= len(text))


@given(st.text(alphabet="ab{}\\1", max_size=12), st.text(max_size=20))
def test_a_balanced_box_at_the_end_is_the_answer(content, before):
    if content.count("{") == content.count("}") == 0 and "\\" not in content and content:
        assert find_answer(before.replace("<|", "") + rf"\boxed{{{content}}}") == content


def test_long_texts_take_no_time():
    for piece in ("\\boxed{", "{", "<answer>", "answer is ", "1,", "#### "):
        find_answer(piece * 20_000)
