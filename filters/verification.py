"""The verdict on every trace of a table: cuts off the reasoning, judges the rest where it is safe to.

Cheap verdicts are given here; the rest goes to worker processes that can be killed. A verifier's own fault
is `error` and never the trace's.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from os import cpu_count
from types import TracebackType
from typing import Any, NamedTuple, Self

import pyarrow as pa

from proofmill.data.errors import VerifierError
from proofmill.data.files import loads_exact
from proofmill.data.schemas import VERDICTS
from proofmill.data.tables import from_rows
from proofmill.filters.domains import check_canary, find_domain
from proofmill.filters.domains.code import configure_jail
from proofmill.filters.reasoning import split_think
from proofmill.filters.verdicts import CORRECT, ERROR, NO_GOLD, TIMEOUT, UNPARSED, Domain, Problem, Verdict
from proofmill.filters.workers import Fault, WorkerPool

TRUNCATED = "truncated"
_UNANSWERED = ("prompt_too_long", "quarantined", "failed", "content_filter")
MIN_ERRORS = 5  # fewer say nothing about the verifier


@dataclass(frozen=True, slots=True)
class VerifyOptions:
    """The recipe's `verify` section.

    Attributes:
        cpu_seconds: CPU time of one row before it is a `timeout`.
        memory_mb: memory one row may add to its worker.
        workers: worker processes; None: one a core.
        verifiers: custom verifiers by name, as `package.module:name`.
        max_error_rate: share of `error` in a table above which its verdicts are not to be trusted.
        jail: options of the code domain's jail (`weaker`, `allow_subprocess`, `packages`).
    """

    cpu_seconds: float = 5.0
    memory_mb: int = 1024
    workers: int | None = None
    verifiers: Mapping[str, str] | None = None
    max_error_rate: float = 0.2
    jail: Mapping[str, Any] | None = None


def _domain(verifier: str, custom: str | None) -> Domain:
    return find_domain(verifier, {verifier: custom} if custom else None)


class Job(NamedTuple):
    """One row on its way to a worker."""

    verifier: str
    custom: str | None
    problem: Problem
    text: str

    @property
    def domain(self) -> Domain:
        """What judges it."""
        return _domain(self.verifier, self.custom)


class Cut(NamedTuple):
    """A response after its reasoning block, or the verdict that needs no reading of it."""

    text: str
    start: int
    verdict: Verdict | None


def problem_of(row: Mapping[str, Any]) -> Problem:
    """A row of schema PROBLEMS as its verifier wants it."""
    info = loads_exact(row["info"]) if row["info"] else {}
    return Problem(row["domain"], row["prompt"], row["answer"], info)


class Judge:
    """Judges tables of traces; owns the worker processes, safe to share between threads.

    Raises:
        VerifierError: by `verdicts`, when workers or the sandbox can't start.
    """

    def __init__(self, options: VerifyOptions = VerifyOptions()) -> None:
        self.options = options
        self._custom = options.verifiers or {}
        self._pool = WorkerPool(
            "proofmill.filters.verification:work",
            workers=options.workers,
            cpu_seconds=options.cpu_seconds,
            memory_mb=options.memory_mb,
        )
        if options.jail:
            configure_jail(**options.jail)
        self._jailed = ThreadPoolExecutor(options.workers or cpu_count() or 1, thread_name_prefix="jailed")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the worker processes."""
        self._jailed.shutdown(cancel_futures=True)
        self._pool.close()

    def verdicts(self, traces: pa.Table, problems: pa.Table) -> pa.Table:
        """The verdict on each trace.

        Args:
            traces: columns `problem_id`, `response`, `finish_reason`.
            problems: schema PROBLEMS (those columns that judging needs), each id once.

        Returns:
            Table of schema VERDICTS, row by row beside `traces`.

        Raises:
            VerifierError: too many verdicts are `error`.
        """
        by_id = {row["id"]: (row["verifier"], problem_of(row)) for row in problems.to_pylist()}
        columns = (traces[name].to_pylist() for name in ("problem_id", "response", "finish_reason"))
        cuts = []
        jobs = []
        for problem_id, response, finish in zip(*columns, strict=True):
            cuts.append(cut_reasoning(response, finish))
            name, problem = by_id[problem_id]
            jobs.append(Job(name, self._custom.get(name), problem, cuts[-1].text))
        judged = self.judge([None if cut.verdict else job for cut, job in zip(cuts, jobs, strict=True)])
        rows = [_row(cut, *result) for cut, result in zip(cuts, judged, strict=True)]
        self._check_health(rows)
        return from_rows(rows, VERDICTS)

    def accepts(self, asked: Sequence[tuple[Mapping[str, Any], str, str | None]]) -> list[bool]:
        """Whether each response is judged `correct`, for a sampler that goes on until enough are.

        Args:
            asked: problem (row of schema PROBLEMS), response and finish reason of each.

        Raises:
            VerifierError: as `judge`; bad problems are left to `verdicts` to tell.
        """
        cuts = [cut_reasoning(response, finish) for _, response, finish in asked]
        jobs = [
            None if cut.verdict else Job(row["verifier"], self._custom.get(row["verifier"]), problem_of(row), cut.text)
            for cut, (row, _, _) in zip(cuts, asked, strict=True)
        ]
        return [verdict is not None and verdict.verdict == CORRECT for verdict, _ in self.judge(jobs)]

    def _check_health(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """A verifier that fails often must not write zeros; a few bad problems are their own fault."""
        causes = Counter(row["verdict_detail"] for row in rows if row["verdict"] == ERROR)
        for reason in (*_UNANSWERED, NO_GOLD):  # no verifier has seen them, or it had nothing to compare with
            causes.pop(reason, None)
        errors = causes.total()
        if errors >= MIN_ERRORS and errors > self.options.max_error_rate * len(rows):
            raise VerifierError(
                f"{errors} of {len(rows)} verdicts of a shard are `error`, so none of them was written.",
                where="; ".join(f"{count}x {cause}" for cause, count in causes.most_common(3)),
                remedy="mend the cause; if these problems are simply bad, raise verify.max_error_rate",
            )

    def judge(self, jobs: Sequence[Job | None]) -> list[tuple[Verdict | None, float]]:
        """Verdicts and seconds of jobs, in order; None stays None.

        Raises:
            VerifierError: a verifier misjudged a planted answer, or the jail for code is not whole.
        """
        places = {job.verifier: job.custom for job in jobs if job is not None}
        canaries = [(name, canary) for name in sorted(places) for canary in _domain(name, places[name]).canaries]
        extra = [Job(name, places[name], canary.problem, canary.text) for name, canary in canaries]
        results = self._judge([*jobs, *extra])
        for (name, canary), (verdict, _) in zip(canaries, results[len(jobs) :], strict=True):
            check_canary(name, canary, verdict)
        return results[: len(jobs)]

    def _judge(self, jobs: Sequence[Job | None]) -> list[tuple[Verdict | None, float]]:
        results: list[tuple[Verdict | None, float]] = [(None, 0.0)] * len(jobs)
        slow: dict[int, Job] = {}
        jailed: dict[int, Job] = {}
        for index, job in enumerate(jobs):
            if job is None:
                continue
            quick = _quick(job.domain, job)
            if quick is not None:
                results[index] = (quick, 0.0)
            else:
                (jailed if job.domain.runs_in == "jail" else slow)[index] = job
        pending = [(index, self._jailed.submit(_work_here, job)) for index, job in jailed.items()]
        for index, outcome in zip(slow, self._pool.map(list(slow.values())), strict=True):
            results[index] = (_fault(outcome), self.options.cpu_seconds) if isinstance(outcome, Fault) else outcome
        for index, future in pending:
            results[index] = future.result()
        return results


def work(job: Job) -> tuple[Verdict, float]:
    """Judges one row inside a worker; whatever the verifier raises is its own fault."""
    started = time.monotonic()
    domain = job.domain
    try:
        verdict = domain.verify(job.problem, job.text)
    except (MemoryError, RecursionError, VerifierError):
        raise  # faults of resource are the pool's to tell, a jail that is not whole is the user's to mend
    except Exception as error:  # noqa: BLE001 (a fault boundary: a verifier's error must not look like a verdict)
        verdict = Verdict(ERROR, detail=f"{type(error).__name__}: {str(error)[:200]}")
    return verdict, time.monotonic() - started


def _work_here(job: Job) -> tuple[Verdict, float]:
    """`work` in a thread of this process, where a fault of resource must not end the others."""
    started = time.monotonic()
    try:
        return work(job)
    except (MemoryError, RecursionError) as error:
        return Verdict(ERROR, detail=f"{type(error).__name__} beside the jail"), time.monotonic() - started


def _quick(domain: Domain, job: Job) -> Verdict | None:
    try:
        return domain.quick(job.problem, job.text)
    except Exception as error:  # noqa: BLE001 (as in `work`)
        return Verdict(ERROR, detail=f"{type(error).__name__}: {str(error)[:200]}")


def _fault(fault: Fault) -> Verdict:
    if fault.kind in ("timeout", "memory"):
        return Verdict(TIMEOUT, detail=f"{fault.kind}: {fault.detail}" if fault.detail else fault.kind)
    return Verdict(ERROR, detail=f"{fault.kind}: {fault.detail}")


def cut_reasoning(response: str, finish_reason: str | None) -> Cut:
    """Where the answer of a response is looked for, or the verdict of one that never got there."""
    if finish_reason in _UNANSWERED:
        return Cut("", 0, Verdict(ERROR, detail=finish_reason))
    think = split_think(response)
    if finish_reason == "length" or not think.closed:
        return Cut("", len(response), Verdict(UNPARSED, detail=TRUNCATED))
    return Cut(think.rest, think.rest_start, None)


def _row(cut: Cut, verdict: Verdict | None, seconds: float) -> dict[str, Any]:
    found = cut.verdict or verdict or Verdict(ERROR, detail="not_judged")
    final = None if found.final_start is None else cut.start + found.final_start
    return {
        "extracted": _storable(found.extracted),
        "verdict": found.verdict,
        "verdict_detail": _storable(found.detail),
        "tests_passed": found.tests_passed,
        "tests_total": found.tests_total,
        "verify_seconds": seconds,
        "final_start": final,
    }


def _storable(text: str | None) -> str | None:
    """Text that a table can hold: half of a surrogate pair is shown as its escape."""
    return None if text is None else text.encode("utf-8", "backslashreplace").decode()
