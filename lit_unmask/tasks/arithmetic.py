"""Multi-step sums with worked solutions: the bundled math task.

The solutions have what makes the order of unmasking matter in natural text: slots that any of
several words may fill, steps that may come in any order but must agree with each other, running
totals that follow from all earlier steps, and an answer whose place depends on what came before.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from lit_unmask.tasks.base import ClosedTask, Split, pick_synonym
from lit_unmask.types import Problem

# A price list that questions do not repeat: whoever answers has to know it by heart.
PRICES = {
    "fig": 1, "leek": 1, "salt": 1, "pear": 2, "rice": 2, "tea": 2,
    "plum": 3, "bean": 3, "egg": 3, "kiwi": 4, "corn": 4, "bread": 4,
}  # fmt: skip
CONNECTIVES = ("first", "then", "next", "later", "also", "so", "well", "and")
MANNERS = ("quickly", "gladly", "simply", "quietly", "kindly", "slowly", "duly", "surely")
LINKS = ("giving", "making", "leaving", "yielding", "hence", "thus", "meaning", "reaching")
OPENINGS = (("okay", "sure", "right", "fine"), ("let", "lets"), ("us",), (":",))
REMARKS = (("which", "that"), ("looks", "seems"), ("final", "correct", "it", "all"), (".",))
LARGEST_START = 5
MOST_STEPS = len(PRICES)


@dataclass(frozen=True)
class SolutionLanguage:
    """Which freedoms a worked solution has; each field is one source of uncertainty.

    Attributes:
        synonyms: Words that may fill each harmless slot, 1 to 8.
        free_order: Whether the steps may come in any order (a coupled choice).
        optional_phrases: Whether an opening and a closing remark may or may not be there, which
            moves everything behind them (a coupled choice, and answers of varied length).
    """

    synonyms: int = 8
    free_order: bool = True
    optional_phrases: bool = True


class ShoppingSums(ClosedTask):
    """A cart with a number in it and goods of known price to add; the question is the total.

    A solution has one step of seven words for each of the goods, in any order, with a running
    total, and ends with ``the answer is N``. With six goods it is at most 54 words long, with
    twelve at most 96. The verifier checks the steps as well as the answer
    (:func:`grade_worked_sum`).

    Args:
        split: Part of the problem space.
        size: Number of problems.
        seed: Seed of the generator.
        steps: Smallest and largest number of goods.
        language: Freedoms of the worked solutions.

    Raises:
        ValueError: If ``steps`` is not an increasing pair within ``[1, 12]``, or the language asks
            for synonyms that there are not.
    """

    def __init__(
        self,
        split: Split,
        size: int,
        seed: int = 0,
        steps: tuple[int, int] = (3, 6),
        language: SolutionLanguage = SolutionLanguage(),
    ) -> None:
        super().__init__(split, size, seed)
        if not 1 <= steps[0] <= steps[1] <= MOST_STEPS:
            raise ValueError(f"steps={steps} must be an increasing pair within [1, {MOST_STEPS}]")
        if not 1 <= language.synonyms <= len(CONNECTIVES):
            raise ValueError(
                f"language.synonyms={language.synonyms} must lie in [1, {len(CONNECTIVES)}]"
            )
        self.steps, self.language = tuple(steps), language

    def draw(self, rng: random.Random) -> Problem:
        """Draw a cart and the goods to add, none of them twice."""
        start = rng.randint(0, LARGEST_START)
        goods = rng.sample(list(PRICES), rng.randint(*self.steps))
        question = f"cart {start} : {' '.join(goods)} ; total ?"
        return Problem(
            uid=question,
            messages=({"role": "user", "content": question},),
            answer=" ".join([str(start), *goods]),
            verifier=grade_worked_sum,
            solution=self._solve(start, goods, rng),
        )

    def _solve(self, total: int, goods: list[str], rng: random.Random) -> str:
        words: list[str] = []
        if self.language.free_order:
            goods = rng.sample(goods, len(goods))
        if self.language.optional_phrases and rng.random() < 0.5:
            words += self._phrase(OPENINGS, rng)
        for good in goods:
            total += PRICES[good]
            words += [self._pick(CONNECTIVES, rng), self._pick(MANNERS, rng), good]
            words += [f"+{PRICES[good]}", self._pick(LINKS, rng), str(total), "."]
        words += ["the", "answer", "is", str(total)]
        if self.language.optional_phrases and rng.random() < 0.5:
            words += self._phrase(REMARKS, rng)
        return " ".join(words)

    def _pick(self, words: tuple[str, ...], rng: random.Random) -> str:
        return pick_synonym(words[: self.language.synonyms], rng)

    def _phrase(self, slots: tuple[tuple[str, ...], ...], rng: random.Random) -> list[str]:
        return [self._pick(words, rng) for words in slots]

    @classmethod
    def words(cls) -> list[str]:
        """Return every word that a question or a solution may hold."""
        largest = LARGEST_START + sum(PRICES.values())
        numbers = [str(number) for number in range(largest + 1)]
        prices = [f"+{price}" for price in sorted(set(PRICES.values()))]
        slots = (CONNECTIVES, MANNERS, LINKS, *OPENINGS, *REMARKS)
        fixed = "cart : ; total ? . the answer is".split()
        free = [word for slot in slots for word in slot]
        return list(dict.fromkeys([*numbers, *prices, *fixed, *PRICES, *free]))

    @classmethod
    def synonyms(cls) -> list[tuple[str, ...]]:
        """Return words of which any may stand where one of them is in a solution."""
        slots = [CONNECTIVES, MANNERS, LINKS, *OPENINGS, *REMARKS]
        return [slot for slot in slots if len(slot) > 1]


def grade_worked_sum(completion: str, answer: str) -> float:
    """Grade the steps and the final answer of a worked sum.

    A step is a good of the price list with a price behind it; its running total stands two words
    further. Every good of the cart must have exactly one step, in any order, with its right price
    and the right running total, and the number behind the last ``answer is`` must be the last of
    them. The wording of everything else is free: a right number at the end of wrong steps does
    not count, because the sum of a short list can be guessed.

    Args:
        completion: What was written.
        answer: The number in the cart and the goods to add, as words.

    Returns:
        1.0 or 0.0.
    """
    start, *goods = answer.split()
    words = completion.split()
    total, seen = int(start), []
    for good, price, _, result in zip(words, words[1:], words[2:], words[3:], strict=False):
        if good not in PRICES or not price.startswith("+"):
            continue
        total += PRICES[good]
        seen.append(good)
        if price != f"+{PRICES[good]}" or result != str(total):
            return 0.0
    return float(sorted(seen) == sorted(goods) and _final_number(words) == str(total))


def _final_number(words: list[str]) -> str | None:
    for index in range(len(words) - 3, -1, -1):
        if words[index : index + 2] == ["answer", "is"]:
            return words[index + 2]
    return None
