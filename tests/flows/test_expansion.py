"""New problems from seeds: written, looked at, judged, sampled; every text has a reason, and a kill loses none."""

from __future__ import annotations

import io
import json
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from rich.console import Console

from proofmill.data.errors import RecipeError, UsageError
from proofmill.data.versions import find
from proofmill.filters import new_problems
from proofmill.filters.new_problems import EXPANSION_REASONS
from proofmill.flows import dry_run
from proofmill.flows.commands.show import show_dropped, show_version
from proofmill.flows.context import RunRequest, open_run
from proofmill.flows.recipe import load as recipes
from proofmill.generators.problems import operators
from support import crash
from support.endpoints import serving
from support.samples import CORRECT, WRONG, table, write_jsonl

Row = dict[str, Any]
Run = Callable[..., Row]
SEED = "A farmer has {a} hens and buys {b} more on the market. How many hens does the farmer have now?"
THINGS = ("coins", "stamps", "shells", "apples", "books", "nails", "marbles", "pencils", "bottles", "ribbons")
PLACES = ("shed", "drawer", "library", "cellar", "garden", "school", "kitchen", "harbour", "museum", "attic")
MODULES = ("transformers.models.auto.tokenization_auto",)
BAD = {
    "malformed": ("Sure! Here is one about a boat.", "stop"),
    "cut": ('{"problem": "On and on and on and on and on', "length"),
    "not_a_problem": (json.dumps({"problem": "There are 3 cats. The answer is 3. How many cats are there?"}), "stop"),
}


class Writer(crash.SumServer):
    """Writes new problems, judges them and solves them; what it answers is a function of the request alone."""

    def __init__(self) -> None:
        super().__init__((*CORRECT, WRONG))
        self.judges = True
        self.names_none = "-"  # text of seeds whose concepts it does not name

    def answer(self, body: Row) -> Row:
        said = body["messages"][-1]["content"]
        schema = (body.get("structured_outputs") or {}).get("json", {})
        asked = schema.get("properties") or dict.fromkeys(re.findall(r'whose keys? "(\w+)"', said))
        if not asked or not {"problem", "concepts", "sufficient", "missing"} & asked.keys():
            return super().answer(body)
        self._count(body)
        key = crash.answer_key(body)
        text, finish = self._json(asked, said, key), "stop"
        if "problem" in asked and key % 10 < 5:
            shown = re.search(r"PROBLEM\n(.+)\nEND", said, re.DOTALL)
            seed = json.dumps({"problem": shown[1] if shown else ""})
            text, finish = {**dict(enumerate(BAD.values())), 3: (seed, "stop")}.get(key % 10, (text, finish))
        if "concepts" in asked and self.names_none in said:
            text = "I see none."
        if not schema and text.startswith("{"):
            text = f"Here it is.\n```json\n{text}\n```"
        choice = {"message": {"content": text}, "finish_reason": finish}
        return {"choices": [choice], "usage": {"completion_tokens": min(len(text.split()), body["max_tokens"])}}

    def _json(self, asked: Row, said: str, key: int) -> str:
        if "problem" in asked:
            thing, place = THINGS[key // 10 % 10], PLACES[key // 100 % 10]
            return json.dumps(
                {
                    "problem": f"In the {place} lie {key // 7 % 80 + 2} {thing}; somebody brings {key // 11 % 90 + 2} "
                    f"{thing} to the {place} before noon. How many {thing} lie in the {place} in the end?"
                }
            )
        if "concepts" in asked:
            return json.dumps({"concepts": ["addition", f"concept {key % 5}"]})
        fine = not self.judges or "cellar" not in said
        return json.dumps({"sufficient": fine, "consistent": True} if "sufficient" in asked else
                          {"missing": not fine, "contradiction": "attic" in said})  # fmt: skip


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    with serving(Writer()) as (found,):
        yield found


def recipe(server: Any, folder: Path, **expand: Any) -> Row:
    seeds = [{"prompt": SEED.format(a=11 + n, b=5 + n), "answer": str(16 + 2 * n), "license": "mit"} for n in range(6)]
    engine = {"kind": "openai", "endpoints": [server.url], "api": "chat", "retries": 0}
    return {
        "name": "grown",
        "problems": {
            "sources": [{"kind": "file", "path": str(write_jsonl(folder / "seeds.jsonl", seeds))}],
            "expand": {"steps": [{"operator": "similar", "count": 6}, "numbers"], "max_tokens": 100} | expand,
        },
        "samplers": [{"model": "bundled", "engine": engine, "sampling": {"n": 6, "max_tokens": 100}}],
        "verify": {"workers": 1},
        "select": {"holdout": 0.4},
    }


@pytest.fixture(scope="module")
def grown(regenerate: Run, server: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Row]:
    folder = tmp_path_factory.mktemp("grown")
    return folder / "home", regenerate(recipe(server, folder), folder / "home")


def candidates(home: Path) -> pl.DataFrame:
    return table(home, "expansion", "grown")


def test_every_text_that_was_written_has_a_reason_or_is_a_problem(grown: tuple[Path, Row]) -> None:
    home, result = grown
    rows = candidates(home)
    assert Counter(rows["operator"]) == {"similar": 36, "numbers": 12}
    reasons = Counter(rows["drop_reason"])
    assert {"malformed", "cut", "not_a_problem", "repeats_parent", "insufficient", "not_judged"} <= reasons.keys()
    assert reasons.keys() - {None} <= EXPANSION_REASONS.keys()
    replies = rows.filter(pl.col("drop_reason").is_in(["malformed", "cut"]))
    assert set(replies["reply"]) == {BAD[reason][0] for reason in ("malformed", "cut")}
    assert all("cellar" in prompt for prompt in rows.filter(pl.col("drop_reason") == "insufficient")["prompt"])
    assert all("attic" in prompt for prompt in rows.filter(pl.col("drop_reason") == "not_judged")["prompt"])
    stage = result["manifest"].stages["expansion"]
    assert stage.entered == rows.height == stage.kept + sum(stage.dropped.values())
    assert stage.kept == reasons[None] > 0
    funnel = {found.operator: found for found in result["manifest"].expansion}
    assert funnel["similar"].tokens == rows.filter(pl.col("operator") == "similar")["completion_tokens"].sum() > 0
    assert funnel["similar"].tokens_per_kept == pytest.approx(funnel["similar"].tokens / funnel["similar"].kept, abs=1)


def test_a_kept_problem_has_a_label_lineage_and_a_pass_rate_of_use(grown: tuple[Path, Row]) -> None:
    home, _ = grown
    problems = table(home, "problems", "grown")
    kept = set(candidates(home).filter(pl.col("drop_reason").is_null())["id"])
    new = problems.filter(pl.col("operator").is_not_null())
    assert kept <= set(new["id"])
    seeds = problems.filter(pl.col("operator").is_null())
    assert seeds["parents"].null_count() == seeds["model"].null_count() == seeds.height == 6
    for row in new.filter(pl.col("id").is_in(kept)).iter_rows(named=True):
        assert row["pseudo_label"].startswith("majority")
        numbers = [int(found) for found in re.findall(r"\d+", row["prompt"])]
        assert row["answer"] == str(sum(numbers)), "most of what the server writes is right"
        assert set(row["parents"]) <= set(seeds["id"])
        assert row["license"] == "mit"
        assert row["model"]
    trained = {*table(home, "sft_stage1", "grown")["problem_id"], *table(home, "sft_stage2", "grown")["problem_id"]}
    assert trained <= kept | set(seeds["id"])
    assert trained & kept
    dropped = table(home, "traces", "grown").filter(pl.col("drop_reason") == "outside_band")["problem_id"]
    assert set(dropped) <= set(new["id"]) - kept


def test_a_family_stays_on_one_side_of_the_holdout(grown: tuple[Path, Row]) -> None:
    problems = table(grown[0], "problems", "grown")
    side = dict(problems.select("id", "split").iter_rows())
    assert len(set(side.values())) == 2, "some are held out"
    pairs = problems.filter(pl.col("parents").list.len() > 0).select("id", "parents").iter_rows()
    assert all(side[child] == side[parent] for child, parents in pairs for parent in parents)


def test_show_draws_the_funnel_and_the_reasons(grown: tuple[Path, Row]) -> None:
    out = Console(record=True, width=140, file=io.StringIO())
    show_version(grown[0], "grown", 1, out)
    show_dropped(grown[0], "grown", "malformed", 1, out)
    text = out.export_text()
    assert "new problems by operator" in text
    assert "Sure! Here is one about a boat." in text
    assert "seed: A farmer has" in text
    with pytest.raises(UsageError, match="capped_mix") as caught:
        show_dropped(grown[0], "grown", "capped_mix", 1, out)
    assert "malformed" in caught.value.remedy
    page = (find(grown[0], "grown").folder / "report.html").read_text()
    assert "New problems by operator" in page


def test_the_same_questions_are_asked_once_and_more_ask_the_difference(
    grown: tuple[Path, Row], regenerate: Run, server: Any
) -> None:
    home, before = grown
    server.drawn.clear()
    again = regenerate(recipe(server, home.parent) | {"seed": 0}, home)
    assert (again["version"], server.drawn) == (before["version"], [])
    more = recipe(server, home.parent, steps=[{"operator": "similar", "count": 7}, "numbers"])
    with open_run(RunRequest(recipes.parse(more), home)) as run:
        assert dry_run.dry_run(run).again[0] == "expansion_written"
        lines = list(dry_run.report(run))
    assert any("54 new problems" in line for line in lines), lines


def test_a_budget_is_never_exceeded(regenerate: Run, server: Any, tmp_path: Path) -> None:
    result = regenerate(recipe(server, tmp_path, max_total_tokens=1000), tmp_path / "home")
    rows = candidates(tmp_path / "home")
    spent = rows["completion_tokens"].sum()
    assert 900 < spent <= 1000, "and it is used: what one question leaves, another one gets"
    assert "unfunded" in result["manifest"].stages["expansion"].dropped
    assert rows.height < 48


def test_concepts_and_fused_problems_have_two_parents(regenerate: Run, server: Any, tmp_path: Path) -> None:
    steps = ["concepts", {"operator": "fuse", "seeds": 2}, {"operator": "scenario", "seeds": 1, "count": 1}]
    own = tmp_path / "own.txt"
    own.write_text("Another story, please.\nPROBLEM\n{problem}\nEND", encoding="utf-8")
    steps[2] |= {"prompt": str(own)}  # type: ignore[operator]
    regenerate(recipe(server, tmp_path, steps=steps, judge=None), tmp_path / "home")
    rows = candidates(tmp_path / "home")
    assert Counter(rows["operator"]) == {"concepts": 6, "fuse": 6, "scenario": 1}
    assert set(rows.filter(pl.col("operator") != "scenario")["parents"].list.n_unique()) == {2}
    assert rows.filter(pl.col("operator") == "fuse")["parents"].list.first().n_unique() == 2


def test_what_was_failed_gives_concepts_and_a_published_problem_does_not_come_again(
    grown: tuple[Path, Row], regenerate: Run, server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    home, _ = grown
    failed = {"operator": "from_failures", "failed_in": "grown@v1", "count": 2}
    expand = {"steps": [{"operator": "similar", "count": 6}, failed], "against": ["grown@v1"], "structured": False}
    rates = table(home, "pass_rates", "grown@v1").filter(pl.col("correct") < pl.col("n"))
    seeds = table(home, "problems", "grown@v1").filter(pl.col("operator").is_null())
    server.names_none = seeds.join(rates, left_on="id", right_on="problem_id", how="semi")["prompt"][0]
    try:
        regenerate(recipe(server, home.parent, **expand, judge=None) | {"name": "refined"}, home)
    finally:
        server.names_none = "-"
    assert "named no concept that can be read for 1 of " in caplog.text
    rows = table(home, "expansion", "refined")
    anew = rows.filter(pl.col("operator") == "from_failures")
    assert anew.height > 0
    assert set(anew["parents"].explode()) <= set(rates["problem_id"]), "of problems that failed alone"
    assert set(anew["drop_reason"]) != {"malformed"}, "JSON is found between other words"
    again = rows.filter(pl.col("id").is_in(table(home, "problems", "grown@v1")["id"].implode()))
    assert again.height > 0
    assert set(again["drop_reason"]) == {"near_duplicate"}
    assert set(again["detail"].str.split(" ").list.first()) == {"grown@v1"}


def test_a_killed_run_asks_only_what_is_missing_and_ends_with_the_same_bytes(
    prefect_server: str, grown: tuple[Path, Row], server: Any
) -> None:
    driver = crash.Driver(prefect_server, recipe(server, grown[0].parent), grown[0].parent, modules=MODULES)
    home = grown[0].parent / "killed"
    server.drawn.clear()
    try:
        assert driver.run(home, call="rename", after=True, path=r"expansion_written/.*parquet") == crash.KILLED
        crash.tear(sorted(home.glob("runs/grown/manifest-*.jsonl")), random.Random(7))
        driver.finished(home)
    finally:
        driver.close()
    assert find(home, "grown").data_digests() == find(grown[0], "grown@v1").data_digests()
    asked = Counter(server.drawn)
    assert sum(asked.values()) < 2 * len(asked), "what had an answer is not asked again"
    assert not [*home.glob("runs/grown/*/*.journal")]


def test_harder_and_easier_ask_no_model(regenerate: Run, tmp_path: Path) -> None:
    rows = [{"prompt": "How much is 3 + 4?", "answer": "7", "response": "So \\boxed{7}.", "license": "mit"}] * 2
    file = write_jsonl(tmp_path / "samples.jsonl", rows)
    source = {"kind": "procedural", "task": "basic_arithmetic", "domain": "math", "count": 3}
    made = {
        "name": "grown",
        "problems": {"sources": [source], "expand": {"steps": [{"operator": "harder", "count": 5}]}},
        "samplers": [{"engine": {"kind": "replay", "files": [str(file)]}}],
        "verify": {"workers": 1},
    }
    regenerate(made, tmp_path / "home")
    rows = candidates(tmp_path / "home").to_dicts()
    assert 3 <= len(rows) <= 5
    assert {row["operator"] for row in rows} == {"harder"}
    new = table(tmp_path / "home", "problems", "grown").filter(pl.col("operator") == "harder")
    assert new["answer"].null_count() == 0, "the task gives the answer"


@pytest.mark.parametrize(
    ("expand", "told"),
    [
        ({"steps": ["similr"]}, "similar"),
        ({"steps": ["from_failures"]}, "failed_in"),
        ({"steps": [{"operator": "harder", "seeds": 3}]}, "no model"),
        ({"steps": []}, "steps"),
    ],
)
def test_a_step_that_cant_be_done_is_refused(server: Any, tmp_path: Path, expand: Row, told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        recipes.parse(recipe(server, tmp_path, **expand))


def test_a_prompt_without_its_mark_is_refused(regenerate: Run, server: Any, tmp_path: Path) -> None:
    own = tmp_path / "own.txt"
    own.write_text("Write something.")
    with pytest.raises(RecipeError, match="problem"):
        regenerate(recipe(server, tmp_path, steps=[{"operator": "similar", "prompt": str(own)}]), tmp_path / "home")


def test_questions_with_options_get_options_of_their_own() -> None:
    reply = {"problem": "Which of these is a metal?", "options": ["tin ", "neon", "sulfur"]}
    assert new_problems.read_options(json.dumps(reply), "stop") == ["tin", "neon", "sulfur"]
    for options in (["tin", "Tin"], ["tin", "Tin ", "zinc"], ["tin", 3, "zinc"], "tin", [*"abcdefg"]):
        assert new_problems.read_options(json.dumps(reply | {"options": options}), "stop") is None
    assert new_problems.with_options("Which?", ["tin", "neon"]) == "Which?\nA) tin\nB) neon"
    text, schema = operators.for_domain("Write one.", operators.PROBLEM_SCHEMA, "choice")
    assert "multiple-choice" in text
    assert "options" in schema["required"]
    assert operators.for_domain("Write one.", operators.PROBLEM_SCHEMA, "math")[1] is operators.PROBLEM_SCHEMA


def test_seeds_that_votes_cant_label_are_named(regenerate: Run, server: Any, tmp_path: Path) -> None:
    made = recipe(server, tmp_path)
    seed = {"prompt": "Write two words.", "constraints": [{"kind": "number_words"}], "domain": "instruction"}
    write_jsonl(tmp_path / "seeds.jsonl", [seed | {"license": "mit"}])
    with pytest.raises(RecipeError, match="1 of instruction") as refused:
        regenerate(made, tmp_path / "home")
    assert "choice" in refused.value.remedy
