"""Bytes reach the disk whole or not at all; digests of large files are remembered; a lock dies with its holder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofmill.data import files
from proofmill.data.errors import StoreError
from proofmill.data.files import atomic, atomic_folder, digest, locked, sha256, write_json
from proofmill.data.run import RunStore, Step
from proofmill.data.samples import SampleStore
from proofmill.data.tables import from_rows, write_table

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), JSON, max_size=5))
def test_a_digest_depends_on_the_content_and_not_on_the_order_of_keys(value: dict[str, Any]) -> None:
    turned = dict(reversed(value.items()))
    assert digest(value) == digest(turned)
    assert digest(value) != digest(value | {"one more key": 1})


def test_a_digest_is_the_same_on_every_machine() -> None:
    assert digest("problem", 1, None, {"b": [1.5], "a": "é"}) == "72fb8ed5182c68037edc0b62"


def test_an_atomic_file_appears_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    with atomic(path) as temporary:
        temporary.write_text("half")
        assert not path.exists()
        temporary.write_text("whole")
    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


def test_threads_that_write_one_file_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "same"
    barrier = threading.Barrier(4)

    def write(number: int) -> None:
        with atomic(path) as temporary:
            temporary.write_bytes(bytes([number]) * 9)
            barrier.wait()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    assert path.read_bytes() in {bytes([number]) * 9 for number in range(4)}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("place", [atomic, atomic_folder])
def test_an_error_leaves_the_old_content_and_no_litter(tmp_path: Path, place: Any) -> None:
    path = tmp_path / "kept"
    if place is atomic:
        path.write_text("old")
    with pytest.raises(ZeroDivisionError), place(path) as temporary:
        (temporary if place is atomic else temporary / "inside").write_text("new")
        raise ZeroDivisionError
    assert [(item.name, item.read_text()) for item in tmp_path.iterdir()] == (
        [("kept", "old")] if place is atomic else []
    )


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    place = tmp_path / "tiny"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", place], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("mounting a small file system needs root")
    yield place
    subprocess.run(["umount", place], check=True)


def _sample(index: int, text: str = "") -> dict[str, Any]:
    return {
        "prompt_digest": "p",
        "sample_index": index,
        "seed": index,
        "response": text,
        "finish_reason": "stop",
        "prompt_tokens": 1,
        "completion_tokens": 1,
    }


def _says_what_to_do(error: StoreError, folder: Path) -> bool:
    return "full" in error.what and str(folder) in error.where and "--home" in error.remedy


def test_a_full_disk_is_an_error_with_a_remedy(tiny: Path) -> None:
    path = tiny / "old.json"
    write_json(path, {"kept": True})
    with pytest.raises(StoreError) as caught:
        write_json(path, ["x" * 2**21])
    assert _says_what_to_do(caught.value, tiny)
    assert path.read_bytes() == b'{\n  "kept": true\n}\n'
    assert list(tiny.iterdir()) == [path]


def test_a_full_disk_while_a_table_is_written(tiny: Path) -> None:
    import pyarrow as pa

    table = pa.table({"noise": [os.urandom(3 * 2**20)]})
    with pytest.raises(StoreError) as caught:
        write_table(tiny / "table.parquet", table)
    assert _says_what_to_do(caught.value, tiny)
    assert list(tiny.iterdir()) == []


def test_a_full_disk_in_the_middle_of_sampling_loses_no_finished_sample(tiny: Path) -> None:
    store = SampleStore(tiny / "samples", {"who": "test"})
    with pytest.raises(StoreError) as caught, store:
        journal = store.journal("00000")
        journal.append(_sample(0, "kept"))
        journal.flush()
        for index in range(1, 40):
            journal.append(_sample(index, os.urandom(2**15).hex()))
            journal.flush()
    assert _says_what_to_do(caught.value, tiny)

    with pytest.raises(StoreError):  # there is still no room to seal what the journal holds
        SampleStore(tiny / "samples", {"who": "test"}).__enter__()
    subprocess.run(["mount", "-o", "remount,size=16m", tiny], check=True)
    with SampleStore(tiny / "samples", {"who": "test"}) as again:
        have = again.have(["p"])
        assert ("p", 0) in have
        assert {index for _, index in have} == set(range(len(have))), "a whole beginning, nothing in between is lost"
        assert len(have) < 40


def test_a_full_disk_in_a_step_keeps_the_steps_before_it(tiny: Path) -> None:
    import pyarrow as pa

    step = Step("noise")
    with pytest.raises(StoreError), RunStore(tiny, "run", {}).opened() as run:
        run.once(step, "a", "a", lambda: (pa.table({"x": [1]}), {}))
        run.once(step, "b", "b", lambda: (pa.table({"x": [os.urandom(3 * 2**20)]}), {}))
    with RunStore(tiny, "run", {}).opened() as run:
        assert run.find(step, "a") is not None
        assert run.find(step, "b") is None


def test_a_place_that_can_not_be_written(tmp_path: Path) -> None:
    place = tmp_path / "locked"
    place.mkdir(mode=0o500)
    if os.access(place, os.W_OK):
        pytest.skip("this user may write anywhere")
    with pytest.raises(StoreError, match="can't be written"):
        write_json(place / "deep" / "file.json", {})


def test_a_read_only_disk_is_an_error_with_a_remedy(tiny: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", tiny], check=True)
    for attempt in (
        lambda: write_json(tiny / "deep" / "file.json", {}),
        lambda: RunStore(tiny, "run", {}).opened().__enter__(),
        lambda: SampleStore(tiny / "samples", {}).__enter__(),
    ):
        with pytest.raises(StoreError, match="can't be written") as caught:
            attempt()
        assert "--home" in caught.value.remedy


_HOLDER = """
import sys, time
from pathlib import Path
from proofmill.data.files import locked
with locked(Path(sys.argv[1]), what="taken", remedy="wait"):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds a lock."""
    command = [sys.executable, "-c", _HOLDER, str(tmp_path / "lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def _take(path: Path) -> None:
    with locked(path, what="taken", remedy="wait"):
        pass


def test_a_lock_refuses_a_second_process_and_dies_with_the_first(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    with pytest.raises(StoreError) as caught:
        _take(tmp_path / "lock")
    assert (caught.value.what, caught.value.remedy) == ("taken", "wait")
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    _take(tmp_path / "lock")


def test_a_lock_is_free_again_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), locked(tmp_path / "lock", what="taken", remedy="wait"):
        raise ZeroDivisionError
    _take(tmp_path / "lock")


def test_missing_columns_are_null_and_kinds_are_fixed() -> None:
    import pyarrow as pa

    schema = pa.schema({"a": pa.int32(), "b": pa.string()})
    assert from_rows([{"a": 1}], schema).to_pylist() == [{"a": 1, "b": None}]
    assert from_rows([], schema).schema == schema


# --- remembered digests ------------------------------------------------------------------------------

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
