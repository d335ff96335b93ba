"""Doubts about problems and about verifiers: planted answers, failing shards, suspect gold, tests that can't fail."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import orjson
import pyarrow as pa
import pytest

from proofmill.data.errors import VerifierError
from proofmill.data.schemas import PROBLEMS
from proofmill.data.tables import from_rows
from proofmill.filters import verification
from proofmill.filters.audit import AUDIT, JudgedSample, annotate, suspicion, weak_problems
from proofmill.filters.domains import check_canary, find_domain
from proofmill.filters.runner import FilterWorkers
from proofmill.filters.verdicts import Canary, Verdict
from proofmill.filters.verification import VERDICTS, Job, Judge, VerifyOptions, check_health, problem_of

MATH = find_domain("math")


def test_a_misjudged_canary_stops_before_any_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = MATH.canaries[0].problem
    impossible = Canary(problem, r"So it is \boxed{43}.", "correct")
    monkeypatch.setattr(verification, "find_domain", lambda *_: replace(MATH, canaries=(impossible,)))
    with Judge(VerifyOptions(workers=1)) as judge, pytest.raises(VerifierError, match="planted"):
        judge.judge([Job("math", None, problem, "The answer is 42.")])


@pytest.mark.parametrize("found", [Verdict("error", detail="broken"), None])
def test_a_canary_that_got_no_verdict_counts_as_misjudged(found: Verdict | None) -> None:
    with pytest.raises(VerifierError):
        check_canary("math", MATH.canaries[0], found)


def shard(bad: int, good: int) -> list[dict[str, Any]]:
    base = {"domain": "math", "verifier": "math", "prompt": "How much?"}
    rows = [base | {"id": "bad", "answer": r"\frac{1}{"}, base | {"id": "good", "answer": "7"}]
    unreadable, readable = (problem_of(row) for row in from_rows(rows, PROBLEMS).to_pylist())
    trace = {"verifier": "math", "response": r"\boxed{\sqrt{3}}", "finish_reason": "stop"}
    return [trace | {"problem": problem} for problem in [unreadable] * bad + [readable] * good]


def verdicts(rows: list[dict[str, Any]], **options: Any) -> pa.Table:
    """As a run judges a shard, and looks at it before it is written."""
    asked = VerifyOptions(workers=1, **options)
    with ExitStack() as stack:
        table = FilterWorkers(asked, stack).annotate(VERDICTS.name, asked, rows).table
    assert VERDICTS.check is check_health
    check_health(table, asked)
    return table


def test_a_shard_with_too_many_errors_is_not_written() -> None:
    with pytest.raises(VerifierError, match="6 of 20") as stop:
        verdicts(shard(6, 14))
    assert "max_error_rate" in stop.value.remedy
    assert verdicts(shard(3, 17))["verdict"].to_pylist().count("error") == 3
    assert verdicts(shard(6, 14), max_error_rate=0.5).num_rows == 20


@pytest.mark.parametrize(
    ("answers", "suspect"),
    [
        (["5", "5", "5", "5.0"], True),  # equal answers are one answer
        (["5", "5", "5"], False),  # too few votes
        (["5", "5", "6", "7"], False),  # no confident majority
        ([], False),
    ],
)
def test_a_confident_majority_against_the_gold_is_suspicious(answers: list[str], suspect: bool) -> None:
    evidence = suspicion([JudgedSample("wrong", "boxed", answer) for answer in answers])
    assert (evidence is not None) == suspect
    if evidence:
        assert "4 of 4" in evidence and "'5'" in evidence


def test_one_correct_sample_clears_the_gold() -> None:
    samples = [JudgedSample("wrong", "boxed", "5")] * 9 + [JudgedSample("correct", "boxed", "6")]
    assert suspicion(samples) is None


def test_a_gold_that_can_not_be_read_is_suspicious() -> None:
    assert "can't be read" in str(suspicion([JudgedSample("error", "bad_gold", None)]))


def test_tests_that_reject_nothing_are_weak() -> None:
    def problem(name: str, tests: list[str]) -> dict[str, object]:
        info = orjson.dumps({"tests": tests, "entry_point": "double"}).decode()
        return {"id": name, "domain": "code", "verifier": "code", "prompt": "Double n.", "answer": None, "info": info}

    solution = "def double(n):\n    return n + n"
    problems = [problem("strong", ["assert double(3) == 6"]), problem("weak", ["assert double(3) == double(3)"])]
    right = {name: [JudgedSample("correct", "block", solution)] for name in ("strong", "weak")}
    weak = weak_problems(problems, right)
    assert weak == {"strong": False, "weak": True}
    rejected = {"weak": [JudgedSample("wrong", "block", "def double(n): return n")]}
    assert weak_problems(problems[1:], rejected) == {"weak": False}
    traces = {
        name: [{"verdict": one.verdict, "verdict_detail": one.detail, "extracted": one.extracted} for one in samples]
        for name, samples in right.items()
    }
    table = from_rows(annotate(problems, traces, VerifyOptions()), AUDIT.schema)
    assert table["weak_tests"].to_pylist() == [False, True]
    assert table["gold_suspect"].to_pylist() == [False, False]
