"""The pool keeps every result, whatever an item does to its worker, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import psutil
import pytest

from proofmill.data.errors import VerifierError
from proofmill.filters.workers import Fault, WorkerPool

_TARGET = """
import os, time

def work(item):
    if not isinstance(item, str):
        return item * 2
    if item == "spin":
        while True: pass
    if item == "spin in C":
        return 10 ** 10 ** 10 % 7
    if item == "memory":
        return len([bytearray(10_000_000) for _ in range(1000)])
    if item == "deep":
        return work_deep(0)
    if item == "die":
        os._exit(3)
    if item == "killed":
        os.kill(os.getpid(), 11)
    if item == "lambda":
        return lambda: None
    if item == "noise":
        print("noise on standard output", flush=True)
        return "quiet"
    if item == "pid":
        return os.getpid()
    if item == "slow":
        time.sleep(0.1)
        return os.getpid()
    raise ValueError(item)

def work_deep(n):
    return work_deep(n + 1)
"""
_EXPECTED = {
    "spin": "timeout",
    "spin in C": "timeout",
    "memory": "memory",
    "deep": "memory",
    "die": "crash",
    "killed": "crash",
    "lambda": "exception",
    "bad": "exception",
}


@pytest.fixture
def target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "pool_target.py").write_text(_TARGET)
    monkeypatch.syspath_prepend(str(tmp_path))
    return "pool_target:work"


def _alive(pids: list[int]) -> list[int]:
    """Processes that still run (a zombie waits for its reaper and runs no more)."""
    running = []
    for pid in pids:
        try:
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                running.append(pid)
        except psutil.NoSuchProcess:
            continue
    return running


@pytest.mark.slow
@pytest.mark.parametrize("fault", _EXPECTED)
def test_a_hostile_item_costs_only_itself(target: str, fault: str) -> None:
    items = [*range(50), fault, *range(50, 100)]
    with WorkerPool(target, workers=2, cpu_seconds=1, memory_mb=200) as pool:
        pool.map(list(range(2000)))  # batches grow, so that the fault has company
        results = pool.map(items)
        again = pool.map([1, 2, 3])
    assert isinstance(results[50], Fault)
    assert results[50].kind == _EXPECTED[fault]
    assert results[:50] + results[51:] == [2 * item for item in range(100)]
    assert again == [2, 4, 6]


def test_many_faults_in_one_batch_keep_the_order(target: str) -> None:
    items = ["die", 1, "die", "memory", 2, "bad", "die"]
    with WorkerPool(target, workers=1, memory_mb=200) as pool:
        kinds = [result.kind if isinstance(result, Fault) else result for result in pool.map(items)]
    assert kinds == ["crash", 2, "crash", "memory", 4, "exception", "crash"]


def test_a_worker_killed_from_outside_costs_no_result(target: str) -> None:
    with WorkerPool(target, workers=1) as pool:
        [first] = pool.map(["pid"])
        os.kill(first, signal.SIGKILL)
        [second] = pool.map(["pid"])
        assert pool.map([21]) == [42]
    assert first != second


def test_a_worker_goes_on_after_an_item_that_takes_long(target: str) -> None:
    with WorkerPool(target, workers=1) as pool:
        pids = [pool.map([item])[0] for item in ("pid", "slow", "slow", "pid")]
    assert len(set(pids)) == 1


def test_when_the_process_that_forks_workers_is_killed_another_takes_its_place(target: str) -> None:
    with WorkerPool(target, workers=2) as pool:
        pids = [int(pid) for pid in pool.map(["pid"] * 8)]
        os.kill(psutil.Process(pids[0]).ppid(), signal.SIGKILL)
        assert pool.map(list(range(100))) == [2 * item for item in range(100)]
        deadline = time.monotonic() + 30
        while _alive(pids) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert _alive(pids) == []


def test_a_fork_of_the_caller_has_workers_of_its_own(target: str) -> None:
    with WorkerPool(target, workers=1) as pool:
        [ours] = pool.map(["pid"])
        if (child := os.fork()) == 0:
            with WorkerPool(target, workers=1) as other:
                os._exit(0 if psutil.Process(other.map(["pid"])[0]).ppid() != psutil.Process(ours).ppid() else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert pool.map([21]) == [42]


def test_the_death_of_an_idle_worker_is_no_items_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An item that then brings its worker down once has its second trial all the same."""
    mark = tmp_path / "mark"
    (tmp_path / "dies_once.py").write_text(
        f"import os, pathlib\nmark = pathlib.Path({str(mark)!r})\ndef work(item):\n"
        "    if item == 'once' and not mark.exists():\n        mark.touch()\n        os.kill(os.getpid(), 9)\n"
        "    return os.getpid()\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with WorkerPool("dies_once:work", workers=1) as pool:
        [idle] = pool.map([1])
        os.kill(idle, signal.SIGKILL)
        while _alive([idle]):
            time.sleep(0.01)
        [result] = pool.map(["once"])
    assert mark.exists()
    assert isinstance(result, int)


def test_output_of_an_item_does_not_reach_the_caller(target: str, capfd: pytest.CaptureFixture[str]) -> None:
    with WorkerPool(target, workers=1) as pool:
        assert pool.map(["noise"]) == ["quiet"]
    assert capfd.readouterr().out == ""


def test_threads_share_a_pool(target: str) -> None:
    results: dict[int, list[object]] = {}
    with WorkerPool(target, workers=2) as pool:

        def run(offset: int) -> None:
            results[offset] = pool.map([offset + item for item in range(300)])

        threads = [threading.Thread(target=run, args=(1000 * index,)) for index in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert results == {1000 * index: [2 * (1000 * index + item) for item in range(300)] for index in range(5)}


def test_close_leaves_no_process_and_refuses_more(target: str) -> None:
    with WorkerPool(target, workers=2) as pool:
        pids = [int(pid) for pid in pool.map(["pid"] * 8)]
    assert _alive(pids) == []
    with pytest.raises(VerifierError, match="closed"):
        pool.map([1])


def test_a_function_that_can_not_be_imported_is_an_error_that_names_it() -> None:
    with WorkerPool("no_such_module:work") as pool, pytest.raises(VerifierError, match="no_such_module"):
        pool.map([1])


@pytest.mark.parametrize("deaths", [2, 3])
def test_a_worker_killed_while_it_starts_is_started_again(
    deaths: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice; then something is wrong, and is said."""
    count = tmp_path / "count"
    count.write_text("")
    (tmp_path / "dies_at_import.py").write_text(
        f"import os, pathlib\ncount = pathlib.Path({str(count)!r})\ncount.write_text(count.read_text() + '.')\n"
        f"if len(count.read_text()) <= {deaths}: os.kill(os.getpid(), 9)\ndef work(item): return item * 2\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with WorkerPool("dies_at_import:work", workers=1) as pool:
        if deaths == 2:
            assert pool.map([21]) == [42]
        else:
            with pytest.raises(VerifierError, match="ended at once"):
                pool.map([21])
    assert count.read_text() == "..."


def test_no_items_need_no_process() -> None:
    with WorkerPool("no_such_module:work") as pool:
        assert pool.map([]) == []


def test_workers_die_with_a_parent_that_is_killed(target: str, tmp_path: Path) -> None:
    script = textwrap.dedent(
        f"""
        import sys, threading
        sys.path.insert(0, {str(tmp_path)!r})
        from proofmill.filters.workers import WorkerPool
        pool = WorkerPool({target!r}, workers=2, cpu_seconds=600)
        print(*pool.map(["pid"] * 8), flush=True)
        threading.Thread(target=pool.map, args=(["spin"] * 2,)).start()
        """
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    assert _alive(pids)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 30
    while _alive(pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert _alive(pids) == []
