"""Preference pairs: a kept trace beside a wrong one of the same problem, for DPO and its like.

A pair should differ in its reasoning and in nothing else that a student could learn instead: not in length, not in
the form of the answer, not in soundness of the text. So the two are of like length, the wrong one is a finished, sound
text whose answer was proven wrong, and wrong answers that differ from gold in their form alone are left out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from pydantic import Field

from proofmill.data.sections import Section
from proofmill.filters.model_judge import DETAIL as MODEL_JUDGE
from proofmill.filters.verdicts import WRONG

PAIR_REASONS = (
    "doubtful_problem", "no_chosen", "not_proven", "not_finished", "unsound", "format_only", "repeated",
    "no_partner", "capped_problem", "not_rendered",
)  # fmt: skip
"""Why a wrong trace stands in no pair, in the order in which the reasons are tried."""

_FORM_DETAILS = ("form", "no_option")  # verdicts that say of an answer only that it has the wrong shape


class PairOptions(Section):
    """Preference pairs, chosen and rejected, in the config `pairs`."""

    max_per_problem: int = Field(2, ge=1, description="pairs of one problem, at most; the hardest ones are taken")
    max_length_ratio: float = Field(1.5, ge=1.0, description="length of the longer one over that of the other, at most")
    format_only: bool = Field(False, description="also reject answers that differ from gold in their form alone")
    across_samplers: bool = Field(False, description="also pair traces of two samplers, which differ in style too")


@dataclass(frozen=True, slots=True)
class Pair:
    """Two traces of one problem.

    Attributes:
        chosen, rejected: their ids.
        share: of the problem's wrong traces, those with the rejected one's answer; None where it has none.
        ratio: length of the longer one over that of the other.
    """

    chosen: str
    rejected: str
    share: float | None
    ratio: float

    @property
    def rank(self) -> tuple[float, float, str, str]:
        """Sorts hard pairs first: a mistake that the sampler often makes, then lengths that are alike."""
        return -(self.share or 0.0), self.ratio, self.rejected, self.chosen


def pairs_of_problem(
    traces: Sequence[Mapping[str, Any]], gold: str | None, options: PairOptions
) -> tuple[list[Pair], Counter[str]]:
    """Return the pairs of one problem, hard ones first, and how many wrong traces stand in none, by reason.

    Every trace stands in one pair at most, so that no text is preferred or rejected over and over.

    Args:
        traces: all of the problem: id, sampler, response, length, verdict, verdict_detail, extracted, finish_reason,
            stage, drop_reason, quality_detail, contaminated_by.
        gold: its answer.
        options: the recipe's section.
    """
    wrong = [trace for trace in traces if trace["verdict"] == WRONG]
    chosen = [trace for trace in traces if trace["drop_reason"] is None and trace["stage"] is not None]
    left_out: Counter[str] = Counter()
    if not chosen:
        left_out["no_chosen"] = len(wrong)
        return [], +left_out
    answers = Counter(plain_answer(trace["extracted"]) for trace in wrong if trace["extracted"])
    shares = {answer: count / len(wrong) for answer, count in answers.items()}
    right = [gold, *(trace["extracted"] for trace in chosen)]
    texts: set[str] = {_plain(trace["response"]) for trace in chosen}
    usable = []
    for trace in sorted(wrong, key=lambda trace: str(trace["id"])):
        if reason := _unusable(trace, right, texts, options):
            left_out[reason] += 1
        else:
            texts.add(_plain(trace["response"]))
            usable.append(trace)
    candidates = sorted(_candidates(chosen, usable, shares, options), key=lambda pair: pair.rank)
    pairs = _each_once(candidates)[: options.max_per_problem]
    partnered = {pair.rejected for pair in candidates}
    left_out["no_partner"] = sum(trace["id"] not in partnered for trace in usable)
    left_out["capped_problem"] = len(partnered) - len(pairs)
    return pairs, +left_out


def _unusable(
    trace: Mapping[str, Any], right: Sequence[str | None], texts: set[str], options: PairOptions
) -> str | None:
    """Return why a wrong trace can't be rejected in a pair; None where it can."""
    detail = trace["verdict_detail"]
    if detail == MODEL_JUDGE:
        return "not_proven"
    if trace["finish_reason"] not in (None, "stop"):
        return "not_finished"
    if trace["quality_detail"] is not None or trace["contaminated_by"] is not None:
        return "unsound"
    if not options.format_only and (
        detail in _FORM_DETAILS or any(same_but_for_form(trace["extracted"], answer) for answer in right)
    ):
        return "format_only"
    return "repeated" if _plain(trace["response"]) in texts else None


def _candidates(
    chosen: Sequence[Mapping[str, Any]],
    rejected: Sequence[Mapping[str, Any]],
    shares: Mapping[str, float],
    options: PairOptions,
) -> Iterator[Pair]:
    for good in chosen:
        for bad in rejected:
            lengths = sorted((max(1, good["length"]), max(1, bad["length"])))
            ratio = lengths[1] / lengths[0]
            if ratio <= options.max_length_ratio and (options.across_samplers or good["sampler"] == bad["sampler"]):
                yield Pair(good["id"], bad["id"], shares.get(plain_answer(bad["extracted"])), ratio)


def _each_once(candidates: Sequence[Pair]) -> list[Pair]:
    taken: set[str] = set()
    pairs = []
    for pair in candidates:
        if not taken & {pair.chosen, pair.rejected}:
            taken |= {pair.chosen, pair.rejected}
            pairs.append(pair)
    return pairs


# --- answers that differ in their form alone ------------------------------------------------------------------

_FRACTION = re.compile(r"\\[dt]?frac\s*\{([^{}]{1,40})\}\s*\{([^{}]{1,40})\}")
_DRESS = re.compile(r"\\(?:text|mathrm|mathbf|textbf|boxed|left|right|displaystyle|quad)\b|\\[,;:! ]|[$`*_\\{}\"']")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_NUMBER = re.compile(r"-?\d{1,30}(?:\.\d{1,30})?(?:/\d{1,30})?")
_AROUND = re.compile(r"(?!.*(?:sqrt|\bpi\b|log|sin|cos|tan))[\w\s%°€£.,:;()=]*")
_FACTOR = re.compile(r"[a-z](?<![mgslhk])(?![a-z])")  # `2x`, but not `2m`
_PUNCTUATION = re.compile(r"[^\w+\-*/^=<>%,]")  # a comma may separate: `1, 2` is not `12`
_PER_CENT = re.compile(r"%|\bper ?cent")
_OPTION = re.compile(r"\(?([a-z])[).:]\s|\(?([a-z])\)?\Z")


def plain_answer(answer: str | None) -> str:
    """Return an answer without its dress (LaTeX, capitals, blanks, thousands separators), to compare it as text."""
    text = _FRACTION.sub(r"\1/\2", (answer or "")[:2000])
    text = _THOUSANDS.sub("", _DRESS.sub(" ", text).casefold().replace("−", "-"))
    return " ".join(text.split()).strip(" .,;:")


def _plain(text: str) -> str:
    return "".join(filter(str.isalnum, text.casefold()))


def _bare(answer: str) -> str:
    return _PUNCTUATION.sub("", answer)


def same_but_for_form(one: str | None, other: str | None) -> bool:
    """Return whether two answers may say the same in different forms; it would rather say yes than no.

    They do where only case, blanks, punctuation or LaTeX differ, where one number is rounded, a percentage, or has a
    unit or words around it, or where one names an option by its letter and the other writes it out.
    """
    if not one or not other:
        return False
    left, right = plain_answer(one), plain_answer(other)
    if _bare(left) == _bare(right):
        return bool(_bare(left)) or left == right
    if (first := _OPTION.match(left)) and (second := _OPTION.match(right)):
        return (first[1] or first[2]) == (second[1] or second[2])
    values = _lone_number(left), _lone_number(right)
    if values[0] is None or values[1] is None:
        return False
    per_cent = sum(bool(_PER_CENT.search(text)) for text in (left, right)) == 1
    return any(_near(values[0] * scale, values[1]) for scale in ((1, 100, Fraction(1, 100)) if per_cent else (1,)))


def _lone_number(text: str) -> Fraction | None:
    """Return the number of a short answer that is one, with units or words around it at most."""
    numbers = list(_NUMBER.finditer(text[:80]))
    if len(numbers) != 1 or len(text) > 80:
        return None
    number = numbers[0]
    if not _AROUND.fullmatch(text[: number.start()] + " " + text[number.end() :]) or _FACTOR.match(text, number.end()):
        return None
    top, _, bottom = number[0].partition("/")
    if bottom and not int(bottom):
        return None
    return Fraction(top) / (int(bottom) if bottom else 1)


def _near(one: Fraction, other: Fraction) -> bool:
    # Half a percent is what rounding to three figures changes.
    return one == other or abs(one - other) * 200 <= min(abs(one), abs(other))
