"""Digests of large files are remembered for as long as the file is the same."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from proofmill.data import files
from proofmill.data.files import sha256

LONG_AGO = -1e9


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(files, "_SETTLED_SECONDS", LONG_AGO)  # or every test would wait for the clock
    path = tmp_path / "large.bin"
    with path.open("wb") as file:
        file.truncate(files.REMEMBERED_BYTES)
    return path


def entries() -> list[Path]:
    return list(files.cache_folder().rglob("*.json"))


def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    seen: list[Path] = []
    monkeypatch.setattr(files, "sha256", lambda path: seen.append(path) or sha256(path))
    return seen


def test_a_large_file_is_read_once(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = reads(monkeypatch)
    assert files.cached_sha256(large) == files.cached_sha256(large) == sha256(large)
    assert seen == [large]


def test_a_written_file_is_read_again_even_where_its_time_was_set_back(
    large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, times = files.cached_sha256(large), large.stat()
    with large.open("r+b") as file:
        file.write(b"another byte")
    os.utime(large, ns=(times.st_atime_ns, times.st_mtime_ns))
    seen = reads(monkeypatch)
    assert files.cached_sha256(large) == sha256(large) != before
    assert seen == [large]


def test_a_file_just_written_is_not_remembered_nor_a_small_one(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_SETTLED_SECONDS", 2.0)
    files.cached_sha256(large)
    os.truncate(large, 100)
    assert files.cached_sha256(large) == sha256(large)
    assert not entries()


@pytest.mark.parametrize("torn", [b"", b"{", b"[]", b'{"state": 1}'])
def test_a_torn_or_unwritable_cache_costs_only_time(large: Path, torn: bytes) -> None:
    found = files.cached_sha256(large)
    (entry,) = entries()
    entry.write_bytes(torn)
    assert files.cached_sha256(large) == found
    entry.unlink()
    entry.parent.rmdir()
    entry.parent.write_bytes(b"a file where the folder should be")
    assert files.cached_sha256(large) == found
