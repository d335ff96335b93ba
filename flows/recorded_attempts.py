"""What recorded samples say of routing: every problem's samples by who wrote them, read from a published version."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import polars as pl

from proofmill.data.errors import UsageError
from proofmill.data.versions import Version
from proofmill.filters.routing import Attempt
from proofmill.filters.selection import CHARACTERS_A_TOKEN
from proofmill.filters.verdicts import CORRECT
from proofmill.filters.verification import counts_for_passes

ProblemAttempts = tuple[str, str, dict[str, list[Attempt]]]
"""A problem's id, its domain, and its samples by model."""


def attempts_by_problem(
    traces: pl.LazyFrame | pl.DataFrame, problems: pl.LazyFrame | pl.DataFrame, by: str
) -> Iterator[ProblemAttempts]:
    """Yield every problem with its samples, in the order of their numbers.

    Where nobody counted tokens, four characters are one.

    Args:
        traces: columns problem_id, domain, sample_index, id, verdict, verdict_detail, completion_tokens, response, and
            prompt_tokens in all but earlier versions.
        problems: columns id, prompt.
        by: the column that says who wrote a sample: `sampler` or `model`.
    """
    length = pl.col("response").str.len_chars() // CHARACTERS_A_TOKEN
    asked = problems.lazy().select(
        pl.col("id").alias("problem_id"), (pl.col("prompt").str.len_chars() // CHARACTERS_A_TOKEN).alias("asked")
    )
    counted = ["prompt_tokens"] if "prompt_tokens" in traces.lazy().collect_schema() else []
    columns = (
        pl.col("problem_id"),
        pl.col("domain"),
        pl.col(by).fill_null("unknown").alias("who"),
        pl.when(counts_for_passes()).then(pl.col("verdict") == CORRECT).alias("proven"),
        pl.coalesce("completion_tokens", length).cast(pl.Int64).alias("tokens"),
        pl.coalesce(*counted, "asked", 0).cast(pl.Int64).alias("read"),
    )
    listed = (
        traces.lazy()
        .join(asked, on="problem_id", how="left")
        .sort("problem_id", "sample_index", "id")
        .select(columns)
        .group_by("problem_id", "domain", maintain_order=True)
        .agg("who", "proven", "tokens", "read")
    )
    for problem, domain, *lists in listed.collect().iter_rows():
        attempts: dict[str, list[Attempt]] = {}
        for who, *sample in zip(*lists, strict=True):
            attempts.setdefault(who, []).append(Attempt(*sample))
        yield problem, domain, attempts


def uncounted_share(version: Version, names: Iterable[str]) -> float:
    """Return the share of these models' samples whose completion tokens nobody counted.

    Raises:
        UsageError: as `column_of`.
    """
    column, traces = column_of(version, names), version.scan("traces")
    if traces is None:
        return 0.0
    uncounted = traces.filter(pl.col(column).is_in([*names])).select(pl.col("completion_tokens").is_null().mean())
    return float(uncounted.collect().item() or 0.0)


def column_of(version: Version, names: Iterable[str]) -> str:
    """Return the column of traces whose values these names are: `sampler`, else `model`.

    Raises:
        UsageError: the version has no sample by one of them; the error lists who wrote its samples.
    """
    wanted = set(names)
    rates = version.scan("pass_rates")
    written = {}
    for column in ("sampler", "model"):
        written[column] = set() if rates is None else {name for name in rates.collect()[column] if name is not None}
        if column == "model" and (traces := version.scan("traces")) is not None:
            written[column] |= set(traces.select("model").unique().collect()["model"].drop_nulls())
        if wanted <= written[column]:
            return column
    absent = min((sorted(wanted - known) for known in written.values()), key=len)
    known = "; ".join(f"{column}s: {', '.join(sorted(values)) or 'none'}" for column, values in written.items())
    raise UsageError(
        f"{version.label} holds no sample by {' or '.join(absent)}.",
        where="--price or --through",
        remedy=f"name those who wrote its samples; {known[:1500]}",
    )
