"""A verdict is about the trace alone: what the verifier, the data or the machine does is told apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from proofmill.data.errors import ProofmillError, RecipeError
from proofmill.data.schemas import PROBLEMS
from proofmill.data.tables import from_rows
from proofmill.filters.reasoning import split_final
from proofmill.filters.runner import FilterWorkers
from proofmill.filters.verification import VERDICTS, VerifyOptions, problem_of

Row = dict[str, Any]
Judge = Callable[[list[Row]], pa.Table]

_CUSTOM = """
import os, time
from proofmill.filters.verdicts import CORRECT, WRONG, Verdict

class Check:
    version = "1"
    ask = "Say it."

    def quick(self, problem, text):
        if "quickly" in text:
            raise RuntimeError("quick broke")
        return None

    def verify(self, problem, text):
        if "spin" in text:
            while True: pass
        if "raise" in text:
            raise KeyError("verify broke")
        if "surrogate" in text:
            return Verdict(WRONG, "half \\ud800", "a \\udfff pair")
        if "deep" in text:
            return self.verify(problem, text)
        if "memory" in text:
            return Verdict(CORRECT, str(len([bytearray(10_000_000) for _ in range(1000)])))
        if "die" in text:
            os._exit(9)
        return Verdict(CORRECT if problem.answer in text else WRONG, text.strip(), "mine", final_start=0)

INSTANCE = Check()
"""


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judge]:
    folder = tmp_path_factory.mktemp("custom")
    (folder / "verifiers_under_test.py").write_text(_CUSTOM)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        verifiers = {"mine": "verifiers_under_test:Check", "instance": "verifiers_under_test:INSTANCE"}
        with ExitStack() as stack:
            yield judging(stack, cpu_seconds=1.0, memory_mb=512, workers=2, verifiers=verifiers)


def judging(stack: ExitStack, **options: Any) -> Judge:
    """Judges rows as a run does."""
    asked = VerifyOptions(**options)
    workers = FilterWorkers(asked, stack)
    return lambda rows: workers.annotate(VERDICTS.name, asked, rows).table


def rows(responses: list[str], domain: str, finish: str | None = "stop", **problem: Any) -> list[Row]:
    row = {"id": "p", "domain": domain, "verifier": domain, "prompt": "1 + 1?", "answer": "2"} | problem
    asked = problem_of(from_rows([row], PROBLEMS).to_pylist()[0])
    return [{"problem": asked, "verifier": domain, "response": text, "finish_reason": finish} for text in responses]


def verdicts(judge: Judge, responses: list[str], domain: str = "mine", **more: Any) -> list[tuple[str, str | None]]:
    table = judge(rows(responses, domain, **more))
    assert table.schema == VERDICTS.schema
    return list(zip(table["verdict"].to_pylist(), table["verdict_detail"].to_pylist(), strict=True))


@pytest.mark.parametrize("domain", ["mine", "math"])
@pytest.mark.parametrize(
    ("response", "finish"),
    [
        ("The answer is \\boxed{2}.", "length"),
        ("<think>It is \\boxed{2}.", "stop"),
        ("<think>1</think> 2 <think>again \\boxed{2}", "stop"),
        ("", "length"),
    ],
)
def test_a_cut_sample_is_unparsed_whatever_it_says(judge: Judge, domain: str, response: str, finish: str) -> None:
    assert verdicts(judge, [response], domain, finish=finish) == [("unparsed", "truncated")]


def test_the_answer_is_looked_for_after_the_reasoning_only(judge: Judge) -> None:
    inside, outside = "<think>\\boxed{2}</think> I don't know.", "<think>\\boxed{3}</think> So \\boxed{2}."
    (hidden, _), (told, _) = verdicts(judge, [inside, outside], "math")
    assert (hidden, told) == ("unparsed", "correct")


@pytest.mark.parametrize("finish", ["prompt_too_long", "failed", "content_filter"])
def test_what_the_engine_refused_is_no_fault_of_the_trace(judge: Judge, finish: str) -> None:
    assert verdicts(judge, ["2"], finish=finish) == [("error", finish)]


@pytest.mark.parametrize("domain", ["mine", "instance"])
def test_a_users_own_verifier_judges(judge: Judge, domain: str) -> None:
    assert verdicts(judge, ["it is 2", "it is 3"], domain) == [("correct", "mine"), ("wrong", "mine")]


def test_offsets_count_from_the_start_of_the_response(judge: Judge) -> None:
    response = "<think>long</think>\nit is 2"
    (start,) = judge(rows([response], "mine"))["final_start"].to_pylist()
    assert response[start:] == "\nit is 2"


def test_a_verifier_that_raises_is_an_error(judge: Judge) -> None:
    found = verdicts(judge, ["please raise", "quickly", "2"])
    assert [verdict for verdict, _ in found] == ["error", "error", "correct"]
    assert "KeyError" in str(found[0][1])
    assert "quick broke" in str(found[1][1])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("hostile", "verdict"), [("spin", "timeout"), ("memory", "timeout"), ("deep", "timeout"), ("die", "error")]
)
def test_a_hostile_row_costs_only_itself(judge: Judge, hostile: str, verdict: str) -> None:
    responses = ["2", "3"] * 20
    responses[17] = hostile
    found = [verdict for verdict, _ in verdicts(judge, responses)]
    expected = ["correct", "wrong"] * 20
    expected[17] = verdict
    assert found == expected


def test_text_that_no_table_can_hold_is_escaped(judge: Judge) -> None:
    assert verdicts(judge, ["a surrogate"]) == [("wrong", "a \\udfff pair")]


def test_no_rows_no_verdicts(judge: Judge) -> None:
    assert verdicts(judge, []) == []


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("no_such_module:Check", "can't be imported"),
        ("verifiers_under_test:Nothing", "can't be imported"),
        ("verifiers_under_test", "can't be imported"),
    ],
)
@pytest.mark.usefixtures("judge")  # which puts the module on the path
def test_a_verifier_that_is_not_there_stops_the_run(place: str, says: str) -> None:
    with pytest.raises(ProofmillError, match=says) as caught, ExitStack() as stack:
        judging(stack, workers=1, verifiers={"own": place})(rows(["2"], "own"))
    assert place in caught.value.what
    assert "package.module:name" in caught.value.remedy


def test_an_unknown_domain_names_the_nearest(judge: Judge) -> None:
    with pytest.raises(RecipeError, match="maths") as caught:
        verdicts(judge, ["2"], "maths")
    assert "did you mean 'math'" in caught.value.remedy


@pytest.mark.parametrize("info", [None, "{}"])
def test_problems_need_no_info(judge: Judge, info: str | None) -> None:
    assert verdicts(judge, ["2"], info=info) == [("correct", "mine")]


@pytest.mark.parametrize(
    ("response", "start", "reasoning", "final"),
    [
        ("<think>\nwhy\n</think>\n\nso 2", 24, "why", "so 2"),
        ("<think></think>so 2", 15, "", "so 2"),
        ("<think>\n\n</think>\n\nwhy. So 2.", 24, "why.", "So 2."),
        ("why. So 2.", 5, "why.", "So 2."),
        ("why and nothing", None, "why and nothing", ""),
        ("So 2.", 0, "", "So 2."),
        ("<think>never closed", None, "never closed", ""),
    ],
)
def test_reasoning_and_final_part(response: str, start: int | None, reasoning: str, final: str) -> None:
    assert split_final(response, start) == (reasoning, final)


def test_the_judge_leaves_nothing_behind(tmp_path: Path) -> None:
    import psutil

    before = {child.pid for child in psutil.Process().children(recursive=True)}
    with ExitStack() as stack:
        judging(stack, workers=1)(rows(["\\boxed{\\sqrt{4}}"], "math"))
        assert {child.pid for child in psutil.Process().children(recursive=True)} - before
    assert not {child.pid for child in psutil.Process().children(recursive=True)} - before
