"""What a guess is worth: how often chance alone answers a problem, and how much of a pass rate it explains.

With pass rate p and guess rate g, the share of answers that were known is (p - g) / (1 - g), the classical correction
for guessing (Lord & Novick 1968, chapter 14): who knows a share k answers that share right and guesses the rest, so
p = k + (1 - k) g. Of the right answers, k / p were known; the rest, 1 - k / p, was luck.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from proofmill.data.schemas import column
from proofmill.filters.base import DropRule, GatherContext, GatherFilter, ProblemFilter, Row
from proofmill.filters.repetition import QualityOptions
from proofmill.filters.selection import pass_rates
from proofmill.filters.verdicts import CORRECT, Problem
from proofmill.filters.verification import VerifyOptions, problem_of

_YES_NO = ({"yes", "no"}, {"true", "false"}, {"valid", "invalid"}, {"correct", "incorrect"}, {"是", "否"}, {"对", "错"})
_ASKS_YES_NO = re.compile(
    r"\b(?:yes\s?(?:or|/)\s?no|true\s?(?:or|/)\s?false|(?:answer|reply|respond)\b[^.\n]{0,40}\b(?:yes|true)\b[^.\n]{0,12}"
    r"\b(?:no|false)\b|valid\s?(?:or|/)\s?invalid|correct\s?(?:or|/)\s?incorrect)\b|是还是否|对还是错|是否正确",
    re.IGNORECASE,
)


def guess_rate(problem: Problem) -> float:
    """Return the share of right answers that chance alone gives.

    1 / options of a multiple choice; 0.5 where the gold is yes or no, or one of another pair such as true and false (in
    mathematics only where the prompt asks for one of the two); else 0.
    """
    options = problem.info.get("options")
    if isinstance(options, Mapping | Sequence) and not isinstance(options, str) and len(options) > 1:
        return 1 / len(options)
    gold = (problem.answer or "").strip().strip(".").lower()
    pair = any(gold in words for words in _YES_NO)
    return 0.5 if pair and (problem.domain != "math" or _ASKS_YES_NO.search(problem.prompt)) else 0.0


def known_share(pass_rate: pl.Expr, guess: pl.Expr) -> pl.Expr:
    """Return the share of answers that were known, max(0, (p - g) / (1 - g)); null where the pass rate is."""
    return ((pass_rate - guess) / (1 - guess)).clip(lower_bound=0.0)


def luck(pass_rate: pl.Expr, guess: pl.Expr) -> pl.Expr:
    """Return the share of right answers that were guesses, 1 - known / p, in [0, 1].

    Args:
        pass_rate: p in [0, 1]; null gives null, and so does 0, where no answer was right.
        guess: g in [0, 1).
    """
    return pl.when(pass_rate > 0).then(1 - known_share(pass_rate, guess) / pass_rate).clip(0.0, 1.0)


def annotate_problems(
    problems: Sequence[Row], _traces: Mapping[str, Sequence[Row]], _options: VerifyOptions, _shared: Path | None = None
) -> list[Row]:
    """Return the `guess_rate` of each row of schema PROBLEMS."""
    return [{"guess_rate": guess_rate(problem_of(row))} for row in problems]


def gather(parts: Sequence[Callable[[], pa.Table]], _: QualityOptions, __: GatherContext) -> Iterator[pa.Table]:
    """Yield the `luck` of each shard's right answers, by the pass rates of their problems under their sampler."""
    for part in parts:
        table = part()
        names = ["domain", "prompt", "answer", "info"]
        first = pl.DataFrame(table.select(["problem_id", *names])).unique("problem_id", maintain_order=True)
        guesses = first.select(
            "problem_id",
            guess=pl.Series([guess_rate(problem_of(row)) for row in first.iter_rows(named=True)], dtype=pl.Float64),
        )
        traces = pl.DataFrame(table.drop_columns(names))
        rates = pass_rates(traces).select("problem_id", "sampler", pl.col("pass_rate").cast(pl.Float64))
        known = traces.join(rates, on=["problem_id", "sampler"], how="left", maintain_order="left").join(
            guesses, on="problem_id", how="left", maintain_order="left"
        )
        lucky = pl.when(pl.col("verdict") == CORRECT).then(luck(pl.col("pass_rate"), pl.col("guess")))
        yield known.select(luck=lucky.cast(pl.Float32)).to_arrow()


def tally(table: pa.Table) -> dict[str, float]:
    """Return how many right answers chance may have given, and how many were guesses, where pass rates are known."""
    found = table["luck"]
    return {"guessable": pc.sum(pc.greater(found, 0)).as_py() or 0, "guesses": round(pc.sum(found).as_py() or 0.0, 3)}


GUESS_RATES = ProblemFilter(
    name="guess_rates",
    version=1,
    section="verify",
    options=VerifyOptions,
    reads=("problem",),
    adds=pa.schema([column("guess_rate", pa.float32(), "share of right answers that chance alone gives, 0 to 1")]),
    annotate=annotate_problems,
)

LUCK = GatherFilter(
    name="luck",
    version=1,
    section="quality",
    options=QualityOptions,
    reads=(
        *("problem_id", "sampler", "first_round", "verdict", "verdict_detail"),
        *("domain", "prompt", "answer", "info"),
    ),
    adds=pa.schema(
        [
            column(
                "luck", pa.float32(), "share of its problem's right answers that are guesses; null: not a right answer"
            )
        ]
    ),
    gather=gather,
    tally=tally,
    rules=(
        DropRule(
            "lucky",
            lambda options: pl.col("luck") > options.max_luck,
            "more of the right answers to its problem than `quality.max_luck` are guesses",
            hangs_on=("max_luck",),
            evidence=("luck",),
        ),
    ),
)
