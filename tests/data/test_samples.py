"""Recorded samples survive whatever ends a run, each of them once."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proofmill.data.errors import StoreError
from proofmill.data.samples import SampleStore
from proofmill.data.schemas import SAMPLES
from proofmill.data.segments import Segments, read_rows


def sample(prompt: str = "p", index: int = 0, response: str = "text") -> dict[str, Any]:
    return {
        "prompt_digest": prompt,
        "sample_index": index,
        "seed": 7,
        "response": response,
        "finish_reason": "stop",
        "prompt_tokens": 3,
        "completion_tokens": 4,
    }


def open_store(folder: Path) -> SampleStore:
    return SampleStore(folder / "samples", {"model": "tiny"})


def record(store: SampleStore, name: str, *rows: dict[str, Any], seal: bool = True) -> None:
    journal = store.journal(name)
    for row in rows:
        journal.append(row)
    journal.flush()
    if seal:
        store.seal(name, journal)


def rows(store: SampleStore, *prompts: str, n: int = 9) -> list[tuple[str, int, str]]:
    table = store.read(prompts, n)
    assert table.schema == SAMPLES
    return [(row["prompt_digest"], row["sample_index"], row["response"]) for row in table.to_pylist()]


def test_sealed_samples_are_read_in_order_and_known(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        record(store, "0", sample("q", 1), sample("p", 0), sample("q", 0))
        assert rows(store, "p", "q") == [("p", 0, "text"), ("q", 0, "text"), ("q", 1, "text")]
        assert store.have(["q", "nobody's"]) == {("q", 0), ("q", 1)}
        assert not list(store.folder.glob("journals-*/*/"))
    with open_store(tmp_path) as store:
        assert store.have(["p", "q"]) == {("p", 0), ("q", 0), ("q", 1)}
    assert orjson.loads((tmp_path / "samples" / "identity.json").read_bytes()) == {"model": "tiny"}


def test_only_the_files_that_hold_a_prompt_are_read(tmp_path: Path) -> None:
    """However many files there are: what a shard has cost must not grow with the run."""
    with open_store(tmp_path) as store:
        for number in range(40):
            record(store, f"{number:05}", *(sample(f"p{number // 2}", index) for index in range(number % 2, 9, 2)))
        wanted = {"p3": {"00006", "00007"}, "p11": {"00022", "00023"}}
        for path in store.folder.glob("*.parquet"):
            if not any(path.name.startswith(name) for names in wanted.values() for name in names):
                path.unlink()
        assert store.have([*wanted, "nobody's"]) == {(prompt, index) for prompt in wanted for index in range(9)}
        assert len(rows(store, *wanted, n=5)) == 10


def test_nothing_recorded_is_an_empty_table(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        assert rows(store, "p") == []


@settings(max_examples=25, deadline=None)
@given(cut=st.integers(0, 400), junk=st.binary(max_size=20))
def test_a_torn_journal_is_cut_at_its_last_whole_line(
    tmp_path_factory: pytest.TempPathFactory, cut: int, junk: bytes
) -> None:
    folder = tmp_path_factory.mktemp("store")
    with open_store(folder) as store:
        record(store, "0", *(sample(index=index) for index in range(3)), seal=False)
        (path,) = store.folder.glob("journals-*/0/*.jsonl")
    whole = path.read_bytes()
    torn = whole[: min(cut, len(whole))] + junk.replace(b"\n", b"")
    path.write_bytes(torn)
    kept = whole[: min(cut, len(whole))].count(b"\n")
    with open_store(folder) as store:
        assert store.have(["p"]) == {("p", index) for index in range(kept)}
        assert not path.exists()


@pytest.mark.parametrize("line", [b"[]\n", b"{}\n", b"\n", b'{"prompt_digest": "p"}\n', b"\xff\xfe\n"])
def test_what_follows_a_broken_line_was_never_promised(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "j.journal"
    good = orjson.dumps(sample(), option=orjson.OPT_APPEND_NEWLINE)
    path.write_bytes(good + line + good)
    assert list(read_rows(path, SAMPLES.names)) == [sample()]


@settings(max_examples=40, deadline=None)
@given(cut=st.integers(0, 400))
def test_a_log_that_is_opened_again_goes_on_behind_its_last_whole_line(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    lines = [orjson.dumps(sample(index=index), option=orjson.OPT_APPEND_NEWLINE) for index in range(3)]
    (folder / "00000001.jsonl").write_bytes(b"".join(lines)[:cut])
    log = Segments(folder, "this")
    whole = list(log.read())
    assert whole == [sample(index=index) for index in range((folder / "00000001.jsonl").read_bytes().count(b"\n"))]
    log.append(sample(index=7))
    log.flush()
    assert list(Segments(folder, "this").read()) == [*whole, sample(index=7)]


def test_a_row_is_on_disk_within_a_second_or_two(tmp_path: Path) -> None:
    """Nobody flushes: what comes in the meantime is written with it."""
    log = Segments(tmp_path, "this")
    for index in range(3):
        log.append(sample(index=index))
    deadline = time.monotonic() + 20
    while not list(tmp_path.glob("*.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.02)
    log.flush()
    assert list(Segments(tmp_path, "this").read()) == [sample(index=index) for index in range(3)]
    assert len(list(tmp_path.glob("*.jsonl"))) == 1


def test_of_two_that_write_one_log_one_goes_on(tmp_path: Path) -> None:
    first, second = Segments(tmp_path, "this"), Segments(tmp_path, "this")
    first.append(sample(index=0))
    first.flush()
    second.append(sample(index=1))
    for _ in range(2):
        with pytest.raises(StoreError, match="taken over this"):
            second.flush()
    with pytest.raises(StoreError, match="taken over this"):
        second.append(sample(index=2))
    first.append(sample(index=3))
    first.flush()
    assert list(Segments(tmp_path, "this").read()) == [sample(index=0), sample(index=3)]


def test_a_journal_sealed_twice_counts_once(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        record(store, "0", sample(index=0), sample(index=1), seal=False)
        (journal,) = store.folder.glob("journals-*/0")
        copy = shutil.copytree(journal, tmp_path / "copy")
    with open_store(tmp_path) as store:
        (journals,) = store.folder.glob("journals-*")
        shutil.copytree(copy, journals / "0")  # the crash came after the seal and before the journal's end
    with open_store(tmp_path) as store:
        assert rows(store, "p") == [("p", 0, "text"), ("p", 1, "text")]
        assert len(list(store.folder.glob("*.parquet"))) == 1


def test_a_sample_recorded_twice_is_read_once(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        record(store, "0", sample(index=0, response="one"))
        record(store, "1", sample(index=0, response="two"), sample(index=1, response="next"))
        assert rows(store, "p") == [("p", 0, "one"), ("p", 1, "next")]


def test_fewer_samples_than_recorded_are_the_first_ones(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        record(store, "0", *(sample(index=index) for index in range(4)))
        assert [index for _, index, _ in rows(store, "p", n=2)] == [0, 1]


def test_samples_set_aside_are_hidden_and_kept(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        record(store, "0", sample(response="old"))
        store.set_aside("1")
        assert rows(store, "p") == []
        record(store, "0", sample(response="new"))
        store.set_aside("1")
        assert rows(store, "p") == [("p", 0, "new")]
        store.set_aside("2")
        record(store, "0", sample(response="newest"))
    with open_store(tmp_path) as store:
        assert rows(store, "p") == [("p", 0, "newest")]
    assert len(list((tmp_path / "samples").glob("set-aside-*/*.parquet"))) == 2


def test_setting_aside_that_was_interrupted_is_ended_and_hides_nothing_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_store(tmp_path) as store:
        record(store, "0", sample(response="old"))
        record(store, "1", sample("q", response="old"))
        rename, moved = Path.rename, []

        def interrupted(self: Path, target: Path) -> Path:
            if self.suffix == ".parquet" and moved:
                raise KeyboardInterrupt
            moved.append(self)
            return rename(self, target)

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(
                Path, "rename", lambda self, target: (rename if self.suffix == ".tmp" else interrupted)(self, target)
            )
            store.set_aside("1")
    with open_store(tmp_path) as store:
        store.set_aside("1")
        assert rows(store, "p") == rows(store, "q") == []
        record(store, "0", sample(response="old"))
        store.set_aside("1")
        assert rows(store, "p") == [("p", 0, "old")]


def test_setting_nothing_aside_leaves_no_folder(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        store.set_aside("1")
        assert not list(store.folder.glob("set-aside-*"))


def test_without_locks_the_newest_process_goes_on_and_nothing_is_lost(tmp_path: Path, no_locks: None) -> None:
    with open_store(tmp_path) as older:
        journal = older.journal("0")
        journal.append(sample(index=0))
        journal.flush()
        with open_store(tmp_path) as newer:
            assert newer.have(["p"]) == {("p", 0)}
            journal.append(sample(index=1))
            for attempt in (journal.flush, lambda: older.journal("1"), lambda: older.seal("0", journal)):
                with pytest.raises(StoreError, match="taken over sampling"):
                    attempt()
            record(newer, "0", sample(index=1))
            assert rows(newer, "p") == [("p", 0, "text"), ("p", 1, "text")]


def test_to_look_at_samples_stops_nobody(tmp_path: Path) -> None:
    with open_store(tmp_path) as at_work:
        record(at_work, "0", sample(index=0))
        journal = at_work.journal("1")
        for row in (sample(index=1), sample(index=2) | {"finish_reason": "failed"}, sample("other")):
            journal.append(row)
        journal.flush()
        assert open_store(tmp_path).looked_at().have(["p", "q"]) == {("p", 0), ("p", 1)}
        journal.append(sample(index=3))
        at_work.seal("1", journal)
        assert at_work.have(["p"]) == {("p", 0), ("p", 1), ("p", 3)}


def test_a_journal_of_an_older_home_is_sealed(tmp_path: Path) -> None:
    with open_store(tmp_path):
        pass
    line = orjson.dumps(sample(), option=orjson.OPT_APPEND_NEWLINE)
    (tmp_path / "samples" / "0.journal").write_bytes(line + line[:9])
    with open_store(tmp_path) as store:
        assert rows(store, "p") == [("p", 0, "text")]
        assert not list(store.folder.glob("*.journal"))


def test_a_key_belongs_to_one_process_at_a_time(tmp_path: Path) -> None:
    with open_store(tmp_path), pytest.raises(StoreError, match="same model"):
        open_store(tmp_path).__enter__()
    with open_store(tmp_path):
        pass


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        record(store, "0", sample())
        (path,) = store.folder.glob("*.parquet")
        path.write_bytes(path.read_bytes()[:-20])
        with pytest.raises(StoreError) as caught:
            store.read(["p"], 1)
        assert str(path) in caught.value.where
    with pytest.raises(StoreError) as caught:
        open_store(tmp_path).__enter__()
    assert str(path) in caught.value.where
