"""What a guess is worth: how often chance alone answers a problem, and how much of a pass rate it explains.

With pass rate p and guess rate g, the share of answers that were known is (p - g) / (1 - g), the classical correction
for guessing (Lord & Novick 1968, chapter 14): who knows a share k answers that share right and guesses the rest, so
p = k + (1 - k) g. Of the right answers, k / p were known; the rest, 1 - k / p, was luck.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import polars as pl

from proofmill.filters.verdicts import Problem

MAX_LUCK = 0.5
"""Default of the rule `lucky`: a trace goes where more than half of the right answers to its problem are guesses.

That is p < 2g / (1 + g): below 0.67 for yes or no, 0.4 for four options, 0.18 for ten. Measured on answers of 13 models
to MMLU-Pro (ten options), luck from half of the models and the share known from the others: right answers with luck
below 0.05 were known by 77 % of the other models, up to 0.15 by 49 %, up to 0.3 by 31 %, above 0.5 by 32 %. The rule
drops 2 % of the right answers there, and 4 % where there are two to four options (family relations, 14 models).
"""

_YES_NO = ({"yes", "no"}, {"true", "false"}, {"valid", "invalid"}, {"correct", "incorrect"}, {"是", "否"}, {"对", "错"})
_ASKS_YES_NO = re.compile(
    r"\b(?:yes\s?(?:or|/)\s?no|true\s?(?:or|/)\s?false|(?:answer|reply|respond)\b[^.\n]{0,40}\b(?:yes|true)\b[^.\n]{0,12}"
    r"\b(?:no|false)\b|valid\s?(?:or|/)\s?invalid)\b|是还是否|对还是错|是否正确",
    re.IGNORECASE,
)


def guess_rate(problem: Problem) -> float:
    """Return the share of right answers that chance alone gives.

    1 / options of a multiple choice, 0.5 where the gold is yes or no (or another pair such as true and false) and, for
    short gold of other domains than choice, the prompt asks for one of the two; else 0.
    """
    options = problem.info.get("options")
    if isinstance(options, Mapping | Sequence) and not isinstance(options, str) and len(options) > 1:
        return 1 / len(options)
    gold = (problem.answer or "").strip().strip(".").lower()
    pair = any(gold in words for words in _YES_NO)
    return 0.5 if pair and (problem.domain != "math" or _ASKS_YES_NO.search(problem.prompt)) else 0.0


def known_share(pass_rate: pl.Expr, guess: pl.Expr) -> pl.Expr:
    """The share of answers that were known, (p - g) / (1 - g), no less than 0; null where the pass rate is."""
    return ((pass_rate - guess) / (1 - guess)).clip(lower_bound=0.0)


def luck(pass_rate: pl.Expr, guess: pl.Expr) -> pl.Expr:
    """The share of right answers that were guesses, 1 - known / p, in [0, 1].

    Args:
        pass_rate: p in [0, 1]; null gives null, and so does 0, where no answer was right.
        guess: g in [0, 1).
    """
    return pl.when(pass_rate > 0).then(1 - known_share(pass_rate, guess) / pass_rate).clip(0.0, 1.0)
