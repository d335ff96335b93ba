"""What the samplers draw of a run's shards, from an endpoint: after an interruption, and where nothing may be drawn."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from proofmill.data.errors import VerifierError
from proofmill.flows.context import RunRequest, open_run
from proofmill.flows.ingest import ingest_problems
from proofmill.flows.recipe import load as recipes
from proofmill.flows.sampling import SamplingStep, rounds_of, stream_with_backpressure
from support import crash
from support.samples import CORRECT, SAMPLES, WRONG, replay_recipe, sums, write_jsonl

Row = dict[str, Any]


@pytest.fixture
def server() -> Iterator[Any]:
    with crash.sum_server(SAMPLES) as found:
        yield found


def recipe(file: Path, server: Any, **sampling: Any) -> Row:
    engine = {"kind": "openai", "endpoints": [server.url], "window": 1, "api": "chat"}
    return {
        "name": "drawn",
        "problems": {"sources": [{"kind": "file", "path": str(file), "license": "mit"}]},
        "samplers": [{"model": "bundled", "engine": engine, "sampling": {"max_tokens": 64, **sampling}}],
    }


def drawn(recipe: Row, home: Path, *, shards: int | None = None, sample: bool = True) -> list[str]:
    """Ids of the traces of a run, or of its first shards where it is interrupted after them."""
    with open_run(RunRequest(recipes.parse(recipe), home, sample=sample)) as run:
        found: list[str] = []
        later, done = 0, []
        drawing: Any = SamplingStep(run, ingest_problems(run).shards).finished_shards()
        for number, (_, samples) in enumerate(drawing, 1):
            table = run.store.read(samples)
            found += table["id"].to_pylist()
            later += sum(first is False for first in table["first_round"].to_pylist())
            done.append(samples)
            if number == shards:
                drawing.close()
        assert sum(counts["later"] for counts in rounds_of(done).values()) == later, "the ledger counts them"
        return sorted(found)


@pytest.mark.slow
def test_a_prompt_of_two_problems_is_spent_once_before_and_after_an_interruption(server: Any, tmp_path: Path) -> None:
    rows = [
        {"prompt": f"How much is {number} + 4?", "answer": str(number + wrong)}
        for number in range(20)
        for wrong in (4, 5)
    ]
    given = recipe(write_jsonl(tmp_path / "two.jsonl", rows), server, n=1, max_total_tokens=800)
    whole = drawn(given, tmp_path / "whole")
    first = drawn(given, tmp_path / "cut", shards=2)
    assert 0 < len(first) < len(whole) < len(rows)
    assert drawn(given, tmp_path / "cut") == whole


def test_a_run_that_ends_early_ends_the_work_of_its_filters(replay_file: Path, home: Path) -> None:
    begun: list[Future[Any]] = []
    with open_run(RunRequest(recipes.parse(replay_recipe(replay_file)), home)) as run, ThreadPoolExecutor(1) as thread:

        def submit(*_: Any) -> Future[Any]:
            if begun:
                raise KeyboardInterrupt
            begun.append(thread.submit(lambda: list(run.workers.tasks(time.sleep, [60.0, 60.0]))))
            return begun[0]

        sampled: Any = SamplingStep(run, ingest_problems(run).shards).finished_shards()
        with pytest.raises(KeyboardInterrupt):
            stream_with_backpressure(run, sampled, submit)
        assert isinstance(begun[0].exception(), VerifierError)


@pytest.mark.slow
def test_without_sampling_the_rounds_that_were_drawn_are_all_there(server: Any, tmp_path: Path) -> None:
    given = recipe(
        write_jsonl(tmp_path / "sums.jsonl", sums(3, SAMPLES[:1])),
        server,
        n=2,
        accept_target=3,
        max_samples=8,
    )
    whole = drawn(given, tmp_path / "home")
    assert len(whole) > 2 * 3, "there were later rounds"
    assert drawn(given | {"verify": {"cpu_seconds": 7}}, tmp_path / "home", sample=False) == whole


@pytest.mark.slow
def test_a_capped_teacher_that_was_down_is_asked_by_the_next_run(server: Any, tmp_path: Path) -> None:
    proven, open_ = sums(12, CORRECT[:1]), sums(12, (WRONG,))
    rows = [*proven[:8], *open_[8:]]
    small = replay_recipe(write_jsonl(tmp_path / "small.jsonl", rows))["samplers"][0] | {"name": "small"}
    given = recipe(write_jsonl(tmp_path / "problems.jsonl", rows), server, n=4)
    teacher = given["samplers"][0] | {"name": "teacher"}
    down = teacher["engine"] | {"endpoints": ["http://127.0.0.1:9/v1"], "wait_s": 0.2, "retries": 0}
    route = {"price": 0.1, "teachers": [{"sampler": "teacher", "price": 1.0, "max_cost": 1.0}]}
    given |= {"samplers": [small, teacher], "route": route, "verify": {"workers": 1}}
    without = drawn(given | {"samplers": [small, teacher | {"engine": down}]}, tmp_path / "home")
    assert len(without) == 12
    assert len(drawn(given, tmp_path / "home")) == 12 + 4 * 4
