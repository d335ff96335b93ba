"""A model condenses proven traces: what it writes is proven too, every try has a reason, and none is asked twice."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from proofmill.data.errors import RecipeError
from proofmill.data.versions import find
from proofmill.flows.context import RunRequest, open_run
from proofmill.flows.dry_run import report
from proofmill.flows.recipe import load as recipes
from support.crash import answer_key
from support.endpoints import Endpoint, Reply, serving
from support.samples import CORRECT, replay_recipe, sums, table, write_jsonl

Row = dict[str, Any]
TRIES = {
    "kept": "Adding {a} and {b} gives {sum}. \\boxed{{{sum}}}",
    "wrong": "Adding {a} and {b} gives {off}. \\boxed{{{off}}}",
    "refuted_claim": "First {a} + {b} = {off}, one too many, so \\boxed{{{sum}}}",
    "too_long": CORRECT[1],
    "degenerate": "\\boxed{{{sum}}}",
    "cut": "Adding {a}",
}


class Condenser(Endpoint):
    """Condenses sums, by turns well and badly."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[int] = []

    def reply(self, body: Row) -> Reply:
        said = body["messages"][-1]["content"]
        found = re.search(r"How much is (\d+) \+ (\d+)", said)
        a, b = (int(found[1]), int(found[2])) if found else (1, 1)
        if body["max_tokens"] > 1:  # one token is a look whether the server works
            assert "SOLUTION" in said
            self.asked.append(body["seed"])
        kind = list(TRIES)[answer_key(body) % len(TRIES)]
        text = TRIES[kind].format(a=a, b=b, sum=a + b, off=a + b + 1)
        choice = {"message": {"content": text}, "finish_reason": "length" if kind == "cut" else "stop"}
        return 200, {}, {"choices": [choice], "usage": {"completion_tokens": len(text.split())}}


@pytest.fixture(scope="module")
def server() -> Iterator[Condenser]:
    with serving(Condenser()) as (found,):
        yield found


def recipe(server: Condenser, folder: Path, *forms: str, tries: int = 8, **rewriting: Any) -> Row:
    file = write_jsonl(folder / "samples.jsonl", sums(6, CORRECT[:2]))
    engine = {"kind": "openai", "endpoints": [server.url], "api": "chat", "retries": 0}
    section = {"model": "bundled", "engine": engine, "tries": tries, "max_tokens": 100} | rewriting
    return replay_recipe(file, curriculum={"short_forms": list(forms), "rewriting": section})


def test_each_try_is_proven_or_has_a_reason_and_none_is_asked_twice(
    regenerate: Callable[..., Row], server: Condenser, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    result = regenerate(recipe(server, tmp_path, "sample", "rewritten", "answer"), home)
    found = result["manifest"].rewritings
    assert len(server.asked) == len(set(server.asked)) == found.tries.entered == 6 * 8
    assert {"kept": found.tries.kept, **found.tries.dropped}.keys() == TRIES.keys()
    assert found.tries.entered == found.tries.kept + sum(found.tries.dropped.values())
    assert found.traces == 6 >= found.used > 0
    short = table(home, "sft_stage2")
    assert Counter(short["form"]) == Counter({"rewritten": found.used, "answer": 6 - found.used})
    traces = dict(table(home, "traces").select("id", "response").iter_rows())
    for row in short.filter(pl.col("form") == "rewritten").iter_rows(named=True):
        text = row["completion"][0]["content"]
        assert re.fullmatch(r"Adding \d+ and \d+ gives (\d+)\. \\boxed\{\1\}", text)
        assert f"boxed{{{row['answer']}}}" in text
        assert row["id"].endswith("-rewritten")
        assert row["model"] == found.model
        assert len(text) < len(traces[row["id"].removesuffix("-rewritten")]) / 2
    assert "condensed 6 proven traces" in (find(home, "replayed").folder / "README.md").read_text()

    first = set(server.asked)
    more = recipe(server, tmp_path, "sample", "rewritten", "answer", tries=10)
    with open_run(RunRequest(recipes.parse(more), home)) as run:
        assert any(line.startswith("short solutions") and "at most 60" in line for line in report(run))
    server.asked.clear()
    regenerate(more, home)
    assert len(server.asked) == 6 * 2
    assert first.isdisjoint(server.asked)
    server.asked.clear()
    longer = more | {"curriculum": more["curriculum"] | {"max_short_ratio": 1.0}}
    manifest = regenerate(longer, home)["manifest"]
    assert server.asked == [], "another length is judged, not asked"
    regenerate(more | {"quality": {"max_repetition": 0.1}, "select": {"max_per_problem": 1}}, home)
    assert server.asked == [], "no threshold asks anything"
    assert "too_long" not in manifest.rewritings.tries.dropped


def test_somebody_must_be_there_to_condense(tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "samples.jsonl", sums(1))
    with pytest.raises(RecipeError, match=r"curriculum\.rewriting\.model"):
        recipes.parse(replay_recipe(file, curriculum={"short_forms": ["rewritten"]}))
