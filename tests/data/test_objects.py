"""HOME in an object store: a real S3 server, and machines that share nothing but it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from proofmill.data import versions
from proofmill.data.errors import StoreError, UsageError
from proofmill.data.files import atomic_folder, put_folder, write_json
from proofmill.data.manifest import MANIFEST
from proofmill.data.objects import MARKER, ObjectStore, mirror, object_store
from proofmill.data.run import RunStore, Shard, ShardStats, Step
from proofmill.data.samples import SampleStore
from proofmill.data.segments import Segments
from support.s3 import BUCKET, client, faulty_way, forgetful_store

Machine = Callable[[str], Path]
STEP = Step("numbers")


@pytest.fixture
def machine(s3: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Returns the mirror that a machine has of one HOME."""
    for name, value in s3.items():
        monkeypatch.setenv(name, value)
    return lambda name: mirror(f"s3://{BUCKET}/{tmp_path.name}", tmp_path / name).root


def objects(s3: dict[str, str], tmp_path: Path, folder: str = "") -> list[str]:
    found = client(s3).list(f"{tmp_path.name}/{folder}".rstrip("/"), chunk_size=1000)
    return sorted(item["path"].removeprefix(f"{tmp_path.name}/") for chunk in found for item in chunk)


def sample(index: int) -> dict[str, Any]:
    numbers = {"sample_index": index, "seed": 7, "prompt_tokens": 3, "completion_tokens": 4}
    return {"prompt_digest": "p", "response": f"text {index}", "finish_reason": "stop"} | numbers


def samples(home: Path) -> SampleStore:
    return SampleStore(home / "samples" / "key", {"model": "tiny"})


def make() -> tuple[pa.Table, ShardStats]:
    return pa.table({"x": [1, 2, 3]}), {}


def once(run: RunStore, key: str) -> Shard:
    return run.once(STEP, "all", key, make)


def test_what_a_machine_has_committed_another_one_has(machine: Machine) -> None:
    with RunStore(machine("one"), "run", {}).opened() as run:
        shard = once(run, "a")
        write_json(run.folder / "finished.json", {"done": 1})
    with RunStore(machine("other"), "run", {}).opened() as run:
        assert run.find(STEP, "a") == shard
        assert not (run.folder / shard.file).exists(), "it is fetched when it is read"
        assert run.read(shard).num_rows == 3
        assert (run.folder / "finished.json").read_bytes() == b'{\n  "done": 1\n}\n'


def test_an_object_that_is_gone_is_made_again(machine: Machine) -> None:
    with RunStore(machine("one"), "run", {}).opened() as run:
        shard = once(run, "a")
        store = object_store(run.folder)
    assert isinstance(store, ObjectStore)
    store.remove([store.root / "runs" / "run" / shard.file])
    with RunStore(machine("one"), "run", {}).opened() as run:
        assert run.find(STEP, "a") is None
        assert not (run.folder / shard.file).exists()


def test_a_file_that_another_machine_has_written_over_is_fetched_anew(machine: Machine) -> None:
    one, other = machine("one"), machine("other")
    write_json(one / "notes.json", [1])
    write_json(other / "notes.json", [2])
    store = mirror(f"s3://{BUCKET}/{one.parent.name}", machine("third"))
    assert store.fetch(store.root / "notes.json").read_bytes() == b"[\n  2\n]\n"
    again = ObjectStore(store.address, one)  # as a new process on the first machine
    assert again.fetch(one / "notes.json").read_bytes() == b"[\n  2\n]\n"


def test_large_objects_come_and_go_in_parts_and_are_fetched_once(machine: Machine, monkeypatch: Any) -> None:
    """The ETag of such an object is no MD5 of its content."""
    monkeypatch.setattr("proofmill.data.objects._PART_BYTES", 5 << 20)
    one, other = machine("one"), machine("other")
    content = os.urandom(6 << 20) * 2
    (one / "source").write_bytes(content)
    ObjectStore(f"s3://{BUCKET}/{one.parent.name}", one).put(one / "source", one / "large.parquet")
    store = ObjectStore(f"s3://{BUCKET}/{one.parent.name}", other)
    path = store.fetch(other / "large.parquet")
    assert path.read_bytes() == content
    written = path.stat().st_mtime_ns
    assert ObjectStore(store.address, other).fetch(path).stat().st_mtime_ns == written


def test_of_two_drivers_of_a_run_the_newer_goes_on(machine: Machine) -> None:
    with (
        pytest.raises(StoreError, match="taken over the run 'run'") as caught,
        RunStore(machine("one"), "run", {}).opened() as older,
    ):
        kept = once(older, "a")
        older.flush()
        with RunStore(machine("other"), "run", {}).opened() as newer:
            assert newer.find(STEP, "a") == kept
            once(older, "b")
            with pytest.raises(StoreError, match="taken over"):
                older.flush()
            once(newer, "c")
    assert caught.value.where.startswith(f"s3://{BUCKET}/")
    with RunStore(machine("third"), "run", {}).opened() as run:
        assert run.find(STEP, "a")
        assert run.find(STEP, "b") is None, "it was never committed"
        assert run.find(STEP, "c")


def test_samples_of_a_process_that_is_gone_are_kept_and_it_can_add_none(
    machine: Machine, s3: dict[str, str], tmp_path: Path
) -> None:
    with samples(machine("one")) as older:
        sealed, left, idle = older.journal("0"), older.journal("1"), older.journal("2")
        for journal, index in ((sealed, 0), (left, 1)):
            journal.append(sample(index))
            journal.flush()
        older.seal("0", sealed)
        with samples(machine("other")) as newer:
            assert newer.have(["p"]) == {("p", 0), ("p", 1)}
            for journal in (left, idle):
                journal.append(sample(5))
                with pytest.raises(StoreError, match="taken over sampling"):
                    journal.flush()
            for attempt in (lambda: older.journal("3"), lambda: older.seal("1", left)):
                with pytest.raises(StoreError, match="taken over sampling"):
                    attempt()
            journal = newer.journal("2")
            journal.append(sample(2))
            newer.seal("2", journal)
    with samples(machine("third")) as store:
        assert store.have(["p"]) == {("p", 0), ("p", 1), ("p", 2)}
    recorded = [name for name in objects(s3, tmp_path, "samples/key") if name.endswith(".parquet")]
    assert len(recorded) == 3, "what was recovered once is not recovered again"


def test_samples_set_aside_are_so_on_every_machine(machine: Machine) -> None:
    with samples(machine("one")) as store:
        journal = store.journal("0")
        journal.append(sample(0))
        store.seal("0", journal)
        store.set_aside("1")
        journal = store.journal("0")
        journal.append(sample(1))
        store.seal("0", journal)
    store = samples(machine("other")).looked_at()
    assert store.have(["p"]) == {("p", 1)}
    assert not list(store.folder.glob("set-aside-*"))
    with samples(machine("third")) as store:
        store.set_aside("1")  # as a run that was interrupted does
        assert store.have(["p"]) == {("p", 1)}


def test_a_version_exists_once_its_manifest_does_and_belongs_to_one_process(machine: Machine) -> None:
    def publish(home: Path, number: int, ready: Callable[[], None]) -> None:
        folder = home / "datasets" / "sums" / f"v{number:04}"
        with atomic_folder(folder) as temporary:
            (temporary / "README.md").write_text(home.name)
            write_json(temporary / MANIFEST, {"name": "sums"})
            put_folder(temporary, folder, last=MANIFEST, ready=ready)

    one, other = machine("one"), machine("other")

    def nothing() -> None:
        assert versions.versions(machine("other"), "sums") == [], "all but the manifest is there"
        with pytest.raises(StoreError, match="taken over v0001"):
            publish(other, 1, lambda: None)
        assert versions.next_number(other, "sums") == 2

    publish(one, 1, nothing)
    (found,) = versions.versions(other, "sums")
    store = object_store(found.folder)
    assert store is not None
    assert store.fetch(found.folder / "README.md").read_text() == "one"
    store.remove([found.folder / name for name in ("README.md", MANIFEST)])
    publish(one, 1, lambda: None)  # where the mirror still has what was removed from the bucket
    assert (one / "datasets" / "sums" / "v0001" / "README.md").exists()


def test_an_answer_that_is_lost_is_no_other_process(
    machine: Machine, s3: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client sends the creation again, and the store says that the object is there already."""
    lost: Iterator[str] = iter(["lost", "lost"])
    fault = lambda method, _: next(lost, "") if method == "PUT" else ""  # noqa: E731
    with faulty_way(s3["AWS_ENDPOINT_URL"], fault) as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        log = Segments(machine("one") / "log", "this")
        log.folder.mkdir()
        for index in range(3):
            log.append(sample(index))
            log.flush()
    assert next(lost, "none left") == "none left"
    assert objects(s3, tmp_path, "log") == [f"log/{number:08}.jsonl" for number in (1, 2, 3)]


def test_credentials_that_expire_end_the_run_and_lose_nothing(
    machine: Machine, s3: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    expired = False
    with faulty_way(s3["AWS_ENDPOINT_URL"], lambda *_: "expired" if expired else "") as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        with (
            pytest.raises(StoreError, match="credentials for the object store have expired") as caught,
            RunStore(machine("one"), "run", {}).opened() as run,
        ):
            once(run, "a")
            run.flush()
            expired = True
            once(run, "b")
    assert caught.value.where.startswith(f"s3://{BUCKET}/")
    assert "renew them" in caught.value.remedy
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3["AWS_ENDPOINT_URL"])
    with RunStore(machine("other"), "run", {}).opened() as run:
        assert run.find(STEP, "a")
        assert run.find(STEP, "b") is None


def test_a_bucket_that_is_not_there_and_users_who_may_not_are_told(
    s3: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(StoreError, match="no bucket 'nobody'") as caught:
        mirror("s3://nobody/home", tmp_path / "a")
    assert "s3://nobody/home" in caught.value.where
    assert "--home" in caught.value.remedy
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "stranger")
    with pytest.raises(StoreError, match="does not know these credentials") as caught:
        mirror(f"s3://{BUCKET}/home", tmp_path / "b")
    assert "AWS_ACCESS_KEY_ID" in caught.value.remedy
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "reader")
    with pytest.raises(StoreError, match="does not allow this") as caught:
        mirror(f"s3://{BUCKET}/home", tmp_path / "c").check_creates_once()
    assert "s3:PutObject" in caught.value.remedy
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(StoreError, match="can't be used") as caught:
        mirror(f"s3://{BUCKET}/home", tmp_path / "d")
    assert "http://127.0.0.1:1" in caught.value.where


@pytest.mark.parametrize("address", ["gs://bucket/home", "s3://", "https://host/bucket"])
def test_other_addresses_are_refused(address: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not the address of an object store"):
        mirror(address, tmp_path)


def test_a_store_that_creates_twice_is_refused(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    one = mirror(f"s3://{BUCKET}/{machine('one').parent.name}", machine("one"))
    one.check_creates_once()
    assert not [path for path in one.list(one.root) if path.name.startswith("creates-once")]
    with forgetful_store() as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        with pytest.raises(StoreError, match="creates an object twice") as caught:
            mirror(f"s3://{BUCKET}/home", machine("one").with_name("bad")).check_creates_once()
    assert address in caught.value.where


def test_a_folder_that_mirrors_nothing_is_on_this_machine_alone(tmp_path: Path) -> None:
    assert object_store(tmp_path / "runs") is None
    (tmp_path / MARKER).write_text('{"address": "s3://bucket/home"}')
    assert object_store(tmp_path / ".prefect" / "server.db") is None
