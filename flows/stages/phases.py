"""Engine phases after the judges: a model is asked about every shard, its window full across shards.

A phase asks each shard's questions in one stream, so no shard waits for another one's stragglers. The answers of a
shard are committed when its last one has come: an interrupted phase asks nothing of the finished shards again.
What a model said is recorded like a sample: later keys depend on the answers themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

import pyarrow as pa

from proofmill.data.files import digest
from proofmill.data.run import Facts, Shard, Stage
from proofmill.flows.run.session import Session
from proofmill.generators.drawing import draw
from proofmill.generators.engine import Completion, Request
from proofmill.generators.sampling import SamplePlan

Answers = Mapping[str, Completion]


@dataclass(frozen=True)
class Part:
    """What a phase asks about one shard.

    Attributes:
        name: the shard's name.
        key: digest of everything that decides the questions and how they are asked.
        requests: makes the questions, when there is room for them; ids unique in the shard. May be none.
        table: makes the shard's table and facts from the completions, by request id. The same completions in
            another order give the same table.
    """

    name: str
    key: str
    requests: Callable[[], Iterator[Request]]
    table: Callable[[Answers], tuple[pa.Table, Facts]]


def ask(session: Session, stage: Stage, plan: SamplePlan, parts: Sequence[Part], counter: str) -> list[Shard]:
    """The committed answers of each part, in order; the engine is loaded only where one is missing.

    Args:
        session: the run.
        stage: under whose name the answers are kept.
        plan: whose model and engine is asked; the engine stays loaded for the next phase.
        parts: the shards.
        counter: what the display calls the answers.

    Raises:
        EngineError: the engine died; shards that were finished stay so.
    """
    found = {part.name: session.run.find(stage, part.key) for part in parts}
    missing = [part for part in parts if found[part.name] is None]
    for part, answers in _answers(session, plan, missing, counter):
        found[part.name] = _commit(session, stage, part, answers)
    return [shard for part in parts if (shard := found[part.name])]


def _commit(session: Session, stage: Stage, part: Part, answers: Answers) -> Shard:
    table, facts = part.table(answers)
    return session.run.record(stage, part.name, part.key, table, digest(table.to_pylist()), facts)


@dataclass
class _Open:
    """A part whose questions are being asked."""

    part: Part
    waiting: int = 0
    asked_all: bool = False
    answers: dict[str, Completion] = field(default_factory=dict)


def _answers(session: Session, plan: SamplePlan, parts: Sequence[Part], counter: str) -> Iterator[tuple[Part, Answers]]:
    """Each part with its completions, as soon as all of them are there."""
    opened: dict[str, _Open] = {}
    requests = _requests(parts, opened)
    first = next(requests, None)
    yield from _finished(opened)
    if first is None:
        return
    engine = session.engine(plan)
    session.progress.note(f"{counter}: waiting for {plan.model.name}")
    session.loaded(plan, engine)
    for completion in draw(engine, chain([first], requests)):
        name, _, own = completion.id.partition("/")
        opened[name].answers[own] = replace(completion, id=own)
        opened[name].waiting -= 1
        session.progress.advance(counter)
        yield from _finished(opened)
    yield from _finished(opened)


def _requests(parts: Sequence[Part], opened: dict[str, _Open]) -> Iterator[Request]:
    for part in parts:
        opened[part.name] = state = _Open(part)
        last = None
        for request in part.requests():
            if last is not None:
                yield last
            state.waiting += 1
            last = replace(request, id=f"{part.name}/{request.id}")
        state.asked_all = True  # known before the last answer can come, so that the part is committed with it
        if last is not None:
            yield last


def _finished(opened: dict[str, _Open]) -> Iterator[tuple[Part, Answers]]:
    for name in [name for name, state in opened.items() if state.asked_all and not state.waiting]:
        state = opened.pop(name)
        yield state.part, state.answers
