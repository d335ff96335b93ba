"""An engine that dies is started again, finishes everything once, and a prompt that kills it is found and left out."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proofmill.data.errors import EngineError
from proofmill.flows.display import Progress
from proofmill.generators.engines.base import (
    LOST,
    Completion,
    EngineDiedError,
    EngineFacts,
    Request,
    stream_completions,
)
from proofmill.generators.engines.restarting import PoisonPromptFinder, RestartingEngine

WINDOW = 16


class Mortal:
    """Lives of one engine: it writes what the seed says, and dies when `dies` says so.

    Args:
        dies: asked before each completion with the prompts under way.
        burst: completions a poll.
    """

    def __init__(self, dies: Callable[[set[int]], bool], burst: int = 3) -> None:
        self.dies, self.burst = dies, burst
        self.lives = 0
        self.written: list[str] = []
        self.most = 0

    def __call__(self) -> Life:
        self.lives += 1
        return Life(self)


class Life:
    def __init__(self, mortal: Mortal) -> None:
        self.mortal, self.open, self.dead = mortal, [], False

    def start(self) -> None: ...

    def ready(self) -> EngineFacts:
        return EngineFacts("mortal", "1", "none", 4096, WINDOW, 0.0, {})

    def submit(self, requests: Sequence[Request]) -> None:
        if self.dead:
            raise EngineDiedError("The engine stopped.", where="its log")
        self.open += requests
        self.mortal.most = max(self.mortal.most, len(self.open))

    def poll(self, timeout: float) -> list[Completion]:  # noqa: ARG002
        done: list[Completion] = []
        while self.open and len(done) < self.mortal.burst:
            if self.dead or self.mortal.dies({request.tokens[-1] for request in self.open}):
                self.dead = True
                if done:
                    break
                raise EngineDiedError("The engine stopped.", where="its log")
            request = self.open.pop(0)
            self.mortal.written.append(request.id)
            done.append(Completion(request.id, f"{request.seed}", "stop", 1))
        return done

    def close(self) -> None:
        self.dead = True


def requests(prompts: Iterable[int], each: int = 2) -> list[Request]:
    return [
        Request(f"{prompt}/{index}", (999, prompt), 10 * prompt + index) for prompt in prompts for index in range(each)
    ]


def run(mortal: Mortal, wanted: Sequence[Request], **options: object) -> tuple[dict[str, Completion], Progress]:
    watch = Progress()
    engine = RestartingEngine(mortal, watch, **options)  # type: ignore[arg-type]
    done: dict[str, Completion] = {}
    for completion in stream_completions(engine, wanted):
        assert completion.id not in done, "a request was answered twice"
        done[completion.id] = completion
    assert set(done) == {request.id for request in wanted}, "a request was lost"
    return done, watch


def countdown(*after: int) -> Callable[[set[int]], bool]:
    """Dies after so many completions, then after so many more, and so on."""
    left = list(after)

    def dies(_: set[int]) -> bool:
        if not left:
            return False
        left[0] -= 1
        if left[0] < 0:
            left.pop(0)
            return True
        return False

    return dies


@pytest.mark.parametrize("after", [(0,), (5,), (39,), (3, 3, 3), (0, 0), (10, 0, 10)])
def test_only_what_was_unfinished_is_sent_again(after: tuple[int, ...]) -> None:
    mortal = Mortal(countdown(*after))
    wanted = requests(range(20))
    done, watch = run(mortal, wanted)
    assert all(done[request.id].text == str(request.seed) for request in wanted)
    assert sorted(mortal.written) == sorted(done), "a finished request was sent again"
    assert watch.restarts == len(after) == mortal.lives - 1
    assert 0 < watch.retries <= WINDOW * len(after)
    assert mortal.most <= WINDOW


@pytest.mark.parametrize("killer", [0, 7, 19])
@pytest.mark.parametrize("burst", [1, 3, 16])
def test_a_prompt_that_kills_is_named_and_the_others_are_finished(killer: int, burst: int, tmp_path: Path) -> None:
    mortal = Mortal(lambda under_way: killer in under_way and len(mortal.written) % 3 == 0, burst)
    file = tmp_path / "quarantine.json"
    done, watch = run(mortal, requests(range(20)), quarantine=file)
    failed = {name for name, completion in done.items() if completion.finish_reason == "quarantined"}
    assert failed <= {f"{killer}/0", f"{killer}/1"}
    assert len([name for name in done if done[name].finish_reason == "stop"]) >= 38
    if failed:
        assert any(f"request {killer}/" in said and str(file) in said for said in watch.warnings)


def test_a_prompt_that_always_kills_costs_few_deaths_and_is_known_to_the_next_run(tmp_path: Path) -> None:
    file = tmp_path / "quarantine.json"
    mortal = Mortal(lambda under_way: 7 in under_way)
    done, watch = run(mortal, requests(range(40), each=1), quarantine=file)
    assert [name for name, completion in done.items() if completion.finish_reason == "quarantined"] == ["7/0"]
    assert watch.restarts <= 2 + 4 + 3, "two deaths in company, log2 of the window, three alone"

    again, later = run(Mortal(lambda under_way: 7 in under_way), requests(range(9), each=4), quarantine=file)
    assert later.restarts == 0
    assert sum(completion.finish_reason == "quarantined" for completion in again.values()) == 4


def test_a_lone_prompt_that_kills_is_found_without_company() -> None:
    done, watch = run(Mortal(lambda under_way: 7 in under_way), requests([7]))
    assert {completion.finish_reason for completion in done.values()} == {"quarantined"}
    assert watch.restarts == 3


@settings(max_examples=60)
@given(st.sets(st.integers(0, 29), max_size=4), st.integers(1, 16), st.randoms(use_true_random=False))
def test_exactly_the_killers_fail(killers: set[int], burst: int, chance: random.Random) -> None:
    mortal = Mortal(lambda under_way: bool(killers & under_way), burst)
    order = list(range(30))
    chance.shuffle(order)
    done, _ = run(mortal, requests(order, each=chance.randint(1, 3)))
    failed = {
        int(name.partition("/")[0]) for name, completion in done.items() if completion.finish_reason == "quarantined"
    }
    assert failed == killers


def test_an_engine_that_dies_of_everything_accuses_no_prompt(tmp_path: Path) -> None:
    file = tmp_path / "quarantine.json"
    with pytest.raises(EngineError, match="dies of any prompt") as error:
        run(Mortal(lambda _: True), requests(range(4)), quarantine=file)
    assert error.value.where
    assert error.value.remedy
    assert not file.exists()


def test_an_engine_that_cannot_stay_up_is_given_up_after_the_bound() -> None:
    class Stillborn(Life):
        def ready(self) -> EngineFacts:
            raise EngineDiedError("The engine stopped: killed.", where="its log")

    born = []

    def make() -> Stillborn:
        born.append(1)
        return Stillborn(Mortal(lambda _: False))

    with pytest.raises(EngineError, match="died 3 times") as error:
        list(stream_completions(RestartingEngine(make, Progress(), restarts=2), requests([1])))
    assert len(born) == 3
    assert "its log" in str(error.value)
    assert "run the same command again" in str(error.value)


def test_what_had_finished_before_the_last_death_is_given_out() -> None:
    engine = RestartingEngine(Mortal(countdown(*[2] * 9), burst=5), Progress(), restarts=0)
    done: list[Completion] = []
    with pytest.raises(EngineError):
        done.extend(stream_completions(engine, requests(range(9), each=1)))
    assert len(done) == 2


def test_parts_of_an_engine_may_die_by_themselves() -> None:
    class TwoParts(Life):
        """Requests are spread over two parts; the one that holds prompt 7 dies and is there again at once."""

        def poll(self, timeout: float) -> list[Completion]:  # noqa: ARG002
            self.open, now = [], self.open
            done = []
            for part in (0, 1):
                mine = [request for place, request in enumerate(now) if place % 2 == part]
                lost = any(request.tokens[-1] == 7 for request in mine)
                reason = LOST if lost else "stop"
                done += [Completion(request.id, f"part {part} died" if lost else "", reason, 0) for request in mine]
            return done

    watch = Progress()
    engine = RestartingEngine(lambda: TwoParts(Mortal(lambda _: False)), watch)
    done = {completion.id: completion.finish_reason for completion in stream_completions(engine, requests(range(20)))}
    assert len(done) == 40
    assert {name for name, reason in done.items() if reason == "quarantined"} == {"7/0", "7/1"}
    assert watch.restarts == 0
    assert watch.retries > 0


def test_prompts_that_died_together_by_chance_are_cleared_by_ending() -> None:
    suspects = PoisonPromptFinder()
    assert suspects.died("abcd") is None
    assert not suspects.trial, "one death accuses nobody"
    assert suspects.died("abce") is None
    assert set(suspects.trial) == set("abc")
    for prompt in "abc":
        suspects.ended(prompt)
    assert not suspects.trial
    assert suspects.died("axyz") is None
    assert not suspects.trial, "what was cleared starts anew"


class Silent(Life):
    """Dies of everything but the canary, which it never answers."""

    def poll(self, timeout: float) -> list[Completion]:
        lost = [Completion(request.id, "gone", LOST, 0) for request in self.open if not request.id.startswith("\0")]
        self.open = []
        time.sleep(min(timeout, 0.01))
        return lost


def test_closing_does_not_wait_for_the_canary_and_quarantines_nothing(tmp_path: Path) -> None:
    progress = Progress()
    engine = RestartingEngine(
        lambda: Silent(Mortal(lambda _: False)), progress, quarantine=tmp_path / "quarantine.json"
    )
    engine.submit(requests([1], each=1))

    def work() -> None:
        with suppress(EngineDiedError):  # what is asked after the end
            for _ in range(9):
                engine.poll(0.01)

    sampler = threading.Thread(target=work, daemon=True)
    sampler.start()
    time.sleep(0.3)
    engine.close()
    sampler.join(5)
    assert not sampler.is_alive()
    assert not (tmp_path / "quarantine.json").exists()
