"""The claims policy in a run: votes, pseudo-labels, the filter by reliability, and right answers by a wrong path."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from rich.console import Console

from proofmill.data.errors import RecipeError
from proofmill.data.versions import find, recorded
from proofmill.filters.claim_checks import add_buckets, by_length
from proofmill.flows.commands.show import show_refuted
from proofmill.flows.recipe import load as recipes
from proofmill.flows.voting import Election
from support.samples import CORRECT, replay_recipe, sums, table, write_jsonl

Row = dict[str, Any]
Run = Callable[..., Row]
REFUTED = "I add {a} and {b} in a slow and careful way. First, 2 + 2 = 5. Then the answer is \\boxed{{{sum}}}."


# --- right answer, refuted step ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def with_refuted(regenerate: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("refuted")
    rows = sums(3, (*CORRECT, REFUTED))
    recipe = replay_recipe(write_jsonl(folder / "samples.jsonl", rows))
    regenerate(recipe | {"curriculum": {"short_forms": []}}, folder / "home")
    return folder / "home"


def test_a_refuted_step_lowers_the_weight_of_a_kept_row(with_refuted: Path) -> None:
    traces = table(with_refuted, "traces").filter(pl.col("claims_refuted") > 0)
    assert traces.height == 3
    assert set(traces["verdict"]) == {"correct"}
    weights = dict(table(with_refuted, "sft_stage1").select("id", "weight").iter_rows())
    kept = [weights[name] for name in traces["id"] if name in weights]
    assert kept
    assert all(weight < 1.0 for weight in kept)
    assert set(table(with_refuted, "sft_stage1").filter(~pl.col("id").is_in(traces["id"].to_list()))["weight"]) == {1.0}


def test_the_manifest_tells_the_policys_cost_by_length(with_refuted: Path) -> None:
    manifest = find(with_refuted, "replayed").manifest.to_json()
    short, long = manifest["claims_by_length"]
    assert (short["from"], short["accepted"], short["refuted"], short["dropped"]) == (0, 9, 3, 0)
    assert (long["from"], long["accepted"], long["refuted"], long["drop_rate"]) == (256, 3, 0, 0.0)
    assert 0 < short["coverage"] < 1
    assert manifest["right_answer_refuted_step"] == 3


def test_show_prints_the_step_and_its_evidence(with_refuted: Path) -> None:
    out = Console(file=io.StringIO(), width=200)
    show_refuted(with_refuted, "replayed", 2, out)
    said = out.file.getvalue()  # type: ignore[attr-defined]
    assert "12 accepted traces, 3 of them with a refuted step: 0 left out for it" in said
    assert said.count("2 + 2 = 5: the left side is 4") == 2


def test_buckets_add_up() -> None:
    rows = pl.DataFrame(
        {
            "verdict": ["correct", "correct", "wrong", "correct"],
            "length": [10, 300, 300, 255],
            "claims_refuted": [1, None, 4, 0],
            "claim_coverage": [0.5, None, 1.0, 0.0],
        }
    )
    parts = [by_length(rows, ["refuted_claim", None, "wrong", None]), by_length(rows[:1], ["unreliable"])]
    low, high = add_buckets(parts)
    assert (low["accepted"], low["refuted"], low["dropped"], low["drop_rate"]) == (3, 2, 2, 0.6667)
    assert low["coverage"] == pytest.approx(1 / 3, abs=1e-4)
    assert (high["from"], high["accepted"], high["refuted"], high["dropped"], high["coverage"]) == (256, 1, 0, 0, 0.0)


# --- votes -------------------------------------------------------------------------------------------


def samples(*answers: tuple[str | None, float | None, str], first: int | None = None) -> list[Row]:
    """Samples of one problem; `first`: how many belong to the first round, None: nothing is known of rounds."""
    names = ("extracted", "clr_score", "verdict")
    rows: list[Row] = [dict(zip(names, answer, strict=True)) for answer in answers]
    return [row | {"row": n, "first_round": None if first is None else n < first} for n, row in enumerate(rows)]


def test_a_trace_that_could_not_be_judged_counts_as_the_mean() -> None:
    rows = samples(("1", 0.2, "wrong"), ("1", None, "wrong"), ("2", 0.9, "correct"), (None, None, "unparsed"))
    row = Election(rows, [0, 0, 1], 4, model=True).row({"id": "p", "answer": "2"})
    assert row["majority"] == "1"
    assert row["majority_share"] == 0.5
    assert (row["pass_1"], row["maj_k"], row["clr_k"]) == (0.25, 0.0, 1.0)
    assert (row["clr"], row["clr_rows"]) == ("2", [2])


def test_rates_are_those_of_the_first_round_and_every_sample_votes_for_a_label() -> None:
    answers = [(None, None, "unparsed"), ("1", 0.5, "wrong"), ("2", 0.5, "correct"), ("2", 0.9, "correct")]
    election = Election(samples(*answers, first=2), [0, 1, 1], None, model=True)
    row = election.row({"id": "p", "answer": "2"})
    assert (row["n"], row["majority"], row["majority_votes"]) == (4, "2", 2)
    assert (row["pass_1"], row["maj_k"], row["clr_k"]) == (0.0, 0.0, 0.0)
    assert election.by_k() == {1: {"maj_k": 0.0, "clr_k": 0.0}, 2: {"maj_k": 0.0, "clr_k": 0.0}}
    fixed = Election(samples(*answers), [0, 1, 1], None, model=True)
    assert fixed.row({"id": "p", "answer": "2"})["pass_1"] == 0.5, "nothing is known of rounds"
    none = Election(samples(*answers, first=0), [0, 1, 1], None, model=True)
    assert "pass_1" not in none.row({"id": "p", "answer": "2"})
    assert none.by_k() == {}


def test_a_problem_without_gold_has_no_rates_and_a_tie_no_winner() -> None:
    rows = samples(("1", None, "error"), ("2", None, "error"))
    row = Election(rows, [0, 1], None, model=False).row({"id": "p", "answer": None})
    assert row == {"problem_id": "p", "n": 2}


# --- pseudo-labels -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def labelled(regenerate: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three problems without gold, of which one has no agreement, and two with."""
    folder = tmp_path_factory.mktemp("labelled")
    rows = sums(5)
    for row in rows[:18]:
        row["answer"] = None
    for place, row in enumerate(rows[:6]):
        row["response"] = f"The answer is \\boxed{{{place}}}."
    recipe = replay_recipe(write_jsonl(folder / "samples.jsonl", rows))
    regenerate(recipe | {"problems": {"pseudo_labels": {"min_share": 0.5}}}, folder / "home")
    return folder / "home"


def test_a_majority_becomes_a_label_and_says_so(labelled: Path) -> None:
    problems = table(labelled, "problems")
    marked = problems.filter(pl.col("pseudo_label").is_not_null())
    assert marked.height == 2
    assert set(marked["pseudo_label"]) == {"majority: 3 of 6 samples, share 0.50"}
    assert dict(marked.select("prompt", "answer").iter_rows()) == {
        "How much is 14 + 6?": "20",
        "How much is 17 + 7?": "24",
    }
    assert problems.filter(pl.col("answer").is_null()).height == 1


def test_verdicts_by_a_label_are_told_from_those_by_gold(labelled: Path) -> None:
    traces = table(labelled, "traces").join(
        table(labelled, "problems").select(pl.col("id").alias("problem_id"), "pseudo_label", "answer"), on="problem_id"
    )
    by_label = traces.filter(pl.col("pseudo_label").is_not_null() & pl.col("verdict").is_in(["correct", "wrong"]))
    assert set(by_label["verdict_detail"]) == {"pseudo_label"}
    assert dict(by_label.group_by("verdict").len().iter_rows()) == {"correct": 6, "wrong": 2}
    without = traces.filter(pl.col("answer").is_null() & (pl.col("verdict") != "unparsed"))
    assert set(without.select("verdict", "verdict_detail").iter_rows()) == {("error", "no_gold")}
    assert "pseudo_label" not in traces.filter(pl.col("pseudo_label").is_null())["verdict_detail"].to_list()
    assert set(table(labelled, "sft_stage1")["verifier"]) == {"math", "math:pseudo_label"}


def test_rl_holds_real_gold_alone_and_the_ledger_balances(labelled: Path) -> None:
    assert table(labelled, "rl").height == 2
    for step in find(labelled, "replayed").manifest.to_json()["stages"].values():
        assert step["in"] == step["kept"] + sum(step["dropped"].values())


def test_a_replay_never_takes_a_label_for_gold(labelled: Path) -> None:
    answers = {row.row["prompt"]: row.row["answer"] for row in recorded(find(labelled, "replayed"))}
    assert sorted(answer for answer in answers.values() if answer) == ["28", "32"]


def test_a_problem_without_gold_is_refused_where_no_label_is_asked_for(
    regenerate: Run, home: Path, tmp_path: Path
) -> None:
    rows = sums(2)
    rows[0]["answer"] = None
    manifest = regenerate(replay_recipe(write_jsonl(tmp_path / "samples.jsonl", rows)), home)["manifest"].to_json()
    assert manifest["stages"]["samples"]["dropped"] == {"no_gold": 1}


# --- the recipe ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sections", "why"),
    [
        ({"claims": {"model": {}}}, "name one"),
        ({"claims": {"model": {"model": "bundled", "mm": 3}}}, "did you mean 'm'"),
        ({"problems": {"pseudo_labels": {"by": "clr"}}}, "needs claims.model"),
        ({"problems": {"pseudo_labels": {"min_shar": 0.1}}}, "min_share"),
    ],
)
def test_a_verifier_needs_a_model(sections: Row, why: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=why):
        recipes.parse(replay_recipe(tmp_path / "samples.jsonl") | sections)


def test_a_sampler_that_is_not_there_can_not_judge() -> None:
    source = {"kind": "procedural", "task": "basic_arithmetic"}
    recipe = {"name": "x", "problems": {"sources": [source]}, "claims": {"model": {"sampler": "other"}}}
    with pytest.raises(RecipeError, match="no sampler 'other'"):
        recipes.parse(recipe)
