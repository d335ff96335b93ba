"""Tables come back in bounded pieces; what a version repeats of the one before are equal pages."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from proofmill.data import tables


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


def test_a_reworded_description_changes_no_byte(tmp_path: Path) -> None:
    paths = []
    for words in ("a number", "the number of a row"):
        described = pa.schema([pa.field("x", pa.int32(), metadata={"description": words})], metadata={"made": "so"})
        paths.append(tmp_path / f"{words}.parquet")
        tables.write_table(paths[-1], pa.table({"x": [1, 2]}, schema=described))
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert tables.read_table(paths[0]).schema.metadata == {b"made": b"so"}


# --- equal pages, found by the files' own page index -------------------------------------------------

BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "bench_pages.py"


@pytest.fixture(scope="module")
def bench() -> Any:
    spec = importlib.util.spec_from_file_location("bench_pages", BENCHMARK)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_a_few_changed_rows_leave_most_pages_as_they_were(bench: Any, tmp_path: Path) -> None:
    table = bench.made(16_000)
    after = bench.changed(table, 4 / 16_000)
    ours = bench.shares(bench.written(tmp_path / "v1", table), bench.written(tmp_path / "v2", after))
    plain = bench.shares(bench.plain(tmp_path / "a.parquet", table), bench.plain(tmp_path / "b.parquet", after))
    assert ours[1] > 0.75
    assert ours[1] > plain[1]


def test_the_pages_are_the_whole_of_the_data(bench: Any, tmp_path: Path) -> None:
    """The reader of the index sees every page: dictionaries and data make up each column's bytes."""
    (file,) = bench.written(tmp_path / "v1", bench.made(3000))
    metadata = pq.read_metadata(file)
    total = sum(
        metadata.row_group(group).column(column).total_compressed_size
        for group in range(metadata.num_row_groups)
        for column in range(metadata.num_columns)
    )
    assert 0.97 * total < sum(len(page) for page in bench.pages(file)) <= total
