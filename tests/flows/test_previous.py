"""A data set grown version by version: what a published version has already is left out, its texts unread."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import polars as pl
import pytest

from proofmill.data.errors import RecipeError, UsageError
from proofmill.data.versions import check_files, find
from support.samples import replay_recipe, sums, write_jsonl

Row = dict[str, Any]
Run = Callable[..., Row]

STEPS = "We want {a} + {b}. Split {b} into ones and add them step by step to {a}; carry where it is needed and check."
FIRST = f"{STEPS} So {{a}} + {{b}} = {{sum}}. The answer is \\boxed{{{{{{sum}}}}}}."
AGAIN = f"{STEPS} So {{a}} + {{b}} = {{sum}}. The answer is thus \\boxed{{{{{{sum}}}}}}."
OTHER = "Begin with the tens of both numbers, then the ones: together {sum}. That gives {sum}, so \\boxed{{{sum}}}."


@pytest.fixture(scope="module")
def base(regenerate: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A HOME with `first@v1`: a trace of each of three problems."""
    folder = tmp_path_factory.mktemp("first")
    file = write_jsonl(folder / "first.jsonl", sums(3, [FIRST]))
    regenerate(replay_recipe(file, name="first"), folder / "home")
    return folder / "home"


@pytest.fixture
def home(base: Path, tmp_path: Path) -> Path:
    shutil.copytree(base, tmp_path / "home")
    return tmp_path / "home"


def reasons(home: Path, label: str) -> list[tuple[str, str | None]]:
    """(what the trace says, why it was dropped), sorted."""
    traces = pl.concat([pl.read_parquet(path) for path in find(home, label).files("traces")])
    kinds = {"thus": "again", "tens": "other"}
    named = [next((kind for word, kind in kinds.items() if word in text), "first") for text in traces["response"]]
    return sorted(zip(named, traces["drop_reason"], strict=True), key=str)


def grown(folder: Path, **dedup: Any) -> Row:
    file = write_jsonl(folder / "second.jsonl", sums(3, [AGAIN, OTHER]))
    recipe: Row = replay_recipe(file, name="second", dedup=dedup)
    return recipe


def test_what_a_version_has_is_left_out_without_its_texts(regenerate: Run, home: Path, tmp_path: Path) -> None:
    for config in ("traces", "problems", "sft_stage1", "sft_stage2"):
        shutil.rmtree(find(home, "first").folder / config, ignore_errors=True)
    recipe = grown(tmp_path, against=["first@v1"], threshold_within=0.6)
    regenerate(recipe, home)
    assert reasons(home, "second") == [("again", "in_previous")] * 3 + [("other", None)] * 3
    assert find(home, "second").manifest.selection.dropped == {"in_previous": 3}


def test_nothing_is_compared_with_other_versions_by_default(regenerate: Run, home: Path, tmp_path: Path) -> None:
    regenerate(grown(tmp_path, threshold_within=0.6), home)
    assert [reason for _, reason in reasons(home, "second")] == [None] * 6


def test_the_same_trace_is_no_repeat_of_itself(regenerate: Run, home: Path, tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "first.jsonl", sums(3, [FIRST, AGAIN]))
    recipe = replay_recipe(file, name="first", dedup={"against": ["first@v1"], "threshold_within": 0.6})
    assert regenerate(recipe, home)["version"] == "first@v2"
    dropped = {kind for kind, reason in reasons(home, "first@v2") if reason}
    kept = [kind for kind, reason in reasons(home, "first@v2") if not reason]
    assert dropped == {"again"}
    assert kept == ["first"] * 3


def test_the_index_is_part_of_the_version_and_in_nobodys_way(regenerate: Run, home: Path) -> None:
    version = find(home, "first")
    check_files(version)
    assert [file.rows for file in version.manifest.files_of("signatures")] == [3]
    assert "signatures" not in datasets.get_dataset_config_names(str(version.folder))
    assert len(datasets.load_dataset(str(version.folder), "sft_stage1", split="train")) == 3


def test_the_index_has_the_same_bytes_whatever_the_workers(regenerate: Run, tmp_path: Path) -> None:
    texts = sums(100, [FIRST, AGAIN, OTHER])  # more than one worker takes at a time
    file = write_jsonl(tmp_path / "many.jsonl", texts)
    written = []
    for name, workers in (("one", 1), ("three", 3)):
        regenerate(replay_recipe(file, name="many", verify={"workers": workers}), tmp_path / name)
        folder = find(tmp_path / name, "many").folder
        written.append({str(path.relative_to(folder)): path.read_bytes() for path in folder.glob("signatures/*")})
    assert written[0]
    assert written[0] == written[1]


def test_a_version_without_an_index_is_refused_before_any_work(regenerate: Run, home: Path, tmp_path: Path) -> None:
    shutil.rmtree(find(home, "first").folder / "signatures")
    with pytest.raises(RecipeError, match="first@v1 keeps no index") as caught:
        regenerate(grown(tmp_path, against=["first@v1"]), home)
    assert "run its recipe again" in str(caught.value)
    assert not (home / "runs" / "second" / "verdicts").exists()


def test_other_shingles_are_refused_with_a_remedy(regenerate: Run, home: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="first@v1 was signed with"):
        regenerate(grown(tmp_path, against=["first@v1"], shingle="tokens"), home)


def test_a_version_that_is_not_there_is_named(regenerate: Run, home: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="first@v7"):
        regenerate(grown(tmp_path, against=["first@v7"]), home)


def test_a_changed_index_is_a_changed_run(regenerate: Run, home: Path, tmp_path: Path) -> None:
    regenerate(grown(tmp_path, threshold_within=0.6), home)
    result = regenerate(grown(tmp_path, threshold_within=0.6, against=["first@v1"]), home)
    assert (result["version"], result["new"]) == ("second@v2", True)
    assert result["manifest"].selection.dropped == {"in_previous": 3}
