"""The evaluator of stated outputs that runs their code in the jail."""

from __future__ import annotations

from proofmill.filters import verdicts
from proofmill.filters.claims.outputs import Evaluator
from proofmill.filters.domains.code import CodeVerifier
from proofmill.filters.verdicts import Problem


def jail_evaluator(verifier: CodeVerifier | None = None) -> Evaluator:
    """An evaluator for `check(..., evaluate=…)`; blocks while the jail works.

    Args:
        verifier: the judge of code whose jail is used; default one on the process-wide jail.

    The evaluator raises VerifierError where a layer of the jail is missing.
    """
    judge = verifier or CodeVerifier()

    def evaluate(code: str, expression: str, literal: str) -> bool | None:
        # The second test holds whenever the call returns at all: so a crash is not taken for a wrong value.
        tests = [f"assert {expression} == {literal}", f"assert isinstance([{expression}], list)"]
        problem = Problem("code", "", info={"tests": tests})
        verdict = judge.verify(problem, f"```python\n{code}\n```")
        if verdict.verdict == verdicts.CORRECT:
            return True
        return False if verdict.verdict == verdicts.WRONG and verdict.tests_passed == 1 else None

    return evaluate
