"""Tasks give the same gradable problems everywhere, in splits that share nothing."""

import hashlib
import itertools
import random
import subprocess
import sys
from collections import Counter

import pytest

from lit_unmask.tasks import ShoppingSums, ShortFunctions, SolutionLanguage
from lit_unmask.tasks.arithmetic import CONNECTIVES, LINKS, MANNERS, PRICES
from lit_unmask.tasks.base import split_of, synonym_shares

TASKS = [ShoppingSums, ShortFunctions]
FREE_WORDS = [*CONNECTIVES, *MANNERS, *LINKS]
SPLITS = ["train", "tuning", "validation", "test"]


@pytest.fixture(params=TASKS, ids=lambda task: task.__name__)
def task(request):
    return request.param


def fingerprint(problem):
    text = f"{problem.uid}|{problem.answer}|{problem.solution}"
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def replaced(words, place, word):
    return " ".join([*words[:place], word, *words[place + 1 :]])


def test_splits_share_no_problem(task):
    uids = {split: {problem.uid for problem in task(split, 2000)} for split in SPLITS}
    for split in SPLITS:
        assert len(uids[split]) > 200
        assert all(uids[split].isdisjoint(uids[other]) for other in SPLITS if other != split)


def test_a_split_follows_from_the_text_whatever_seed_and_size(task):
    for seed in range(3):
        assert {split_of(problem.uid) for problem in task("test", 20, seed)} == {"test"}


def test_the_question_is_all_that_the_uid_holds(task):
    for problem in task("train", 50):
        assert problem.messages == ({"role": "user", "content": problem.uid},)


def test_an_item_is_the_same_in_every_instance_and_order(task):
    first = [fingerprint(problem) for problem in task("train", 30, seed=4)]
    longer = task("train", 3000, seed=4)
    assert [fingerprint(longer[index]) for index in reversed(range(30))] == first[::-1]
    other = [fingerprint(problem) for problem in task("train", 30, seed=5)]
    assert not set(first) & set(other)


def test_an_item_is_the_same_in_another_process(task):
    code = (
        f"from lit_unmask.tasks import {task.__name__} as Task; p = Task('test', 10, 7)[9];"
        "print(p.uid, p.answer, p.solution, sep='|', end='')"
    )
    environment = {"PYTHONHASHSEED": "12345"}
    run = [sys.executable, "-c", code]
    other = subprocess.run(run, capture_output=True, text=True, check=True, env=environment)
    problem = task("test", 10, 7)[9]
    assert other.stdout == f"{problem.uid}|{problem.answer}|{problem.solution}"


# Reported numbers and the bundled denoisers belong to these problems: a change is another task.
@pytest.mark.parametrize(
    ("task", "uid", "digest"),
    [
        (ShoppingSums, "cart 4 : tea salt pear leek ; total ?", "218026ebe5d104ad"),
        (ShortFunctions, "write f : lift drop jump ; try 24", "9e1acbcaeb6d0497"),
    ],
)
def test_the_bundled_tasks_are_what_they_were(task, uid, digest):
    problem = task("test", 1)[0]
    assert problem.uid == uid
    assert fingerprint(problem) == digest


def test_every_worked_solution_is_right(task):
    assert all(problem.grade(problem.solution) == 1.0 for problem in task("train", 500))


def test_no_solution_answers_another_problem(task):
    problems = list(task("train", 60))
    for problem, other in itertools.pairwise(problems):
        if problem.answer != other.answer:
            assert problem.grade(other.solution) == 0.0


def test_a_solution_leaves_room_for_an_end_token_in_64(task):
    assert max(len(problem.solution.split()) for problem in task("train", 1000)) <= 63


def test_words_cover_every_question_and_solution(task):
    known = task.words()
    assert len(known) == len(set(known))
    used = {
        word
        for problem in task("train", 1000)
        for word in [*problem.uid.split(), *problem.solution.split()]
    }
    assert used <= set(known)


def test_a_wrong_number_anywhere_in_a_sum_is_wrong():
    for problem in ShoppingSums("train", 50):
        words = problem.solution.split()
        for place, word in enumerate(words):
            if word.isdigit():
                assert problem.grade(replaced(words, place, str(int(word) + 1))) == 0.0
            elif word.startswith("+"):
                assert problem.grade(replaced(words, place, f"+{int(word) + 1}")) == 0.0


def test_a_missing_foreign_or_doubled_good_is_wrong():
    for problem in ShoppingSums("train", 50):
        words = problem.solution.split()
        place = next(i for i, word in enumerate(words) if word in PRICES)
        other = next(good for good in PRICES if good not in problem.uid.split())
        assert problem.grade(replaced(words, place, other)) == 0.0
        assert problem.grade(" ".join(words[place + 5 :])) == 0.0
        assert problem.grade(" ".join([*words[: place + 5], *words[place:]])) == 0.0


def test_free_words_of_a_sum_do_not_matter():
    for problem in ShoppingSums("train", 20):
        words = problem.solution.split()
        place = next(i for i, word in enumerate(words) if word in PRICES)
        assert problem.grade(replaced(words, place - 1, "slowly")) == 1.0
        assert problem.grade(" ".join([*words, "which", "is", "all", "."])) == 1.0


def test_a_sum_without_its_answer_is_wrong():
    problem = ShoppingSums("train", 1)[0]
    assert problem.grade("") == 0.0
    assert problem.grade("the answer is") == 0.0
    assert problem.grade(problem.solution.replace("answer", "total")) == 0.0


def test_a_wrong_operation_or_operand_in_a_function_is_wrong():
    swaps = {"+": "-", "-": "+"}
    for problem in ShortFunctions("train", 50):
        words = problem.solution.split()
        for place, word in enumerate(words):
            if word in swaps:
                assert problem.grade(replaced(words, place, swaps[word])) == 0.0
            elif word.isdigit():
                assert problem.grade(replaced(words, place, str(int(word) + 1))) == 0.0


def test_a_missing_or_doubled_operation_of_a_function_is_wrong():
    for problem in ShortFunctions("train", 50):
        words = problem.solution.split()
        first = words[13:21]
        again = ["q", "=", "q", "+", "0", ";", "0", ";"]
        assert problem.grade(" ".join([*words[:21], *first, *words[21:]])) == 0.0
        assert problem.grade(" ".join([*words[:13], *again, *words[13:]])) == 0.0


def test_operations_of_a_function_may_come_in_any_order():
    orders = set()
    for problem in ShortFunctions("train", 300, operations=(3, 3)):
        names = problem.uid.split()[3:-3]
        orders.add(tuple(names.index(name) for name in problem.solution.split()[13:-2:8]))
    assert orders == set(itertools.permutations(range(3)))


def test_the_shares_of_synonyms_by_hand():
    assert synonym_shares(1) == [1.0]
    assert synonym_shares(3) == pytest.approx([20 / 47, 15 / 47, 12 / 47])  # 1/3, 1/4, 1/5


def test_synonyms_are_as_frequent_as_their_shares_and_change_nothing(task):
    known = {word: words for words in task.synonyms() for word in words}
    assert len(known) == sum(map(len, task.synonyms())), "a word has one meaning"
    rng, counts = random.Random(0), Counter()
    for problem in task("train", 1000):
        words = problem.solution.split()
        counts.update(word for word in words if word in known)
        other = [rng.choice(known.get(word, (word,))) for word in words]
        assert problem.grade(" ".join(other)) == 1.0
    for words in task.synonyms():
        total = sum(counts[word] for word in words)
        for word, share in zip(words, synonym_shares(len(words)), strict=True):
            mean = share * total
            assert abs(counts[word] - mean) < 4 * mean**0.5


def test_solutions_of_twice_the_steps_leave_room_for_an_end_token_in_128():
    long = [*ShoppingSums("train", 500, steps=(7, 12))]
    long += ShortFunctions("train", 500, operations=(6, 10))
    assert 64 < max(len(problem.solution.split()) for problem in long) <= 127
    assert all(problem.grade(problem.solution) == 1.0 for problem in long)


def test_the_free_words_of_a_function_do_not_matter():
    for problem in ShortFunctions("train", 20):
        words = problem.solution.split()
        assert problem.grade(" ".join([*words[:6], '" anything "', *words[12:]])) == 1.0


def goods_of(text):
    return [word for word in text.split() if word in PRICES]


def test_a_language_without_freedoms_has_one_solution():
    plain = SolutionLanguage(synonyms=1, free_order=False, optional_phrases=False)
    for problem in ShoppingSums("train", 30, language=plain):
        goods = goods_of(problem.uid)
        assert goods_of(problem.solution) == goods
        free = [word for word in problem.solution.split() if word in FREE_WORDS]
        assert free == len(goods) * ["first", "quickly", "giving"]
        assert problem.solution.split()[-2] == "is"
        assert problem.grade(problem.solution) == 1.0


def test_each_freedom_is_used():
    problems = list(ShoppingSums("train", 300))
    remarks = [problem.solution.endswith(".") for problem in problems]
    assert 0.4 < sum(remarks) / 300 < 0.6
    in_order = [goods_of(problem.solution) == goods_of(problem.uid) for problem in problems]
    assert 0 < sum(in_order) < 150
    used = {word for problem in problems for word in problem.solution.split()}
    assert used >= set(FREE_WORDS)


@pytest.mark.parametrize("steps", [(1, 1), (2, 4), (6, 6)])
def test_steps_bound_the_number_of_goods(steps):
    counts = {
        sum(word in PRICES for word in problem.uid.split())
        for problem in ShoppingSums("train", 200, steps=steps)
    }
    assert counts == set(range(steps[0], steps[1] + 1))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"steps": (0, 3)}, r"steps=\(0, 3\).*\[1, 12\]"),
        ({"steps": (4, 3)}, r"steps=\(4, 3\)"),
        ({"steps": (3, 13)}, r"steps=\(3, 13\)"),
        ({"language": SolutionLanguage(synonyms=0)}, r"synonyms=0 must lie in \[1, 8\]"),
        ({"language": SolutionLanguage(synonyms=9)}, "synonyms=9"),
    ],
)
def test_impossible_settings_are_refused(arguments, said):
    with pytest.raises(ValueError, match=said):
        ShoppingSums("train", 1, **arguments)


def test_an_unknown_split_an_empty_task_and_an_index_outside_are_refused(task):
    with pytest.raises(ValueError, match="split='dev' must be one of train, tuning"):
        task("dev", 1)
    with pytest.raises(ValueError, match="size=0"):
        task("train", 0)
    for index in (2, -1):
        with pytest.raises(IndexError, match=r"\[0, 2\)"):
            task("train", 2)[index]
    assert len(task("train", 2)) == len(list(task("train", 2))) == 2


def test_grading_survives_any_text(task):
    rng = random.Random(0)
    problem = task("train", 1)[0]
    tokens = [
        *task.words(),
        "(",
        "(",
        ")",
        "\n",
        "import",
        "lambda",
        "**",
        "9" * 30,
        "[",
        "\\",
        "'",
    ]
    tokens += ["\x00", "\ud800", "é", "1_0", "0x", "if", "else", "yield", "await", ":=", "@", "#"]
    for number in range(500):
        words = problem.solution.split()
        if number % 2:
            words = rng.choices(tokens, k=rng.randint(0, 63))
            if number % 4 == 1:
                words = ["def", "f", "(", "x", ")", ":", "return", *words]
        else:
            for _ in range(rng.randint(1, 4)):
                words[rng.randrange(len(words))] = rng.choice(tokens)
        assert problem.grade(" ".join(words)) in (0.0, 1.0)
