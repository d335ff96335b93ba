"""Caps over all shards: shares of domains and a total of tokens, the same in whatever parts the rows come."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proofmill.filters.caps import (
    CANDIDATES,
    CAPPED_MIX,
    CAPPED_TEACHER,
    CAPPED_TOKENS,
    CAPS,
    CapOptions,
    apply,
    caps,
    quotas,
)

SCHEMA = dict(pl.DataFrame(CANDIDATES.empty_table()).schema)


def rows(counts: dict[str, int], tokens: int = 10, each: int = 2) -> pl.DataFrame:
    """So many traces of each domain, `each` of a problem."""
    made = [
        {"id": f"{domain}{n:05d}", "domain": domain, "place": n % each, "tokens": tokens}
        for domain, count in counts.items()
        for n in range(count)
    ]
    return pl.DataFrame(made, schema=SCHEMA)


def kept(frame: pl.DataFrame, options: CapOptions) -> dict[str, int]:
    stays = frame.filter(apply(frame, caps([lambda: frame], options)).is_null())
    return dict(stays.group_by("domain").len().iter_rows())


@pytest.mark.parametrize(
    ("counts", "mix", "expected"),
    [
        ({"math": 100, "code": 100}, {"math": 0.5, "code": 0.5}, {"math": 100, "code": 100}),
        ({"math": 100, "code": 10}, {"math": 0.5, "code": 0.5}, {"math": 10, "code": 10}),
        ({"math": 100, "code": 30}, {"math": 0.75, "code": 0.25}, {"math": 90, "code": 30}),
        ({"math": 100, "code": 10, "logic": 10}, {"math": 0.6}, {"math": 30, "code": 10, "logic": 10}),
        ({"math": 100, "code": 10, "logic": 10}, {"math": 0.5, "code": 0.5}, {"math": 10, "code": 10, "logic": 0}),
        ({"math": 100, "code": 10}, {"math": 0.4, "code": 0.4, "logic": 0.2}, {"math": 10, "code": 10}),
        ({"math": 100}, {"math": 0.5, "code": 0.5}, {"math": 100}),
        ({"math": 100, "code": 10}, {"code": 1.0}, {"math": 0, "code": 10}),
        ({"math": 3, "code": 1}, {"math": 0.3, "code": 0.1, "logic": 0.6}, {"math": 3, "code": 1}),
        ({}, {"math": 1.0}, {}),
    ],
)
def test_the_mix_keeps_as_much_as_its_shares_allow(
    counts: dict[str, int], mix: dict[str, float], expected: dict[str, int]
) -> None:
    assert quotas(counts, mix) == expected


def test_every_problems_best_trace_goes_before_any_second_one() -> None:
    frame = rows({"math": 10, "code": 6})
    stays = frame.filter(apply(frame, caps([lambda: frame], CapOptions((("math", 0.5), ("code", 0.5))))).is_null())
    assert stays.filter(pl.col("domain") == "math")["place"].to_list().count(0) == 5
    assert stays.filter(pl.col("domain") == "code").height == 6


def test_a_total_of_tokens_leaves_the_mix_as_it_is() -> None:
    frame = rows({"math": 400, "code": 100})
    options = CapOptions((("math", 0.5), ("code", 0.5)), max_total_tokens=1000)
    reasons = apply(frame, caps([lambda: frame], options))
    assert kept(frame, options) == {"math": 50, "code": 50}
    assert reasons.to_list().count(CAPPED_MIX) == 300
    assert reasons.to_list().count(CAPPED_TOKENS) == 100


def test_nothing_fits_into_too_small_a_total() -> None:
    assert kept(rows({"math": 4}), CapOptions(max_total_tokens=9)) == {}


domains = st.sampled_from(["math", "code", "logic", "choice"])
candidates = st.lists(st.tuples(domains, st.integers(0, 3), st.integers(0, 5000)), max_size=60)
shares = st.dictionaries(domains, st.floats(0, 0.25), max_size=4)


@settings(max_examples=25)
@given(candidates, shares, st.none() | st.integers(0, 60_000), st.randoms())
def test_limits_hold_and_the_order_of_shards_decides_nothing(found, mix, limit, rng) -> None:  # type: ignore[no-untyped-def]
    made = [{"id": f"{n:04d}", "domain": d, "place": p, "tokens": t} for n, (d, p, t) in enumerate(found)]
    frame = pl.DataFrame(made, schema=SCHEMA)
    options = CapOptions(tuple(mix.items()), limit)
    limits = caps([lambda: frame], options)
    assert limits.to_arrow().cast(CAPS).num_rows == limits.height
    whole = dict(zip(frame["id"], apply(frame, limits), strict=True))
    turned = frame.sample(fraction=1.0, shuffle=True, seed=rng.randrange(1 << 30)) if made else frame
    parts = [turned[:7], turned[7:]]
    few = rng.choice((1, 5, 1000))
    again = caps([lambda part=part: part for part in parts], options, collected=few)  # type: ignore[misc]
    assert sorted(again.rows()) == sorted(limits.rows())
    split = {k: v for part in parts for k, v in zip(part["id"], apply(part, again), strict=True)}
    assert split == whole
    stays = frame.filter(pl.Series([whole[name] is None for name in frame["id"]], dtype=pl.Boolean))
    assert limit is None or stays["tokens"].sum() <= limit
    if limit is None:
        counts = dict(frame.group_by("domain").len().iter_rows())
        assert dict(stays.group_by("domain").len().iter_rows()) == {
            domain: count for domain, count in (quotas(counts, mix) if mix else counts).items() if count
        }


def test_teachers_write_at_most_their_share_and_their_best_traces_stay() -> None:
    frame = rows({"math": 6, "code": 4}).with_columns(pl.Series("teacher", [True, False] * 5))
    for share, most in ((0.5, 5), (0.4, 3), (0.2, 1), (0.0, 0), (1.0, 5)):
        options = CapOptions(max_teacher_share=share)
        limits = caps([lambda: frame], options)
        stays = frame.filter(apply(frame, limits).is_null())
        teachers = stays.filter("teacher")
        assert (teachers.height, stays.height - teachers.height) == (most, 5)
        assert set(apply(frame, limits).drop_nulls()) <= {CAPPED_TEACHER}
        others = frame.filter(pl.col("teacher") & ~pl.col("id").is_in(teachers["id"].implode()))
        if most and others.height:
            assert max(teachers.select("place", "id").rows()) < min(others.select("place", "id").rows())


def test_the_mix_is_of_what_the_share_of_teachers_leaves() -> None:
    frame = rows({"math": 6, "code": 6}).with_columns(pl.Series("teacher", [True] * 6 + [False] * 6))
    options = CapOptions((("math", 0.5), ("code", 0.5)), max_teacher_share=0.25)
    stays = frame.filter(apply(frame, caps([lambda: frame], options)).is_null())
    assert dict(stays.group_by("domain").len().iter_rows()) == {"math": 2, "code": 2}
