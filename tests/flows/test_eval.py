"""`proofmill eval` as a user types it, on recorded answers: the judging, counting and comparing of any model."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import orjson
import pytest
from typer.testing import CliRunner

from proofmill.data.errors import ProofmillError, RecipeError, UsageError
from proofmill.data.manifest import MANIFEST
from proofmill.data.model_versions import ModelManifest, find_model, question_digest, write_questions
from proofmill.filters.domains.fact import DOMAIN
from proofmill.flows.cli import app
from proofmill.flows.display import Progress
from proofmill.flows.evaluate import EvaluatedModel, Results, evaluate, model_named, results_of
from proofmill.flows.recipe.load import bundled
from proofmill.flows.recipe.suite import Suite, load_suite
from support.samples import CORRECT, NOTHING, SAMPLES, WRONG, sums, write_jsonl

RECORDED = Suite.model_validate({"name": "recorded", "verify": {"workers": 1}})
SHOUT = "<script>alert(1)</script> The answer is \\boxed{{{off}}}."


@pytest.fixture
def answers(tmp_path: Path) -> tuple[Path, Path]:
    """A model that is right in three of six samples, and a worse one."""
    first = write_jsonl(tmp_path / "first.jsonl", sums(6, SAMPLES))
    return first, write_jsonl(tmp_path / "second.jsonl", sums(6, (CORRECT[0], SHOUT, WRONG, NOTHING)))


def evaluated(home: Path, *files: Path) -> Results:
    return results_of(
        RECORDED, [evaluate(RECORDED, model_named(str(f), home, RECORDED), home, Progress()) for f in files]
    )


def command(home: Path, *words: str) -> str:
    suite = home.parent / "recorded.yaml"
    suite.write_text("name: recorded\nverify: {workers: 1}\n")
    said = CliRunner().invoke(app, ["eval", *words, "--suite", str(suite), "--home", str(home)], catch_exceptions=False)
    assert said.exit_code == 0, said.output
    return said.output


def test_models_are_measured_and_compared_on_the_same_problems(home: Path, answers: tuple[Path, Path]) -> None:
    found = evaluated(home, *answers)
    scores = found.scores["first.jsonl"]["overall"], found.scores["second.jsonl"]["overall"]
    assert [one.pass_1.value for one in scores] == [0.5, 0.25]
    assert [(one.problems, one.samples) for one in scores] == [(6, 36), (6, 24)]
    assert scores[0].truncated == pytest.approx(1 / 6)
    assert scores[0].unparsed == pytest.approx(2 / 6)
    assert scores[0].pass_k[6] == scores[0].maj_k[6] == 1.0
    (pair,) = found.comparisons
    assert pair.overall.pass_1.value == pytest.approx(-0.25)
    assert (pair.overall.better, pair.overall.worse) == (0, 6)
    assert pair.flipped[0]["rates"] == [0.5, 0.25]
    assert pair.flipped[0]["responses"][0].endswith("}.")


def test_one_sample_a_problem_is_enough(home: Path, tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "one.jsonl", sums(4, CORRECT[:1]))
    (scores,) = evaluated(home, file).scores.values()
    assert (scores["overall"].samples, scores["overall"].pass_1.value) == (4, 1.0)


def test_the_command_tells_writes_a_page_and_json(home: Path, answers: tuple[Path, Path]) -> None:
    told = command(home, *map(str, answers))
    assert "50.0" in told
    assert "second.jsonl minus first.jsonl" in told
    page = (home / "evaluations" / "recorded" / "first.jsonl-vs-second.jsonl.html").read_text()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page
    assert "script-src" not in page
    again = command(home, *map(str, answers), "--json")
    found = orjson.loads(again)
    assert [model["scores"]["overall"]["pass_1"]["value"] for model in found["models"]] == [0.5, 0.25]
    assert found == orjson.loads(page_json(home))


def test_the_next_command_can_be_typed_as_it_is_printed(home: Path, answers: tuple[Path, Path]) -> None:
    """It names the suite as this one did, and measures on the same problems."""
    told = command(home, str(answers[0]), "--limit", "4", "--set", "seed=3")
    words = shlex.split(told.partition("to compare: ")[2].partition("\n")[0])
    assert words[1:4] == ["eval", str(answers[0]), "OTHER"]
    again = CliRunner().invoke(app, [word.replace("OTHER", str(answers[1])) for word in words[1:]])
    assert again.exit_code == 0, again.output
    assert "second.jsonl minus first.jsonl" in again.output
    loaded = load_suite(words[words.index("--suite") + 1], [words[words.index("--set") + 1]])
    assert (loaded.name, loaded.seed) == ("recorded", 3)
    assert words[-4:] == ["--limit", "4", "--home", str(home)]


def page_json(home: Path) -> bytes:
    return (home / "evaluations" / "recorded" / "first.jsonl-vs-second.jsonl.json").read_bytes()


def trained(home: Path, questions: list[str], name: str = "student") -> Path:
    """The folder of a trained model that has seen some questions; it has no weights."""
    folder = home / "models" / name / "v0001"
    folder.mkdir(parents=True)
    base = {"name": "base", "weights": "0"}
    data = [{"label": "sums@v1", "manifest": "0"}]
    manifest = ModelManifest.model_validate(
        {"name": name, "version": 1, "created": "", "key": "0", "bases": [base], "data": data}
    )
    write_questions(folder, [question_digest(question) for question in questions])
    (folder / MANIFEST).write_bytes(orjson.dumps(manifest.to_json()))
    return folder


def seen(home: Path, file: Path) -> EvaluatedModel:
    """Recorded answers of the trained model."""
    model, lineage = model_named("student@v1", home, RECORDED), model_named(str(file), home, RECORDED)
    return EvaluatedModel("student@v1", lineage.engine, lineage.model, model.trained_on, model.lineage)


def test_what_a_model_was_trained_on_is_left_out_for_all(home: Path, answers: tuple[Path, Path]) -> None:
    """Whatever the case and spacing of the question."""
    trained(home, ["how much is 11+5?", "How much is  14 + 6 ?"])
    assert model_named("student", home, RECORDED).label == "student@v1"
    student = evaluate(RECORDED, seen(home, answers[1]), home, Progress())
    base = evaluate(RECORDED, model_named(str(answers[0]), home, RECORDED), home, Progress())
    found = results_of(RECORDED, [base, student])
    assert {label: one["overall"].problems for label, one in found.scores.items()} == {
        "first.jsonl": 4,
        "student@v1": 4,
    }
    assert (found.left_out, found.lineage) == ({"student@v1": 2}, {"student@v1": ("sums@v1",)})


def test_a_suite_that_is_the_training_data_is_refused(home: Path, answers: tuple[Path, Path]) -> None:
    trained(home, [row["prompt"] for row in sums(6)])
    with pytest.raises(ProofmillError, match="trained on all 6 problems"):
        evaluate(RECORDED, seen(home, answers[1]), home, Progress())


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["bundled", "bundled"], "named twice"),
        (["http://127.0.0.1:9/v1"], "ADDRESS#MODEL"),
        (["student@v3"], "no trained model 'student@v3'"),
        (["bundled", "--suite", "held_out"], "did you mean 'held-out'"),
        (["bundled", "--set", "repeat=2"], "did you mean 'repeats'"),
        (["bundled", "--set", "sampling.n=2"], "repeats"),
        (["bundled", "--set", "sets=[]"], "no problems to ask"),
        (["no/such/folder/at/all"], "no model folder"),
        (["bundled", "no/such/folder/at-all"], "no/such/folder/at-all"),
    ],
)
def test_wrong_usage_says_what_and_what_next(home: Path, words: list[str], told: str) -> None:
    said = CliRunner().invoke(app, ["eval", *words, "--home", str(home)])
    error = said.exception
    assert isinstance(error, ProofmillError)
    assert re.search(re.escape(told), str(error))
    assert isinstance(error, UsageError) or error.remedy


@pytest.mark.parametrize("name", [*bundled("suite"), "untidy:knowledge"])
def test_bundled_suites_make_recipes(name: str) -> None:
    suite, _ = load_suite(name).present()
    assert suite.about
    recipes = list(suite.recipes(suite.engine, "bundled"))
    assert sum(len(recipe.problems.sources) for recipe in recipes) >= len(suite.sets)
    assert all(recipe.name.startswith("eval-") for recipe in recipes)
    if name.startswith("untidy"):
        assert len(recipes[0].problems.sources) == 5 * len(suite.sets)


def test_a_suite_finds_the_files_beside_it_and_leaves_optional_ones_out(tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").write_text("{}")
    (tmp_path / "mine.yaml").write_text(
        "name: mine\nsets:\n- {name: a, source: {kind: file, path: mine.jsonl}}\n"
        "- {name: b, optional: true, source: {kind: file, path: absent.jsonl}}\n"
    )
    suite, absent = load_suite(str(tmp_path / "mine.yaml")).present()
    assert absent == ["b"]
    assert suite.sets[0].source.path == str(tmp_path / "mine.jsonl")  # type: ignore[union-attr]
    with pytest.raises(RecipeError, match="no readable suite"):
        load_suite(str(tmp_path / "other.yaml"))


def test_every_bundled_fact_is_judged_by_its_name() -> None:
    """The name is right, another one is wrong, both together are no answer; no question holds its answer."""
    from proofmill.filters.verdicts import Problem

    (source,) = (one.source for one in load_suite("knowledge").sets)
    rows: list[dict[str, Any]] = [orjson.loads(line) for line in Path(source.path).read_text().splitlines()]  # type: ignore[union-attr]
    assert len(rows) > 200
    for row in rows:
        problem = Problem("fact", row["prompt"], row["answer"], row["info"])
        rival = next(name for name in row["info"]["rivals"] if name.lower() not in row["prompt"].lower())
        texts = (f"It is {row['answer']}.", f"{rival}!", f"{rival} or {row['answer']}", "I don't know.", "")
        assert [DOMAIN.verify(problem, text).verdict for text in texts] == [
            "correct", "wrong", "unparsed", "wrong", "unparsed",
        ], row  # fmt: skip


def test_no_other_folder_passes_for_a_trained_model(home: Path) -> None:
    trained(home, [])
    assert find_model(home, "org/model") is None
    assert find_model(home, "bundled") is None
    assert (found := find_model(home, "student@v1")) is not None
    assert found.questions() == set()
