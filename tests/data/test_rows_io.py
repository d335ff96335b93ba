"""Whatever a user brings is read, or named by its place with what to do; what is written comes back."""

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
from hypothesis import given
from hypothesis import strategies as st

from proofmill.data.errors import InputError, UsageError
from proofmill.data.rows_io import (
    KINDS,
    Located,
    Unreadable,
    apply_map,
    batched,
    characters,
    check_out,
    encode,
    open_rows,
    read,
    read_hub,
)

# --- reading -----------------------------------------------------------------------------------------

ROWS = [{"prompt": "How much is 1 + 1?", "answer": "2"}, {"prompt": "größer 数", "answer": None}]
LINES = b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in ROWS)


def _parquet(path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(ROWS), path)


WRITERS: dict[str, Callable[[Path], object]] = {
    "rows.jsonl": lambda path: path.write_bytes(LINES),
    "rows.ndjson": lambda path: path.write_bytes(LINES),
    "no-newline-at-the-end.jsonl": lambda path: path.write_bytes(LINES.rstrip(b"\n")),
    "blank-lines.jsonl": lambda path: path.write_bytes(b"\n" + LINES.replace(b"\n", b"\n\r\n")),
    "windows.jsonl": lambda path: path.write_bytes(LINES.replace(b"\n", b"\r\n")),
    "rows.jsonl.gz": lambda path: path.write_bytes(gzip.compress(LINES)),
    "rows.jsonl.zst": lambda path: path.write_bytes(zstandard.compress(LINES)),
    "two.dots.in.its.name.jsonl": lambda path: path.write_bytes(LINES),
    "rows.parquet": _parquet,
}


@pytest.mark.parametrize("name", WRITERS)
def test_each_kind_of_file_gives_its_rows(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / name)
    assert [item.row for item in read(str(tmp_path / name)) if isinstance(item, Located)] == ROWS


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz", "rows.jsonl.zst"])
def test_an_empty_file_has_no_rows(tmp_path: Path, name: str) -> None:
    contents = {".jsonl": b"", ".gz": gzip.compress(b""), ".zst": zstandard.compress(b"")}
    (tmp_path / name).write_bytes(contents[Path(name).suffix])
    assert list(read(str(tmp_path / name))) == []


def test_an_empty_parquet_file_has_no_rows(tmp_path: Path) -> None:
    pq.write_table(pa.schema({"prompt": pa.string()}).empty_table(), tmp_path / "rows.parquet")
    assert list(read(str(tmp_path / "rows.parquet"))) == []


@pytest.mark.parametrize(
    "bad",
    [
        b"{",
        b'{"a": 1',
        b"[1]",
        b'"text"',
        b"\xff\xfe",
        b"{} {}",
        b'{"a": nan}',
        b'{"a": "\\ud800", "b": NaN}',
        b"null",
        b"\0",
        b"[" * 100_000,
    ],
    ids=range(11),
)
def test_a_line_that_can_not_be_read_is_named_by_its_place(tmp_path: Path, bad: bytes) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(LINES + bad + b"\n" + LINES)
    found = list(read(str(path)))
    assert [isinstance(item, Unreadable) for item in found] == [False, False, True, False, False]
    assert found[2].where == f"{path}:3"
    assert isinstance(found[2], Unreadable)
    assert found[2].why
    assert found[4].where == f"{path}:5"


def test_what_other_tools_write_for_missing_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": NaN, "b": "NaN", "c": [-Infinity, %d]}' % 2**70)
    (found,) = read(str(path))
    assert isinstance(found, Located)
    assert found.row == {"a": None, "b": "NaN", "c": [None, 2**70]}


def test_long_integers_are_read_exactly(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(
        b'{"a": 123456789012345678901234567890, "b": [1, -98765432109876543210], "c": "1234567890123456789012"}'
    )
    (item,) = read(str(path))
    assert isinstance(item, Located)
    assert item.row == {
        "a": 123456789012345678901234567890,
        "b": [1, -98765432109876543210],
        "c": "1234567890123456789012",
    }


def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + LINES)
    assert [item.row for item in read(str(path)) if isinstance(item, Located)] == ROWS


def test_a_line_longer_than_a_block_is_one_row(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    long = {"response": "x" * 3_000_000}
    path.write_bytes(orjson.dumps(long) + b"\n" + LINES)
    assert [item.row for item in read(str(path)) if isinstance(item, Located)] == [long, *ROWS]


def _truncated_gz(path: Path) -> None:
    path.write_bytes(gzip.compress(LINES * 1000)[:-200])


def _truncated_parquet(path: Path) -> None:
    _parquet(path)
    path.write_bytes(path.read_bytes()[:-20])


DAMAGED: dict[str, Callable[[Path], object]] = {
    "cut.jsonl.gz": _truncated_gz,
    "text.jsonl.gz": lambda path: path.write_bytes(LINES),
    "text.jsonl.zst": lambda path: path.write_bytes(LINES),
    "cut.parquet": _truncated_parquet,
    "text.parquet": lambda path: path.write_bytes(LINES),
    "rows.csv": lambda path: path.write_text("prompt,answer\n"),
    "rows.jsonl.xz": lambda path: path.write_bytes(b"\xfd7zXZ\0"),
    "rows.jsonl.bak": lambda path: path.write_bytes(LINES),
    "rows": lambda path: path.write_bytes(LINES),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_file_that_can_not_be_read_is_named_with_what_to_do(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    DAMAGED[name](path)
    with pytest.raises(InputError) as caught:
        list(read(str(path)))
    assert name in caught.value.what
    assert str(path) in caught.value.where
    assert caught.value.remedy


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no file") as caught:
        read(str(tmp_path / "nowhere.jsonl"))
    assert caught.value.remedy


def test_a_folder_that_load_dataset_reads(tmp_path: Path) -> None:
    _parquet(tmp_path / "train.parquet")
    assert [item.row for item in read_hub(str(tmp_path)) if isinstance(item, Located)] == ROWS


def test_a_data_set_that_is_not_there_names_config_and_split(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        list(read_hub(str(tmp_path / "nothing"), split="validation"))
    assert "validation" in caught.value.where


MAPS: list[tuple[dict[str, str], dict[str, Any], list[dict[str, Any]]]] = [
    ({}, {"prompt": "p"}, [{"prompt": "p"}]),
    ({"prompt": "question"}, {"question": "q", "id": 7}, [{"prompt": "q", "question": "q", "id": 7}]),
    ({"answer": "meta.answer"}, {"meta": {"answer": "1"}}, [{"answer": "1", "meta": {"answer": "1"}}]),
    ({"answer": "meta.answer"}, {"meta.answer": "2"}, [{"answer": "2", "meta.answer": "2"}]),
    ({"response": "r[]"}, {"r": ["a", "b"], "n": [1]}, [{"n": [1], "response": x} for x in "ab"]),
    ({"response": "m.r[]"}, {"m": {"r": ["a"]}}, [{"m": {"r": ["a"]}, "response": "a"}]),
    (
        {"response": "r[]", "finish_reason": "f[]"},
        {"r": ["a", "b"], "f": ["stop"]},
        [
            {"response": "a", "finish_reason": "stop"},
            {"response": "b", "finish_reason": None},
        ],
    ),
    ({"response": "r[]"}, {"r": "not a list"}, [{"response": "not a list"}]),
    ({"response": "response[]"}, {"response": ["a", "b"]}, [{"response": "a"}, {"response": "b"}]),
    ({"response": "r[]"}, {"r": []}, []),
    ({"prompt": "prompt"}, {"prompt": "p"}, [{"prompt": "p"}]),
]


@pytest.mark.parametrize(("fields", "row", "expected"), MAPS)
def test_a_map_renames_and_unrolls(fields: dict[str, str], row: dict[str, Any], expected: list[dict[str, Any]]) -> None:
    assert list(apply_map(Located("f:1", row), fields)) == expected


@pytest.mark.parametrize("theirs", ["question", "meta.question", "answer.deep", "questions[]"])
def test_a_missing_field_names_those_that_are_there(theirs: str) -> None:
    with pytest.raises(InputError) as caught:
        list(apply_map(Located("file.jsonl:3", {"answer": "1", "meta": {}}), {"prompt": theirs}))
    assert theirs.removesuffix("[]") in caught.value.what
    assert caught.value.where == "file.jsonl:3"
    assert "answer, meta" in caught.value.remedy


# --- batches -----------------------------------------------------------------------------------------

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


# --- writing -----------------------------------------------------------------------------------------

ADDED = pa.schema({"verdict": pa.string(), "tests_passed": pa.int32()})
WRITTEN: list[dict[str, Any]] = [
    {"id": 1, "text": "größer 数 \n", "turns": [{"role": "user", "content": "a"}], "verdict": "wrong"},
    {"id": 2, "text": None, "turns": [], "verdict": None},
]


def _read(path: Path) -> list[dict[str, Any]]:
    return [item.row for item in read(str(path)) if isinstance(item, Located)]


@pytest.mark.parametrize("kind", KINDS)
def test_rows_come_back(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"rows{kind}"
    with open_rows(path, ADDED) as writer:
        writer.write_rows(WRITTEN[:1])
        writer.write_rows(WRITTEN[1:])
    expected = [row | {"tests_passed": None} for row in WRITTEN] if kind == ".parquet" else WRITTEN
    assert _read(path) == expected
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_stays_of_an_interrupted_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"rows{kind}"
    path.write_text("what stood here before")
    with pytest.raises(KeyboardInterrupt), open_rows(path, ADDED) as writer:
        writer.write_rows(WRITTEN)
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
