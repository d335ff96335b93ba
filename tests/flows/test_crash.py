"""A run that is killed at any moment goes on and ends with the same bytes: the real job, real kills, seeded points."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from proofmill.data.versions import versions
from support import crash
from support.samples import replay_recipe, sums, write_jsonl

Check = Callable[[Path], None]
KILLS = 15  # at least, at random counted calls; the other tests here and in test_crash_points.py add theirs
PUBLISHING_KILLS = 7
SIZE = 4 << 20  # bytes of the small disk


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """Where a file system of SIZE bytes is mounted, and the command inside which it is; empty where that can't be.

    It is mounted in a namespace of its own, by root or by whoever may become root there, so the runs alone see it.
    """
    place = tmp_path_factory.mktemp("disk")
    mounted = f'mount -t tmpfs -o size={SIZE} none {place} && exec "$@"'
    for unshare in (["unshare", "--mount"], ["unshare", "--mount", "--map-root-user"]):
        inside = [*unshare, "sh", "-c", mounted, "sh"]
        if shutil.which("unshare") and not subprocess.run([*inside, "true"], capture_output=True).returncode:
            return place, inside
    return place, []


@pytest.fixture(scope="module")
def driver(
    prefect_server: str, disk: tuple[Path, list[str]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("crash")
    file = write_jsonl(folder / "samples.jsonl", sums(12))
    found = crash.Driver(prefect_server, replay_recipe(file, verify={"workers": 1}), folder, disk[1])
    yield found
    found.close()


@pytest.fixture(scope="module")
def whole(driver: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """HOME after an undisturbed run, and how many calls made a change lasting."""
    home = tmp_path_factory.mktemp("whole") / "home"
    return home, driver.finished(home)["calls"]


@pytest.fixture(scope="module")
def same_as(whole: tuple[Path, int]) -> Callable[[Path], None]:
    """Fails where a HOME does not hold what an undisturbed run leaves."""
    return lambda home: crash.same_as(home, whole[0], "replayed")


@pytest.mark.slow
def test_killed_at_any_call_a_run_ends_with_the_same_bytes(
    driver: Any, whole: tuple[Path, int], same_as: Check, tmp_path: Path
) -> None:
    rng = random.Random(7)
    kills, homes = 0, (tmp_path / f"home-{number}" for number in itertools.count())
    while kills < KILLS:
        home = next(homes)
        while driver.run(home, at=rng.randint(1, whole[1] // 5), after=rng.random() < 0.5) == crash.KILLED:
            kills += 1
            if rng.random() < 0.4:
                crash.tear(sorted((home / "runs").glob("*/manifest-*/*.jsonl")), rng)
        assert "error" not in driver.said(), driver.said()
        same_as(home)


@pytest.mark.slow
def test_killed_while_it_publishes(driver: Any, whole: tuple[Path, int], same_as: Check, tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(whole[0], home)
    shutil.rmtree(home / "datasets")
    calls = driver.finished(home)["calls"]
    shutil.rmtree(home / "datasets")
    for number in range(PUBLISHING_KILLS):
        at = 1 + number * (calls - 1) // PUBLISHING_KILLS
        status = driver.run(home, at=at, after=number % 2 == 1)
        assert status == crash.KILLED or versions(home, "replayed"), driver.said()
    driver.finished(home)
    same_as(home)


@pytest.mark.slow
def test_workers_that_are_killed_cost_nothing(
    driver: Any, whole: tuple[Path, int], same_as: Check, tmp_path: Path
) -> None:
    """Kills from outside, whatever a worker is at; one a pool, since a row at work in two that die is found guilty."""
    rng = random.Random(3)
    pid = driver.start(tmp_path / "home")
    deadline = time.monotonic() + 120
    kills: set[str] = set()  # what the workers did that were killed
    run = psutil.Process(pid)  # until it is waited for, a run that has ended is a zombie
    while len(kills) < 3 and time.monotonic() < deadline and run.status() != psutil.STATUS_ZOMBIE:
        workers = [one for one in run.children(recursive=True) if one.status() != psutil.STATUS_ZOMBIE and _serves(one)]
        if ready := {work: worker for worker in workers if (work := _work_of(worker)) not in (*kills, "")}:
            work = rng.choice(sorted(ready))
            ready[work].kill()
            kills.add(work)
        time.sleep(0.02)
    status = driver.wait(pid)
    if status:  # a worker that dies whenever it starts ends the run, which goes on when it is called again
        driver.finished(tmp_path / "home")
    assert kills
    same_as(tmp_path / "home")


def _work_of(worker: psutil.Process) -> str:
    """The function that a worker was started for, which is its name; empty for any other process."""
    try:
        name = worker.name()
    except psutil.Error:  # it has just ended
        return ""
    return name if name in ("work", "annotate_row", "annotate_chunk", "cluster_answers") else ""


def _serves(process: psutil.Process) -> bool:
    try:
        return time.time() - process.create_time() > 0.1
    except psutil.Error:
        return False


@pytest.mark.slow
def test_a_second_process_is_refused_while_the_first_is_there(
    driver: Any, whole: tuple[Path, int], same_as: Check, tmp_path: Path
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
    same_as(home)


@pytest.mark.slow
def test_home_is_copied_in_the_middle_of_a_run(
    driver: Any, whole: tuple[Path, int], same_as: Check, tmp_path: Path
) -> None:
    # Past the half, since which of the run's threads is ahead differs from run to run.
    assert driver.run(tmp_path / "home", at=whole[1] * 3 // 4) == crash.KILLED
    shutil.copytree(tmp_path / "home", tmp_path / "elsewhere")
    done = {path: path.stat().st_mtime_ns for path in crash.committed(tmp_path / "elsewhere", "replayed")}
    assert done
    driver.finished(tmp_path / "elsewhere")
    same_as(tmp_path / "elsewhere")
    assert {path: path.stat().st_mtime_ns for path in done} == done


@pytest.mark.slow
def test_of_two_that_begin_at_once_one_goes_on(driver: Any, same_as: Check, tmp_path: Path) -> None:
    home = tmp_path / "home"
    runs = {to: driver.start(home, to=to) for to in ("one", "other")}
    ends = {to: driver.wait(pid) for to, pid in runs.items()}
    assert sorted(ends.values()) in ([0, 1], [0, 0]), "refused, or so late that all is done"
    for to in (to for to, status in ends.items() if status):
        assert "already going on in another process" in driver.said(to)["error"]
        assert "next:" in driver.said(to)["error"]
    same_as(home)


@pytest.mark.slow
def test_of_two_that_begin_at_once_without_locks_one_goes_on(
    driver: Any, whole: tuple[Path, int], same_as: Check, tmp_path: Path
) -> None:
    """As two drivers on different nodes do whose shared folder knows no locks; and one that was frozen meanwhile."""
    home = tmp_path / "home"
    runs = {to: driver.start(home, to=to, no_locks=True) for to in ("one", "other")}
    ends = {to: driver.wait(pid) for to, pid in runs.items()}
    assert sorted(ends.values()) in ([0, 1], [0, 0]), "stopped, or so late that all is done"
    for to in (to for to, status in ends.items() if status):
        assert "Another process has taken over the run 'replayed'" in driver.said(to)["error"]
    same_as(home)

    home = tmp_path / "frozen"
    frozen = driver.start(home, to="frozen", no_locks=True, at=whole[1] // 2, signal="SIGSTOP")
    deadline = time.monotonic() + 120
    while psutil.Process(frozen).status() != psutil.STATUS_STOPPED and time.monotonic() < deadline:
        time.sleep(0.05)
    assert driver.run(home, no_locks=True) == 0, driver.said()
    os.kill(frozen, signal.SIGCONT)
    assert driver.wait(frozen) == 1
    assert "Another process has taken over the run 'replayed'" in driver.said("frozen")["error"]
    same_as(home)


@pytest.mark.slow
def test_a_file_that_grows_too_large_stops_a_run_that_then_goes_on(driver: Any, same_as: Check, tmp_path: Path) -> None:
    status = driver.run(tmp_path / "home", largest_file=6_000)
    assert status == 1, driver.said()
    assert "The disk is full." in driver.said()["error"]
    driver.finished(tmp_path / "home")
    same_as(tmp_path / "home")


@pytest.mark.slow
def test_a_full_disk_stops_a_run_that_goes_on_once_there_is_room(
    driver: Any, disk: tuple[Path, list[str]], whole: tuple[Path, int]
) -> None:
    """Full from the first file on, then a little later each time, until there is room for all."""
    if not disk[1]:
        pytest.skip("a file system can't be mounted here: it takes root, or user namespaces")
    home, seen = disk[0] / "home", Path(f"/proc/{driver.process.pid}/root{disk[0]}")  # there, and from here
    ballast, kept = seen / "ballast", 0
    for room in (0, 16 << 10, 96 << 10, 160 << 10):
        ballast.unlink(missing_ok=True)
        free = shutil.disk_usage(seen).free
        ballast.write_bytes(bytes(max(0, free - room)))
        assert driver.run(home) == 1, (room, driver.said())
        said = driver.said()["error"]
        assert "The disk is full." in said
        assert f"where: {home}" in said
        assert "next:  free some space" in said
        done = crash.committed(seen / "home", "replayed") if room else []
        assert len(done) >= kept, "what was done stays done"
        kept = len(done)
    assert kept
    ballast.unlink()
    driver.finished(home)
    crash.same_as(seen / "home", whole[0], "replayed")
