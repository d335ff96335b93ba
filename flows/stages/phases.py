"""Engine phases after the judges: a model is asked about every shard, its window full across shards.

A phase asks each shard's questions in one stream, so no shard waits for another one's stragglers. What a model said
is recorded like a sample: each answer is a line of its shard's journal as it comes, the answers of a shard are
committed when its last one has come, and later keys depend on the answers themselves. An interrupted phase asks
nothing again that was answered.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from itertools import chain
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from proofmill.data.files import digest, write_json
from proofmill.data.journal import reopened
from proofmill.data.run import Facts, Shard, Stage
from proofmill.data.samples import FAILED
from proofmill.flows.run.session import Session
from proofmill.generators.engines.base import Completion, Request, stream_completions
from proofmill.generators.sample_plan import SamplePlan

Answers = Mapping[str, Completion]


def costs(session: Session, stage: Stage) -> dict[str, Any] | None:
    """What a phase took when it last ran to its end: `answers`, `prompt_tokens`, `completion_tokens`, `seconds`."""
    path = _costs(session, stage)
    return dict(orjson.loads(path.read_bytes())) if path.exists() else None


def _costs(session: Session, stage: Stage) -> Path:
    return session.run.folder / f"asked-{stage.name}.json"


@dataclass(frozen=True)
class Part:
    """What a phase asks about one shard.

    Attributes:
        name: the shard's name.
        key: digest of everything that decides the questions and how they are asked.
        requests: makes the questions, when there is room for them; ids unique in the shard. May be none.
        table: makes the shard's table and facts from the completions, by request id. The same completions in
            another order give the same table.
        before: what the same model has answered under other keys, by `question`: it is not asked again.
    """

    name: str
    key: str
    requests: Callable[[], Iterator[Request]]
    table: Callable[[Answers], tuple[pa.Table, Facts]]
    before: Callable[[], Answers] = dict

    def open(self) -> int:
        """How many of its questions are still to be asked."""
        known = self.before()
        return sum(not known or question(request) not in known for request in self.requests())


def question(request: Request) -> str:
    """Digest of all that is asked, by which its answer is known again in another shard or run."""
    return digest(request.tokens, request.seed, request.params, request.score_from)


def ask(session: Session, stage: Stage, plan: SamplePlan, parts: Sequence[Part], counter: str) -> list[Shard]:
    """The committed answers of each part, in order; the engine is loaded only where one is missing.

    Args:
        session: the run.
        stage: under whose name the answers are kept.
        plan: whose model and engine is asked; the engine stays loaded for the next phase.
        parts: the shards.
        counter: what the display calls the answers.

    Raises:
        EngineError: the engine died; what it has answered stays so.
    """
    found = {part.name: whole(session, stage, part) for part in parts}
    missing = [part for part in parts if found[part.name] is None]
    for part in parts:
        if found[part.name]:  # a run may have been killed between an answer's commit and this
            _journal(session, stage, part).unlink(missing_ok=True)
    for part, answers in _Asking(session, stage, plan, counter).answers(missing):
        found[part.name] = _commit(session, stage, part, answers)
    return [shard for part in parts if (shard := found[part.name])]


def whole(session: Session, stage: Stage, part: Part) -> Shard | None:
    """A part's committed answers, unless some request failed: then the part is asked again, as far as it is open."""
    found = session.run.find(stage, part.key)
    return None if found and found.facts.get(FAILED) else found


def _commit(session: Session, stage: Stage, part: Part, answers: Answers) -> Shard:
    table, facts = part.table(answers)
    if failed := sum(answer.finish_reason == FAILED for answer in answers.values()):
        facts = {**facts, FAILED: failed}
        session.unanswered = True
        session.progress.warn(f"{stage.name}, shard {part.name}: {failed} questions failed; the next run asks again")
    return session.run.record(stage, part.name, part.key, table, digest(table.to_pylist()), facts)


def _journal(session: Session, stage: Stage, part: Part) -> Path:
    """Where the answers of a part are until it is whole."""
    return session.run.folder / stage.name / f"{part.key}.journal"


_NAMES = [item.name for item in fields(Completion)]
_FLUSH_SECONDS = 1.0


class _Open:
    """A part whose questions are being asked; its journal has the answers so far, those of an earlier try too."""

    def __init__(self, part: Part, journal: Path) -> None:
        self.part = part
        self.journal, rows = reopened(journal, _NAMES)
        self.answers = {row["id"]: Completion(**row) for row in rows}
        self.waiting = 0
        self.asked_all = False

    def answered(self, answer: Completion) -> None:
        self.answers[answer.id] = answer
        self.journal.append(asdict(answer))
        self.waiting -= 1


class _Asking:
    """One phase: the parts that it has begun, and what comes of them."""

    def __init__(self, session: Session, stage: Stage, plan: SamplePlan, counter: str) -> None:
        self.session, self.stage, self.plan, self.counter = session, stage, plan, counter
        self.opened: dict[str, _Open] = {}
        self.flushed = 0.0
        self.asked = {"answers": 0, "prompt_tokens": 0, "completion_tokens": 0}

    def answers(self, parts: Sequence[Part]) -> Iterator[tuple[Part, Answers]]:
        """Each part with its completions, as soon as all of them are there; who reads them commits them."""
        try:
            requests = self._requests(parts)
            first = next(requests, None)
            yield from self._finished()
            if first is not None:
                yield from self._drawn(chain([first], requests))
        finally:
            for state in self.opened.values():
                state.journal.close()

    def _drawn(self, requests: Iterator[Request]) -> Iterator[tuple[Part, Answers]]:
        session = self.session
        engine = session.engine(self.plan)
        session.progress.note(f"{self.counter}: waiting for {self.plan.model.name}")
        session.loaded(self.plan, engine)
        started = time.monotonic()
        for completion in stream_completions(engine, requests):
            name, _, own = completion.id.partition("/")
            self.opened[name].answered(replace(completion, id=own))
            self.asked["answers"] += 1
            self.asked["completion_tokens"] += completion.completion_tokens
            session.progress.advance(self.counter)
            self._flush()
            yield from self._finished()
        yield from self._finished()
        write_json(_costs(session, self.stage), self.asked | {"seconds": round(time.monotonic() - started, 1)})

    def _requests(self, parts: Sequence[Part]) -> Iterator[Request]:
        for part in parts:
            self.opened[part.name] = state = _Open(part, _journal(self.session, self.stage, part))
            last, before = None, part.before()
            for request in part.requests():
                if request.id in state.answers:
                    continue
                if before and (known := before.get(question(request))):
                    state.answers[request.id] = replace(known, id=request.id)
                    continue
                if last is not None:
                    yield last
                state.waiting += 1
                self.asked["prompt_tokens"] += len(request.tokens)
                last = replace(request, id=f"{part.name}/{request.id}")
            state.asked_all = True  # known before the last answer can come, so that the part is committed with it
            if last is not None:
                yield last

    def _finished(self) -> Iterator[tuple[Part, Answers]]:
        for name in [name for name, state in self.opened.items() if state.asked_all and not state.waiting]:
            state = self.opened.pop(name)
            state.journal.close()
            yield state.part, state.answers
            state.journal.path.unlink()  # only now: the answers are committed

    def _flush(self) -> None:
        if time.monotonic() - self.flushed > _FLUSH_SECONDS:
            self.flushed = time.monotonic()
            for state in self.opened.values():
                state.journal.flush()
