"""The main job end to end: recorded samples in, a version out, with the real Prefect, judges and Parquet."""

from __future__ import annotations

import random
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import orjson
import polars as pl
import pytest

from proofmill.data.errors import InputError, NothingKeptError, StoreError
from proofmill.data.versions import check_files, find, versions
from proofmill.flows.context import RunRequest, open_run
from proofmill.flows.recipe import load as recipes
from proofmill.flows.up_to_date import fingerprint, up_to_date_version
from support.samples import replay_recipe, sums, table, write_jsonl

Row = dict[str, Any]
Run = Callable[..., Row]


def request(recipe: Row, home: Path, limit: int | None = None) -> RunRequest:
    return RunRequest(recipes.parse(recipe), home, limit)


def parquet(home: Path, name: str = "replayed") -> dict[str, str]:
    """SHA-256 of the newest version's data files and card, by path."""
    return find(home, name).data_digests()


def keys(home: Path, stage: str) -> set[str]:
    return {path.stem for path in (home / "runs" / "replayed" / stage).glob("*.parquet")}


def balances(ledger: Row) -> bool:
    return bool(ledger["in"] == ledger["kept"] + sum(ledger["dropped"].values()))


@pytest.fixture(scope="module")
def published(regenerate: Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Row]:
    """A HOME with one version of six problems, and the recipe; tests that change it copy it first."""
    folder = tmp_path_factory.mktemp("published")
    recipe = replay_recipe(write_jsonl(folder / "samples.jsonl", sums()))
    result = regenerate(recipe, folder / "home")
    assert result["new"]
    assert result["version"] == "replayed@v1"
    return folder / "home", recipe


@pytest.fixture
def copy(published: tuple[Path, Row], tmp_path: Path) -> tuple[Path, Row]:
    """The same, elsewhere, to be changed at will."""
    shutil.copytree(published[0], tmp_path / "copy")
    return tmp_path / "copy", published[1]


# --- what is published ----------------------------------------------------------------------------


def test_every_stages_ledger_balances(published: tuple[Path, Row]) -> None:
    stages = find(published[0], "replayed").manifest.to_json()["stages"]
    assert all(balances(ledger) for ledger in stages.values()), stages
    assert stages["problems"]["kept"] == 6
    assert stages["samples"]["kept"] == stages["verdicts"]["in"] == stages["selection"]["in"] == 36
    assert stages["verdicts"]["kept"] == 18
    assert stages["selection"]["kept"] == stages["publish"]["in"] == 18
    assert stages["selection"]["dropped"] == {"wrong": 6, "unparsed": 6, "truncated": 6}


def test_every_sampled_row_is_there_with_its_reason(published: tuple[Path, Row]) -> None:
    traces = table(published[0], "traces")
    manifest = find(published[0], "replayed").manifest.to_json()
    assert traces.height == traces["id"].n_unique() == 36
    counts = dict(traces.group_by("drop_reason").len().iter_rows())
    assert counts.pop(None) == manifest["stages"]["selection"]["kept"]
    assert counts == manifest["stages"]["selection"]["dropped"]
    assert set(table(published[0], "problems")["id"]) == set(traces["problem_id"])


def test_both_stages_hold_what_they_promise(published: tuple[Path, Row]) -> None:
    first, second = table(published[0], "sft_stage1"), table(published[0], "sft_stage2")
    assert (first.height, second.height) == (12, 6)
    assert set(first["form"]) == set(second["form"]) == {"sample"}
    assert set(first["id"]).isdisjoint(second["id"])
    assert first["pass_rate"].to_list() == pytest.approx([0.5] * 12)
    assert set(first["n_samples"]) == {6}
    texts = dict(table(published[0], "traces").select("id", "response").iter_rows())
    for row in [*first.to_dicts(), *second.to_dicts()]:
        assert row["completion"] == [{"role": "assistant", "content": texts[row["id"]]}]
        assert [turn["role"] for turn in row["prompt"]] == ["user"]


def test_every_config_loads_with_its_schema(published: tuple[Path, Row], tmp_path: Path) -> None:
    version = find(published[0], "replayed")
    rows = version.manifest.published_rows
    assert set(rows) == {"sft_stage1", "sft_stage2", "rl", "traces", "problems", "pass_rates"}
    assert set(datasets.get_dataset_config_names(str(version.folder))) == set(rows)
    for config, count in rows.items():
        loaded = datasets.load_dataset(str(version.folder), config, split="train", cache_dir=str(tmp_path))
        assert loaded.num_rows == count
        assert not any("large" in repr(feature) for feature in loaded.features.values())
        told = datasets.load_dataset_builder(str(version.folder), config, cache_dir=str(tmp_path / "none")).info
        assert (told.splits["train"].num_examples, told.features) == (count, loaded.features)
        assert told.dataset_size == pytest.approx(loaded.info.dataset_size, rel=0.05), "null bitmaps come and go"
    default = datasets.load_dataset(str(version.folder), split="train", cache_dir=str(tmp_path))
    assert default.num_rows == rows["sft_stage1"]


def test_one_version_is_never_loaded_for_another(regenerate: Run, published: tuple[Path, Row], tmp_path: Path) -> None:
    """Two folders v0001, one cache: `datasets` tells local folders apart by their name and card only."""
    regenerate(replay_recipe(write_jsonl(tmp_path / "samples.jsonl", sums(3))), tmp_path / "home")
    for home, count in ((published[0], 12), (tmp_path / "home", 6)):
        folder = str(find(home, "replayed").folder)
        loaded = datasets.load_dataset(folder, "sft_stage1", split="train", cache_dir=str(tmp_path / "cache"))
        assert loaded.num_rows == count


def test_the_manifest_describes_every_file(published: tuple[Path, Row]) -> None:
    version = find(published[0], "replayed")
    check_files(version)
    listed = {file.path for file in version.manifest.files}
    there = {p.relative_to(version.folder).as_posix() for p in version.folder.rglob("*") if p.is_file()}
    assert there - listed == {"manifest.json"}


def test_nothing_published_tells_where_it_was_made(published: tuple[Path, Row]) -> None:
    for config in ("problems", "sft_stage1", "rl"):
        assert set(table(published[0], config)["source"]) == {"samples.jsonl"}
    keys_and_rows = (published[0] / "runs" / "replayed").rglob("*.parquet")
    assert not [path for path in keys_and_rows if str(published[0]).encode() in path.read_bytes()]


# --- again ----------------------------------------------------------------------------------------


def test_a_finished_run_knows_that_there_is_nothing_to_do(published: tuple[Path, Row]) -> None:
    home, recipe = published
    found = up_to_date_version(request(recipe, home))
    assert found is not None
    assert found.label == "replayed@v1"
    for other in (recipe | {"seed": 5}, recipe | {"select": {"max_per_problem": 1}}):
        assert up_to_date_version(request(other, home)) is None
    assert up_to_date_version(request(recipe, home, limit=2)) is None


def test_a_label_that_was_given_again_is_not_taken_for_the_version_of_then(copy: tuple[Path, Row]) -> None:
    home, recipe = copy
    manifest = find(home, "replayed@v1").folder / "manifest.json"
    manifest.write_bytes(manifest.read_bytes() + b"\n")
    assert up_to_date_version(request(recipe, home)) is None


def test_a_file_and_a_model_under_the_users_home_are_known_by_their_content(
    tmp_path: Path, replay_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "model").mkdir()
    (tmp_path / "traces.jsonl").write_bytes(replay_file.read_bytes())
    sampler = {"name": "old", "engine": {"kind": "replay", "files": ["~/traces.jsonl"], "license": "mit"}}
    recipe: Row = {"name": "tilde", "samplers": [sampler], "publish": {"student": "~/model"}}

    def known() -> tuple[Row, str]:
        asked = request(recipe, tmp_path / "home")
        return asked.inputs, fingerprint(asked)

    inputs, before = known()
    (tmp_path / "model" / "tokenizer.json").write_text("{}")
    same, other = known()
    assert (same == inputs, other == before) == (True, False)
    (tmp_path / "traces.jsonl").write_bytes(replay_file.read_bytes() * 2)
    assert known()[0] != inputs


def test_an_equal_version_is_not_written_again(regenerate: Run, copy: tuple[Path, Row]) -> None:
    home, recipe = copy
    before = {path: path.stat().st_mtime_ns for path in (home / "runs").rglob("*.parquet")}
    result = regenerate(recipe, home)
    assert (result["version"], result["new"]) == ("replayed@v1", False)
    assert [version.number for version in versions(home, "replayed")] == [1]
    assert {path: path.stat().st_mtime_ns for path in (home / "runs").rglob("*.parquet")} == before
    assert not list((home / "datasets").rglob("*.tmp"))


def test_a_changed_threshold_redoes_the_selection_alone(regenerate: Run, copy: tuple[Path, Row]) -> None:
    home, recipe = copy
    stages = ("problems", "recorded", "samples", "verdicts", "quality", "signatures", "near_duplicates")
    before = {stage: keys(home, stage) for stage in (*stages, "selection")}
    times = {
        path: path.stat().st_mtime_ns for stage in stages for path in (home / "runs" / "replayed" / stage).iterdir()
    }
    result = regenerate(recipe | {"select": {"max_per_problem": 1}, "quality": {"max_repetition": 0.4}}, home)
    assert (result["version"], result["new"], result["manifest"].parent) == ("replayed@v2", True, 1)
    assert {stage: keys(home, stage) for stage in stages} == {stage: before[stage] for stage in stages}
    assert all(path.stat().st_mtime_ns == time for path, time in times.items())
    assert keys(home, "selection") > before["selection"]
    stages_after = result["manifest"].to_json()["stages"]
    assert stages_after["selection"]["dropped"]["capped_problem"] == 6
    assert all(balances(ledger) for ledger in stages_after.values())


def test_a_changed_threshold_of_near_duplicates_keeps_the_verdicts(regenerate: Run, copy: tuple[Path, Row]) -> None:
    home, recipe = copy
    before = keys(home, "verdicts"), keys(home, "signatures")
    marked = keys(home, "near_duplicates")
    regenerate(recipe | {"dedup": {"threshold_across": 0.2, "threshold_within": 0.2}}, home)
    assert (keys(home, "verdicts"), keys(home, "signatures")) == before
    assert len(keys(home, "near_duplicates") - marked) == len(marked)


def test_a_lost_stage_file_is_made_again(regenerate: Run, copy: tuple[Path, Row]) -> None:
    home, recipe = copy
    run = home / "runs" / "replayed"
    next((run / "verdicts").iterdir()).unlink()
    cut = next((run / "selection").iterdir())
    cut.write_bytes(cut.read_bytes()[:-10])
    next((run / "problems").iterdir()).unlink()
    next((run / "recorded").iterdir()).unlink()
    result = regenerate(recipe, home)
    assert (result["version"], result["new"]) == ("replayed@v1", False)


def test_a_moved_home_goes_on(regenerate: Run, published: tuple[Path, Row], tmp_path: Path) -> None:
    """HOME and the input file elsewhere: nothing is judged again, and the result is the same version."""
    home, recipe = tmp_path / "moved", replay_recipe(write_jsonl(tmp_path / "samples.jsonl", sums()))
    shutil.copytree(published[0], home)
    before = {path: path.stat().st_mtime_ns for path in (home / "runs").rglob("*.parquet")}
    regenerate(recipe, home)
    assert {path: path.stat().st_mtime_ns for path in (home / "runs").rglob("*.parquet")} == before


def test_new_samples_are_a_new_version(regenerate: Run, copy: tuple[Path, Row], tmp_path: Path) -> None:
    home, _ = copy
    recipe = replay_recipe(write_jsonl(tmp_path / "samples.jsonl", sums(7)))
    result = regenerate(recipe, home)
    assert (result["version"], result["new"]) == ("replayed@v2", True)
    old, new = table(home, "traces", "replayed@v1"), table(home, "traces", "replayed@v2")
    assert set(old["id"]) < set(new["id"]), "a trace keeps its id"
    assert find(home, "replayed@v1").data_digests() == parquet_of(home, 1), "an old version never changes"


def parquet_of(home: Path, number: int) -> dict[str, str]:
    version = find(home, f"replayed@v{number}")
    check_files(version)
    return version.data_digests()


# --- the same bytes -------------------------------------------------------------------------------


def test_the_same_samples_give_the_same_bytes(regenerate: Run, published: tuple[Path, Row], tmp_path: Path) -> None:
    """Problems and their samples in another order of problems; the samples of one keep their order."""
    rows = sums()
    groups = [rows[start : start + 6] for start in range(0, len(rows), 6)]
    random.Random(5).shuffle(groups)
    (tmp_path / "elsewhere").mkdir()
    file = write_jsonl(tmp_path / "elsewhere" / "samples.jsonl", [row for group in groups for row in group])
    regenerate(replay_recipe(file), tmp_path / "home")
    here, there = parquet(published[0]), parquet(tmp_path / "home")
    here.pop("README.md"), there.pop("README.md")  # the card shows the recipe, and with it the input's path
    assert here == there


def test_samples_of_a_problem_in_another_order_get_other_numbers_and_the_same_fate(
    regenerate: Run, published: tuple[Path, Row], tmp_path: Path
) -> None:
    rows = sums()
    random.Random(7).shuffle(rows)
    regenerate(replay_recipe(write_jsonl(tmp_path / "samples.jsonl", rows)), tmp_path / "home")
    same = ["problem_id", "response", "verdict", "repetition", "stage", "drop_reason", "reasoning", "final"]
    here, there = (table(home, "traces").select(same).sort(same) for home in (published[0], tmp_path / "home"))
    assert here.equals(there)
    for config in ("problems", "pass_rates", "rl"):
        assert table(published[0], config).equals(table(tmp_path / "home", config))


# --- rows that can't be used ----------------------------------------------------------------------


def test_rows_that_can_not_be_used_are_counted(regenerate: Run, home: Path, tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "samples.jsonl", [*sums(2), {"prompt": "no gold", "response": "x"}])
    file.write_bytes(file.read_bytes() + b'{"prompt": "cut in the mid')
    manifest = regenerate(replay_recipe(file), home)["manifest"].to_json()
    assert manifest["stages"]["samples"] == {"in": 14, "kept": 12, "dropped": {"no_gold": 1, "unreadable": 1}}
    log = (home / "runs" / "replayed" / "run.log").read_text()
    assert "samples.jsonl:14: unreadable" in log
    assert "samples.jsonl:13: no_gold" in log


def test_a_limit_is_counted_as_one(regenerate: Run, home: Path, replay_file: Path) -> None:
    manifest = regenerate(replay_recipe(replay_file), home, limit=2)["manifest"].to_json()
    assert manifest["limit"] == 2
    assert manifest["stages"]["problems"]["kept"] == 2
    assert manifest["stages"]["samples"] == {"in": 13, "kept": 12, "dropped": {"over_limit": 1}}


def test_a_source_of_problems_beside_recorded_samples(
    regenerate: Run, home: Path, replay_file: Path, tmp_path: Path
) -> None:
    """Problems without samples are published, repeated ones once."""
    asked = [{k: row[k] for k in ("prompt", "answer", "license")} for row in sums(8)[::6]]
    source = {"kind": "file", "path": str(write_jsonl(tmp_path / "asked.jsonl", [*asked, asked[0]]))}
    recipe = replay_recipe(replay_file, problems={"sources": [source]})
    stages = regenerate(recipe, home)["manifest"].to_json()["stages"]
    assert stages["problems"] == {"in": 9, "kept": 8, "dropped": {"repeated": 1}}
    assert table(home, "problems").height == 8
    assert table(home, "rl").height == 6


def test_a_hostile_sample_is_one_row_of_many(regenerate: Run, home: Path, tmp_path: Path) -> None:
    """Texts that break naive parsers; each is judged, kept whole and published beside the others."""
    hostile = ["\0", "\\boxed{" * 5000, "\ud7ff\U0010ffff", "</think>" * 50, "\\boxed{9^{9^{9^9}}}", " ", "{" * 10_000]
    rows = sums(2) + [sums(1)[0] | {"response": text} for text in hostile]
    regenerate(replay_recipe(write_jsonl(tmp_path / "samples.jsonl", rows)), home)
    traces = table(home, "traces")
    assert set(hostile) <= set(traces["response"])
    assert set(traces.filter(pl.col("response").is_in(hostile))["verdict"]) <= {"wrong", "unparsed", "timeout"}


# --- refusals -------------------------------------------------------------------------------------


def test_an_unknown_licence_is_refused_and_allowed_by_name(regenerate: Run, home: Path, tmp_path: Path) -> None:
    rows = [{k: v for k, v in row.items() if k != "license"} for row in sums(2)]
    recipe = replay_recipe(write_jsonl(tmp_path / "samples.jsonl", rows))
    with pytest.raises(InputError, match="unknown") as caught:
        regenerate(recipe, home)
    assert "publish.allow_licenses=[unknown]" in caught.value.remedy
    assert not versions(home, "replayed")
    result = regenerate(recipe | {"publish": {"allow_licenses": ["unknown"]}}, home)
    assert result["manifest"].licenses == [None]
    assert "unknown" in (Path(result["folder"]) / "README.md").read_text()


def test_nothing_kept_publishes_nothing(regenerate: Run, home: Path, tmp_path: Path) -> None:
    rows = [row | {"response": "I don't know."} for row in sums(2)]
    with pytest.raises(NothingKeptError) as caught:
        regenerate(replay_recipe(write_jsonl(tmp_path / "samples.jsonl", rows)), home)
    assert caught.value.exit_code == 3
    assert "unparsed" in caught.value.where
    assert not versions(home, "replayed")


def test_a_source_without_one_problem_says_why(regenerate: Run, home: Path, tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "samples.jsonl", [{"prompt": "p", "response": "r"}])
    with pytest.raises(InputError, match="not one problem"):
        regenerate(replay_recipe(file), home)


def test_a_wrong_map_names_the_fields_there_are(regenerate: Run, home: Path, replay_file: Path) -> None:
    recipe = replay_recipe(replay_file)
    recipe["samplers"][0]["engine"]["map"] = {"response": "solution"}
    with pytest.raises(InputError, match="solution") as caught:
        regenerate(recipe, home)
    assert "response" in caught.value.remedy


def test_a_second_run_at_the_same_time_is_refused(regenerate: Run, home: Path, replay_file: Path) -> None:
    recipe = replay_recipe(replay_file)
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with open_run(request(recipe, home)):
            held.set()
            release.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(60)
    try:
        with pytest.raises(StoreError, match="already going on"):
            regenerate(recipe, home)
    finally:
        release.set()
        thread.join()
    assert regenerate(recipe, home)["new"]


# --- other shapes ---------------------------------------------------------------------------------


def test_recorded_samples_of_a_version_run_again(regenerate: Run, copy: tuple[Path, Row]) -> None:
    home, _ = copy
    recipe = {"name": "again", "samplers": [{"engine": {"kind": "replay", "files": ["replayed@v1"]}}]}
    result = regenerate(recipe, home)
    assert result["manifest"].stages["samples"].kept == 36
    same = ["problem_id", "response", "verdict", "drop_reason"]
    assert table(home, "traces", "again").select(same).equals(table(home, "traces").select(same))


def test_rows_rendered_as_text_and_a_messages_config(regenerate: Run, home: Path, replay_file: Path) -> None:
    publish = {"render": "text", "student": "bundled", "messages": True}
    manifest = regenerate(replay_recipe(replay_file, publish=publish), home)["manifest"].to_json()
    first, both = table(home, "sft_stage1"), table(home, "messages")
    assert both.height == first.height + table(home, "sft_stage2").height
    texts = dict(table(home, "traces").select("id", "response").iter_rows())
    for row in first.iter_rows(named=True):
        assert row["completion"].startswith(texts[row["id"]])
        assert row["prompt"].endswith("<|im_start|>assistant\n")
        assert 0 < row["completion_tokens"] < row["total_tokens"] <= manifest["tokens"]["longest_row"]
    card = (find(home, "replayed").folder / "README.md").read_text()
    assert f"max_length={manifest['tokens']['longest_row']}" in card
    assert [turn["role"] for turn in both["messages"][0]] == ["user", "assistant"]


def test_the_hard_subset(regenerate: Run, copy: tuple[Path, Row]) -> None:
    home, recipe = copy
    hard = {"strategy": "broad_to_hard", "min_tokens": 200, "min_error_rate": 0.5}
    manifest = regenerate(recipe | {"curriculum": hard}, home)["manifest"].to_json()
    assert manifest["stages"]["publish"]["rows"]["sft_stage1"] == 18
    second = table(home, "sft_stage2")
    assert set(second["id"]) < set(table(home, "sft_stage1")["id"])
    assert second.height > 0


def test_an_empty_stage_is_left_out_of_the_card(regenerate: Run, copy: tuple[Path, Row]) -> None:
    home, recipe = copy
    manifest = regenerate(recipe | {"curriculum": {"short_forms": []}}, home)["manifest"].to_json()
    assert "sft_stage2" not in manifest["stages"]["publish"]["rows"]
    assert "sft_stage2" not in datasets.get_dataset_config_names(str(find(home, "replayed").folder))


def test_a_verifier_of_ones_own(regenerate: Run, home: Path, tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "verifiers_of_a_user.py").write_text(
        "from proofmill.filters.verdicts import CORRECT, WRONG, Verdict\n"
        "class Shouts:\n    version, ask = '1', 'Shout.'\n    def quick(self, problem, text):\n        return None\n"
        "    def verify(self, problem, text):\n        return Verdict(CORRECT if text.isupper() else WRONG)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    rows = [{"prompt": f"Shout {n}", "response": r, "license": "mit"} for n in "ab" for r in ("WHAT A DAY IT IS", "no")]
    recipe = replay_recipe(write_jsonl(tmp_path / "samples.jsonl", rows))
    recipe["samplers"][0]["engine"]["domain"] = "shouting"
    recipe["verify"] = {"verifiers": {"shouting": "verifiers_of_a_user:Shouts"}}
    stages = regenerate(recipe, home)["manifest"].to_json()["stages"]
    assert stages["verdicts"] == {"in": 4, "kept": 2, "dropped": {"wrong": 2}}


@pytest.mark.skipif(
    not (shared := Path(__file__).parents[2].parent / "shared" / "data" / "gsm8k_traces_6b.jsonl").exists(),
    reason="the shared data folder is not there",
)
def test_real_recorded_samples(regenerate: Run, home: Path) -> None:
    """Solutions by two models, with people's labels beside them: verdicts agree where an answer was found."""
    engine = {
        "kind": "replay",
        "files": [str(shared)],
        "map": {"prompt": "question", "response": "solution", "answer": "gold_solution", "sampler": "sampler"},
        "license": "mit",
        "limit": 200,
    }
    manifest = regenerate({"name": "gsm8k", "samplers": [{"engine": engine}]}, home)["manifest"].to_json()
    assert all(balances(ledger) for ledger in manifest["stages"].values())
    assert manifest["stages"]["samples"]["kept"] == 200
    labels = {}
    for line in shared.read_bytes().splitlines()[:200]:
        row = orjson.loads(line)
        labels[row["question"], row["solution"]] = row["is_correct"]
    problems = dict(table(home, "problems", "gsm8k").select("id", "prompt").iter_rows())
    for row in table(home, "traces", "gsm8k").iter_rows(named=True):
        if row["verdict"] in ("correct", "wrong"):
            assert (row["verdict"] == "correct") == labels[problems[row["problem_id"]], row["response"]]
