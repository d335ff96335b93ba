"""A row as a problem and a response, and the verdict columns that `proofmill verify` adds to it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import pyarrow as pa

from proofmill.data.errors import InputError, RecipeError
from proofmill.data.rows_io import Row
from proofmill.data.schemas import VERDICTS
from proofmill.filters.domains import find_domain, info_fields, is_known
from proofmill.filters.verdicts import ERROR, TIMEOUT, Problem, Verdict
from proofmill.filters.verification import TRUNCATED, Job, cut_reasoning
from proofmill.flows.rows.reading import View
from proofmill.flows.rows.work import Open
from proofmill.generators.problems.ingest import response_text
from proofmill.generators.problems.problem import info_of, split_prompt

ADDED = pa.schema(
    [
        VERDICTS.field(name)
        for name in ("verdict", "extracted", "verdict_detail", "tests_passed", "tests_total", "verify_seconds")
    ]
)


@dataclass(frozen=True, slots=True)
class Options:
    """How rows are judged.

    Attributes:
        domain: of rows that name none.
        custom: custom verifiers as `package.module:name`.
        trusted: verifiers that have judged their planted answers; others' rows are left to the main process.
    """

    domain: str | None
    custom: Mapping[str, str]
    trusted: frozenset[str] = frozenset()


def annotate(rows: Sequence[View], options: Options) -> Iterator[Row | Open]:
    """The verdicts that cost little; rows that cost more, or whose verifier isn't trusted yet, are left open."""
    for view in rows:
        started = time.perf_counter()
        found = _quick(view, options)
        yield Open(found) if isinstance(found, Job) else columns(found, time.perf_counter() - started)


def tally(added: Row) -> tuple[str]:
    """Counts by verdict, samples that were cut apart."""
    return (TRUNCATED if added["verdict_detail"] == TRUNCATED else added["verdict"],)


def why(added: Row) -> str | None:
    """The detail of an `error`."""
    return added["verdict_detail"] if added["verdict"] == ERROR else None


def fault(detail: str, kind: str) -> Row:
    """A row that can't be read is an error; one that takes too long to, a time-out."""
    return columns(Verdict(TIMEOUT if kind in ("timeout", "memory") else ERROR, detail=detail), 0.0)


def columns(verdict: Verdict, seconds: float) -> Row:
    """The added columns of one row."""
    return {
        "verdict": verdict.verdict,
        "extracted": verdict.extracted,
        "verdict_detail": verdict.detail,
        "tests_passed": verdict.tests_passed,
        "tests_total": verdict.tests_total,
        "verify_seconds": round(seconds, 6),
    }


def _quick(view: View, options: Options) -> Verdict | Job:
    if view.fault is not None:
        return Verdict(ERROR, detail=view.fault)
    job = job_of(view.row, options)
    if isinstance(job, Verdict):
        return job
    try:
        domain = find_domain(job.verifier, options.custom)
        return (domain.quick(job.problem, job.text) if job.verifier in options.trusted else None) or job
    except RecipeError as error:
        return Verdict(ERROR, detail=error.what)
    except Exception as error:  # noqa: BLE001 (a fault boundary: a verifier's error must not look like a verdict)
        return Verdict(ERROR, detail=f"{type(error).__name__}: {str(error)[:200]}")


def job_of(row: Row, options: Options) -> Job | Verdict:
    """What is to be judged, or the verdict of a row that can't be or needn't be."""
    name = row.get("verifier") or row.get("domain") or options.domain
    response = response_text(row.get("response"))
    if not isinstance(name, str):
        return Verdict(ERROR, detail="no_domain")
    if response is None:
        return Verdict(ERROR, detail="no_response")
    problem = problem_of(row, options)
    if isinstance(problem, str):
        return Verdict(ERROR, detail=problem)
    cut = cut_reasoning(response, row.get("finish_reason"))
    return cut.verdict or Job(name, options.custom.get(name), problem, cut.text)


def problem_of(row: Row, options: Options) -> Problem | str:
    """The problem of a row, or the reason why it can't be judged. A missing prompt is not one."""
    domain = row.get("domain") or options.domain or row["verifier"]
    prompt: tuple[str | None, str] | str = (None, "")
    if row.get("prompt"):
        prompt = split_prompt(row["prompt"])
    if isinstance(prompt, str):
        return prompt
    info = {} if _info_columns().isdisjoint(row) else info_of(row)
    answer = row.get("answer")
    if answer is not None and not isinstance(answer, str):
        answer = _answer_text(answer)
    judged_by_domain = not row.get("verifier") and is_known(domain, options.custom)
    if judged_by_domain and find_domain(domain, options.custom).lacks(answer, info):
        return "no_gold"
    return Problem(domain, prompt[1], answer, info)


@cache
def _info_columns() -> frozenset[str]:
    return frozenset((*info_fields(), "info"))


def _answer_text(answer: Any) -> str:
    return str(answer) if isinstance(answer, int) and not isinstance(answer, bool) else json.dumps(answer, default=str)


def check_first(where: str, row: Row, domain: str | None, custom: Mapping[str, str]) -> None:
    """Refuses a file whose first row lacks what judging needs: the map is wrong.

    Raises:
        InputError: names the fields that are missing and those that are there.
        RecipeError: there is no such verifier.
    """
    name = row.get("verifier") or row.get("domain") or domain
    have = f"this row has: {', '.join(map(str, row)) or 'no fields'}"
    if not name:
        raise InputError("No domain is given.", where=where, remedy=f"pass --domain, for example math; {have}")
    needs = find_domain(str(name), custom).needs
    missing = [need for need in ("response", *(() if row.get("verifier") else needs)) if not _has(row, need)]
    missing = [need if isinstance(need, str) else need[0] for need in missing]
    if missing:
        raise InputError(
            f"The field{'s' * (len(missing) > 1)} {', '.join(map(repr, missing))} {'are' if len(missing) > 1 else 'is'}"
            " missing.",
            where=where,
            remedy=f"{have}; say which is which: --map {','.join(f'{key}=FIELD' for key in missing)}",
        )


def _has(row: Row, need: str | tuple[str, ...]) -> bool:
    """Whether a row has a field that is needed, or one that stands in for it: `info` may hold all but the answer."""
    names = (need,) if isinstance(need, str) else need
    return any(name in row for name in names) or ("info" in row and not {"response", "answer"} & set(names))
