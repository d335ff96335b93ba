"""Stated outputs run in the real jail."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from proofmill.data.errors import VerifierError
from proofmill.filters.claims.check import check
from proofmill.filters.claims.model import NOT_CHECKABLE, REFUTED, VERIFIED
from proofmill.filters.claims.whole_trace import Evaluator, jail_evaluator
from proofmill.filters.domains.code import CodeVerifier
from proofmill.filters.sandbox.jail import Jail
from proofmill.filters.verdicts import Problem

TRACE = """```python
def f(x):
    if x < 0:
        raise ValueError(x)
    return [x, x * 5]

f(3)  # [3, 15]
f(4)  # [4, 21]
f(-1)  # [0]
```"""


@pytest.fixture(scope="module")
def evaluate() -> Iterator[Evaluator]:
    with Jail(1) as jail:
        verifier = CodeVerifier(jail)
        try:
            verifier.ready()
        except VerifierError as error:
            pytest.skip(f"no jail on this machine: {error.what}")
        yield jail_evaluator(verifier)


def test_outputs_are_run_and_a_crash_is_no_refutation(evaluate: Evaluator) -> None:
    claims = check(Problem("code", ""), TRACE, evaluate=evaluate)
    assert [claim.status for claim in claims] == [VERIFIED, REFUTED, NOT_CHECKABLE]
