"""Verdicts: cuts off a trace's reasoning and judges the rest by the verifier of its domain, where it is safe to.

Cheap verdicts are given in the calling process; the rest goes to worker processes that can be killed, and code to the
jail. A verifier's own fault is `error` and never the trace's.
"""

from __future__ import annotations

import functools
import logging
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from os import cpu_count
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self

import polars as pl
import pyarrow as pa
from pydantic import Field

from proofmill.data.errors import RecipeError, ScratchError, VerifierError
from proofmill.data.files import loads_exact
from proofmill.data.run import source_digest
from proofmill.data.schemas import column
from proofmill.data.sections import Section, Share
from proofmill.filters.base import CallerServices, Deferred, DropRule, MapFilter, Row
from proofmill.filters.domains import DOMAINS, check_canary, find_domain
from proofmill.filters.model_judge import JudgeOptions
from proofmill.filters.reasoning import split_think
from proofmill.filters.verdicts import (
    CORRECT,
    ERROR,
    NO_GOLD,
    NOT_JUDGED,
    TIMEOUT,
    UNPARSED,
    WRONG,
    Domain,
    Problem,
    Verdict,
    is_counted,
)
from proofmill.filters.workers import Fault, WorkerPool

TRUNCATED = "truncated"
_UNANSWERED = ("prompt_too_long", "quarantined", "failed", "content_filter", "refused_by_server")
_NEEDS = re.compile(r"(?:^|; )needs [\w+.-]{1,60}")  # how the code domain says that a package or a compiler is absent
_log = logging.getLogger(__name__)
MIN_ERRORS = 5  # fewer say nothing about the verifier


class JailOptions(Section):
    """What model-written code may do. The defaults are the strongest."""

    allow_subprocess: bool = Field(False, description="a solution may start processes")
    packages: tuple[str, ...] = Field((), description="installed packages that a solution may import")
    weaker: bool = Field(False, description="run although layers are missing; every verdict then says so")


class CodeJudging(Section):
    """How strictly programs are judged, and by which readings of their tests."""

    float_tolerance: float | None = Field(None, ge=0, description="relative tolerance of expected floats; None: 1e-12")
    output_comparison: Literal["lines", "tokens", "numbers"] = Field(
        "lines", description="printed text by lines without trailing blanks, by tokens, or with decimals as numbers"
    )
    all_tests: bool = Field(False, description="count every test; else the first failure ends the row")
    in_process: bool = Field(
        True, description="a pass in one process with the tests may decide, if nothing shows tampering"
    )


class VerifyOptions(Section):
    """How answers are judged."""

    cpu_seconds: float = Field(5.0, gt=0, description="CPU seconds of a row; more is a `timeout`")
    memory_mb: int = Field(1024, ge=128, description="MiB of memory that one row may add to its worker")
    workers: int | None = Field(None, ge=1, description="worker processes; None: one for each core")
    verifiers: dict[str, str] = Field({}, description="your own verifiers, {domain: package.module:name}")
    reasoning_tags: tuple[str, ...] = Field((), description="more tags around reasoning: `plan` for `<plan>…</plan>`")
    max_error_rate: Share = Field(0.2, description="share of `error` in a shard that stops the run")
    jail: JailOptions = JailOptions()
    code: CodeJudging = CodeJudging()
    judge: JudgeOptions | None = Field(
        None, description="a model as judge where rules end; {}: with the defaults; null: none"
    )


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
    """Return a row of schema PROBLEMS as its verifier wants it."""
    info = loads_exact(row["info"]) if row["info"] else {}
    return Problem(row["domain"], row["prompt"], row["answer"], info)


class Judge:
    """Judges tables of traces; owns the worker processes, safe to share between threads.

    Raises:
        VerifierError: by `verdicts`, when workers or the sandbox can't start.
    """

    def __init__(self, options: VerifyOptions = VerifyOptions()) -> None:  # noqa: B008 (frozen)
        self.options = options
        self._custom = options.verifiers
        self._pool = WorkerPool(
            "proofmill.filters.verification:work",
            workers=options.workers,
            cpu_seconds=options.cpu_seconds,
            memory_mb=options.memory_mb,
            preload=("proofmill.filters.domains.math", "proofmill.filters.domains.choice"),
        )
        from proofmill.filters.domains.code import configure  # a recipe is read without any verifier

        configure(**options.jail.model_dump(), **options.code.model_dump())
        self._jailed = ThreadPoolExecutor(options.workers or cpu_count() or 1, thread_name_prefix="jailed")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the worker processes."""
        self._jailed.shutdown(cancel_futures=True)
        self._pool.close()

    def accepts(self, responses: Sequence[tuple[Mapping[str, Any], str, str | None]]) -> list[bool]:
        """Return whether each response is judged `correct`, for a sampler that goes on until enough are.

        Args:
            responses: problem (row of schema PROBLEMS), response and finish reason of each.

        Raises:
            VerifierError: as `judge`; bad problems are left to `verdicts` to tell.
        """
        return [verdict is not None and verdict.verdict == CORRECT for verdict in self.verdicts_of(responses)]

    def verdicts_of(self, responses: Sequence[tuple[Mapping[str, Any], str, str | None]]) -> list[Verdict | None]:
        """Return the verdict on each response, as `accepts` takes them.

        Raises:
            VerifierError: as `judge`.
        """
        tags = self.options.reasoning_tags
        cuts = [cut_reasoning(response, finish, tags) for _, response, finish in responses]
        jobs = [
            None if cut.verdict else Job(row["verifier"], self._custom.get(row["verifier"]), problem_of(row), cut.text)
            for cut, (row, _, _) in zip(cuts, responses, strict=True)
        ]
        return [cut.verdict or verdict for cut, (verdict, _) in zip(cuts, self.judge(jobs), strict=True)]

    def judge(self, jobs: Sequence[Job | None]) -> list[tuple[Verdict | None, float]]:
        """Return (verdict, seconds) of each job, in order; None stays None.

        Raises:
            VerifierError: a verifier misjudged a planted answer, or a layer of the jail for code is missing.
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
            quick = _quick(job.domain, job.problem, job.text)
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
    """Judge one row inside a worker; whatever the verifier raises is its own fault."""
    started = time.monotonic()
    domain = job.domain
    try:
        verdict = domain.verify(job.problem, job.text)
    except (MemoryError, RecursionError, VerifierError, ScratchError):
        raise  # the pool reports exhausted resources, what the jail lacks is the user's to fix
    except Exception as error:  # noqa: BLE001 (a fault boundary: a verifier's error must not look like a verdict)
        verdict = Verdict(ERROR, detail=f"{type(error).__name__}: {str(error)[:200]}")
    return verdict, time.monotonic() - started


def _work_here(job: Job) -> tuple[Verdict, float]:
    """Run `work` in a thread of this process, where a lack of memory or stack must not end the others."""
    started = time.monotonic()
    try:
        return work(job)
    except (MemoryError, RecursionError) as error:
        return Verdict(ERROR, detail=f"{type(error).__name__} beside the jail"), time.monotonic() - started


def _quick(domain: Domain, problem: Problem, text: str) -> Verdict | None:
    try:
        return domain.quick(problem, text)
    except Exception as error:  # noqa: BLE001 (as in `work`)
        return Verdict(ERROR, detail=f"{type(error).__name__}: {str(error)[:200]}")


def _fault(fault: Fault) -> Verdict:
    if fault.kind in ("timeout", "memory"):
        return Verdict(TIMEOUT, detail=f"{fault.kind}: {fault.detail}" if fault.detail else fault.kind)
    return Verdict(ERROR, detail=f"{fault.kind}: {fault.detail}")


def cut_reasoning(response: str, finish_reason: str | None, tags: tuple[str, ...] = ()) -> Cut:
    """Return the part of a response in which the answer is looked for, or the verdict of one that never got there."""
    if finish_reason in _UNANSWERED:
        return Cut("", 0, Verdict(ERROR, detail=finish_reason))
    think = split_think(response, tags=tags)
    if finish_reason == "length" or not think.closed:
        return Cut("", len(response), Verdict(UNPARSED, detail=TRUNCATED))
    return Cut(think.rest, think.rest_start, None)


def annotate(
    rows: Iterable[Row], options: VerifyOptions, trusted: frozenset[str] = frozenset()
) -> Iterator[Row | Deferred]:
    """Yield the verdicts that cost bounded microseconds; the others are deferred to the judge.

    Args:
        rows: `problem`, `verifier`, `response`, and where known `finish_reason`.
        options: custom verifiers.
        trusted: verifiers that have judged their planted answers; the rows of all others are deferred.
    """
    for row in rows:
        cut = cut_reasoning(row["response"], row["finish_reason"], options.reasoning_tags)
        if cut.verdict is not None:
            yield columns(cut.verdict, 0.0, cut.start)
            continue
        name, problem = row["verifier"], row["problem"]
        started = time.perf_counter()
        quick = _trusted_quick(name, options.verifiers, problem, cut.text) if name in trusted else None
        if quick is not None:
            yield columns(quick, time.perf_counter() - started, cut.start)
        else:
            yield Deferred((Job(name, options.verifiers.get(name), problem, cut.text), cut.start))


def _trusted_quick(name: str, custom: Mapping[str, str], problem: Problem, text: str) -> Verdict | None:
    try:
        return _quick(find_domain(name, custom), problem, text)
    except RecipeError as error:  # there is no such domain
        return Verdict(ERROR, detail=error.what)


def resolve(deferred: Sequence[tuple[Job, int]], services: CallerServices) -> list[Row]:
    """Return the verdicts on deferred rows.

    Raises:
        VerifierError: as `Judge.judge`.
    """
    judged = services.judge.judge([job for job, _ in deferred])
    outcomes = zip(deferred, judged, strict=True)
    return [
        columns(verdict or Verdict(ERROR, detail="no verifier"), seconds, start)
        for (_, start), (verdict, seconds) in outcomes
    ]


def columns(verdict: Verdict, seconds: float, start: int = 0) -> Row:
    """Return a verdict as columns; `start` is where the judged text begins in the response."""
    return {
        "verdict": verdict.verdict,
        "extracted": _storable(verdict.extracted),
        "verdict_detail": _storable(verdict.detail),
        "tests_passed": verdict.tests_passed,
        "tests_total": verdict.tests_total,
        "verify_seconds": round(seconds, 6),
        "final_start": None if verdict.final_start is None else start + verdict.final_start,
        "undecided": verdict.undecided,
    }


def fault(kind: str, detail: str) -> Row:
    """Return the verdict on a row that can't be read (`row`) or that brought its worker down: never `wrong`."""
    if kind == "row":
        return columns(Verdict(ERROR, detail=detail), 0.0)
    return columns(Verdict(TIMEOUT if kind in ("timeout", "memory") else ERROR, detail=f"{kind}: {detail}"), 0.0)


def check_health(table: pa.Table, options: VerifyOptions) -> None:
    """Raise if a shard's verifier fails so often that it must not write zeros; a few bad problems are no reason.

    Raises:
        VerifierError: too many verdicts are `error`.
    """
    pairs = zip(table["verdict"].to_pylist(), table["verdict_detail"].to_pylist(), strict=True)
    causes = Counter(detail for verdict, detail in pairs if verdict == ERROR and not is_counted(verdict, detail))
    for reason in (*_UNANSWERED, NO_GOLD):  # no verifier has seen them, or it had nothing to compare with
        causes.pop(reason, None)
    for reason in [reason for reason in causes if reason and _NEEDS.search(reason)]:
        _name_need(reason)
        del causes[reason]
    errors = causes.total()
    if errors >= MIN_ERRORS and errors > options.max_error_rate * table.num_rows:
        raise VerifierError(
            f"{errors} of {table.num_rows} verdicts of a shard are `error`, so none of them was written.",
            where="; ".join(f"{count}x {cause}" for cause, count in causes.most_common(3)),
            remedy="fix the cause; if these problems are simply bad, raise verify.max_error_rate",
        )


@functools.cache
def _name_need(reason: str) -> None:
    """Say once what a machine lacks for some rows, and the remedy; such rows are `error`, and stop nothing."""
    _log.warning("some programs can't be judged here: %s", reason.partition("; ")[2] or reason)


def _storable(text: str | None) -> str | None:
    """Return text that a table can hold: half of a surrogate pair is shown as its escape."""
    return text if text is None or text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def counts_for_passes() -> pl.Expr:
    """Return `verdicts.is_counted` as an expression: whether a sample counts where passes are counted."""
    own_doing = pl.col("verdict_detail").fill_null("").str.contains(f"{NOT_JUDGED}: ", literal=True)
    return (pl.col("verdict") != ERROR) | own_doing


def is_truncated() -> pl.Expr:
    """Return an expression: whether a sample was cut by length or never closed its reasoning."""
    return (pl.col("verdict") == UNPARSED) & (pl.col("verdict_detail") == TRUNCATED)


def _judged(verdict: str, means: str) -> DropRule[VerifyOptions]:
    is_verdict = pl.col("verdict") == verdict
    shown = ("extracted", "answer", "verdict_detail")
    return DropRule(verdict, lambda _: is_verdict & ~is_truncated().fill_null(False), means, evidence=shown)


def _identity(options: VerifyOptions) -> dict[str, str]:
    """Return the versions of the domains, and the sources of custom verifiers, which have no version."""
    versions = {name: str(find_domain(name).version) for name in DOMAINS if name not in options.verifiers}
    return versions | {name: source_digest(place.partition(":")[0]) for name, place in options.verifiers.items()}


VERDICTS = MapFilter(
    name="verdicts",
    version=8,
    shown_as="right answer",
    section="verify",
    options=VerifyOptions,
    reads=("problem", "verifier", "response"),
    optional=("finish_reason",),
    adds=pa.schema(
        [
            column("extracted", pa.string(), "the answer found in the trace, as it stands there"),
            column("verdict", pa.string(), "correct, wrong, unparsed, timeout, or error (never the trace's fault)"),
            column("verdict_detail", pa.string(), "the rule that found the answer, or the cause of the verdict"),
            column("tests_passed", pa.int32(), "tests passed (code), constraints held (instruction)"),
            column("tests_total", pa.int32(), "tests run, constraints checked"),
        ]
    ),
    internal=pa.schema(
        [
            column("final_start", pa.int32(), "offset in the response where the statement of the answer begins"),
            column("undecided", pa.bool_(), "whether rules proved neither equality nor difference"),
        ]
    ),
    command=pa.schema([column("verify_seconds", pa.float32(), "seconds that judging took")]),
    labels=lambda added: (TRUNCATED if added["verdict_detail"] == TRUNCATED else added["verdict"],),
    why=lambda added: added["verdict_detail"] if added["verdict"] == ERROR else None,
    annotate=annotate,
    runs="here",
    resolve=resolve,
    check=check_health,
    fault=fault,
    keyed_by=("cpu_seconds", "memory_mb", "verifiers", "jail", "code", "reasoning_tags"),
    identity=_identity,
    libraries=(
        "math-verify",
        "latex2sympy2-extended",
        "sympy",
        "mpmath",
        "reasoning-gym",
        "py3langid",
        "jsonschema",
        "sentencex",
        "python",  # runs the code of traces
    ),
    rules=(
        _judged(WRONG, "the answer is not the gold answer, or a test fails"),
        _judged(UNPARSED, "no answer was found, or two that contradict each other"),
        DropRule(TRUNCATED, lambda _: is_truncated(), "the sample was cut, or its think block never closed"),
        _judged(TIMEOUT, "judging took more than its limit of CPU time or memory"),
        _judged(ERROR, "the verifier's fault, or bad gold: never the trace's"),
    ),
)
