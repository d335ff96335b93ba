"""A user's own filter, from a package outside of proofmill: in a run, in `diff`, and as a command."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest
from rich.console import Console
from typer.testing import CliRunner

from proofmill.data.errors import RecipeError
from proofmill.data.versions import find
from proofmill.filters import runner
from proofmill.flows import dry_run
from proofmill.flows.cli import app
from proofmill.flows.commands.diff import difference
from proofmill.flows.commands.show import show_dropped
from proofmill.flows.context import RunRequest, open_run
from proofmill.flows.recipe import load as recipes
from support.samples import replay_recipe, sums, write_jsonl

Row = dict[str, Any]
EXAMPLE = Path(__file__).parents[1] / "examples" / "own_filter"
USE = "mypackage.checks:too_polite"
HEAD = """
import polars as pl, pyarrow as pa
from proofmill.data.sections import Section
from proofmill.filters.base import DropRule, MapFilter

class Options(Section):
    limit: int = 3

def said(value):
    def annotate(rows, options):
        for row in rows:
            yield value(row)
    return annotate

def made(value, name="mine", column="mine", kind=pa.int32(), reads=("response",), rules=()):
    return MapFilter(name=name, version=1, options=Options, reads=reads, annotate=said(value), rules=rules,
                     adds=pa.schema([(column, kind)]))
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of the user's on the import path, with the example package in it."""
    folder = tmp_path / "theirs"
    shutil.copytree(EXAMPLE, folder)
    monkeypatch.syspath_prepend(str(folder))
    runner.filter_at.cache_clear()
    yield folder
    for name in [name for name in sys.modules if name.split(".")[0] in ("mypackage", "bad")]:
        del sys.modules[name]
    runner.filter_at.cache_clear()


@pytest.fixture
def recipe(tmp_path: Path) -> Row:
    """A replay in which one right answer of each problem is polite."""
    rows = sums()
    for row in rows:
        if row["response"].startswith("Let me split"):
            row["response"] = "Great question, thanks! " + row["response"]
    found: Row = replay_recipe(write_jsonl(tmp_path / "samples.jsonl", rows))
    return found


def test_it_is_in_traces_ledger_report_show_dry_run_and_diff(
    package: Path, recipe: Row, home: Path, regenerate: Callable[..., Row]
) -> None:
    regenerate(recipe, home)
    asked = recipe | {"filters": [{"use": USE, "threshold": 0.4}]}
    with open_run(RunRequest(recipes.parse(asked), home)) as run:
        ahead = dry_run.dry_run(run)
    assert ahead.again == ["politeness", "publish"], "nothing else is done again"
    assert ahead.at_most == ["selection"]

    made = regenerate(asked, home)
    version = find(home, "replayed@v2")
    traces = pl.read_parquet(version.files("traces"))
    polite = traces.filter(pl.col("drop_reason") == "too_polite")
    assert len(polite) == 6 and set(polite["courtesy"]) == {"Great question"}
    assert traces["politeness"].null_count() == 0
    ledger = made["manifest"].to_json()["stages"]["selection"]
    assert ledger["dropped"]["too_polite"] == 6
    assert ledger["in"] == ledger["kept"] + sum(ledger["dropped"].values())
    assert "too_polite" in (version.folder / "report.html").read_text()

    console = Console(record=True, width=200)
    show_dropped(home, "replayed@v2", "too_polite", 1, console)
    assert "too_polite: courtesy 'Great question'" in console.export_text()

    found = difference(find(home, "replayed@v1"), version)
    causes = {cause for row in found["rows"] for cause in row["causes"]}
    assert any("filters" in cause for cause in causes)

    loosened = regenerate(recipe | {"filters": [{"use": USE, "threshold": 1.0}]}, home)
    assert "too_polite" not in loosened["manifest"].selection.dropped
    files = list((home / "runs" / "replayed" / "politeness").iterdir())
    assert len(files) == len({path.name for path in files}) == 3, "a threshold measures nothing again"


def test_the_command_says_the_same_as_the_run(
    package: Path, recipe: Row, home: Path, regenerate: Callable[..., Row], tmp_path: Path
) -> None:
    regenerate(recipe | {"filters": [{"use": USE}]}, home)
    traces = pl.read_parquet(find(home, "replayed@v1").files("traces"))
    out = tmp_path / "judged.jsonl"
    arguments = ["filter", USE, str(tmp_path / "samples.jsonl"), "--set", "threshold=0.2", "--out", str(out)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    rows = [orjson.loads(line) for line in out.read_bytes().splitlines()]
    run = dict(zip(traces["response"], traces["politeness"], strict=True))
    assert {row["response"]: row["politeness"] for row in rows} == pytest.approx(run)


BAD = [
    ("made(lambda row: {'mine': 1}, column='verdict')", "there is a column 'verdict' already"),
    ("made(lambda row: {'mine': 1}, name='quality')", "called 'quality' already"),
    ("made(lambda row: {'mine': 1}, reads=('colour',))", "reads 'colour', which is not there yet"),
    ("made(lambda row: {'mine': 1}, rules=(DropRule('wrong', lambda o: pl.col('mine') > 1, ''),))", "'wrong' already"),
    ("made(lambda row: {'mine': 1}, reads=('luck',))", "reads 'luck', which is not there yet"),
    (
        "made(lambda row: {'mine': 1}, rules=(DropRule('odd', lambda o: pl.col('colour') > 1, ''),))",
        "rule 'odd' of the",
    ),
    ("42", "is a int, not a filter"),
]


@pytest.mark.parametrize(("source", "told"), BAD, ids=[told for _, told in BAD])
def test_a_bad_filter_is_refused_before_anything_is_done(package: Path, recipe: Row, source: str, told: str) -> None:
    (package / "bad.py").write_text(f"{HEAD}\nmine = {source}\n")
    with pytest.raises(RecipeError, match=told):
        recipes.parse(recipe | {"filters": [{"use": "bad:mine"}]}).active_filters()


def test_unknown_options_and_places_are_told(package: Path, recipe: Row) -> None:
    with pytest.raises(RecipeError, match="thresold: unknown key, did you mean 'threshold'") as stop:
        recipes.parse(recipe | {"filters": [{"use": USE, "thresold": 0.4}]}).active_filters()
    assert "threshold" in stop.value.remedy
    with pytest.raises(RecipeError, match="can't be imported"):
        recipes.parse(recipe | {"filters": [{"use": "nowhere:at_all"}]}).active_filters()


WRONG = [
    ("{'mine': 'text'}", "gives 'text' for mine, which is of type int32"),
    ("{'yours': 1}", "'yours', which it does not declare"),
    ("7", "gave 7 for a row"),
]


@pytest.mark.parametrize(("value", "told"), WRONG, ids=[told for _, told in WRONG])
def test_values_that_fit_no_column_stop_the_run_and_say_which(
    package: Path, recipe: Row, home: Path, regenerate: Callable[..., Row], value: str, told: str
) -> None:
    (package / "bad.py").write_text(f"{HEAD}\nmine = made(lambda row: {value})\n")
    with pytest.raises(RecipeError, match=told):
        regenerate(recipe | {"filters": [{"use": "bad:mine"}]}, home)


def test_an_exception_costs_its_row_alone(
    package: Path, recipe: Row, home: Path, regenerate: Callable[..., Row]
) -> None:
    (package / "bad.py").write_text(
        f"{HEAD}\nmine = made(lambda row: {{'mine': 1 // ('weather' not in row['response'])}})\n"
    )
    made = regenerate(recipe | {"filters": [{"use": "bad:mine"}]}, home)
    traces = pl.read_parquet(find(home, "replayed@v1").files("traces"))
    assert len(traces) == 36, "no row is lost"
    assert traces["mine"].null_count() == 6
    assert set(traces.filter(pl.col("mine").is_null())["verdict"]) == {"unparsed"}
    assert made["new"]
