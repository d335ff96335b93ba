"""A run's folder: what its manifest names is done, whatever else lies there; all of it can be moved."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pytest

from proofmill.data import run as runs
from proofmill.data.errors import StoreError
from proofmill.data.run import RunStore, Shard, ShardStats, Step, source_digest

STEP = Step("numbers")


class Maker:
    """Makes a table and counts how often it had to; each time another one, as wall-clock columns do."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> tuple[pa.Table, ShardStats]:
        self.calls += 1
        return pa.table({"x": list(range(self.calls * 50))}), {"calls": self.calls}


@pytest.fixture
def make() -> Maker:
    return Maker()


def once(home: Path, make: Maker, key: str = "k", recipe: dict[str, Any] | None = None) -> Shard:
    with RunStore(home, "run", recipe or {}).opened() as run:
        return run.once(STEP, "all", key, make)


def test_what_is_committed_is_found_again(home: Path, make: Maker) -> None:
    first = once(home, make)
    assert once(home, make) == first
    assert make.calls == 1
    assert first.stats["calls"] == 1
    assert first.rows == 50


def test_another_recipe_finds_what_it_shares(home: Path, make: Maker) -> None:
    once(home, make)
    once(home, make, recipe={"threshold": 0.9})
    assert make.calls == 1
    assert len(list((home / "runs" / "run").glob("manifest-*/"))) == 2
    shutil.rmtree(home / "runs" / "run" / f"manifest-{runs.digest({})}")
    once(home, make, recipe={"threshold": 0.9})
    assert make.calls == 1, "each recipe's manifest names all that it rests on"


def _manifest(home: Path) -> Path:
    """The manifest's last file that has lines."""
    return max(path for path in (home / "runs" / "run").glob("manifest-*/*.jsonl") if path.stat().st_size)


@pytest.mark.parametrize(
    "tail", [b"", b'{"step": "numb', b"\n", b"\0" * 40, b'{"step": "numbers"}\n', b'{"stage": "numbers"}\n']
)
def test_a_torn_manifest_line_is_redone_and_then_whole(home: Path, make: Maker, tail: bytes) -> None:
    once(home, make, "a")
    once(home, make, "b")
    path = _manifest(home)
    path.write_bytes(tail)
    once(home, make, "a")
    assert make.calls == 2
    once(home, make, "b")
    assert make.calls == 3
    once(home, make, "b")
    assert make.calls == 3


@pytest.mark.parametrize("harm", ["missing", "short"])
def test_a_file_that_is_not_whole_is_made_again(home: Path, make: Maker, harm: str) -> None:
    shard = once(home, make)
    path = home / "runs" / "run" / shard.file
    path.unlink() if harm == "missing" else path.write_bytes(path.read_bytes()[:-5])
    again = once(home, make)
    assert (make.calls, again.rows) == (2, 100)
    assert once(home, make) == again, "once mended, it is done"
    assert make.calls == 2


def test_what_is_committed_is_on_disk_a_moment_later(home: Path, make: Maker) -> None:
    with RunStore(home, "run", {}).opened() as run:
        shard = run.once(STEP, "all", "k", make)
        deadline = time.monotonic() + 20
        while not any(path.stat().st_size for path in run.folder.glob("manifest-*/*")) and time.monotonic() < deadline:
            time.sleep(0.02)
        shutil.copytree(home, home.with_name("copy"))  # as a power cut would leave it
    assert once(home.with_name("copy"), make) == shard


def test_without_locks_the_newest_process_goes_on(home: Path, make: Maker, no_locks: None) -> None:
    with (
        pytest.raises(StoreError, match="taken over the run 'run'") as caught,
        RunStore(home, "run", {}).opened() as run,
    ):
        kept = run.once(STEP, "a", "a", make)
        run.flush()
        with RunStore(home, "run", {}).opened() as newer:
            assert newer.once(STEP, "a", "a", make) == kept
            run.once(STEP, "b", "b", make)
            with pytest.raises(StoreError):
                run.flush()
            done = newer.once(STEP, "b", "b", make)
    assert "let the other one finish" in caught.value.remedy
    assert make.calls == 3
    assert once(home, make, "b") == done


def test_to_look_at_a_run_stops_nobody(home: Path, make: Maker, no_locks: None) -> None:
    with RunStore(home, "run", {}).opened() as run:
        kept = run.once(STEP, "a", "a", make)
    with RunStore(home, "run", {"seed": 1}).opened() as run:
        with RunStore(home, "run", {"seed": 1}).opened(claim=False) as looking:
            assert looking.find(STEP, "a") == kept
        run.once(STEP, "b", "b", make)
        run.flush()


def test_a_file_that_no_manifest_names_did_not_happen(home: Path, make: Maker) -> None:
    once(home, make)
    shutil.rmtree(_manifest(home).parent)
    once(home, make)
    assert make.calls == 2


def test_a_moved_home_goes_on(home: Path, make: Maker, tmp_path: Path) -> None:
    once(home, make)
    shutil.copytree(home, tmp_path / "elsewhere")
    shutil.rmtree(home)
    shard = once(tmp_path / "elsewhere", make)
    assert make.calls == 1
    with RunStore(tmp_path / "elsewhere", "run", {}).opened() as run:
        assert run.read(shard).num_rows == 50


def test_only_one_process_may_be_on_a_run(home: Path) -> None:
    with RunStore(home, "run", {}).opened():
        with pytest.raises(StoreError, match="already going on") as caught, RunStore(home, "run", {}).opened():
            pass
        assert "another name" in caught.value.remedy
        with RunStore(home, "other", {}).opened():
            pass


def test_a_key_changes_with_version_columns_libraries_inputs_and_options(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = pa.schema({"x": pa.int32()})
    step = Step("s", 1, ("pyarrow",), columns)
    key = step.key("input", {"threshold": 0.5})
    assert step.key("input", {"threshold": 0.5}) == key
    others = [
        step.key("other input", {"threshold": 0.5}),
        step.key("input", {"threshold": 0.6}),
        Step("t", 1, ("pyarrow",), columns).key("input", {"threshold": 0.5}),
        Step("s", 2, ("pyarrow",), columns).key("input", {"threshold": 0.5}),
        Step("s", 1, ("pyarrow", "polars"), columns).key("input", {"threshold": 0.5}),
        Step("s", 1, ("pyarrow",), pa.schema({"x": pa.int64()})).key("input", {"threshold": 0.5}),
    ]
    monkeypatch.setattr(runs, "library_version", lambda _: "99")
    others.append(step.key("input", {"threshold": 0.5}))
    assert len({key, *others}) == len(others) + 1


def test_what_a_later_key_depends_on_is_the_content(home: Path) -> None:
    """The same table under another key has the same content, a recorded one that of what was said."""
    table = pa.table({"x": [1, 2]})
    with RunStore(home, "run", {}).opened() as run:
        first, second = (run.once(STEP, "all", key, lambda: (table, {})) for key in ("a", "b"))
        other = run.once(STEP, "all", "c", lambda: (table.slice(1), {}))
        said = run.record(STEP, "all", "d", table, "words", {})
    assert first.content == second.content != other.content
    assert said.content == "words"
    assert Shard("numbers", "all", "e", "", 0, 0).content == "e", "what is not made yet stands under its key"


def test_lines_of_an_older_manifest_are_read(home: Path, make: Maker) -> None:
    """A single file, whose keys were once called `stage` and `facts`: what was asked then is not asked again."""
    shard = once(home, make)
    path = _manifest(home)
    line = orjson.loads(path.read_bytes())
    line |= {"stage": line.pop("step"), "facts": line.pop("stats")}
    path.parent.with_suffix(".jsonl").write_bytes(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE) + b'{"torn')
    shutil.rmtree(path.parent)
    assert once(home, make) == shard
    assert make.calls == 1


def test_a_columns_description_changes_no_key() -> None:
    plain, described = pa.field("x", pa.int32()), pa.field("x", pa.int32(), metadata={"description": "a number"})
    assert Step("s", 1, (), pa.schema([plain])).key() == Step("s", 1, (), pa.schema([described])).key()


def test_the_code_of_a_package_is_all_of_its_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "package_under_test"
    (package / "deep").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "deep" / "module.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    source_digest.cache_clear()
    before = source_digest("package_under_test")
    (package / "deep" / "module.py").write_text("x = 2\n")
    source_digest.cache_clear()
    assert source_digest("package_under_test") != before


def test_what_a_killed_process_left_is_swept_up(home: Path) -> None:
    run = RunStore(home, "r", {})
    leftovers = [
        run.folder / "scratch" / "near-duplicates-x" / "0-1.u64",
        run.folder / "verdicts" / ".key.parquet.999999999.tmp",
        home / "datasets" / "r" / ".v0001.999999999.tmp" / "README.md",
    ]
    at_work = run.folder / "verdicts" / f".other.parquet.{os.getppid()}.tmp"
    elsewhere = [run.folder / "verdicts" / f".{name}.parquet.0123456789ab.0badcafe.999999999.tmp" for name in "ab"]
    for path in (*leftovers, at_work, *elsewhere):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
    two_days_ago = time.time() - 2 * 24 * 3600
    os.utime(elsewhere[1], (two_days_ago, two_days_ago))
    with run.opened():
        assert not any(path.exists() for path in leftovers)
        assert not (run.folder / "scratch").exists()
        assert at_work.exists()
        assert [path.exists() for path in elsewhere] == [True, False], "another host may be at work, but not for days"


_AT_WORK = """
import sys
from pathlib import Path
from proofmill.data.files import atomic
with atomic(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    print("half", flush=True)
    sys.stdin.readline()
    temporary.write_text("all")
"""


def test_a_writer_in_another_pid_namespace_keeps_its_file(home: Path) -> None:
    """Its process id says nothing here, as on another node of a cluster."""
    unshare = ["unshare", "--pid", "--fork", "--map-root-user"]
    if not shutil.which("unshare") or subprocess.run([*unshare, "true"], capture_output=True).returncode:
        pytest.skip("a PID namespace can't be made here: it takes root, or user namespaces")
    run = RunStore(home, "r", {})
    path = run.folder / "verdicts" / "key.parquet"
    command = [*unshare, sys.executable, "-c", _AT_WORK, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "half\n"
        with run.opened():
            pass
        writer.communicate("go on\n")
    assert writer.returncode == 0
    assert path.read_text() == "all"
