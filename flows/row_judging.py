"""A row as a problem and a response, and the verdict columns that `proofmill verify` adds to it."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson
import pyarrow as pa

from proofmill.data.errors import InputError, RecipeError
from proofmill.data.inputs import Row
from proofmill.data.schemas import VERDICTS
from proofmill.filters.domains import verifier_for
from proofmill.filters.reasoning import split_think
from proofmill.filters.verdicts import ERROR, UNPARSED, Problem, Verdict
from proofmill.filters.verification import TRUNCATED, Job
from proofmill.flows.rows import Chunk, View, joined, views
from proofmill.generators.intake import response_text
from proofmill.generators.problems import INFO_FIELDS, checkable, split_prompt

ADDED = pa.schema(
    [
        VERDICTS.field(name)
        for name in ("verdict", "extracted", "verdict_detail", "tests_passed", "tests_total", "verify_seconds")
    ]
)
_NAMES = frozenset(ADDED.names)
_INFO = frozenset((*INFO_FIELDS, "info"))
_EXACT = 2**53  # from here on a float may have been an integer of more digits
_NEEDED = {
    "math": ("answer",),
    "choice": ("answer", "options"),
    "logic": ("info",),
    "code": ("tests",),
    "instruction": ("constraints",),
}


@dataclass(frozen=True, slots=True)
class Task:
    """A chunk and how its rows are to be read.

    Attributes:
        chunk: the rows.
        fields: our names to theirs.
        domain: of rows that name none.
        custom: custom verifiers as `package.module:name`.
        as_lines: whether rows come back as lines of JSON, else as mappings.
    """

    chunk: Chunk
    fields: Mapping[str, str]
    domain: str | None
    custom: Mapping[str, str]
    as_lines: bool


class Pending(NamedTuple):
    """A row whose verdict takes a worker that can be killed."""

    place: int
    view: View
    job: Job


@dataclass
class Done:
    """A chunk's rows with their verdicts.

    Attributes:
        lines: rows as lines of JSON, or
        rows: rows as mappings; empty at the places in `pending`.
        pending: rows still to be judged.
        tally: rows by verdict, those that were cut apart as `truncated`.
        faults: what is wrong with rows that can't be used.
        jobs: one row of each verifier that gave a verdict here.
    """

    lines: list[bytes] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    pending: list[Pending] = field(default_factory=list)
    tally: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    jobs: dict[str, Job] = field(default_factory=dict)


def work(task: Task) -> Done:
    """Reads a chunk, gives the verdicts that cost little, and names the rows that cost more."""
    done = Done()
    for view in views(task.chunk, task.fields, _NAMES, as_lines=task.as_lines):
        started = time.perf_counter()
        found = _quick(view, task)
        if isinstance(found, Job):
            done.pending.append(Pending(len(done.lines) + len(done.rows), view, found))
            (done.lines if task.as_lines else done.rows).append(b"" if task.as_lines else {})  # type: ignore[arg-type]
            continue
        verdict, job = found
        if job is not None:
            done.jobs.setdefault(job.verifier, job)
        _add(done, view, columns(verdict, time.perf_counter() - started), as_lines=task.as_lines)
    return done


def _add(done: Done, view: View, added: Row, *, as_lines: bool) -> None:
    count(done, view, added)
    if as_lines:
        done.lines.append(joined(view, added))
    else:
        done.rows.append(view.kept | added)


def count(done: Done, view: View, added: Row) -> None:
    """Notes a verdict in the chunk's tally."""
    done.tally[TRUNCATED if added["verdict_detail"] == TRUNCATED else added["verdict"]] += 1
    if view.fault is not None:
        done.faults.append(view.fault)


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


def _quick(view: View, task: Task) -> tuple[Verdict, Job | None] | Job:
    """The verdict where it is quick, with the job if a verifier gave it; else the job."""
    if view.fault is not None:
        return Verdict(ERROR, detail=view.fault), None
    job = job_of(view.row, task)
    if isinstance(job, Verdict):
        return job, None
    try:
        verifier = verifier_for(job.verifier, task.custom)
        verdict = verifier.quick(job.problem, job.text)
    except RecipeError as error:
        return Verdict(ERROR, detail=error.what), None
    except Exception as error:  # noqa: BLE001 (a fault boundary: a verifier's error must not look like a verdict)
        return Verdict(ERROR, detail=f"{type(error).__name__}: {str(error)[:200]}"), job
    return (verdict, job) if verdict is not None else job


def job_of(row: Row, task: Task) -> Job | Verdict:
    """What is to be judged, or the verdict of a row that can't be or needn't be."""
    name = row.get("verifier") or row.get("domain") or task.domain
    response = response_text(row.get("response"))
    if not isinstance(name, str):
        return Verdict(ERROR, detail="no_domain")
    if response is None:
        return Verdict(ERROR, detail="no_response")
    problem = problem_of(row, task)
    if isinstance(problem, str):
        return Verdict(ERROR, detail=problem)
    if row.get("finish_reason") in ("prompt_too_long", "failed"):
        return Verdict(ERROR, detail=row["finish_reason"])
    think = split_think(response)
    if row.get("finish_reason") == "length" or not think.closed:
        return Verdict(UNPARSED, detail=TRUNCATED)
    return Job(name, task.custom.get(name), problem, think.rest)


def problem_of(row: Row, task: Task) -> Problem | str:
    """The problem of a row, or the reason why it can't be judged. A missing prompt is not one."""
    domain = row.get("domain") or task.domain or row["verifier"]
    prompt: tuple[str | None, str] | str = (None, "")
    if row.get("prompt"):
        prompt = split_prompt(row["prompt"])
    if isinstance(prompt, str):
        return prompt
    info = {} if _INFO.isdisjoint(row) else _info(row)
    answer = row.get("answer")
    if answer is not None and not isinstance(answer, str):
        answer = _answer_text(answer)
    if not row.get("verifier") and not checkable(domain, answer, info):
        return "no_gold"
    return Problem(domain, prompt[1], answer, info)


def _info(row: Row) -> Row:
    """What the domain needs besides, in columns of its own or in `info`, an object or one in JSON."""
    found = {name: row[name] for name in INFO_FIELDS if row.get(name) is not None}
    value = row.get("info")
    if isinstance(value, str):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            return found
    return found | value if isinstance(value, dict) else found


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
    verifier_for(str(name), custom)
    needed = ("response", *(() if row.get("verifier") else _NEEDED.get(str(name), ())))
    missing = [key for key in needed if key not in row and not _stands_in(key, row)]
    if missing:
        raise InputError(
            f"The field{'s' * (len(missing) > 1)} {', '.join(map(repr, missing))} {'are' if len(missing) > 1 else 'is'}"
            " missing.",
            where=where,
            remedy=f"{have}; say which is which: --map {','.join(f'{key}=FIELD' for key in missing)}",
        )


def _stands_in(key: str, row: Row) -> bool:
    """Whether another field does the work of a missing one."""
    others: Sequence[str] = {"tests": ("test", "info"), "info": ("task",)}.get(key, ("info",))
    return key not in ("response", "answer") and any(other in row for other in others)
