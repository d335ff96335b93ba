"""An engine that is kept between runs: lent again only where it is the same one, idle and well."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

import pytest

from proofmill.generators.engines.base import Completion, EngineDiedError, EngineFacts, Request
from proofmill.generators.engines.kept import KEPT, KeptEngine, kept_engine


class Counted:
    """Answers at once; dies where it is told to."""

    def __init__(self) -> None:
        self.starts: set[str] = set()
        self.closed = False
        self.waiting: list[Request] = []
        self.dies = False

    def start(self) -> None:
        self.starts.add(threading.current_thread().name)

    def ready(self) -> EngineFacts:
        return EngineFacts("counted", "1", "float32", 8, 8, 0.0, {})

    def submit(self, requests: Sequence[Request]) -> None:
        self.waiting += requests

    def poll(self, timeout: float) -> list[Completion]:  # noqa: ARG002 (nothing is waited for)
        if self.dies:
            raise EngineDiedError("dead")
        done, self.waiting = self.waiting, []
        return [Completion(request.id, "", "stop", 1) for request in done]

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def keeper() -> Iterator[KeptEngine]:
    with kept_engine() as found:
        assert KEPT.get() is found
        yield found
    assert KEPT.get() is None


def test_the_same_model_finds_its_engine_loaded_and_another_one_ends_it(keeper: KeptEngine) -> None:
    first, second = Counted(), Counted()
    lent = keeper.lent("a", lambda: first)
    lent.ready()
    assert all(name.startswith("engine") for name in first.starts), "it dies with the thread that started it"
    lent.submit([Request("1", (1,), 0)])
    assert [done.id for done in lent.poll(0)] == ["1"]
    lent.close()
    lent.close()  # again: it is not given back twice
    assert not first.closed
    again = keeper.lent("a", Counted)
    again.ready()
    again.close()
    assert not first.closed
    keeper.lent("b", lambda: second)
    assert first.closed
    assert not second.closed


@pytest.mark.parametrize("dies", [False, True])
def test_an_engine_that_owes_an_answer_or_died_is_ended(keeper: KeptEngine, dies: bool) -> None:
    engine = Counted()
    lent = keeper.lent("a", lambda: engine)
    lent.ready()
    lent.submit([Request("1", (1,), 0)])
    engine.dies = dies
    if dies:
        with pytest.raises(EngineDiedError):
            lent.poll(0)
    lent.close()
    assert engine.closed


def test_nothing_is_left_loaded_behind_the_block() -> None:
    engine = Counted()
    with kept_engine() as keeper:
        lent = keeper.lent("a", lambda: engine)
        lent.ready()
        lent.close()
        assert not engine.closed
    assert engine.closed
