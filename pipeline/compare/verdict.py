"""Verdict on a whole run: better, worse or not decided, by counting images, not by a mean."""

import math
from dataclasses import dataclass

from pipeline import text
from pipeline.compare.judging import Verdict

# A coin would put so many images on one side at most once in 20 comparisons.
_MAX_CHANCE = 0.05


@dataclass(frozen=True)
class RunVerdict:
    """How many images got better and worse, and what follows.

    Attributes:
        verdict: `better`, `worse` or `not decided`.
        why: one line.
        better, worse, not_decided, same: number of judged images; `same` moved within the margins.
        chance: probability that a coin puts the images as far to one side (two-sided sign test).

    Example:
        >>> decide(better=0, worse=12, not_decided=0, same=0).verdict
        <Verdict.WORSE: 'worse'>
    """

    verdict: Verdict
    why: str
    better: int
    worse: int
    not_decided: int
    same: int
    chance: float


def decide(*, better: int, worse: int, not_decided: int, same: int) -> RunVerdict:
    """Decides by a sign test over the images that got better or worse.

    Args:
        better, worse, not_decided, same: number of judged images.

    Source:
        The sign test: Dixon and Mood, "The statistical sign test", JASA 1946.
    """
    counts = (better, worse, not_decided, same)
    decided = better + worse
    chance = sign_test(better, worse)
    if not sum(counts):
        why = "no image has two different results that can be judged"
        return RunVerdict(Verdict.NOT_DECIDED, why, *counts, chance)
    of_judged = f"of {text.count(sum(counts), 'judged image')}"
    if chance <= _MAX_CHANCE:
        verdict = Verdict.BETTER if better > worse else Verdict.WORSE
        more, fewer = max(better, worse), min(better, worse)
        why = f"{more:,} {of_judged} got {verdict}, {fewer:,} the other way"
        return RunVerdict(verdict, why, *counts, chance)
    why = f"{better:,} {of_judged} got better, {worse:,} worse"
    if decided:
        why += f": a coin would do so in {chance:.0%} of all comparisons"
    return RunVerdict(Verdict.NOT_DECIDED, why, *counts, chance)


def sign_test(better: int, worse: int) -> float:
    """Returns the two-sided probability of so uneven a count if both sides were equally likely.

    Example:
        >>> round(sign_test(6, 0), 4), sign_test(3, 3)
        (0.0312, 1.0)
    """
    decided, fewer = better + worse, min(better, worse)
    if decided > 1000:  # the normal approximation with its continuity correction
        distance = (decided / 2 - fewer - 0.5) / (math.sqrt(decided) / 2)
        return min(1.0, math.erfc(max(0.0, distance) / math.sqrt(2)))
    tail = sum(math.comb(decided, k) for k in range(fewer + 1))
    return min(1.0, 2 * tail / 2**decided)
