"""One test for every domain: what its judge must never get wrong, whatever it judges."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from proofmill.data.errors import ProofmillError, RecipeError
from proofmill.filters import domains
from proofmill.filters.agreement import can_vote, clusters
from proofmill.filters.domains import DOMAINS, find_domain
from proofmill.filters.rewards import domain_reward, make_combined_reward
from proofmill.filters.verdicts import (
    CORRECT,
    ERROR,
    TIMEOUT,
    UNPARSED,
    VERDICTS,
    WRONG,
    Canary,
    Domain,
    Problem,
    Verdict,
    Voting,
)
from proofmill.filters.verification import VERDICTS as VERDICTS_FILTER
from proofmill.filters.verification import Job, Judge, VerifyOptions
from proofmill.flows.filter_rows import RowOptions, check_first, prepared
from proofmill.generators import prompts
from proofmill.generators.problems.problem import SourceDefaults, problem_row


def verdict(domain: Domain, problem: Problem, text: str) -> Verdict:
    """As the driver asks: the quick answer, else the full one."""
    return domain.quick(problem, text) or domain.verify(problem, text)


@pytest.fixture(scope="module", params=DOMAINS)
def domain(request: pytest.FixtureRequest) -> Domain:
    found = find_domain(str(request.param))
    try:
        found.ready()
    except ProofmillError as error:
        pytest.skip(f"{found.name} can't be judged on this machine: {error.what}")
    return found


@pytest.mark.parametrize("expected", [CORRECT, WRONG, UNPARSED, ERROR])
def test_planted_answers_get_their_verdicts(domain: Domain, expected: str) -> None:
    """Gold passes, corrupted gold fails, garbage is `unparsed`, and bad gold is never the trace's fault."""
    planted = [canary for canary in domain.canaries if canary.expected == expected]
    assert planted
    for canary in planted:
        found = verdict(domain, canary.problem, canary.text)
        assert found.verdict == expected, (canary, found)
        assert domain.verify(canary.problem, canary.text) == found, "the quick verdict is that of `verify`"
        if expected == CORRECT:
            assert found.final_start is not None
            assert 0 <= found.final_start <= len(canary.text)


@pytest.mark.parametrize("garbage", ["", "   \n", "<answer></answer>", "\\boxed{", "\\boxed{}", "```python\n```"])
def test_garbage_is_never_correct(domain: Domain, garbage: str) -> None:
    found = verdict(domain, domain.canaries[0].problem, garbage)
    assert found.verdict in ((UNPARSED,) if not garbage.strip() else (UNPARSED, WRONG))


@pytest.mark.parametrize("size", [20_000, 200_000])
def test_long_and_odd_text_is_judged(domain: Domain, size: int) -> None:
    problem, gold, _ = domain.canaries[0]
    for filler in ("{", "\\boxed{", "```python\n", "\0", "é😀", "1+", "- ", "<answer>", "answer is ", "答案", "[[A]]"):
        found = verdict(domain, problem, filler * (size // len(filler)) + "\n" + gold)
        assert found.verdict in VERDICTS


def test_a_judge_asks_for_what_it_finds(domain: Domain) -> None:
    """A model that does as it is asked must be understood."""
    asked = {"math": "\\boxed{", "choice": "answer is (", "logic": "<answer>", "code": "```python"}
    assert asked.get(domain.name, "") in domain.ask
    assert domain.name in DOMAINS
    assert domain.version


def test_a_planted_problem_has_what_the_domain_needs(domain: Domain) -> None:
    for canary in domain.canaries:
        assert domain.lacks(canary.problem.answer, canary.problem.info) == ()
    assert not domain.needs or domain.lacks(None, {})


def test_the_short_answer_is_correct(domain: Domain) -> None:
    """What a student learns to write instead of the trace would itself be judged correct."""
    for problem, text, expected in domain.canaries:
        if expected == CORRECT:
            short = domain.short_answer(problem.answer, verdict(domain, problem, text).extracted)
            assert short is None or verdict(domain, problem, short).verdict == CORRECT


@pytest.mark.slow
def test_a_reward_is_a_verdict(domain: Domain) -> None:
    canaries = domain.canaries
    expected = [{CORRECT: 1.0, ERROR: None}.get(canary.expected, 0.0) for canary in canaries]
    columns = {
        "answer": [canary.problem.answer for canary in canaries],
        "info": [json.dumps(dict(canary.problem.info)) for canary in canaries],
        "domain": [domain.name] * len(canaries),
    }
    questions = [canary.problem.prompt for canary in canaries]
    texts = [canary.text for canary in canaries]
    assert domain_reward(domain.name)(questions, texts, **columns) == expected
    columns["domain"] = ["another"] * len(canaries)
    assert domain_reward(domain.name)(questions, texts, **columns) == [None] * len(canaries)


def test_endless_code_is_a_timeout_and_not_wrong() -> None:
    code = find_domain("code")
    try:
        code.ready()
    except ProofmillError as error:
        pytest.skip(f"no sandbox on this machine: {error.what}")
    problem = Problem("code", "Double a number.", None, {"tests": ["assert double(2) == 4"], "time_limit_s": 1})
    assert verdict(code, problem, "```python\ndef double(x):\n    while True: pass\n```").verdict == TIMEOUT


# --- a domain that this file brings ---------------------------------------------------------------


def _verify(problem: Problem, text: str) -> Verdict:
    """The colour that comes last, but for a text that never ends."""
    if "forever" in text:
        while True:
            time.sleep(0)
    words = [word for word in text.lower().split() if word in problem.info["palette"]]
    if not words:
        return Verdict(UNPARSED, detail="no_colour")
    return Verdict(
        CORRECT if words[-1] == problem.answer else WRONG, words[-1], final_start=text.lower().rfind(words[-1])
    )


_SKY = Problem("colour", "Which colour has the sky?", "blue", {"palette": ["blue", "red"]})
COLOUR = Domain(
    name="colour",
    version=3,
    verify=_verify,
    ask="End with the name of one colour.",
    needs=("answer", "palette"),
    fields=("palette",),
    gold=lambda text: text.rpartition(":")[2].strip(),
    voting=Voting(key=lambda _, answer: answer.lower()),
    canaries=(Canary(_SKY, "It is blue", CORRECT), Canary(_SKY, "It is red", WRONG), Canary(_SKY, "?", UNPARSED)),
)
ROW = {"domain": "colour", "prompt": "Which?", "answer": "gold: red", "palette": ["red", "green"]}


@pytest.fixture
def scratch(monkeypatch: pytest.MonkeyPatch) -> Iterator[Domain]:
    """The one line of a new domain."""
    monkeypatch.setattr(domains, "DOMAINS", dict(DOMAINS) | {"colour": f"{__name__}:COLOUR"})
    domains.info_fields.cache_clear()
    yield COLOUR
    domains.info_fields.cache_clear()


@pytest.mark.usefixtures("scratch")
def test_a_new_domain_is_one_object_and_one_line() -> None:
    problem = problem_row(ROW, SourceDefaults("math", "s", None))
    assert isinstance(problem, dict)
    assert (problem["answer"], json.loads(problem["info"])) == ("red", {"palette": ["red", "green"]})
    assert problem_row(ROW | {"palette": None}, SourceDefaults("math", "s", None)) == "no_gold"
    unlabelled = problem_row(ROW | {"answer": None}, SourceDefaults("math", "s", None, unlabelled=True))
    assert isinstance(unlabelled, dict)
    style = prompts.PromptStyle(None, {}, {}, {})
    assert prompts.messages(style, problem)[-1]["content"] == "Which?\n\nEnd with the name of one colour."
    check_first("f:1", ROW | {"response": "red"}, VERDICTS_FILTER, RowOptions())
    with pytest.raises(ProofmillError, match="palette"):
        row = {"domain": "colour", "prompt": "?", "answer": "red", "response": "red"}
        check_first("f:1", row, VERDICTS_FILTER, RowOptions())
    read = prepared(ROW | {"answer": "red", "response": "Red"}, VERDICTS_FILTER, RowOptions())
    assert isinstance(read, dict)
    assert verdict(COLOUR, read["problem"], read["response"]).verdict == CORRECT
    assert can_vote("colour")
    assert clusters(read["problem"], ["red", "RED", "green"]) == [0, 0, 1]


CUSTOM = {"colour": f"{__name__}:COLOUR"}


def test_a_domain_of_ones_own_is_the_same_object() -> None:
    assert find_domain("colour", CUSTOM) is COLOUR
    assert can_vote("colour", CUSTOM)
    assert clusters(_SKY, ["red", "RED"], CUSTOM) == [0, 0]
    reward = domain_reward("colour", verifiers=CUSTOM)
    info = [json.dumps({"palette": ["blue", "red"]})] * 3
    texts = ["blue", "red", "<think>blue"]
    assert reward(["?"] * 3, texts, answer=["blue"] * 3, info=info) == [1.0, 0.0, 0.0]
    combined = make_combined_reward(others={"colour": 5.0}, verifiers=CUSTOM)
    assert combined(["?"] * 3, texts, answer=["blue"] * 3, info=info, domain=["colour"] * 3) == [5.0, 0.0, 0.0]


@pytest.mark.slow
def test_a_judge_that_never_ends_is_a_timeout() -> None:
    with Judge(VerifyOptions(workers=1, cpu_seconds=1)) as judge:
        place = CUSTOM["colour"]
        jobs = [Job("colour", place, _SKY, text) for text in ("forever", "blue", "green")]
        assert [found.verdict for found, _ in judge.judge(jobs) if found] == [TIMEOUT, CORRECT, UNPARSED]


class Older:
    """A verifier as it was written before there was `Domain`."""

    version, ask = "7", "Say yes."

    def quick(self, problem: Problem, text: str) -> Verdict | None:  # noqa: ARG002
        return None

    def verify(self, problem: Problem, text: str) -> Verdict:  # noqa: ARG002
        return Verdict(CORRECT if text == "yes" else WRONG, text)


def test_an_object_with_the_right_methods_is_a_domain_too() -> None:
    found = find_domain("older", {"older": f"{__name__}:Older"})
    assert (found.name, found.version, found.ask, found.runs_in, found.needs) == ("older", "7", "Say yes.", "pool", ())
    assert verdict(found, _SKY, "yes").verdict == CORRECT
    assert not can_vote("older", {"older": f"{__name__}:Older"})


@pytest.mark.parametrize("place", ["no.such.module:X", f"{__name__}:Missing", "nowhere", f"{__name__}:ROW"])
def test_what_is_no_verifier_is_refused(place: str) -> None:
    with pytest.raises(RecipeError, match="can't be imported"):
        find_domain("mine", {"mine": place})


def test_an_unknown_name_is_told_with_the_nearest_one() -> None:
    with pytest.raises(RecipeError) as stop:
        find_domain("maths")
    assert "did you mean 'math'?" in str(stop.value.remedy)


def _imports(code: str) -> set[str]:
    program = f"{code}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


HEAVY = {"sympy", "math_verify", "reasoning_gym", "mpmath", "jsonschema", "torch"}


def test_reading_a_recipe_imports_no_verifier() -> None:
    modules = _imports("import proofmill.flows.recipe.schema")
    assert not modules & HEAVY
    assert not [name for name in modules if name.startswith("proofmill.filters.domains.")]
