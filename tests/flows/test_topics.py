"""A model names topics of solved problems, once; they are a column, and `select.mix` balances by them."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from proofmill.data.errors import RecipeError
from proofmill.flows.recipe import load as recipes
from support.crash import sum_server
from support.samples import CORRECT, WRONG, replay_recipe, sums, table, write_jsonl

Row = dict[str, Any]


def test_topics_are_a_column_and_a_key_to_balance_by(regenerate: Callable[..., Row], tmp_path: Path) -> None:
    rows = [*sums(8, CORRECT[:2]), {**sums(1, [WRONG])[0], "prompt": "How much is 90 + 1?", "answer": "91"}]
    asked: list[int] = []
    with sum_server() as server:
        otherwise = server.answer

        def answer(body: Row) -> Row:
            if "topic" not in json.dumps(body.get("structured_outputs", {})):  # is the server there?
                return dict(otherwise(body))
            (first,) = re.findall(r"How much is (\d+) ", body["messages"][-1]["content"])
            asked.append(int(first))
            text = (
                "a riddle" if first == "11" else json.dumps({"topic": "small sums" if int(first) < 20 else "big sums"})
            )
            return {
                "choices": [{"message": {"content": text}, "finish_reason": "stop"}],
                "usage": {"completion_tokens": 3},
            }

        server.answer = answer  # type: ignore[method-assign]
        engine = {"kind": "openai", "endpoints": [server.url], "api": "chat", "retries": 0}
        topics = {"labels": ["small sums", "big sums"], "model": "bundled", "engine": engine}
        recipe = replay_recipe(
            write_jsonl(tmp_path / "samples.jsonl", rows),
            problems={"topics": topics},
            select={"mix": {"small sums": 0.5, "big sums": 0.5}, "mix_by": "topic"},
        )
        manifest = regenerate(recipe, tmp_path / "home")["manifest"]
        again = regenerate(recipe | {"select": {}}, tmp_path / "home")["manifest"]
    assert sorted(asked) == [11 + 3 * n for n in range(8)], "what nobody solved is not asked about, and nothing twice"
    assert manifest.topics.counts == {"big sums": 5, "not_named": 1, "small sums": 2}
    named = dict(table(tmp_path / "home", "problems").select("id", "topic").iter_rows())
    assert Counter(named.values()) == {"big sums": 5, "small sums": 2, None: 2}
    kept = table(tmp_path / "home", "sft_stage1", "replayed@v1")["problem_id"].to_list()
    assert Counter(named[problem] for problem in kept) == {"small sums": 4, "big sums": 4}
    assert manifest.selection.dropped["capped_mix"] == 6 + 2, "those without a topic have no share here"
    assert "capped_mix" not in again.selection.dropped


@pytest.mark.parametrize(
    ("sections", "told"),
    [
        ({"select": {"mix": {"algebra": 1.0}, "mix_by": "topic"}}, "problems.topics.labels"),
        ({"problems": {"topics": {"labels": ["a", "b"]}}}, r"problems\.topics\.model"),
        ({"problems": {"topics": {"labels": ["a", "other"], "model": "bundled"}}}, "stands for none"),
    ],
)
def test_topics_that_can_not_be_are_refused(tmp_path: Path, sections: Row, told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        recipes.parse(replay_recipe(tmp_path / "samples.jsonl", **sections))
