"""Two versions beside each other: every difference is found, and its cause is the one that was made."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from proofmill.data import differences
from proofmill.data.errors import StoreError
from proofmill.data.hub import local_files
from proofmill.data.run import source_digest
from proofmill.data.versions import find, recorded
from proofmill.filters.contamination import DecontaminateOptions
from proofmill.flows.commands.decontaminate import would_remove
from proofmill.flows.commands.diff import difference
from proofmill.flows.commands.show import show_dropped, show_refuted, show_version
from proofmill.flows.diff_causes import manifest_diff
from support.samples import CORRECT, replay_recipe, sums, write_jsonl

Row = dict[str, Any]
Run = Callable[..., Row]
STORED = Path(__file__).parent / "stored"


@pytest.fixture(scope="module")
def base(regenerate: Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Row]:
    folder = tmp_path_factory.mktemp("base")
    recipe = replay_recipe(write_jsonl(folder / "samples.jsonl", sums(4)))
    regenerate(recipe, folder / "home")
    return folder / "home", recipe


@pytest.fixture
def copy(base: tuple[Path, Row], tmp_path: Path) -> tuple[Path, Row]:
    shutil.copytree(base[0], tmp_path / "copy")
    return tmp_path / "copy", base[1]


def compared(home: Path, before: str = "replayed@v1", after: str = "replayed@v2", rows: int = 1) -> Row:
    return difference(find(home, before), find(home, after), rows)


def only(found: Row, kind: str) -> Row:
    """The one difference of its kind."""
    (row,) = (row for row in found["rows"] if row["kind"] == kind)
    return dict(row)


def test_equal_versions_have_no_difference(regenerate: Run, copy: tuple[Path, Row]) -> None:
    home, recipe = copy
    regenerate(recipe | {"name": "again"}, home)
    found = compared(home, after="again@v1")
    assert found["equal"]
    assert found["rows"] == found["configs"] == []
    assert compared(home, after="replayed@v1")["facts"] == []


def test_another_cap_is_the_cap(regenerate: Run, copy: tuple[Path, Row]) -> None:
    home, recipe = copy
    regenerate(recipe | {"select": {"max_per_problem": 1}, "verify": {"workers": 1}}, home)
    found = compared(home)
    row = only(found, "changed")
    assert (row["count"], row["before"], row["after"]) == (4, "correct, stage 1", "correct, capped_problem")
    assert row["causes"] == ["recipe select.max_per_problem: 4 → 1"]
    assert len(found["rows"]) == 1
    traces = pl.read_parquet(find(home, "replayed@v2").files("traces"))
    assert traces.filter(pl.col("id") == row["examples"][0]["id"])["drop_reason"].to_list() == ["capped_problem"]
    back = only(compared(home, "replayed@v2", "replayed@v1"), "changed")
    assert back["causes"] == ["recipe select.max_per_problem: 1 → 4"]


def test_new_problems_come_from_the_file(regenerate: Run, copy: tuple[Path, Row], tmp_path: Path) -> None:
    home, _ = copy
    regenerate(replay_recipe(write_jsonl(tmp_path / "samples.jsonl", sums(6))), home)
    found = compared(home)
    assert {row["kind"] for row in found["rows"]} == {"added"}
    assert sum(row["count"] for row in found["rows"]) == 12
    (cause,) = {cause for row in found["rows"] for cause in row["causes"]}
    assert re.fullmatch(r"input file samples\.jsonl: \w{8} → \w{8}", cause)
    assert found["problems"] == {"added": 2, "removed": 0, "changed": 0}
    gone = compared(home, "replayed@v2", "replayed@v1")
    assert {row["kind"] for row in gone["rows"]} == {"removed"}


def test_a_limit_removes_problems(regenerate: Run, copy: tuple[Path, Row]) -> None:
    home, recipe = copy
    regenerate(recipe, home, limit=3)
    found = compared(home)
    removed = [row for row in found["rows"] if row["kind"] == "removed"]
    assert {tuple(row["causes"]) for row in removed} == {("recipe limit: None → 3",)}
    assert sum(row["count"] for row in removed) == 6


def test_rows_of_another_model_are_the_models(regenerate: Run, copy: tuple[Path, Row], tmp_path: Path) -> None:
    home, _ = copy
    rows = [row | {"response": row["response"] + " So it is."} for row in sums(4)]
    other = replay_recipe(write_jsonl(tmp_path / "samples.jsonl", rows))
    other["samplers"][0]["engine"]["model"] = "another"
    regenerate(other, home)
    found = compared(home)
    assert {row["kind"] for row in found["rows"]} == {"added", "removed"}
    for row in found["rows"]:
        assert row["causes"][0] == "recipe samplers.0.engine.model: None → another"


def test_an_edited_verifier_is_the_cause(
    regenerate: Run, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tmp_path / "verifiers_that_change.py"
    code = (
        "from proofmill.filters.verdicts import CORRECT, WRONG, Verdict\n"
        "class Shouts:\n    version, ask = '1', 'Shout.'\n    def quick(self, problem, text):\n        return None\n"
        "    def verify(self, problem, text):\n        return Verdict(CORRECT if {} else WRONG)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    rows = [
        {"prompt": f"Shout {n}", "response": r, "license": "mit"} for n in "ab" for r in ("WHAT A DAY IT IS", "Ahoy")
    ]
    recipe = replay_recipe(write_jsonl(tmp_path / "samples.jsonl", rows))
    recipe["samplers"][0]["engine"]["domain"] = "shouting"
    recipe["verify"] = {"verifiers": {"shouting": "verifiers_that_change:Shouts"}}
    for test in ("text.isupper()", "text[0].isupper()"):
        module.write_text(code.format(test))
        source_digest.cache_clear()
        regenerate(recipe, home)
    found = compared(home)
    assert sum(row["count"] for row in found["rows"] if row["before"] == "wrong") == 2
    (cause,) = {cause for row in found["rows"] if row["before"] == "wrong" for cause in row["causes"]}
    assert re.fullmatch(r"custom verifier of shouting: \w{8} → \w{8}", cause)


def test_rendering_changes_files_and_no_trace(regenerate: Run, copy: tuple[Path, Row]) -> None:
    home, recipe = copy
    regenerate(recipe | {"publish": {"messages": True}}, home)
    found = compared(home)
    assert (found["rows"], found["configs"]) == ([], ["messages"])
    assert found["causes"] == ["recipe publish.messages: False → True"]


def test_an_edited_file_is_named_and_not_explained(copy: tuple[Path, Row]) -> None:
    home, _ = copy
    shutil.copytree(home / "datasets" / "replayed", home / "datasets" / "edited")
    (path,) = find(home, "edited").files("traces")
    table = pq.read_table(path)
    pq.write_table(table.slice(1), path)
    with pytest.raises(StoreError, match="edited@v1") as caught:
        compared(home, after="edited@v1")
    assert f"traces/{path.name} is damaged or was edited" in str(caught.value)
    assert str(path.parents[1]) in caught.value.where


def test_the_same_in_one_part_or_in_many(
    regenerate: Run, copy: tuple[Path, Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, _ = copy
    new = replay_recipe(write_jsonl(tmp_path / "samples.jsonl", sums(6)[5:]), select={"max_per_problem": 1})
    regenerate(new, home)
    versions = find(home, "replayed@v1"), find(home, "replayed@v2")
    whole = [vars(group) for group in differences.compare_traces(*versions)]
    monkeypatch.setattr(differences, "PART_ROWS", 3)
    assert [vars(group) for group in differences.compare_traces(*versions)] == whole
    before, after = (pl.read_parquet(version.files("traces")) for version in versions)
    counts = {kind: sum(g["count"] for g in whole if g["kind"] == kind) for kind in ("added", "removed")}
    assert counts == {
        "added": len(set(after["id"]) - set(before["id"])),
        "removed": len(set(before["id"]) - set(after["id"])),
    }
    both = before.join(after, on="id")
    changed = both.filter(
        pl.any_horizontal(pl.col(c).ne_missing(pl.col(f"{c}_right")) for c in ("stage", "drop_reason"))
    )
    assert sum(g["count"] for g in whole if g["kind"] == "changed" and g["before"] != g["after"]) == changed.height


def test_a_library_that_one_version_does_not_record_is_no_cause() -> None:
    version = find(STORED, "stored")
    sides = [
        replace(version, manifest=version.manifest.replaced(libraries=libraries))
        for libraries in ({"sympy": "1.13"}, {"sympy": "1.14", "mpmath": "1.3"})
    ]
    assert manifest_diff(*sides).libraries == {"sympy": ("1.13", "1.14")}


def test_an_older_version_beside_a_newer_one(regenerate: Run, home: Path, tmp_path: Path) -> None:
    """A version that records no code: the rows that its successors judge otherwise say so."""
    shutil.copytree(STORED, home)
    recipe = {"name": "stored", "samplers": [{"engine": {"kind": "replay", "files": ["stored@v1"]}}]}
    regenerate(recipe | {"select": {"max_per_problem": 1}}, home)
    found = compared(home, "stored@v1", "stored@v2")
    assert [row for row in found["rows"] if row["kind"] in ("added", "removed")] == []
    changed = [row for row in found["rows"] if row["kind"] == "changed" and row["after"] == "correct, capped_problem"]
    assert "recipe select.max_per_problem: 4 → 1" in changed[0]["causes"]


def test_a_stored_older_version_is_shown_checked_and_decontaminated(tmp_path: Path) -> None:
    told = Console(record=True, width=200)
    show_version(STORED, "stored@v1", 1, told, check=True)
    benchmark = write_jsonl(tmp_path / "bench.jsonl", [{"question": CORRECT[0].format(a=11, b=5, sum=16)}])
    would_remove(STORED, "stored@v1", None, DecontaminateOptions(against=(str(benchmark),)), told)
    text = told.export_text()
    assert "refuted_claim 1" in text
    assert "stored@v1: what would go" in text
    assert list(recorded(find(STORED, "stored")))
    show_dropped(STORED, "stored@v1", "all", 1, told)
    show_refuted(STORED, "stored@v1", 1, told)
    assert "refuted_claim: refuted '" in told.export_text()
    assert compared(STORED, "stored@v1", "stored@v1")["equal"]
    assert {file.name for file in local_files(find(STORED, "stored"))} >= {"README.md", "manifest.json"}
