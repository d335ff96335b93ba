"""Doubts about problems and about verifiers: planted answers, failing shards, suspect gold, tests that can't fail."""

from __future__ import annotations

from dataclasses import replace

import orjson
import pyarrow as pa
import pytest

from proofmill.data.errors import VerifierError
from proofmill.data.schemas import PROBLEMS
from proofmill.data.tables import from_rows
from proofmill.filters import verification
from proofmill.filters.audit import Judged, audit, suspicion, weak_problems
from proofmill.filters.domains import check_canary, find_domain
from proofmill.filters.verdicts import Canary, Verdict
from proofmill.filters.verification import Job, Judge, VerifyOptions

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


def shard(bad: int, good: int) -> tuple[pa.Table, pa.Table]:
    base = {"domain": "math", "verifier": "math", "prompt": "How much?"}
    problems = [base | {"id": "bad", "answer": r"\frac{1}{"}, base | {"id": "good", "answer": "7"}]
    names = ["bad"] * bad + ["good"] * good
    responses = [r"\boxed{\sqrt{3}}"] * len(names)
    traces = {"problem_id": names, "response": responses, "finish_reason": ["stop"] * len(names)}
    return pa.table(traces), from_rows(problems, PROBLEMS)


def test_a_shard_with_too_many_errors_is_not_written() -> None:
    with Judge(VerifyOptions(workers=1)) as judge:
        with pytest.raises(VerifierError, match="6 of 20") as stop:
            judge.verdicts(*shard(6, 14))
        assert "max_error_rate" in stop.value.remedy
        assert judge.verdicts(*shard(3, 17))["verdict"].to_pylist().count("error") == 3
    with Judge(VerifyOptions(workers=1, max_error_rate=0.5)) as tolerant:
        assert tolerant.verdicts(*shard(6, 14)).num_rows == 20


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
    evidence = suspicion([Judged("wrong", "boxed", answer) for answer in answers])
    assert (evidence is not None) == suspect
    if evidence:
        assert "4 of 4" in evidence and "'5'" in evidence


def test_one_correct_sample_clears_the_gold() -> None:
    samples = [Judged("wrong", "boxed", "5")] * 9 + [Judged("correct", "boxed", "6")]
    assert suspicion(samples) is None


def test_a_gold_that_can_not_be_read_is_suspicious() -> None:
    assert "can't be read" in str(suspicion([Judged("error", "bad_gold", None)]))


def test_tests_that_reject_nothing_are_weak() -> None:
    def problem(name: str, tests: list[str]) -> dict[str, object]:
        info = orjson.dumps({"tests": tests, "entry_point": "double"}).decode()
        return {"id": name, "domain": "code", "verifier": "code", "prompt": "Double n.", "answer": None, "info": info}

    solution = "def double(n):\n    return n + n"
    problems = [problem("strong", ["assert double(3) == 6"]), problem("weak", ["assert double(3) == double(3)"])]
    right = {name: [Judged("correct", "block", solution)] for name in ("strong", "weak")}
    weak = weak_problems(problems, right)
    assert weak == {"strong": False, "weak": True}
    rejected = {"weak": [Judged("wrong", "block", "def double(n): return n")]}
    assert weak_problems(problems[1:], rejected) == {"weak": False}
    table = audit(problems, right, weak)
    assert table["weak_tests"].to_pylist() == [False, True]
    assert table["gold_suspect"].to_pylist() == [False, False]
