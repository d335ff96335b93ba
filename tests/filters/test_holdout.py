"""The holdout takes whole clusters, and the order of problems decides nothing."""

from __future__ import annotations

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from proofmill.filters.caps import HELD_OUT, held_out


def table(sizes: list[int]) -> pl.DataFrame:
    rows = [(f"{cluster:03d}-{n}", f"c{cluster}") for cluster, size in enumerate(sizes) for n in range(size)]
    return pl.DataFrame(rows, schema={"id": pl.String, "cluster_id": pl.String}, orient="row")


@given(st.lists(st.integers(1, 4), max_size=30), st.floats(0, 1), st.integers(0, 3), st.randoms())
def test_whole_clusters_stand_on_one_side(sizes, share, seed, rng) -> None:  # type: ignore[no-untyped-def]
    frame = table(sizes)
    found = held_out(frame, share, seed)
    assert found.to_arrow().cast(HELD_OUT).num_rows == found.height
    sides = frame.with_columns(pl.col("id").is_in(found["id"].to_list()).alias("held"))
    assert (sides.group_by("cluster_id").agg(pl.col("held").n_unique().alias("sides"))["sides"] == 1).all()
    turned = frame.sample(fraction=1.0, shuffle=True, seed=rng.randrange(1 << 30)) if sizes else frame
    assert held_out(turned, share, seed).equals(found)


def test_the_share_is_met_on_average_and_by_another_seed_with_others() -> None:
    frame = table([1] * 4000)
    first, second = held_out(frame, 0.1, 0), held_out(frame, 0.1, 1)
    assert 300 < first.height < 500
    assert len(set(first["id"]) & set(second["id"])) < 100


def test_new_problems_move_none_that_was_there_and_a_giant_cluster_stays() -> None:
    before, after = held_out(table([2] * 200), 0.2, 0), held_out(table([2] * 300), 0.2, 0)
    assert set(before["id"]) <= set(after["id"])
    assert held_out(table([300]), 0.99, 5).height == 0
