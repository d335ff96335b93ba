"""A run that is killed at any moment goes on and ends with the same bytes: the real job, real kills, seeded points."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from proofmill.data.versions import check_files, find, versions

Row = dict[str, Any]
KILLED = -signal.SIGKILL
KILLS = 30  # at least, at random counted calls; the other tests add theirs
PUBLISHING_KILLS = 10


class Driver:
    """Starts runs of one recipe in forked children of a warm process."""

    def __init__(self, server: str, recipe: Row, folder: Path) -> None:
        self.recipe, self.folder = recipe, folder
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("crash_driver.py"))],
            env=os.environ | {"PREFECT_API_URL": server, "PREFECT_LOGGING_LEVEL": "CRITICAL"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def _ask(self, **order: Any) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def start(self, home: Path, **fault: Any) -> int:
        self._said().unlink(missing_ok=True)
        return self._ask(op="start", recipe=self.recipe, home=str(home), said=str(self._said()), **fault)

    def wait(self, pid: int) -> int:
        return self._ask(op="wait", pid=pid)

    def run(self, home: Path, **fault: Any) -> int:
        return self.wait(self.start(home, **fault))

    def finished(self, home: Path) -> Row:
        """Runs undisturbed to the end; what the run said."""
        status = self.run(home)
        assert status == 0, self.said()
        return self.said()

    def said(self) -> Row:
        return dict(json.loads(self._said().read_text()))

    def _said(self) -> Path:
        return self.folder / "said.json"

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)


@pytest.fixture(scope="module")
def driver(prefect_server: str, kit: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    folder = tmp_path_factory.mktemp("crash")
    file = kit.write_jsonl(folder / "samples.jsonl", kit.sums(12))
    found = Driver(prefect_server, kit.replay_recipe(file, verify={"workers": 1}), folder)
    yield found
    found.close()


@pytest.fixture(scope="module")
def whole(driver: Driver, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """HOME after an undisturbed run, and how many calls made a change lasting."""
    home = tmp_path_factory.mktemp("whole") / "home"
    return home, driver.finished(home)["calls"]


def same_as(home: Path, whole: tuple[Path, int]) -> None:
    """One version, of the same bytes, and nothing left over."""
    assert [version.number for version in versions(home, "replayed")] == [1]
    found = find(home, "replayed")
    check_files(found)
    assert found.data_digests() == find(whole[0], "replayed").data_digests()
    assert found.manifest["stages"] == find(whole[0], "replayed").manifest["stages"]
    assert not list(home.rglob("*.tmp"))
    assert not list((home / "runs" / "replayed").glob("scratch/*"))


def tear(home: Path, rng: random.Random) -> None:
    """What a power cut leaves: the end of a manifest is missing, in the middle of a line."""
    for path in sorted((home / "runs").glob("*/manifest-*.jsonl")):
        size = path.stat().st_size
        os.truncate(path, size - rng.randint(0, min(size, 300)))


@pytest.mark.slow
def test_killed_at_any_call_a_run_ends_with_the_same_bytes(
    driver: Driver, whole: tuple[Path, int], tmp_path: Path
) -> None:
    rng = random.Random(7)
    kills = 0
    while kills < KILLS:
        home = tmp_path / f"home-{kills}"
        while driver.run(home, at=rng.randint(1, whole[1] // 5), after=rng.random() < 0.5) == KILLED:
            kills += 1
            if rng.random() < 0.4:
                tear(home, rng)
        assert "error" not in driver.said(), driver.said()
        same_as(home, whole)


@pytest.mark.slow
def test_killed_while_it_publishes(driver: Driver, whole: tuple[Path, int], tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(whole[0], home)
    shutil.rmtree(home / "datasets")
    calls = driver.finished(home)["calls"]
    shutil.rmtree(home / "datasets")
    for number in range(PUBLISHING_KILLS):
        at = 1 + number * (calls - 1) // PUBLISHING_KILLS
        status = driver.run(home, at=at, after=number % 2 == 1)
        assert status == KILLED or versions(home, "replayed"), driver.said()
    driver.finished(home)
    same_as(home, whole)


@pytest.mark.slow
def test_workers_that_are_killed_cost_nothing(driver: Driver, whole: tuple[Path, int], tmp_path: Path) -> None:
    """Three kills from outside, whatever a worker is at."""
    rng = random.Random(3)
    pid = driver.start(tmp_path / "home")
    kills, deadline = 0, time.monotonic() + 120
    run = psutil.Process(pid)  # until it is waited for, a run that has ended is a zombie
    while kills < 3 and time.monotonic() < deadline and run.status() != psutil.STATUS_ZOMBIE:
        workers = run.children()
        if ready := [worker for worker in workers if worker.status() != psutil.STATUS_ZOMBIE and _serves(worker)]:
            rng.choice(ready).kill()
            kills += 1
        time.sleep(0.1)
    status = driver.wait(pid)
    if status:  # a worker that dies while it starts ends the run, which goes on when it is called again
        driver.finished(tmp_path / "home")
    assert kills
    same_as(tmp_path / "home", whole)


def _serves(process: psutil.Process) -> bool:
    try:
        return time.time() - process.create_time() > 1.0
    except psutil.Error:
        return False


@pytest.mark.slow
def test_a_second_process_is_refused_and_goes_on_once_the_first_is_dead(
    driver: Driver, whole: tuple[Path, int], tmp_path: Path
) -> None:
    home = tmp_path / "home"
    first = driver.start(home, at=whole[1] // 2, signal="SIGSTOP")
    deadline = time.monotonic() + 120
    while psutil.Process(first).status() != psutil.STATUS_STOPPED and time.monotonic() < deadline:
        time.sleep(0.05)
    assert driver.run(home) == 1
    assert "already going on in another process" in driver.said()["error"]
    os.kill(first, signal.SIGCONT)
    assert driver.wait(first) == 0
    same_as(home, whole)

    home = tmp_path / "other"
    assert driver.run(home, at=whole[1] // 2) == KILLED
    driver.finished(home)
    same_as(home, whole)


@pytest.mark.slow
def test_home_is_copied_in_the_middle_of_a_run(driver: Driver, whole: tuple[Path, int], tmp_path: Path) -> None:
    assert driver.run(tmp_path / "home", at=whole[1] // 2) == KILLED
    shutil.copytree(tmp_path / "home", tmp_path / "elsewhere")
    done = {path: path.stat().st_mtime_ns for path in committed(tmp_path / "elsewhere")}
    assert done
    driver.finished(tmp_path / "elsewhere")
    same_as(tmp_path / "elsewhere", whole)
    assert {path: path.stat().st_mtime_ns for path in done} == done


def committed(home: Path) -> list[Path]:
    """Files that a whole manifest line names; one that is only there did not happen, and is made again."""
    run = home / "runs" / "replayed"
    lines = [line for path in run.glob("manifest-*.jsonl") for line in path.read_bytes().splitlines(keepends=True)]
    return [run / json.loads(line)["file"] for line in lines if line.endswith(b"\n")]


@pytest.mark.slow
@pytest.mark.parametrize("largest", [600, 6_000, 12_000])
def test_a_full_disk_stops_a_run_that_then_goes_on(
    driver: Driver, whole: tuple[Path, int], tmp_path: Path, largest: int
) -> None:
    status = driver.run(tmp_path / "home", largest_file=largest)
    assert status == 1, driver.said()
    assert "The disk is full." in driver.said()["error"]
    driver.finished(tmp_path / "home")
    same_as(tmp_path / "home", whole)
