"""A model judges where rules end: it is asked about nothing else, tried first, and named wherever its verdict goes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from proofmill.data.errors import VerifierError
from proofmill.data.versions import find
from proofmill.filters.verdicts import CORRECT, UNPARSED, WRONG
from support import crash
from support.samples import replay_recipe, table, write_jsonl

pytestmark = pytest.mark.slow
Row = dict[str, Any]
GOLD = "the Netherlands"
SAME = {"the Dutch team", "It was the Dutch team.", "They never meet, being parallel."}
"""What the server calls the same as any gold answer, in either order."""


@pytest.fixture
def server() -> Iterator[Any]:
    """An endpoint that calls the answers of `same` right, and `moody` ones by their place; it keeps what it heard."""
    with crash.sum_server() as found:
        found.same, found.moody, found.asked = set(SAME), set(), []
        otherwise = found.answer

        def answer(body: Row) -> Row:
            if "structured_outputs" not in body:  # is the server there?
                return dict(otherwise(body))
            said = body["messages"][-1]["content"]
            first, second = re.findall(r"(?:FIRST|SECOND) ANSWER\n(.+)\nEND OF", said)
            found.asked.append((first, second))
            same = bool({first, second} & found.same) or first in found.moody
            message = {"content": json.dumps({"same": same})}
            return {"choices": [{"message": message, "finish_reason": "stop"}], "usage": {"completion_tokens": 3}}

        found.answer = answer
        yield found


def recipe(server: Any, folder: Path, judge: bool = True) -> Row:
    answers = ["the Netherlands", "the Dutch team", "Belgium of course", "Belgium or so", "42"]
    words = [("Which country won the final?", GOLD, answer) for answer in answers]
    numbers = [("How much is 3 + 4?", "7", answer) for answer in ("7", "8", "eight apples")]
    rows = [
        {"prompt": prompt, "answer": gold, "domain": "math", "license": "mit"}
        | {"response": f"I thought about it at length. So the answer is \\boxed{{{answer}}}."}
        for prompt, gold, answer in (*words, *numbers)
    ]
    engine = {"kind": "openai", "endpoints": [server.url], "api": "chat", "retries": 0}
    options: Row = {"judge": {"model": "bundled", "engine": engine}} if judge else {}
    return replay_recipe(write_jsonl(folder / "samples.jsonl", rows), verify={"workers": 1, **options})


def verdicts(home: Path) -> dict[str, tuple[str, str]]:
    traces = table(home, "traces").iter_rows(named=True)
    return {trace["extracted"]: (trace["verdict"], trace["verdict_detail"]) for trace in traces}


def test_rows_without_a_proof_are_judged_in_both_orders(
    regenerate: Callable[..., Row], server: Any, tmp_path: Path
) -> None:
    server.moody = {"Belgium or so"}
    result = regenerate(recipe(server, tmp_path), tmp_path / "home")
    found = verdicts(tmp_path / "home")
    assert found["the Dutch team"] == (CORRECT, "model_judge")
    assert found["Belgium of course"] == (WRONG, "model_judge")
    assert found["Belgium or so"] == (UNPARSED, "model_judge_disagrees")
    assert found["the Netherlands"][0] == CORRECT, "proven by a rule"
    assert found["7"][0] == CORRECT
    assert found["8"][0] == found["eight apples"][0] == WRONG, "disproven by a rule"
    about = [pair for pair in server.asked if GOLD in pair and "Belgium" not in pair]
    assert ("the Dutch team", GOLD) in about
    assert (GOLD, "the Dutch team") in about
    assert not any("7" in pair or "the Netherlands" == pair[0] == pair[1] for pair in server.asked)
    proven_by = table(tmp_path / "home", "sft_stage2")["verifier"].unique().sort().to_list()
    assert proven_by == ["math", "math:model_judge"], "such a row is told apart wherever it goes"
    version = find(tmp_path / "home", "replayed")
    judge = json.loads((version.folder / "manifest.json").read_text())["answer_judge"]
    assert judge["counts"] == {CORRECT: 1, WRONG: 2}, "the number for words as well"
    assert judge["share"] == pytest.approx(3 / 8)
    assert "judged the answers that rules could not decide" in (version.folder / "README.md").read_text()
    server.asked.clear()
    assert result["new"]
    assert not regenerate(recipe(server, tmp_path), tmp_path / "home")["new"]
    assert server.asked == []


def test_a_judge_that_fails_the_planted_pairs_is_refused(
    regenerate: Callable[..., Row], server: Any, tmp_path: Path
) -> None:
    server.same |= {"a hyperbola"}
    with pytest.raises(VerifierError, match="planted wrong answer right: 'a hyperbola'") as refused:
        regenerate(recipe(server, tmp_path), tmp_path / "home")
    assert refused.value.where == "recipe key verify.judge"
    assert not list((tmp_path / "home" / "datasets").glob("*/v*")), "nothing is published"
    server.same = set()
    with pytest.raises(VerifierError, match="called no planted right answer right"):
        regenerate(recipe(server, tmp_path), tmp_path / "other")
    result = regenerate(recipe(server, tmp_path, judge=False), tmp_path / "home")
    assert result["new"], "without it the run goes on with what was judged"
    assert verdicts(tmp_path / "home")["the Dutch team"][0] == WRONG
