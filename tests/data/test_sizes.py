"""Rows a batch: by number and by size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofmill.data import tables
from proofmill.data.rows_io import batched, characters

TEXTS = st.lists(st.text(max_size=30), max_size=30)


@given(TEXTS, st.integers(1, 8), st.integers(1, 60))
def test_batches_hold_all_items_in_order_and_end_as_soon_as_they_are_full(
    texts: list[str], most: int, size: int
) -> None:
    found = list(batched(texts, most, size))
    assert [text for batch in found for text in batch] == texts
    for batch in found:
        assert 1 <= len(batch) <= most
        assert characters(batch[:-1]) < size
    for batch in found[:-1]:
        assert len(batch) == most or characters(batch) >= size


@pytest.mark.parametrize(
    ("value", "count"),
    [
        ("äb", 2),
        (b"abc", 3),
        (None, 0),
        (7, 0),
        (("a", 1, ["bc", {"d": "ef", "g": None}]), 5),
        ({"a": [{"b": "c"}]}, 1),
    ],
)
def test_all_text_inside_a_value_counts(value: Any, count: int) -> None:
    assert characters(value) == count


def test_a_file_of_long_rows_comes_in_small_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "BATCH_BYTES", 100_000)
    path = tmp_path / "rows.parquet"
    texts = [f"{number} {'x' * 10_000}" for number in range(50)]
    tables.write_table(path, pa.table({"id": list(range(50)), "text": texts}).replace_schema_metadata({"made": "so"}))
    pieces = list(tables.batches(path))
    assert all(1 <= table.num_rows <= 10 for table in pieces)
    assert [text for table in pieces for text in table["text"].to_pylist()] == texts
    assert pieces[0].schema.metadata == {b"made": b"so"}
    (narrow,) = tables.batches(path, ["id"])
    assert narrow["id"].to_pylist() == list(range(50))
