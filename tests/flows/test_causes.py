"""`diff` names the cause that was made: one change at a time, and every row that it moved says so."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from proofmill.data.versions import find
from proofmill.filters.catalog import FILTERS
from proofmill.flows import diff_causes
from proofmill.flows.commands import diff
from proofmill.flows.commands.diff import difference
from proofmill.flows.diff_causes import OTHERS, ManifestDiff, facts_of_step
from proofmill.flows.recipe import load as recipe_file
from proofmill.flows.up_to_date import step_versions
from support.endpoints import Endpoint, Reply, serving
from support.samples import CORRECT, SAMPLES, replay_recipe, sums, write_jsonl

Row = dict[str, Any]
Run = Callable[..., Row]
ROOT = Path(__file__).parents[2]
SLIP = "I add {a} and {b} in a slow and careful way. First, 2 + 2 = 5. Then the answer is \\boxed{{{sum}}}."
TWIN = "Let us split the second term: {b} is made of ones, and each of those ones pushes the first term higher. "
TWIN += "When they are used up, the total stands at {sum}; there is no carry to worry about here. "
TWIN += "The answer is \\boxed{{{sum}}}."


class Place:
    """A HOME with one version, of a file with recorded samples."""

    def __init__(self, folder: Path, run: Run) -> None:
        self.folder, self.run = folder, run
        self.home = folder / "home"
        self.file = folder / "samples.jsonl"

    def write(self, rows: list[Row]) -> None:
        write_jsonl(self.file, rows)

    def publish(self, **sections: Any) -> None:
        self.run(replay_recipe(self.file) | sections, self.home)

    def compared(self) -> Row:
        return difference(find(self.home, "replayed@v1"), find(self.home, "replayed@v2"))


@pytest.fixture(scope="module")
def first(regenerate: Run, tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place(tmp_path_factory.mktemp("first"), regenerate)
    place.write(sums(3, (*SAMPLES, SLIP, TWIN)))
    place.publish()
    return place


@pytest.fixture
def place(first: Place, tmp_path: Path) -> Place:
    shutil.copytree(first.folder, tmp_path / "place")
    return Place(tmp_path / "place", first.run)


def only_cause(found: Row, kind: str = "changed") -> str:
    """The one cause of every row of a kind."""
    (cause,) = {cause for row in found["rows"] if row["kind"] == kind for cause in row["causes"]}
    return str(cause)


def moved(found: Row, before: str, after: str) -> Row:
    """The one difference between two fates."""
    (row,) = (row for row in found["rows"] if (row["before"], row["after"]) == (before, after))
    return dict(row)


def test_the_claims_policy(place: Place) -> None:
    place.publish(claims={"drop": "any"})
    assert only_cause(place.compared()) == "recipe claims.drop: final → any"


def test_a_dedup_threshold(place: Place) -> None:
    place.publish(dedup={"threshold_within": 0.999})
    row = moved(place.compared(), "correct, near_duplicate", "correct, stage 1")
    assert (row["count"], row["causes"]) == (3, ["recipe dedup.threshold_within: 0.8 → 0.999"])


def test_a_new_benchmark_and_its_new_items(place: Place) -> None:
    exam = write_jsonl(place.folder / "exam.jsonl", [{"question": CORRECT[0].format(a=11, b=5, sum=16)}])
    place.publish(decontaminate={"against": [str(exam)]})
    row = moved(place.compared(), "correct, stage 1", "correct, contaminated")
    assert (row["count"], row["causes"]) == (3, ["recipe decontaminate.against.0: None → {source: exam.jsonl}"])
    write_jsonl(exam, [{"question": CORRECT[1].format(b=5, sum=16)}])
    place.publish(decontaminate={"against": [str(exam)]})
    edited = difference(find(place.home, "replayed@v2"), find(place.home, "replayed@v3"))
    (cause,) = moved(edited, "correct, contaminated", "correct, stage 1")["causes"]
    assert re.fullmatch(r"benchmark exam: \w{8} → \w{8}", cause)
    assert edited["unused"] == []


def test_an_edited_recording(place: Place) -> None:
    rows = [json.loads(line) for line in place.file.read_text().splitlines()]
    rows[0]["response"] = f"Well. {rows[0]['response']}"
    rows[8]["answer"] = "18"
    place.write(rows)
    place.publish()
    found = place.compared()
    for kind in ("added", "removed"):
        assert re.fullmatch(r"input file samples\.jsonl: \w{8} → \w{8}", only_cause(found, kind))
    assert sum(row["count"] for row in found["rows"] if row["kind"] == "added") == 1 + 8, (
        "a trace of one problem, another problem"
    )
    assert found["problems"] == {"added": 1, "removed": 0, "changed": 0}
    assert found["problem_causes"] == [only_cause(found, "added")]


def test_a_cap_of_the_whole_run_and_new_rows(place: Place) -> None:
    """Rows of other problems take the place of some, and no recipe field differs."""
    for number in (3, 6):
        place.write(sums(number))
        place.publish(name="capped", select={"max_total_tokens": 250})
    found = difference(find(place.home, "capped@v1"), find(place.home, "capped@v2"))
    assert moved(found, "correct, stage 1", "correct, capped_tokens")["causes"] == [OTHERS]


def test_fewer_votes_for_an_answer_without_gold(place: Place) -> None:
    """A problem whose samples agree less often than is asked has no label any more."""
    rows = sums(2) + sums(1, (CORRECT[1].replace("Let", "Here, let"),))
    place.write([{name: value for name, value in row.items() if name != "answer"} for row in rows])
    for votes in (3, 4):
        place.publish(name="voted", problems={"pseudo_labels": {"min_share": 0.3, "min_votes": votes}})
    found = difference(find(place.home, "voted@v1"), find(place.home, "voted@v2"))
    assert only_cause(found) == "recipe problems.pseudo_labels.min_votes: 3 → 4"


def test_what_explains_no_row_is_told_too(place: Place) -> None:
    place.publish(select={"max_per_problem": 1}, publish={"messages": True}, verify={"cpu_seconds": 4.0, "workers": 1})
    found = place.compared()
    assert only_cause(found) == "recipe select.max_per_problem: 4 → 1"
    assert set(found["unused"]) == {"recipe publish.messages: False → True", "recipe verify.cpu_seconds: 5.0 → 4.0"}
    out = Console(record=True, width=200, file=io.StringIO())
    diff.run(place.home, "replayed@v1", "replayed@v2", 0, False, out)
    assert "These differ too, and changed no trace:\n  recipe" in out.export_text()


@pytest.mark.slow
def test_an_edited_verifier_and_an_edited_selection(place: Place, prefect_server: str) -> None:
    """A copy of the program, with two rules and their versions edited, publishes the next version."""
    tree = place.folder / "tree" / "proofmill"
    for name in ("data", "filters", "flows", "generators"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    edit(
        tree / "filters/domains/math.py",
        "int(found.text) == int(answer)",
        "int(found.text) - int(answer) in (0, int(answer) < 30)",
    )
    now = step_versions()
    edit(tree / "filters/verification.py", f"    version={now['verdicts']},", f"    version={now['verdicts'] + 1},")
    edit(tree / "filters/near_duplicates/duplicates.py", 'pl.col("duplicate_of").is_not_null()', "pl.lit(False)")
    for step in ("selection", "balance"):
        edit(tree / "flows/pipeline.py", f'Step("{step}", {now[step]},', f'Step("{step}", {now[step] + 1},')
    recipe = place.folder / "recipe.yaml"
    recipe.write_text(json.dumps(replay_recipe(place.file)))
    command = [sys.executable, "-m", "proofmill.flows.cli", "regenerate", str(recipe), "--home", str(place.home)]
    environment = os.environ | {"PYTHONPATH": str(tree.parent), "PREFECT_API_URL": prefect_server}
    subprocess.run(command, env=environment, cwd=place.folder, check=True, timeout=120, capture_output=True)

    def raised(step: str) -> str:
        return f"code of {step}: version {now[step]} → {now[step] + 1}"

    found = place.compared()
    judged = [row for row in found["rows"] if row["before"] == "wrong"]
    assert sum(row["count"] for row in judged) == 3
    assert {cause for row in judged for cause in row["causes"]} == {raised("verdicts")}
    chosen = [row for row in found["rows"] if row["before"] == "correct, near_duplicate"]
    causes = {cause for row in chosen for cause in row["causes"]}
    assert {raised("selection"), raised("balance")} <= causes


def test_every_step_and_every_model_that_is_asked_explains_some_columns() -> None:
    """What may change a published row, and is no part of a filter's own options, must not be "no recorded fact"."""
    names = ["problems", "samples", "selection", "publish", *(filter_.name for filter_ in FILTERS)]
    steps = {step: f"code of {step}" for step in step_versions()}
    told = {line for name in names for line in facts_of_step(ManifestDiff(code=steps), name)}
    assert told == set(steps.values())
    sections = [place for place, _, _ in recipe_file.load("quickstart").asked()]
    for place in sections:
        changed = ManifestDiff(recipe={f"{place}.model": ("org/small", "org/large")})
        assert any(facts_of_step(changed, name) for name in names), place
    changed = ManifestDiff(recipe={"verify.judge.model": ("org/small", "org/large")})
    assert facts_of_step(changed, "verdicts") == ["recipe verify.judge.model: org/small → org/large"]


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


class OneWord(Endpoint):
    """The least of a server that draws samples; its model is told by a word."""

    word = ""

    def reply(self, body: Row) -> Reply:
        text = f"Both together, counted {body['seed']} times, make \\boxed{{4}}. {self.word}"
        return 200, {}, {"choices": [{"text": text, "finish_reason": "stop"}], "usage": {"completion_tokens": 7}}


@pytest.fixture
def served() -> Iterator[OneWord]:
    with serving(OneWord()) as (server,):
        yield server


def test_more_samples_another_revision_and_another_temperature(
    served: OneWord, regenerate: Run, home: Path, tmp_path: Path
) -> None:
    pytest.importorskip("vllm", reason="the embedded model's tokenizer needs proofmill[cpu]")
    (tmp_path / "problems.jsonl").write_text(
        '{"prompt": "2 + 2?", "answer": "4"}\n{"prompt": "1 + 3?", "answer": "4"}\n'
    )
    source = {"kind": "file", "path": str(tmp_path / "problems.jsonl"), "license": "mit"}

    def publish(revision: str, **sampling: Any) -> None:
        served.word = f"{revision} {sampling.get('temperature')}"
        engine = {"kind": "openai", "endpoints": [served.url], "revision": revision}
        samplers = [{"engine": engine, "sampling": sampling}]
        regenerate({"name": "drawn", "problems": {"sources": [source]}, "samplers": samplers}, home)

    publish("one", n=2)
    publish("one", n=3)
    publish("two", n=3)
    publish("two", n=3, temperature=0.5)
    versions = [find(home, f"drawn@v{number}") for number in (1, 2, 3, 4)]
    more, other, colder = (difference(*pair) for pair in pairwise(versions))
    assert only_cause(more, "added") == "recipe samplers.0.sampling.n: 2 → 3"
    assert sum(row["count"] for row in more["rows"] if row["kind"] == "added") == 2
    for kind in ("added", "removed"):
        causes = [row["causes"] for row in other["rows"] if row["kind"] == kind]
        assert causes
        assert all(cause[0].startswith("model of sampler self: revision one → two") for cause in causes)
        assert only_cause(colder, kind) == "recipe samplers.0.sampling.temperature: 1.0 → 0.5"


# --- recipes side by side -----------------------------------------------------------------------------

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(0, 3) | st.sampled_from("ab"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(("name", "kind", "n")), inner),
    max_leaves=8,
)


@given(VALUES, VALUES)
def test_a_difference_is_found_from_both_sides(a: Any, b: Any) -> None:
    there, back = dict(diff_causes._differing(a, b)), dict(diff_causes._differing(b, a))
    assert bool(there) == bool(back)
    assert not there or a != b
    assert not dict(diff_causes._differing(a, a))


@pytest.mark.parametrize(
    ("a", "b", "told"),
    [
        ({"x": {"n": 1}}, {"x": {"n": 2, "m": 3}}, {"x.n": (1, 2), "x.m": (None, 3)}),
        ({"x": None}, {"x": {"n": 1, "m": None}}, {"x": (None, {"n": 1, "m": None})}),
        (
            {"x": {"kind": "a", "n": 1, "p": 1}},
            {"x": {"kind": "b", "n": 2, "q": 1}},
            {"x.kind": ("a", "b"), "x.n": (1, 2)},
        ),
        ({"x": []}, {"x": [{"name": "a"}]}, {"x.0": (None, {"name": "a"})}),
        (
            {"x": [{"name": "a"}, {"name": "b", "n": 1}]},
            {"x": [{"name": "b", "n": 2}]},
            {"x.0.n": (1, 2), "x.0": ({"name": "a"}, None)},
        ),
        ({"x": [{"name": "a"}, {"name": "b"}]}, {"x": [{"name": "b"}, {"name": "a"}]}, {"x": (["a", "b"], ["b", "a"])}),
        ({"x": [{"name": "a", "n": 1}]}, {"x": [{"name": "b", "n": 1}]}, {"x.0.name": ("a", "b")}),
    ],
)
def test_recipes_differ_field_by_field(a: Any, b: Any, told: Any) -> None:
    assert dict(diff_causes._differing(a, b)) == told
