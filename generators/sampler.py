"""Draw the samples of a stream of shards with one engine, round by round.

Requests of the next shards are sent while stragglers of earlier shards finish and while verdicts on a round are
awaited, so the engine's window stays full from the first shard to the last. A finished sample is in its shard's
journal before anything counts it.

The steps: a shard is opened, and its prompts wait; a prompt is begun when window and token budget have room for it; its
first round goes to the engine; the last sample of a round sends the round to the judge; the verdicts start another
round or close the prompt; a shard with no prompt left is sealed and yielded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, NamedTuple

import pyarrow as pa

from proofmill.data.samples import SampleStore
from proofmill.data.segments import Segments
from proofmill.generators.engines.base import Completion, Engine, EngineFacts, Request
from proofmill.generators.prompts import messages, opened_reasoning
from proofmill.generators.rounds import NOTHING, SPENT, UNFUNDED, ShardOutcome, Spending, SpendingBudget, Tally
from proofmill.generators.sample_plan import SamplePlan, rendered, sample_seed

_POLL_SECONDS = 0.5
_BUSY_SECONDS = 0.05  # while verdicts are due, which may give the engine more work

Row = dict[str, Any]


class Attempt(NamedTuple):
    """A sample to judge; `problem` is a row of schema SHARD_PROBLEMS."""

    problem: Mapping[str, Any]
    response: str
    finish_reason: str


Accepts = Callable[[Sequence[Attempt]], list[bool]]
"""Returns for each attempt whether it is accepted: verdict `correct`."""


class Observer:
    """Is notified of what happens while samples are drawn; this one does nothing."""

    def loading(self) -> None:
        """Note that the engine is needed from now on."""

    def loaded(self, facts: EngineFacts) -> None:
        """Note that the engine is loaded."""

    def sampled(self, tokens: int, prompt_tokens: int) -> None:
        """Note that a sample is recorded."""

    def wanted(self, samples: int) -> None:
        """Note that a later round will draw this many more samples."""

    def stopping(self) -> bool:
        """Return whether to end now; what has been recorded is kept."""
        return False

    def queues(self, in_flight: int, waiting: int, rounds: int) -> None:
        """Note how many requests are in flight, wait for a place in the engine, and how many rounds wait for
        verdicts.
        """


class Sampled(NamedTuple):
    """A shard whose samples are all recorded."""

    name: str
    outcome: ShardOutcome


@dataclass
class _Prompt:
    """A prompt whose samples are being drawn; usually of one problem, but several may render to the same text."""

    tokens: tuple[int, ...]
    opened: str  # the reasoning tag that the template opens at the prompt's end
    tallies: dict[str, Tally]  # by problem
    most: Spending  # by one sample
    goal: int = 0  # samples up to the end of this round
    left: int = 0  # samples of this round still to come
    round: dict[int, tuple[str, str]] = field(default_factory=dict)  # response and finish reason by sample index

    @property
    def undecided(self) -> list[str]:
        """Problems that may get another round."""
        return [problem for problem, tally in self.tallies.items() if tally.outcome is None]


@dataclass
class _Shard:
    """A shard being drawn."""

    name: str
    problems: dict[str, Row]
    owners: dict[str, list[str]]  # problems of each prompt
    texts: dict[str, str]
    waiting: deque[str]  # prompts not begun yet
    recorded: dict[tuple[str, int], Row]
    open: dict[str, _Prompt] = field(default_factory=dict)
    outcome: ShardOutcome = field(default_factory=ShardOutcome)
    journal: Segments | None = None


class Sampler:
    """Runs one plan over shards of problems.

    Args:
        plan: what to sample.
        store: where recorded samples are; open.
        make_engine: returns the engine, started or not; called at the first missing sample, never if none is missing.
        observer: is notified of what happens.
        accepts: judges the rounds of a plan that has more than one; called in a thread of its own.
    """

    def __init__(
        self,
        plan: SamplePlan,
        store: SampleStore,
        make_engine: Callable[[], Engine],
        observer: Observer | None = None,
        accepts: Accepts | None = None,
    ) -> None:
        self.plan = plan
        self.store = store
        self.budget = SpendingBudget(plan.max_total_tokens, plan.max_cost.billionths if plan.max_cost else None)
        self._observer = observer or Observer()
        self._judge = _RoundJudge(accepts)
        self._make_engine = make_engine
        self._engine: Engine | None = None
        self._facts: EngineFacts | None = None
        self._open: dict[str, _Shard] = {}
        self._requests: deque[tuple[str, str, int]] = deque()  # (shard, prompt, index), not sent yet
        self._in_flight = 0

    def run(self, shards: Iterable[tuple[str, pa.Table | Spending]]) -> Iterator[Sampled]:
        """Yield each shard once all its samples are recorded.

        Args:
            shards: name and problems (schema SHARD_PROBLEMS) of each; or, of one that an earlier run has finished,
                what it spent of the budget.

        Raises:
            EngineError: the engine died; what had finished is recorded.
            VerifierError: a round could not be judged; as above.
        """
        source = iter(shards)
        more = True
        try:
            while (more or self._open) and not self._observer.stopping():
                while more and self._free_places() > 0:
                    if (item := next(source, None)) is None:
                        more = False
                    else:
                        self._open_shard(*item)
                        self._begin_prompts()
                self._begin_prompts()
                self._submit()
                self._collect()
                self._take_verdicts()
                self._observer.queues(self._in_flight, len(self._requests), self._judge.backlog)
                yield from self._finished()  # last: the consumer may stop here, and all completions are recorded by now
        finally:  # also when the run is stopped between two samples, so that all finished ones are kept
            self._judge.close()
            self._seal(self._open.values())
            self._open.clear()

    # Shards and prompts: opened, begun, closed.

    def _free_places(self) -> int:
        """Return the free places in the engine's window; none while prompts of open shards wait, or judges are
        behind.
        """
        if any(shard.waiting for shard in self._open.values()):
            return 0
        if self._facts is None and not self._requests:
            return 0 if self._open else 1  # all samples so far are recorded: go shard by shard, without the engine
        window = self._window()
        return 0 if self._judge.backlog > window else window - self._in_flight - len(self._requests)

    def _open_shard(self, name: str, problems: pa.Table | Spending) -> None:
        if isinstance(problems, Spending):
            self.budget.settle(NOTHING, problems)
            return
        texts: dict[str, str] = {}
        owners: dict[str, list[str]] = {}
        for problem, (prompt, text) in rendered(self.plan, problems).items():
            texts[prompt] = text
            owners.setdefault(prompt, []).append(problem)
        rows = {row["id"]: row for row in problems.to_pylist()}
        self._open[name] = _Shard(name, rows, owners, texts, deque(sorted(texts)), self._recorded(texts))

    def _recorded(self, prompts: Mapping[str, str]) -> dict[tuple[str, int], Row]:
        """Return the samples of a shard that are already recorded; with their content only where it decides
        something.
        """
        present = self.store.have(prompts)
        if self.plan.rounds is None and not self.plan.capped:
            return {key: {} for key in present}
        rows = self.store.read(prompts, self.plan.rule.ceiling).to_pylist()
        return {key: row for row in rows if (key := (row["prompt_digest"], row["sample_index"])) in present}

    def _begin_prompts(self) -> None:
        """Begin prompts in their order, as far as window and token budget allow."""
        for shard in self._open.values():
            while shard.waiting:
                if self._facts is not None and self._facts.window <= self._in_flight + len(self._requests):
                    return
                tokens = self._tokens(shard, shard.waiting[0])
                most = self.plan.spending(self.plan.most_tokens, len(tokens))
                if not self.budget.admit(most.times(self.plan.rule.ceiling)):
                    if any(other.open for other in self._open.values()):
                        return  # open prompts will give back what they don't use
                    self._leave_unfunded(shard)
                    break
                self._begin(shard, shard.waiting.popleft(), tokens, most)

    def _leave_unfunded(self, shard: _Shard) -> None:
        for prompt in shard.waiting:
            for problem in shard.owners[prompt]:
                shard.outcome.add(problem, 0, UNFUNDED)
        shard.waiting.clear()

    def _tokens(self, shard: _Shard, prompt: str) -> tuple[int, ...]:
        """Return the tokens of a prompt; none where nothing depends on them, since all its samples are recorded."""
        new = any((prompt, index) not in shard.recorded for index in range(self.plan.n))
        needed = new or self.plan.rounds or self.plan.max_cost
        return tuple(self.plan.renderer.tokens(shard.texts[prompt])) if needed else ()

    def _begin(self, shard: _Shard, prompt: str, tokens: tuple[int, ...], most: Spending) -> None:
        tallies = {problem: Tally() for problem in shard.owners[prompt]}
        shard.open[prompt] = _Prompt(tokens, opened_reasoning(shard.texts[prompt]), tallies, most)
        self._next_round(shard, prompt, self.plan.n)

    def _next_round(self, shard: _Shard, prompt: str, size: int) -> None:
        state = shard.open[prompt]
        indices = range(state.goal, state.goal + size)
        rows = {index: shard.recorded.pop((prompt, index)) for index in indices if (prompt, index) in shard.recorded}
        missing = [(shard.name, prompt, index) for index in indices if index not in rows]
        if state.goal:  # finish problems that have begun before beginning others
            self._requests.extendleft(reversed(missing))
            self._observer.wanted(len(missing))
        else:
            self._requests.extend(missing)
        state.goal, state.left = state.goal + size, size
        for index, row in rows.items():
            self._count(shard, prompt, index, row)

    def _close_prompt(self, shard: _Shard, prompt: str) -> None:
        state = shard.open.pop(prompt)
        self.budget.settle(state.most.times(self.plan.rule.ceiling - state.goal), NOTHING)

    def _finished(self) -> Iterator[Sampled]:
        done = [shard for shard in self._open.values() if not shard.open and not shard.waiting]
        for shard in done:
            del self._open[shard.name]
        self._seal(done)
        for shard in done:
            yield Sampled(shard.name, shard.outcome)

    def _seal(self, shards: Iterable[_Shard]) -> None:
        for shard in shards:
            if shard.journal is not None:
                self.store.seal(shard.name, shard.journal)

    # Samples: sent, recorded, counted, judged.

    def _window(self) -> int:
        """Return how many requests may be in flight; load the engine if it is not loaded."""
        if self._facts is None:
            self._observer.loading()
            self._engine = self._make_engine()
            self._engine.start()
            self._facts = self._engine.ready()
            self._observer.loaded(self._facts)
        return self._facts.window

    def _submit(self) -> None:
        if not self._requests:
            return
        requests = []
        window = self._window()
        while self._requests and self._in_flight < window:
            name, prompt, index = self._requests.popleft()
            seed = sample_seed(self.plan.seed, prompt, index)
            shard = self._open[name]
            request = Request(f"{name}/{prompt}/{index}", shard.open[prompt].tokens, seed, self.plan.sampling)
            if self.plan.engine.get("api") == "chat":
                problem = shard.problems[shard.owners[prompt][0]]
                request = replace(request, messages=messages(self.plan.style, problem))
            requests.append(request)
            self._in_flight += 1
        if requests and self._engine is not None:
            self._engine.submit(requests)

    def _collect(self) -> None:
        if self._in_flight and self._engine is not None:
            for completion in self._engine.poll(_BUSY_SECONDS if self._judge.backlog else _POLL_SECONDS):
                self._in_flight -= 1
                name, prompt, index = completion.id.rsplit("/", 2)
                self._record(self._open[name], prompt, int(index), completion)

    def _record(self, shard: _Shard, prompt: str, index: int, completion: Completion) -> None:
        state = shard.open[prompt]
        row = {
            "prompt_digest": prompt,
            "sample_index": index,
            "seed": sample_seed(self.plan.seed, prompt, index),
            "response": completion.text if completion.text.startswith("<think>") else state.opened + completion.text,
            "finish_reason": completion.finish_reason,
            "prompt_tokens": len(state.tokens),
            "completion_tokens": completion.completion_tokens,
        }
        if shard.journal is None:
            shard.journal = self.store.journal(shard.name)
        shard.journal.append(row)
        self._observer.sampled(completion.completion_tokens, len(state.tokens))
        self._count(shard, prompt, index, row)

    def _count(self, shard: _Shard, prompt: str, index: int, row: Row) -> None:
        """Count a recorded sample, new or old; the last one of a round sends the round to the judge."""
        state = shard.open[prompt]
        state.left -= 1
        spent = self.plan.spending(row.get("completion_tokens") or 0, row.get("prompt_tokens") or 0)
        self.budget.settle(state.most, spent)
        if self.plan.rounds is not None:
            state.round[index] = (row["response"], row["finish_reason"])
        if state.left:
            return
        if self.plan.rounds is None:
            for problem in state.tallies:
                shard.outcome.add(problem, state.goal, SPENT)
            self._close_prompt(shard, prompt)
            return
        answers = [state.round[index] for index in sorted(state.round)]
        state.round = {}
        problems = [shard.problems[problem] for problem in state.undecided]
        attempts = [Attempt(problem, *answer) for problem in problems for answer in answers]
        self._judge.put((shard.name, prompt), attempts)

    def _take_verdicts(self) -> None:
        """Decide on further rounds with the verdicts that have come."""
        for (name, prompt), verdicts in self._judge.results(0.0 if self._in_flight else _POLL_SECONDS):
            shard = self._open[name]
            state = shard.open[prompt]
            problems = state.undecided
            each = len(verdicts) // len(problems)
            more = 0
            for index, problem in enumerate(problems):
                tally = state.tallies[problem]
                more = max(more, tally.count(self.plan.rule, verdicts[index * each : (index + 1) * each]))
                if tally.outcome is not None:
                    shard.outcome.add(problem, tally.sampled, tally.outcome)
            if more:
                self._next_round(shard, prompt, more)
            else:
                self._close_prompt(shard, prompt)


_RoundKey = tuple[str, str]  # shard and prompt


class _RoundJudge:
    """Judges rounds in a thread while the engine goes on; all rounds that came meanwhile are judged together.

    Args:
        accepts: the judge; None where there is nothing to judge.
    """

    def __init__(self, accepts: Accepts | None) -> None:
        self._accepts = accepts
        self._waiting: list[tuple[_RoundKey, Sequence[Attempt]]] = []
        self._running: Future[list[bool]] | None = None
        self._batch: list[tuple[_RoundKey, Sequence[Attempt]]] = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="rounds")

    @property
    def backlog(self) -> int:
        """Rounds without verdicts."""
        return len(self._waiting) + len(self._batch)

    def put(self, key: _RoundKey, attempts: Sequence[Attempt]) -> None:
        """Add a round."""
        if self._accepts is None:
            raise RuntimeError("a plan with more than one round needs a judge")
        self._waiting.append((key, attempts))

    def results(self, timeout: float) -> Iterator[tuple[_RoundKey, list[bool]]]:
        """Yield rounds that have been judged, waiting up to `timeout` seconds for the next ones if there are any.

        Raises:
            VerifierError: what the judge raises.
        """
        self._start()
        if self._running is None:
            return
        if wait([self._running], timeout).not_done:
            return
        verdicts, batch = iter(self._running.result()), self._batch
        self._running, self._batch = None, []
        self._start()
        for key, attempts in batch:
            yield key, list(islice(verdicts, len(attempts)))

    def close(self) -> None:
        """Drop what was not judged yet."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _start(self) -> None:
        if self._accepts is not None and self._running is None and self._waiting:
            self._batch, self._waiting = self._waiting, []
            attempts = [attempt for _, part in self._batch for attempt in part]
            self._running = self._thread.submit(self._accepts, attempts)
