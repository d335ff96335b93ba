"""An engine phase keeps every answer as it comes: what was said when the engine died is never asked again."""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from proofmill.data.errors import EngineError
from proofmill.data.run import ShardStats, Step
from proofmill.flows.context import RunRequest, open_run
from proofmill.flows.model_calls import Answers, RequestBatch, run_batches
from proofmill.flows.recipe import load as recipes
from proofmill.generators.engines.base import Completion, EngineFacts, Request
from support.samples import replay_recipe

STEP = Step("asked")
PLAN: Any = SimpleNamespace(name="judge", model=SimpleNamespace(name="scripted"))


class Scripted:
    """An engine without a model that dies after some completions; answers in reversed order, some not at all."""

    def __init__(self, window: int = 4, left: int = 1000, fails: str = "") -> None:
        self.window, self.left, self.fails = window, left, fails
        self.open: deque[Request] = deque()
        self.seen: list[str] = []
        self.full: list[int] = []

    def start(self) -> None: ...

    def ready(self) -> EngineFacts:
        return EngineFacts("scripted", "1", "none", 4096, self.window, 0.0, {})

    def submit(self, requests: Sequence[Request]) -> None:
        self.open.extend(requests)
        self.seen += [request.id for request in requests]
        self.full.append(len(self.open))

    def poll(self, timeout: float) -> list[Completion]:  # noqa: ARG002
        if self.left == 0:
            raise EngineError("It died.", where="here", remedy="again")
        self.left -= 1
        request = self.open.pop()
        if request.id == self.fails:
            return [Completion(request.id, "", "failed", 0)]
        return [Completion(request.id, f"about {request.id}", "stop", 1)]

    def close(self) -> None: ...


def batch(name: str, count: int) -> RequestBatch:
    def requests() -> Iterator[Request]:
        return (Request(str(number), (1,), 0) for number in range(count))

    def table(answers: Answers) -> tuple[pa.Table, ShardStats]:
        rows = sorted((int(name), answer.text) for name, answer in answers.items())
        return pa.table({"text": pa.array([text for _, text in rows], pa.string())}), {"calls": len(rows)}

    return RequestBatch(name, f"key-{name}", requests, table)


def asked(home: Path, engine: Scripted) -> list[list[str]]:
    with open_run(RunRequest(recipes.parse(replay_recipe(home / "none.jsonl")), home)) as run:
        run.models.engines["judge"] = engine
        shards = run_batches(run, STEP, PLAN, [batch(*item) for item in COUNTS.items()], "answers")
        return [run.store.read(shard)["text"].to_pylist() for shard in shards]


COUNTS = {"a": 3, "b": 0, "c": 5, "d": 2}
EXPECTED = [[f"about {name}/{number}" for number in range(count)] for name, count in COUNTS.items()]


@pytest.mark.parametrize("window", [1, 4, 100])
def test_each_batch_gets_its_own_answers_whatever_their_order(home: Path, window: int) -> None:
    engine = Scripted(window)
    assert asked(home, engine) == EXPECTED
    assert len(engine.seen) == 10
    assert max(engine.full) == min(window, 10)


@pytest.mark.parametrize("left", [0, 3, 5, 9])
@pytest.mark.parametrize("window", [1, 4])
def test_what_was_answered_is_not_asked_again(home: Path, left: int, window: int) -> None:
    with pytest.raises(EngineError, match=rf"It died\. answers: {left} questions are done and kept\."):
        asked(home, Scripted(window, left))
    again = Scripted(4)
    assert asked(home, again) == EXPECTED
    assert len(again.seen) == 10 - left
    assert list(home.rglob("*.answers")) == [], "all is committed"


def test_a_torn_answer_is_asked_again(home: Path) -> None:
    with pytest.raises(EngineError):
        asked(home, Scripted(1, 5))
    (journal,) = (path for path in home.rglob("*.answers/*.jsonl") if path.stat().st_size)
    journal.write_bytes(journal.read_bytes()[:-9])
    again = Scripted(4)
    assert asked(home, again) == EXPECTED
    assert len(again.seen) == 10 - 4


def test_answers_of_an_older_home_are_not_asked_again(home: Path) -> None:
    """Their journal was one file."""
    with pytest.raises(EngineError):
        asked(home, Scripted(1, 5))
    (journal,) = home.rglob("*.answers")
    answers = b"".join(path.read_bytes() for path in sorted(journal.glob("*.jsonl")))
    journal.with_suffix(".journal").write_bytes(answers)
    shutil.rmtree(journal)
    again = Scripted(4)
    assert asked(home, again) == EXPECTED
    assert len(again.seen) == 10 - 5
    assert list(home.rglob("*.journal")) == []


def test_a_question_that_failed_is_asked_again_by_the_next_run(home: Path) -> None:
    assert asked(home, Scripted(fails="c/2")) != EXPECTED
    again = Scripted()
    assert asked(home, again) == EXPECTED
    assert {name.partition("/")[0] for name in again.seen} == {"c"}


def test_a_finished_phase_starts_no_engine(home: Path) -> None:
    asked(home, Scripted())
    idle = Scripted()
    assert asked(home, idle) == EXPECTED
    assert idle.seen == []
