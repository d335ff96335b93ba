"""Gold answers and tests under suspicion: what the samples of a problem say about the problem itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from proofmill.data.schemas import column
from proofmill.filters.base import ProblemFilter, Row
from proofmill.filters.domains import find_domain
from proofmill.filters.verdicts import CORRECT, ERROR, TIMEOUT, WRONG
from proofmill.filters.verification import VerifyOptions, problem_of

MIN_VOTES = 4  # samples with an answer, below which a majority says nothing
MIN_SHARE = 0.75  # of them that agree on one answer that is not the gold
BAD_GOLD = "bad_gold"


@dataclass(frozen=True, slots=True)
class Judged:
    """What the audit needs of one sample."""

    verdict: str
    detail: str | None
    extracted: str | None


def suspicion(samples: Sequence[Judged]) -> str | None:
    """Why a problem's gold answer is doubtful, in words; None where nothing speaks against it.

    Either the gold can't be read, or no sample was correct and a confident majority agrees on another answer.
    """
    bad = next((s.detail for s in samples if s.verdict == ERROR and (s.detail or "").startswith(BAD_GOLD)), None)
    from proofmill.filters.symbolic.equality import canonical  # a recipe is read without any verifier

    if bad:
        return f"the gold answer can't be read: {bad}"
    if any(sample.verdict == CORRECT for sample in samples):
        return None
    answers = [sample.extracted.strip() for sample in samples if sample.verdict == WRONG and sample.extracted]
    votes = Counter(canonical(answer) or answer for answer in answers)
    if not votes:
        return None
    (key, count), voters = votes.most_common(1)[0], len(answers)
    if voters < MIN_VOTES or count / voters < MIN_SHARE:
        return None
    shown = next(answer for answer in answers if (canonical(answer) or answer) == key)
    return f"{count} of {voters} answers agree on {shown!r}"


def annotate(
    problems: Sequence[Row], traces: Mapping[str, Sequence[Row]], _: VerifyOptions, __: Path | None = None
) -> list[Row]:
    """What the samples of each problem say about it.

    Args:
        problems: rows of schema PROBLEMS.
        traces: by problem id: `verdict`, `verdict_detail` and `extracted` of its samples.
    """
    judged = {
        name: [Judged(row["verdict"], row["verdict_detail"], row["extracted"]) for row in rows]
        for name, rows in traces.items()
    }
    weak = weak_problems(problems, judged)
    rows = []
    for problem in problems:
        evidence = suspicion(judged.get(problem["id"], ()))
        suspect = {"gold_suspect": evidence is not None, "gold_evidence": evidence}
        rows.append(suspect | {"weak_tests": weak.get(problem["id"])})
    return rows


def weak_problems(problems: Iterable[Mapping[str, Any]], samples: Mapping[str, Sequence[Judged]]) -> dict[str, bool]:
    """By id of the problems that have tests: whether these tests reject no sample and no mutant of a solution.

    Runs mutants of a solution in the jail; the solution is one that came with the problem, or a correct sample.
    """
    from proofmill.filters.sandbox.mutants import weak_tests  # as above

    found = {}
    for row in problems:
        if row["verifier"] != "code":
            continue
        problem = problem_of(row)
        judged = samples.get(row["id"], ())
        rejected = sum(sample.verdict in (WRONG, TIMEOUT) for sample in judged)
        solution = next((s.extracted for s in judged if s.verdict == CORRECT), row["answer"])
        found[row["id"]] = weak_tests(find_domain("code"), problem, solution, rejected)
    return found


AUDIT = ProblemFilter(
    name="audit",
    version=1,
    section="verify",
    options=VerifyOptions,
    reads=("problem", "verdict", "verdict_detail", "extracted"),
    adds=pa.schema(
        [
            column("gold_suspect", pa.bool_(), "whether the samples speak against the gold answer"),
            column("gold_evidence", pa.string(), "why, in words"),
            column("weak_tests", pa.bool_(), "whether its tests reject nothing; null where the domain has no tests"),
        ]
    ),
    annotate=annotate,
    libraries=("mpmath", "python"),
)
