"""Rows come back as they were written, in every format; a file is there whole or not at all."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from proofmill.data.errors import InputError, UsageError
from proofmill.data.rows_io import KINDS, Located, check_out, encode, open_rows, read

ADDED = pa.schema({"verdict": pa.string(), "tests_passed": pa.int32()})
ROWS: list[dict[str, Any]] = [
    {"id": 1, "text": "größer 数 \n", "turns": [{"role": "user", "content": "a"}], "verdict": "wrong"},
    {"id": 2, "text": None, "turns": [], "verdict": None},
]


def _read(path: Path) -> list[dict[str, Any]]:
    return [item.row for item in read(str(path)) if isinstance(item, Located)]


@pytest.mark.parametrize("kind", KINDS)
def test_rows_come_back(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"rows{kind}"
    with open_rows(path, ADDED) as writer:
        writer.write_rows(ROWS[:1])
        writer.write_rows(ROWS[1:])
    expected = [row | {"tests_passed": None} for row in ROWS] if kind == ".parquet" else ROWS
    assert _read(path) == expected
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_stays_of_an_interrupted_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"rows{kind}"
    path.write_text("what stood here before")
    with pytest.raises(KeyboardInterrupt), open_rows(path, ADDED) as writer:
        writer.write_rows(ROWS)
        raise KeyboardInterrupt
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert path.read_text() == "what stood here before"


PACKED: dict[str, Callable[[bytes], bytes]] = {
    ".jsonl": bytes,
    ".jsonl.gz": gzip.decompress,
    ".jsonl.zst": lambda data: zstandard.ZstdDecompressor().stream_reader(data).read(),
}


@pytest.mark.parametrize("kind", PACKED)
def test_lines_are_written_as_they_are(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"rows{kind}"
    with open_rows(path, ADDED) as writer:
        assert writer.takes_lines
        writer.write_lines(b'{"a": 1e400}\n')
    assert PACKED[kind](path.read_bytes()) == b'{"a": 1e400}\n'


@pytest.mark.parametrize("kind", KINDS)
def test_no_rows_make_a_readable_file(tmp_path: Path, kind: str) -> None:
    with open_rows(tmp_path / f"rows{kind}", ADDED):
        pass
    assert _read(tmp_path / f"rows{kind}") == []


def test_added_columns_have_their_types_even_without_values(tmp_path: Path) -> None:
    with open_rows(tmp_path / "rows.parquet", ADDED) as writer:
        writer.write_rows([{"id": 1, "nothing": None}])
    schema = pq.read_schema(tmp_path / "rows.parquet")
    assert {field.name: str(field.type) for field in schema} == {
        "id": "int64", "nothing": "string", "verdict": "string", "tests_passed": "int32",
    }  # fmt: skip


def test_known_columns_keep_their_types(tmp_path: Path) -> None:
    known = pa.schema({"id": pa.int16(), "at": pa.timestamp("us"), "verdict": pa.large_string()})
    with open_rows(tmp_path / "rows.parquet", ADDED, known) as writer:
        writer.write_rows([{"id": 1}])
    assert [str(field.type) for field in pq.read_schema(tmp_path / "rows.parquet")] == [
        "int16", "timestamp[us]", "string", "int32",
    ]  # fmt: skip


FIRST = {"id": 1, "note": "a", "meta": {"a": 1}, "list": [{"a": 1}], "ids": [1]}
MISFITS = [
    {"id": "text"},
    {"id": 1.5},
    {"id": True},
    {"ids": [0.5]},
    {"note": 7},
    {"new": 1},
    {"meta": {"a": 1, "b": 2}},
    {"meta": "text"},
    {"list": [{"a": 1, "b": 2}]},
    {"id": 2**70},
]


@pytest.mark.parametrize("row", MISFITS, ids=str)
def test_a_row_that_does_not_fit_is_an_error_with_a_way_out(tmp_path: Path, row: dict[str, Any]) -> None:
    path = tmp_path / "rows.parquet"
    with pytest.raises(InputError) as caught, open_rows(path, ADDED) as writer:
        writer.write_rows([FIRST] * 5000)
        writer.write_rows([FIRST | row])
    assert ".jsonl" in caught.value.remedy
    assert not path.exists()


def test_columns_of_several_types_are_an_error_with_a_way_out(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="answer"), open_rows(tmp_path / "rows.parquet", ADDED) as writer:
        writer.write_rows([{"answer": "2"}, {"answer": 2}])


def test_values_without_a_form_in_json_become_text() -> None:
    from datetime import date
    from decimal import Decimal

    row = {"day": date(2020, 1, 2), "price": Decimal("1.50"), "raw": b"abc", "set": {1}, "path": Path("a")}
    assert orjson.loads(encode(row)) == {"day": "2020-01-02", "price": "1.50", "raw": "abc", "set": [1], "path": "a"}


def test_long_integers_and_broken_text_are_written_exactly() -> None:
    row = {"long": [-(2**70)], "half": "\ud800"}
    assert json.loads(encode(row)) == row


@pytest.mark.parametrize("name", ["rows.csv", "rows", "rows.json", "nowhere/rows.jsonl", "folder.jsonl"])
def test_a_file_that_can_not_be_written_is_refused_at_once(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(UsageError) as caught:
        check_out(tmp_path / name)
    assert caught.value.remedy


def test_a_folder_that_takes_no_file_is_refused_with_the_option_that_names_it() -> None:
    with pytest.raises(UsageError) as caught:
        check_out(Path("/proc/rows.jsonl"))
    assert "--out" in caught.value.remedy and "--home" not in caught.value.remedy
