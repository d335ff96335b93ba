"""A manifest keeps what it does not know, gives a default for what is missing, and names what is wrong."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from proofmill.data.errors import StoreError
from proofmill.data.manifest import EARLIER_FILTERS, FileEntry, FilterRecord, Ledger, Manifest

STORED = Path(__file__).parent / "stored"
OLDER = [STORED / "datasets" / "stored" / "v0001" / "manifest.json", STORED / "manifest-schema-2.json"]


def parsed(value: Any) -> Manifest:
    return Manifest.parse(orjson.dumps(value), "manifest.json")


@pytest.mark.parametrize("path", OLDER, ids=["schema 1", "schema 2"])
def test_an_older_manifest_is_read_and_written_as_it_is(path: Path) -> None:
    manifest = Manifest.parse(path.read_bytes(), str(path))
    assert manifest.to_json() == orjson.loads(path.read_bytes())
    assert manifest.selection.entered == manifest.selection.kept + sum(manifest.selection.dropped.values())
    assert manifest.rows_of("traces") == manifest.published_rows["traces"]
    assert manifest.filters == EARLIER_FILTERS, "it names none, so they are those of its time"


def test_what_is_missing_has_a_default_and_is_not_written() -> None:
    manifest = parsed({"name": "small"})
    assert (manifest.version, manifest.tokens.verifier.calls, manifest.clr, manifest.files) == (None, 0, None, [])
    assert manifest.to_json() == {"name": "small"}


def test_fields_of_a_newer_program_are_kept_wherever_they_stand() -> None:
    newer = {
        "name": "newer",
        "mood": "good",
        "tokens": {"sampled": 3, "thought": 2},
        "stages": {"selection": {"in": 2, "kept": 1, "dropped": {"rude": 1}, "asked": 5}},
        "files": [{"path": "rl/a.parquet", "rows": 1, "bytes": 9, "sha256": "00", "blake3": "11"}],
    }
    manifest = parsed(newer)
    assert manifest.to_json() == newer
    assert manifest.replaced(version=2).to_json() == newer | {"version": 2}


def test_a_ledger_is_written_under_its_name_in_the_file() -> None:
    assert Ledger(entered=2, kept=1, dropped={"wrong": 1}).to_json() == {"in": 2, "kept": 1, "dropped": {"wrong": 1}}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"{", "unexpected end"),
        (b"[]", "the file"),
        (b"{}", "name"),
        (b'{"name": "a", "files": [{"path": "x"}]}', r"files\.0\.bytes"),
        (b'{"name": "a", "duplicates": "many"}', "duplicates"),
    ],
)
def test_what_is_no_manifest_is_refused_with_its_place(data: bytes, said: str) -> None:
    with pytest.raises(StoreError, match="can't be read") as caught:
        Manifest.parse(data, "here/manifest.json")
    assert "here/manifest.json" in caught.value.where
    assert re.search(said, caught.value.where)


def test_a_manifest_does_not_change() -> None:
    manifest = parsed({"name": "a"})
    with pytest.raises(ValidationError):
        manifest.name = "b"  # type: ignore[misc]


def test_a_file_entry_says_what_is_in_the_folder(tmp_path: Path) -> None:
    path = tmp_path / "rl" / "train.parquet"
    path.parent.mkdir()
    path.write_bytes(b"abc")
    entry = FileEntry.of(tmp_path, path, 1)
    assert (entry.path, entry.config, entry.bytes) == ("rl/train.parquet", "rl", 3)
    assert entry.sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    (tmp_path / "README.md").write_bytes(b"")
    assert FileEntry.of(tmp_path, tmp_path / "README.md", None).config == ""


def test_a_filter_of_ones_own_is_read_as_any_other() -> None:
    record = {"name": "polite", "version": 3, "adds": ["politeness"], "reasons": {"rude": ["politeness"]}}
    assert parsed({"name": "a", "filters": [record]}).filters == [FilterRecord(**record)]
