"""The real engine with the embedded model, killed three times in one run: nothing recorded is lost or drawn again."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from proofmill.generators.sample_plan import sample_seed
from support import crash

pytestmark = [pytest.mark.model, pytest.mark.slow]

Row = dict[str, Any]
NAME, SEED, PROBLEMS, EACH = "engine", 12, 6, 5
SUMS = {
    "min_terms": 2,
    "max_terms": 2,
    "min_digits": 1,
    "max_digits": 1,
    "operators": ["+"],
    "allow_parentheses": False,
}
SOURCE = {"kind": "procedural", "task": "basic_arithmetic", "domain": "math", "count": PROBLEMS, "args": SUMS}
RECIPE: Row = {
    "name": NAME,
    "seed": SEED,
    "problems": {"sources": [SOURCE]},
    "prompt": {"templates": {"math": "{problem} Put the final answer in \\boxed{}."}},
    "samplers": [
        {
            "model": "bundled",
            "engine": {"kind": "vllm", "window": 8},
            "sampling": {"n": EACH, "temperature": 0.5, "top_p": 1.0, "max_tokens": 32},
        }
    ],
    "quality": {"max_repetition": 1.0},
}


@pytest.fixture(scope="module")
def driver(prefect_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    found = crash.Driver(prefect_server, RECIPE, tmp_path_factory.mktemp("engine"))
    yield found
    found.close()


def engine_of(run: int) -> psutil.Process:
    """The engine's process that a run has started."""
    (found,) = (p for p in psutil.Process(run).children() if "proofmill.generators.engines.vllm_worker" in p.cmdline())
    return found


def wait_until(what: Callable[[], bool], seconds: float = 300.0) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def by_key(rows: list[Row]) -> dict[tuple[str, int], Row]:
    found = {(row["prompt_digest"], row["sample_index"]): row for row in rows}
    assert len(found) == len(rows), "no sample is recorded twice"
    return found


def test_three_kills_in_one_run(driver: Any, tmp_path: Path) -> None:
    home = tmp_path / "home"

    def recorded() -> dict[tuple[str, int], Row]:
        return by_key(crash.recorded(home))

    # The run itself, while it samples.
    run = driver.start(home)
    wait_until(lambda: len(recorded()) >= 4)
    engine = engine_of(run)
    os.kill(run, signal.SIGKILL)
    assert driver.wait(run) == crash.KILLED
    first = recorded()
    assert 4 <= len(first) < PROBLEMS * EACH
    wait_until(lambda: not engine.is_running() or engine.status() == psutil.STATUS_ZOMBIE, 30)

    # The engine, while the resumed run samples; that run then at its first verdicts.
    run = driver.start(home, call="fsync", path="/manifest-", line='"step":"verdicts"', after=True)
    wait_until(lambda: len(recorded()) > len(first))
    engine_of(run).kill()
    second = recorded()
    assert len(second) < PROBLEMS * EACH
    assert driver.wait(run) == crash.KILLED
    log = (home / "runs" / NAME / "run.log").read_text()
    assert "ended by SIGKILL" in log
    assert "unfinished requests are sent again" in log
    assert "The engine is started again" in log

    # What is left needs no engine.
    sampled = recorded()
    assert {row["seed"] for row in sampled.values()} == {sample_seed(SEED, *key) for key in sampled}
    prompts = {prompt for prompt, _ in sampled}
    assert set(sampled) == {(prompt, index) for prompt in prompts for index in range(EACH)}
    assert len(prompts) == PROBLEMS
    for before in (first, second):
        assert {key: sampled[key] for key in before} == before, "what was recorded is not drawn again"
    said_by_engine = (home / "runs" / NAME / "engine.log").stat().st_size
    driver.finished(home)
    assert (home / "runs" / NAME / "engine.log").stat().st_size == said_by_engine
    assert recorded() == sampled

    # The same samples without a kill.
    whole = tmp_path / "whole"
    shutil.copytree(home / "samples", whole / "samples")
    driver.finished(whole)
    assert by_key(crash.recorded(whole)) == sampled
    crash.same_as(home, whole, NAME)
