"""What makes a step run again: a raised version, an option that decides its columns, another input; nothing else.

A step's key holds no digest of its source, so a changed sentence re-runs nothing; and it holds the content of its
inputs, so what was made again and came out equal ends there.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pytest

from proofmill.data import run as runs
from proofmill.data.segments import read_rows
from proofmill.data.versions import find
from proofmill.filters import verification
from proofmill.filters.base import Filter, GatherContext, MapFilter
from proofmill.filters.catalog import FILTERS
from proofmill.filters.domains import find_domain
from proofmill.filters.near_duplicates.duplicates import NEAR_DUPLICATES
from proofmill.filters.repetition import QUALITY
from proofmill.filters.verification import VERDICTS, VerifyOptions
from proofmill.flows import up_to_date
from proofmill.flows.context import RunRequest
from proofmill.flows.recipe import load as recipes
from proofmill.flows.up_to_date import fingerprint, step_versions
from support import crash
from support.samples import SAMPLES, replay_recipe, sums, write_jsonl

Row = dict[str, Any]
Run = Callable[..., Row]
NAMES = [one.name for one in FILTERS]


# --- keys -------------------------------------------------------------------------------------------


def test_a_raised_version_of_a_domain_changes_verdicts_and_is_never_taken_for_finished(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    options, request = VerifyOptions(), RunRequest(recipes.parse(replay_recipe(tmp_path / "none.jsonl")), tmp_path)
    known = replace(find_domain("math"), version=99)
    vars(request)["inputs"] = {}  # of files that are not there
    before = VERDICTS.key(options), fingerprint(request)
    for module in (verification, up_to_date):
        monkeypatch.setattr(module, "find_domain", lambda name: known if name == "math" else find_domain(name))
    assert step_versions()["verdicts of math"] == 99
    assert VERDICTS.key(options) != before[0]
    assert fingerprint(request) != before[1]


@pytest.mark.parametrize("one", FILTERS, ids=NAMES)
def test_a_key_is_that_of_a_version_and_not_of_code(one: Filter[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    key = one.key(one.options(), "input")
    rewritten = replace(one, rules=())
    if isinstance(one, MapFilter):
        rewritten = replace(one, rules=(), annotate=lambda *_: [], why=lambda _: "another")
    assert rewritten.key(one.options(), "input") == key, "drop rules and code are not in it"
    column = pa.schema([("another", pa.int8())])
    others = [
        one.key(one.options(), "other input"),
        *(replace(one, **change).key(one.options(), "input") for change in (  # type: ignore[arg-type]
            {"name": "other"}, {"version": one.version + 1}, {"libraries": (*one.libraries, "orjson")},
            {"adds": column}, {"internal": column},
        )),
    ]  # fmt: skip
    monkeypatch.setattr(runs, "library_version", lambda _: "99")
    others += [one.key(one.options(), "input")] if one.libraries else []
    assert len({key, *others}) == len(others) + 1


@pytest.mark.filterwarnings("ignore:Pydantic serializer")  # the other value is of no type
@pytest.mark.parametrize("one", FILTERS, ids=NAMES)
def test_a_key_covers_the_options_that_it_names_and_no_other(one: Filter[Any]) -> None:
    options = one.options()
    assert set(one.keyed_by) <= {*type(options).model_fields}
    key = one.key(options)
    for name in type(options).model_fields:
        value = {"x": "proofmill.filters.domains:math"} if name == "verifiers" else "another"
        changed = options.model_copy(update={name: value})
        if one.identity is None:
            assert (one.key(changed) != key) == (name in one.keyed_by), name


OTHER_VALUES: dict[str, Any] = {"drop": "any", "min_reliability": 0.5, "max_repetition": 0.25, "max_luck": 0.25}


@pytest.mark.filterwarnings("ignore:Pydantic serializer")  # the other value is of no type
@pytest.mark.parametrize("one", [one for one in FILTERS if one.rules], ids=lambda one: one.name)
def test_a_rule_hangs_on_the_options_that_it_names(one: Filter[Any]) -> None:
    """They are the threshold that the selection's key holds; an option that decides columns is in the filter's."""
    options = one.options()
    for rule in one.rules:
        for name in type(options).model_fields:
            changed = options.model_copy(update={name: OTHER_VALUES.get(name, getattr(options, name))})
            assert rule.when(changed).meta.eq(rule.when(options)) or name in rule.hangs_on, (rule.reason, name)
    told = {name for rule in one.rules for name in rule.hangs_on}
    assert told <= {*type(options).model_fields}


def test_a_users_own_verifier_is_known_by_its_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    options = VerifyOptions(verifiers={"mine": "verifier_of_a_key:Mine"})

    def key(text: str) -> str:
        (tmp_path / "verifier_of_a_key.py").write_text(text)
        runs.source_digest.cache_clear()
        return VERDICTS.key(options)

    assert key("x = 1\n") == key("x = 1\n") != key("x = 2\n")


def test_every_step_has_a_version_and_its_libraries_are_there() -> None:
    assert {*NAMES} < {*step_versions()}
    assert all(version >= 1 for version in step_versions().values())
    for one in FILTERS:
        assert [name for name in one.libraries if runs.library_version(name) == "absent"] == [], one.name


# --- runs -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def published(regenerate: Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Row]:
    folder = tmp_path_factory.mktemp("keys")
    recipe = replay_recipe(write_jsonl(folder / "samples.jsonl", sums()))
    regenerate(recipe, folder / "home")
    return folder / "home", recipe


@pytest.fixture
def again(regenerate: Run, published: tuple[Path, Row], tmp_path: Path) -> Callable[..., set[str]]:
    """Runs the recipe with other sections in a copy of HOME; names of the steps that made something."""
    home, recipe = tmp_path / "home", published[1]
    shutil.copytree(published[0], home)

    def run(**sections: Any) -> set[str]:
        before = {path: path.stat().st_mtime_ns for path in (home / "runs").rglob("*.parquet")}
        regenerate(recipe | sections, home)
        after = {path: path.stat().st_mtime_ns for path in (home / "runs").rglob("*.parquet")}
        return {path.parent.name for path, time in after.items() if before.get(path) != time}

    return run


def raise_version(monkeypatch: pytest.MonkeyPatch, one: Filter[Any], **changes: Any) -> None:
    """As its author would, beside what else they change."""
    for name, value in {
        "version": one.version + 1,
        "step": replace(one.step, version=one.version + 1),
        **changes,
    }.items():
        monkeypatch.setitem(vars(one), name, value)


def test_where_nothing_is_raised_nothing_runs_again(again: Callable[..., set[str]]) -> None:
    assert again() == set()


def test_a_raised_version_runs_its_filter_again_and_nothing_that_finds_the_same_content(
    again: Callable[..., set[str]], published: tuple[Path, Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    request = RunRequest(recipes.parse(published[1]), published[0])
    before = fingerprint(request)
    raise_version(monkeypatch, QUALITY)
    assert again() == {"quality"}
    raise_version(monkeypatch, VERDICTS)
    assert again() == {"verdicts"}
    assert fingerprint(request) != before, "a finished run is not taken for one of this version"


def test_another_content_runs_what_reads_it_again(
    again: Callable[..., set[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_repeats(parts: Sequence[Callable[[], pa.Table]], _: Any, __: GatherContext) -> Iterator[pa.Table]:
        for part in parts:
            nothing = [pa.nulls(part().num_rows, field.type) for field in NEAR_DUPLICATES.schema]
            yield pa.table(nothing, schema=NEAR_DUPLICATES.schema)

    raise_version(monkeypatch, NEAR_DUPLICATES, gather=no_repeats)
    assert again() == {"near_duplicates", "selection"}


def test_another_time_limit_with_equal_verdicts_judges_again_and_ends_there(again: Callable[..., set[str]]) -> None:
    assert again(verify={"cpu_seconds": 4.0}) == {"verdicts"}


def test_a_threshold_that_decides_no_column_runs_the_selection_alone(again: Callable[..., set[str]]) -> None:
    assert again(quality={"max_repetition": 0.4}, verify={"workers": 1, "max_error_rate": 0.9}) == {"selection"}


# --- an older HOME ----------------------------------------------------------------------------------


def made_before(home: Path) -> None:
    """Rewrites the manifests of a run as they were: keys called `stage` and `facts`, digests of other code."""
    for folder in [path for path in (home / "runs").glob("*/manifest-*") if path.is_dir()]:
        lines = [row for path in sorted(folder.iterdir()) for row in read_rows(path)]
        for line in lines:
            line |= {"stage": line.pop("step"), "facts": line.pop("stats"), "key": line["key"][::-1]}
        older = b"".join(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE) for line in lines)
        folder.with_suffix(".jsonl").write_bytes(older)
        shutil.rmtree(folder)
        (folder.parent / "finished.json").unlink()


@pytest.mark.slow
def test_what_a_model_was_asked_in_an_older_home_is_not_asked_again(
    regenerate: Run, home: Path, tmp_path: Path
) -> None:
    with crash.sum_server(SAMPLES) as server:
        answer, asked = server.answer, []

        def heard(body: Row) -> Row:
            asked.append(json.dumps(body, sort_keys=True))
            return dict(answer(body))

        server.answer = heard
        engine = {"kind": "openai", "endpoints": [server.url], "api": "chat"}
        file = write_jsonl(tmp_path / "sums.jsonl", sums(3, SAMPLES[:1]))
        recipe = {
            "name": "older",
            "problems": {"sources": [{"kind": "file", "path": str(file), "license": "mit"}]},
            "samplers": [{"model": "bundled", "engine": engine, "sampling": {"n": 3, "max_tokens": 64}}],
            "claims": {"model": {"m": 2}},
            "quality": {"learning": {"min_tokens": 2}},
        }
        regenerate(recipe, home)
        before = find(home, "older").data_digests()
        assert asked
        asked.clear()
        made_before(home)
        shutil.rmtree(home / "datasets")
        regenerate(recipe, home)
        trials = [body for body in asked if json.loads(body).get("max_tokens") == 1]
        assert asked == trials, "nothing but whether the server can do what would be asked"
    assert find(home, "older").data_digests() == before
