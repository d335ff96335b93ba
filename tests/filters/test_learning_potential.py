"""Learning potential is ranked inside domain and length, whatever the order of rows and however they are cut."""

from __future__ import annotations

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from proofmill.filters.learning_potential import (
    BUCKETS,
    LOW_POTENTIAL,
    NLL_OUTLIER,
    SCORED,
    TOO_SHORT,
    LearningOptions,
    buckets,
    judge,
)

SCHEMA = dict(pl.DataFrame(SCORED.empty_table()).schema)


def table(rows: list[tuple[str, int | None, float | None]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def test_ranks_are_those_of_a_domain_and_a_length() -> None:
    """Long traces have low values, code has high ones: a global threshold would take all short code."""
    rows = [
        (domain, length, base + n / 100)
        for domain, shift in (("code", 2.0), ("math", 0.0))
        for length, base in ((100, 1.0), (1000, 0.2))
        for n in range(100)
        for base in (base + shift,)
    ]
    options = LearningOptions(buckets=2, outlier_quantile=0.95, prefer=(0.5, 0.95))
    found = buckets([lambda: table(rows)], options)
    assert found.select("domain", "min_tokens", "rows").rows() == [
        ("code", 100, 100), ("code", 1000, 100), ("math", 100, 100), ("math", 1000, 100)
    ]  # fmt: skip
    judged = table(rows).hstack(judge(table(rows), found, options))
    for _, group in judged.group_by("domain", "tokens"):
        assert group["potential_reason"].to_list().count(NLL_OUTLIER) == 4
        assert group.filter("preferred")["nll"].min() > group.filter(~pl.col("preferred"))["nll"].min()
        assert 45 <= group["preferred"].sum() <= 47


def test_short_traces_and_extremes_go_and_few_rows_have_no_extreme() -> None:
    rows = [("math", 50, 1.0 + n / 1000) for n in range(200)] + [("math", 50, 9.0), ("math", 31, 1.0)]
    options = LearningOptions(buckets=1)
    reasons = judge(table(rows), buckets([lambda: table(rows)], options), options)["potential_reason"].to_list()
    assert reasons[-2:] == [NLL_OUTLIER, TOO_SHORT]
    few = table([("math", 50, value) for value in (1.0, 1.1, 9.0)])
    assert judge(few, buckets([lambda: few], options), options)["potential_reason"].null_count() == 3


def test_the_low_range_goes_only_where_that_is_asked_for() -> None:
    frame = table([("math", 50, n / 10) for n in range(10)])
    for only, count in ((False, 0), (True, 3)):  # the quantile lies between the 4th and the 5th
        options = LearningOptions(buckets=1, prefer=(0.4, 1.0), only_preferred=only)
        reasons = judge(frame, buckets([lambda: frame], options), options)["potential_reason"].to_list()
        assert reasons.count(LOW_POTENTIAL) == count


random_rows = st.lists(
    st.tuples(
        st.sampled_from(["math", "code"]),
        st.none() | st.integers(0, 400),
        st.none() | st.floats(0, 20, width=32),
    ),
    max_size=60,
)


@settings(max_examples=25)
@given(random_rows, st.integers(1, 5), st.randoms())
def test_neither_order_nor_shards_decide_anything(rows, count, rng) -> None:  # type: ignore[no-untyped-def]
    options = LearningOptions(buckets=count, outlier_quantile=0.8, only_preferred=True)
    found = buckets([lambda: table(rows)], options)
    assert found.to_arrow().cast(BUCKETS).num_rows == found.height
    assert found["rows"].sum() == sum(nll is not None and (n or 0) >= options.min_tokens for _, n, nll in rows)
    whole = judge(table(rows), found, options).rows()
    order = rng.sample(range(len(rows)), len(rows))
    halves = [table([rows[i] for i in half]) for half in (order[::2], order[1::2])]
    turned = buckets([lambda half=half: half for half in halves], options, collected=rng.choice((1, 5, 1000)))  # type: ignore[misc]
    assert turned.equals(found)
    for bucket in found.iter_rows(named=True):
        inside = pl.col("tokens").is_between(bucket["min_tokens"], bucket["max_tokens"])
        values = table(rows).filter(inside & (pl.col("domain") == bucket["domain"]))["nll"].drop_nulls()
        assert bucket["outlier"] == values.quantile(0.8, "higher")
        assert bucket["prefer_low"] == values.quantile(options.prefer[0], "lower")
    assert [judge(table([row]), turned, options).row(0) for row in rows] == whole
    for (_, _, nll), (reason, preferred) in zip(rows, whole, strict=True):
        assert nll is not None or (preferred and reason in (None, TOO_SHORT))
