"""One test for every domain: what its judge must never get wrong, whatever it judges."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest

from proofmill.data.errors import ProofmillError
from proofmill.filters.domains import verifier_for
from proofmill.filters.verdicts import CORRECT, DOMAINS, ERROR, TIMEOUT, UNPARSED, VERDICTS, WRONG, Problem, Verdict

_CODE = "def double(x):\n    return 2 * x"


def _logic() -> tuple[dict[str, Any], str]:
    from reasoning_gym.factory import create_dataset

    entry = orjson.loads(orjson.dumps(create_dataset("syllogism", size=1, seed=7)[0], default=str))
    return {"task": "syllogism", "entry": entry}, str(entry["answer"])


def _case(domain: str) -> tuple[Problem, str, str, list[str]]:
    """A problem of a domain, a response that gives its gold, one that gives a wrong answer, some garbage."""
    if domain == "math":
        garbage = ["", "   \n", "\\boxed{", "I'd rather not say.", "\\boxed{}"]
        return Problem(domain, "How much is 1/2 + 1/4?", "3/4"), "So \\boxed{0.75}.", "So \\boxed{4/3}.", garbage
    if domain == "choice":
        problem = Problem(domain, "Which is a metal?", "B", {"options": ["neon", "iron", "xenon"]})
        return problem, "The answer is (B).", "The answer is (C).", ["", "Metals shine.", "<answer></answer>"]
    if domain == "instruction":
        problem = Problem(domain, "List some.", None, {"constraints": [{"kind": "length", "unit": "words", "max": 3}]})
        return problem, "iron, tin, lead", "iron and tin and lead", ["", " \n\t"]
    if domain == "logic":
        info, answer = _logic()
        wrong = {"Yes": "No", "No": "Yes"}[answer]
        garbage = ["", "Hard to tell.", "<answer></answer>"]
        return Problem(domain, "?", answer, info), f"<answer>{answer}</answer>", f"<answer>{wrong}</answer>", garbage
    problem = Problem(domain, "Double a number.", None, {"tests": ["assert double(2) == 4", "assert double(-1) == -2"]})
    return problem, f"```python\n{_CODE}\n```", f"```python\n{_CODE.replace('2 *', '3 *')}\n```", ["", "No code today."]


_BAD_GOLD = {
    "math": {"answer": "\\frac{1}{"},
    "choice": {"answer": "Z"},
    "instruction": {"info": {"constraints": [{"kind": "no_such_kind"}]}},
    "logic": {"info": {"task": "no_such_task", "entry": {"answer": "1"}}},
    "code": {"info": {"tests": ["assert ("]}},
}


def verdict(domain: str, problem: Problem, text: str) -> Verdict:
    """As the driver asks: the quick answer, else the full one."""
    verifier = verifier_for(domain)
    return verifier.quick(problem, text) or verifier.verify(problem, text)


@pytest.fixture(scope="module", params=DOMAINS)
def domain(request: pytest.FixtureRequest) -> str:
    name = str(request.param)
    if name == "code":
        try:
            verifier_for(name).ready()  # type: ignore[attr-defined]
        except ProofmillError as error:
            pytest.skip(f"no sandbox on this machine: {error.what}")
    return name


def test_gold_passes(domain: str) -> None:
    problem, gold, _, _ = _case(domain)
    found = verdict(domain, problem, gold)
    assert found.verdict == CORRECT
    assert found.final_start is not None
    assert 0 <= found.final_start <= len(gold)


def test_corrupted_gold_fails(domain: str) -> None:
    problem, _, wrong, _ = _case(domain)
    assert verdict(domain, problem, wrong).verdict == WRONG


def test_garbage_is_unparsed(domain: str) -> None:
    problem, _, _, garbage = _case(domain)
    assert {text: verdict(domain, problem, text).verdict for text in garbage} == dict.fromkeys(garbage, UNPARSED)


def test_a_fault_of_the_data_is_never_wrong(domain: str) -> None:
    problem, gold, wrong, _ = _case(domain)
    broken = replace(problem, **_BAD_GOLD[domain])  # type: ignore[arg-type]
    assert {verdict(domain, broken, text).verdict for text in (gold, wrong)} == {ERROR}


@pytest.mark.parametrize("size", [20_000, 200_000])
def test_long_and_odd_text_is_judged(domain: str, size: int) -> None:
    problem, gold, _, _ = _case(domain)
    for filler in ("{", "\\boxed{", "```python\n", "\0", "é😀", "1+", "- ", "<answer>"):
        found = verdict(domain, problem, filler * (size // len(filler)) + "\n" + gold)
        assert found.verdict in VERDICTS


def test_a_verdict_is_the_same_twice(domain: str) -> None:
    problem, gold, wrong, garbage = _case(domain)
    for text in (gold, wrong, *garbage):
        assert verdict(domain, problem, text) == verdict(domain, problem, text)


def test_a_judge_asks_for_what_it_finds(domain: str) -> None:
    """A model that does as it is asked must be understood."""
    verifier = verifier_for(domain)
    asked = {"math": "\\boxed{", "choice": "answer is (", "logic": "<answer>", "code": "```python", "instruction": ""}
    assert asked[domain] in verifier.ask
    assert verifier.version


def test_endless_code_is_a_timeout_and_not_wrong() -> None:
    try:
        verifier_for("code").ready()  # type: ignore[attr-defined]
    except ProofmillError as error:
        pytest.skip(f"no sandbox on this machine: {error.what}")
    problem, _, _, _ = _case("code")
    quick = replace(problem, info={**problem.info, "time_limit_s": 1})
    assert verdict("code", quick, "```python\ndef double(x):\n    while True: pass\n```").verdict == TIMEOUT
