"""Ask a model questions about all shards, keeping the engine's window full.

A phase asks the questions of all shards in one stream, so no shard waits for another one's stragglers. Answers are
recorded like samples: each is a line of its shard's journal as it comes, the answers of a shard are committed when the
last one has come, and later keys depend on the answers themselves. An interrupted phase goes on.
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

from proofmill.data.errors import EngineError
from proofmill.data.files import digest, remove_folder, write_json, writing
from proofmill.data.run import RunStore, Shard, ShardStats, Step
from proofmill.data.samples import FAILED
from proofmill.data.segments import Segments, read_rows
from proofmill.flows.context import RunContext
from proofmill.flows.models import with_count
from proofmill.generators.engines.base import Completion, Request, stream_completions
from proofmill.generators.sample_plan import SamplePlan, sample_seed

Answers = Mapping[str, Completion]


def costs(run: RunContext, step: Step) -> dict[str, Any] | None:
    """Return the cost of a phase's last complete run: answers, prompt and completion tokens, seconds."""
    path = _costs(run, step)
    return dict(orjson.loads(path.read_bytes())) if path.exists() else None


def _costs(run: RunContext, step: Step) -> Path:
    return run.store.folder / f"asked-{step.name}.json"


@dataclass(frozen=True)
class RequestBatch:
    """What a phase asks about one shard.

    Attributes:
        name: the shard's name.
        key: digest of everything that decides the questions and how they are asked.
        requests: makes the questions, when there is room for them; ids unique in the shard. May be none.
        table: makes the shard's table and its numbers from the completions, by request id. The same completions in
            another order give the same table.
        before: what the same model has answered under other keys, by `question`: it is not asked again.
    """

    name: str
    key: str
    requests: Callable[[], Iterator[Request]]
    table: Callable[[Answers], tuple[pa.Table, ShardStats]]
    before: Callable[[], Answers] = dict

    def open(self) -> int:
        """Return how many of its questions still have to be asked."""
        known = self.before()
        return sum(not known or question(request) not in known for request in self.requests())


def who_answers(plan: SamplePlan) -> dict[str, Any]:
    """Return all that decides an answer besides its question and the options under which it is asked."""
    return {
        "weights": plan.model.digest,
        "chat_template": plan.renderer.template_digest,
        "chat_template_args": dict(plan.style.chat_template_args),
        "engine": plan.engine_identity(),
        "seed": plan.seed,
    }


def chat_request(plan: SamplePlan, name: str, prompt: str, number: int, params: Mapping[str, Any], use: str) -> Request:
    """Return a question to a model as its user.

    Args:
        plan: whose model is asked.
        name: of the request.
        prompt: the question.
        number: of the answer, where a question is asked more than once; with `use` it decides the seed.
        params: decoding parameters.
        use: what is asked for.
    """
    message = [{"role": "user", "content": prompt}]
    text = plan.renderer.text(message, plan.style.chat_template_args)
    seed = sample_seed(plan.seed, digest(use, text), number)
    return Request(name, tuple(plan.renderer.tokens(text)), seed, params, messages=message)


def answered_before(store: RunStore, step: Step, is_own: Callable[[Shard], bool]) -> dict[str, Completion]:
    """Return what stands in earlier shards of answers, by question; a question that failed is asked again."""
    found = {}
    for shard in store.earlier(step):
        for row in store.read(shard).to_pylist() if is_own(shard) and store.find(step, shard.key) else ():
            if row["finish_reason"] != FAILED:
                found[row["question"]] = Completion("", row["text"], row["finish_reason"], row["completion_tokens"])
    return found


def question(request: Request) -> str:
    """Return the digest of a question, which identifies its answer in another shard or run."""
    return digest(request.tokens, request.seed, request.params, request.score_from)


def run_batches(
    run: RunContext, step: Step, plan: SamplePlan, batches: Sequence[RequestBatch], counter: str
) -> list[Shard]:
    """Return the committed answers of each batch, in order; the engine is loaded only where one is missing.

    Args:
        run: the run.
        step: under whose name the answers are kept.
        plan: whose model and engine is asked; the engine stays loaded for the next phase.
        batches: the shards.
        counter: what the display calls the answers.

    Raises:
        EngineError: the engine died; what it has answered stays so.
    """
    answered = {batch.name: completed(run, step, batch) for batch in batches}
    missing = [batch for batch in batches if answered[batch.name] is None]
    for batch in missing:  # a dry run ends here, before an engine is loaded
        run.store.begin(step, batch.key)
    for batch in batches:
        if answered[batch.name]:  # a run may have been killed between an answer's commit and this
            _forget(run, step, batch)
    for batch, answers in _Phase(run, step, plan, counter).answers(missing):
        answered[batch.name] = _commit(run, step, batch, answers)
    return [shard for batch in batches if (shard := answered[batch.name])]


def completed(run: RunContext, step: Step, batch: RequestBatch) -> Shard | None:
    """Return a batch's committed answers; None if some request failed, so that its open questions are asked again."""
    shard = run.store.find(step, batch.key)
    return None if shard and shard.stats.get("failed") else shard


def _commit(run: RunContext, step: Step, batch: RequestBatch, answers: Answers) -> Shard:
    table, stats = batch.table(answers)
    if failed := sum(answer.finish_reason == FAILED for answer in answers.values()):
        stats = {**stats, "failed": failed}
        run.state.unanswered = True
        run.progress.warn(f"{step.name}, shard {batch.name}: {failed} questions failed; the next run asks again")
    return run.store.record(step, batch.name, batch.key, table, digest(table.to_pylist()), stats)


def _journals(run: RunContext, step: Step, batch: RequestBatch) -> tuple[Path, Path]:
    """Return the folder of a batch's answers until it is complete, and the file of an older version's."""
    folder = run.store.folder / step.name
    return folder / f"{batch.key}.answers", folder / f"{batch.key}.journal"


def _forget(run: RunContext, step: Step, batch: RequestBatch) -> None:
    """Remove the journal of a batch, once its answers are committed for good."""
    folder, older = _journals(run, step, batch)
    if folder.exists() or older.exists():
        run.store.flush()
        older.unlink(missing_ok=True)
    if folder.exists():
        remove_folder(folder)


_NAMES = [item.name for item in fields(Completion)]


class _Open:
    """A batch whose questions are being asked; its journal has the answers so far, those of an earlier try too."""

    def __init__(self, batch: RequestBatch, folder: Path, older: Path) -> None:
        self.batch = batch
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        self.journal = Segments(folder, "a model's answers")
        rows = [*(read_rows(older, _NAMES) if older.exists() else ()), *self.journal.take_over(_NAMES)]
        self.answers = {row["id"]: Completion(**row) for row in rows}
        self.waiting = 0
        self.asked_all = False

    def answered(self, answer: Completion) -> None:
        self.answers[answer.id] = answer
        self.journal.append(asdict(answer))
        self.waiting -= 1


class _Phase:
    """One phase: the batches that it has begun, and what comes of them."""

    def __init__(self, run: RunContext, step: Step, plan: SamplePlan, counter: str) -> None:
        self.run, self.step, self.plan, self.counter = run, step, plan, counter
        self.opened: dict[str, _Open] = {}
        self.complete = 0  # answers of batches that are done
        self.asked = {"answers": 0, "prompt_tokens": 0, "completion_tokens": 0}

    def answers(self, batches: Sequence[RequestBatch]) -> Iterator[tuple[RequestBatch, Answers]]:
        """Yield each batch with its completions as soon as all are there; the caller commits them."""
        try:
            requests = self._requests(batches)
            first = next(requests, None)
            yield from self._finished()
            if first is not None:
                yield from self._drawn(chain([first], requests))
        except EngineError as error:
            raise with_count(error, self.counter, f"{self._answered():,} questions") from error
        finally:
            for state in self.opened.values():
                state.journal.flush()

    def _answered(self) -> int:
        """Return how many questions have answers that are kept."""
        return self.complete + sum(len(state.answers) for state in self.opened.values())

    def _drawn(self, requests: Iterator[Request]) -> Iterator[tuple[RequestBatch, Answers]]:
        run = self.run
        engine = run.models.engine(self.plan)
        run.progress.note(f"{self.counter}: waiting for {self.plan.model.name}")
        run.models.loaded(self.plan, engine)
        started = time.monotonic()
        for completion in stream_completions(engine, requests):
            name, _, own = completion.id.partition("/")
            self.opened[name].answered(replace(completion, id=own))
            self.asked["answers"] += 1
            self.asked["completion_tokens"] += completion.completion_tokens
            run.progress.advance(self.counter)
            yield from self._finished()
        yield from self._finished()
        write_json(_costs(run, self.step), self.asked | {"seconds": round(time.monotonic() - started, 1)})

    def _requests(self, batches: Sequence[RequestBatch]) -> Iterator[Request]:
        for batch in batches:
            self.opened[batch.name] = state = _Open(batch, *_journals(self.run, self.step, batch))
            last, before = None, batch.before()
            for request in batch.requests():
                if request.id in state.answers:
                    continue
                if before and (known := before.get(question(request))):
                    state.answers[request.id] = replace(known, id=request.id)
                    continue
                # One request is held back, so that the last one of a shard is sent only after `asked_all` is set.
                if last is not None:
                    yield last
                state.waiting += 1
                self.asked["prompt_tokens"] += len(request.tokens)
                last = replace(request, id=f"{batch.name}/{request.id}")
            state.asked_all = True  # known before the last answer can come, so that the batch is committed with it
            if last is not None:
                yield last

    def _finished(self) -> Iterator[tuple[RequestBatch, Answers]]:
        for name in [name for name, state in self.opened.items() if state.asked_all and not state.waiting]:
            state = self.opened.pop(name)
            state.journal.flush()
            self.complete += len(state.answers)
            yield state.batch, state.answers
            _forget(self.run, self.step, state.batch)  # only now: the caller has committed the answers
