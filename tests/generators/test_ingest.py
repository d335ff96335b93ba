"""Reading loses nothing: each row is a problem, a sample, or dropped for a reason, whatever the order."""

from __future__ import annotations

import json
import resource
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proofmill.data.errors import InputError
from proofmill.data.rows_io import Located, Unreadable
from proofmill.data.schemas import SHARD_TRACES
from proofmill.data.tables import from_rows
from proofmill.filters.verification import problem_of
from proofmill.generators.problems import ingest
from proofmill.generators.problems.ingest import (
    SHARD_PROBLEMS,
    SPOOL,
    problems_of,
    samples_of,
    shard_tables,
)
from proofmill.generators.problems.problem import IngestStats, SourceDefaults, problem_row, response_text, split_prompt

Row = dict[str, Any]
OWN = {"own": "package.module:judge"}
DEFAULTS = SourceDefaults("math", "s", "mit", verifiers=OWN)


def located(rows: list[Row]) -> list[Located | Unreadable]:
    return [Located(f"f:{number}", row) for number, row in enumerate(rows, 1)]


def problems(rows: list[Row], ledger: IngestStats, **options: Any) -> list[Row]:
    return list(problems_of(located(rows), ledger, DEFAULTS, **({"fields": {}} | options)))


def samples(rows: list[Row], ledger: IngestStats, **options: Any) -> list[Row]:
    given = {"fields": {}, "sampler": "self", "model": None}
    return list(samples_of(located(rows), ledger, DEFAULTS, **(given | options)))


def question(number: int) -> Row:
    return {"prompt": f"How much is {number} + 1?", "answer": str(number + 1)}


# --- one row --------------------------------------------------------------------------------------


def problem(row: Row, domain: str = "math") -> Row:
    found = problem_row(row, SourceDefaults(domain, "s", None, verifiers=OWN))
    assert isinstance(found, dict)
    return found


def test_a_row_that_nobody_can_judge_is_left_out_with_its_reason() -> None:
    ledger = IngestStats()
    names = [{"domain": "mtah"}, {"verifier": "own_one"}, {"domain": "own"}, {"domain": "mtah", "verifier": "math"}]
    kept = problems([question(1) | row for row in names], ledger)
    assert [(row["domain"], row["verifier"]) for row in kept] == [("own", "own"), ("mtah", "math")]
    assert ledger.dropped == {"unknown_domain": 1, "unknown_verifier": 1}
    assert ledger.examples == ["f:1: unknown_domain ('mtah')", "f:2: unknown_verifier ('own_one')"]
    assert samples([question(1) | {"response": "2", "domain": "mtah"}], ledger) == []


def test_an_id_is_the_digest_of_the_content() -> None:
    first = problem({"prompt": "p", "answer": "1"})
    assert problem({"answer": "1", "prompt": "p", "source": "elsewhere", "note": "ignored"})["id"] == first["id"]
    others = [{"prompt": "p", "answer": "2"}, {"prompt": "q", "answer": "1"}]
    others.append({"prompt": "p", "answer": "1", "system": "be brief"})
    assert first["id"] not in {problem(row)["id"] for row in others}
    assert problem({"prompt": [{"role": "user", "content": "p"}], "answer": "1"})["id"] == first["id"]


@pytest.mark.parametrize(
    ("row", "domain", "reason"),
    [
        ({}, "math", "no_prompt"),
        ({"prompt": " \n"}, "math", "empty_prompt"),
        ({"prompt": 7, "answer": "1"}, "math", "no_prompt"),
        ({"prompt": "p"}, "math", "no_gold"),
        ({"prompt": "p"}, "choice", "no_gold"),
        ({"prompt": "p", "task": "t"}, "logic", "no_gold"),
        ({"prompt": "p"}, "code", "no_gold"),
        ({"prompt": "p", "constraints": []}, "instruction", "no_gold"),
        ({"prompt": "p", "answer": "1", "domain": "logic"}, "math", "no_gold"),
        ({"prompt": [{"role": r, "content": "x"} for r in ("user", "assistant", "user")]}, "math", "multi_turn"),
        ({"prompt": [{"role": "user", "content": None}]}, "math", "no_prompt"),
        ({"prompt": []}, "math", "no_prompt"),
        ({"prompt": ["p"]}, "math", "no_prompt"),
        ({"prompt": "p", "answer": "1", "license": ["mit"]}, "math", "bad_license"),
        ({"prompt": "p", "answer": "1", "domain": {"name": "math"}}, "math", "bad_domain"),
        ({"prompt": "p", "answer": "1", "system": 5}, "math", "bad_system"),
    ],
)
def test_a_row_that_can_not_be_checked_says_why(row: Row, domain: str, reason: str) -> None:
    assert problem_row(row, SourceDefaults(domain, "s", None)) == reason


@pytest.mark.parametrize(
    ("row", "domain"),
    [
        ({"prompt": "p", "answer": 42}, "math"),
        ({"prompt": "p", "answer": "B", "options": ["x", "y"]}, "choice"),
        ({"prompt": "p", "task": "t", "entry": {"answer": "1"}}, "logic"),
        ({"prompt": "p", "tests": ["assert True"]}, "code"),
        ({"prompt": "p", "info": '{"test": "assert True"}'}, "code"),
        ({"prompt": "p", "constraints": [{"kind": "json"}]}, "instruction"),
        ({"prompt": "p"}, "own"),
    ],
)
def test_a_row_that_can_be_checked_is_a_problem(row: Row, domain: str) -> None:
    found = problem(row, domain)
    assert found["domain"] == found["verifier"] == domain
    assert set(found) == set(SHARD_PROBLEMS.names)


def test_integers_of_any_length_stay_what_they_are() -> None:
    assert problem({"prompt": "p", "answer": 2**70})["answer"] == str(2**70)
    row = problem({"prompt": "p", "tests": [{"input": 2**70, "output": 1}]}, "code")
    assert problem_of(row).info == {"tests": [{"input": 2**70, "output": 1}]}
    assert problem({"prompt": "p", "info": json.dumps({"tests": [2**70]})}, "code")["info"] == f'{{"tests":[{2**70}]}}'


def test_a_message_list_may_bring_a_system_message() -> None:
    turns = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "p"}]
    assert split_prompt(turns) == ("be brief", "p")


@pytest.mark.parametrize(
    ("response", "text"),
    [
        ("t", "t"),
        ([{"role": "assistant", "content": "t"}], "t"),
        ([{"role": "user", "content": "u"}, {"role": "assistant", "content": "t"}], "t"),
        ([{"role": "user", "content": "u"}], None),
        ([], None),
        (None, None),
        (7, None),
        ([{"role": "assistant", "content": None}], None),
    ],
)
def test_a_response_is_text_or_the_last_message(response: Any, text: str | None) -> None:
    assert response_text(response) == text


# --- many rows ------------------------------------------------------------------------------------


def test_every_row_is_kept_or_counted_with_its_place() -> None:
    ledger = IngestStats()
    rows: list[Row] = [question(1), {"prompt": ""}, question(2), {"prompt": "p"}]
    assert len(problems(rows, ledger)) == 2
    assert (ledger.read, dict(ledger.dropped)) == (4, {"empty_prompt": 1, "no_gold": 1})
    assert ledger.examples == ["f:2: empty_prompt", "f:4: no_gold"]


def test_what_says_nothing_of_a_sample_is_left_out_and_what_is_no_text_drops_it() -> None:
    ledger = IngestStats()
    odd: list[Row] = [{"seed": 2**64}, {"completion_tokens": "12"}, {"completion_tokens": 12.5}, {"first_round": "yes"}]
    found = samples([question(1) | {"response": "2"} | row for row in [*odd, {"completion_tokens": 12.0}]], ledger)
    columns = ("seed", "completion_tokens", "first_round")
    assert [[row[name] for name in columns] for row in found] == [[None] * 3] * 4 + [[None, 12, None]]
    assert from_rows(found, SPOOL).num_rows == 5
    assert samples([question(1) | {"response": "2", "model": 7}], ledger) == []
    assert dict(ledger.dropped) == {"bad_model": 1}


def test_a_recorded_sampler_of_the_name_of_one_that_draws_is_told_apart() -> None:
    rows = [question(1) | {"response": "2", "sampler": name} for name in ("self", "other")] + [
        question(1) | {"response": "2"}
    ]
    found = samples(rows, IngestStats(), sampler="recorded", taken={"self"})
    assert [row["sampler"] for row in found] == ["recorded", "other", "recorded"]


def test_an_unreadable_line_is_counted_with_its_place_and_reason() -> None:
    ledger = IngestStats()
    rows = [Unreadable("f:1", "broken"), *located([question(1)])]
    assert len(list(problems_of(rows, ledger, DEFAULTS, fields={}))) == 1
    assert (ledger.read, dict(ledger.dropped)) == (2, {"unreadable": 1})
    assert ledger.examples == ["f:1: unreadable (broken)"]


def test_a_field_missing_in_the_first_row_is_a_wrong_map() -> None:
    with pytest.raises(InputError, match="question"):
        problems([question(1)], IngestStats(), fields={"prompt": "question"})


def test_a_field_missing_later_is_a_bad_row() -> None:
    ledger = IngestStats()
    rows = [{"question": "p", "answer": "1"}, {"answer": "1"}, {"question": "q", "answer": "1"}]
    assert len(problems(rows, ledger, fields={"prompt": "question"})) == 2
    assert (ledger.read, dict(ledger.dropped)) == (3, {"missing_field": 1})
    assert ledger.examples[0].startswith("f:2: missing_field (The field 'question'")


def test_a_count_takes_the_first_that_can_be_used() -> None:
    ledger = IngestStats()
    rows: list[Row] = [{"prompt": ""}, *map(question, range(5))]
    assert [row["answer"] for row in problems(rows, ledger, count=2)] == ["1", "2"]
    assert (ledger.read, dict(ledger.dropped)) == (3, {"empty_prompt": 1})


def test_a_list_column_becomes_one_sample_an_item_and_an_empty_one_is_counted() -> None:
    ledger = IngestStats()
    rows = [question(1) | {"r": ["a", "b"]}, question(2) | {"r": []}, question(3) | {"r": ["c", None]}]
    assert [row["response"] for row in samples(rows, ledger, fields={"response": "r[]"})] == ["a", "b", "c"]
    assert ledger.read - sum(ledger.dropped.values()) == 3
    assert sum(ledger.dropped.values()) == 2


def test_what_a_sample_says_of_itself_wins() -> None:
    said = {"sampler": "other", "model": "m", "model_revision": "r", "seed": 3, "finish_reason": "length"}
    (row,) = samples([question(1) | {"response": "t", "completion_tokens": 5} | said], IngestStats(), model="named")
    assert {name: row[name] for name in said} == said
    (row,) = samples([question(1) | {"response": "t"}], IngestStats(), model="named")
    assert (row["sampler"], row["model"], row["finish_reason"]) == ("self", "named", "stop")


# --- from rows to shards --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "size", "drawn", "shards"),
    [
        (1, 100, (1, 0), 1),
        (16, 100, (1, 0), 1),
        (17, 100, (1, 0), 2),
        (120, 10_000, (8, 0), 8),
        (5 * 4096, 10_000, (1, 0), 8),
        (100_000, 10_000, (1, 0), 32),
        (100, 1 << 30, (1, 0), 32),
        (100, 1 << 28, (8, 0), 64),
        (100_000, 10_000, (8, 100_000), 512),
    ],
)
def test_shards_are_bounded_by_rows_and_bytes(rows: int, size: int, drawn: tuple[int, int], shards: int) -> None:
    assert 1 << ingest.shard_bits(rows, size, *drawn) == shards


def cut(rows: list[Row], folder: Path, bits: int) -> list[tuple[pa.Table, pa.Table]]:
    """Spools and cuts rows; (problems, samples) of each shard."""
    count, _ = ingest.spool(rows, folder / "spool.arrows")
    assert count == len(rows)
    parts = ingest.partition(folder / "spool.arrows", folder / "parts", bits)
    return [shard_tables(ingest.read_part(part))[:2] for part in parts]


mixed = st.lists(st.tuples(st.integers(0, 9), st.sampled_from([None, "a", "b", "c"])), min_size=1, max_size=40)


@settings(max_examples=30)
@given(drawn=mixed, bits=st.integers(0, 4), data=st.data())
def test_order_and_number_of_shards_change_nothing(
    tmp_path_factory: pytest.TempPathFactory, drawn: list[tuple[int, str | None]], bits: int, data: st.DataObject
) -> None:
    turned = data.draw(st.permutations(drawn))
    results = []
    for order, cuts in ((drawn, 0), (turned, bits)):
        ledger = IngestStats()
        rows: list[Row] = []
        for number, response in order:
            row = question(number) | ({"response": response} if response else {})
            rows += problems([row], ledger) if response is None else samples([row], ledger)
        assert ledger.read == len(rows)
        shards = cut(rows, tmp_path_factory.mktemp("cut"), cuts)
        for problem_table, sample_table in shards:
            assert problem_table.schema == SHARD_PROBLEMS
            assert sample_table.schema == SHARD_TRACES
            ids = problem_table["id"].to_pylist()
            assert ids == sorted(set(ids))
            assert set(sample_table["problem_id"].to_pylist()) <= set(ids)
        owners = Counter(name for problem_table, _ in shards for name in problem_table["id"].to_pylist())
        assert set(owners.values()) == {1}, "all samples of a problem meet in one shard"
        traces = pl.concat([pl.DataFrame(table) for _, table in shards])
        assert traces["id"].n_unique() == traces.height == sum(response is not None for _, response in order)
        problem_rows = sorted((row for table, _ in shards for row in table.to_pylist()), key=lambda row: str(row["id"]))
        results.append((problem_rows, sorted(traces.select("problem_id", "response").iter_rows())))
        assert len(problem_rows) == len({number for number, _ in order})
    assert results[0] == results[1]


def test_samples_of_a_problem_are_numbered_by_sampler_in_their_order(tmp_path: Path) -> None:
    rows = samples(
        [question(1) | {"response": text, "sampler": name} for text, name in ("ax", "bx", "ay", "ax")], IngestStats()
    )
    ((_, table),) = cut(rows, tmp_path, 0)
    found = table.select(["sampler", "sample_index", "response"]).to_pylist()
    assert [tuple(row.values()) for row in found] == [
        ("x", 0, "a"), ("x", 1, "b"), ("x", 2, "a"), ("y", 0, "a"),
    ]  # fmt: skip


@pytest.mark.slow
def test_shards_may_be_more_than_files_can_be_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest, "MAX_SHARD_BYTES", 20_000)
    monkeypatch.setattr(ingest, "_BATCH_ROWS", 50)
    rows = samples([question(n % 300) | {"response": f"{n}"} for n in range(900)], IngestStats())
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64 + len(list(Path("/proc/self/fd").iterdir())), before[1]))
    try:
        shards = cut(rows, tmp_path, 12)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert len(shards) > 250
    found = pl.concat([pl.DataFrame(table) for _, table in shards]).sort("problem_id", "sample_index")
    order = {row["problem_id"]: [] for row in rows}
    for row in rows:
        order[row["problem_id"]].append(row["response"])
    assert found["response"].to_list() == [text for name in sorted(order) for text in order[name]]


def test_no_rows_make_no_shard(tmp_path: Path) -> None:
    assert cut([], tmp_path, 2) == []


def test_large_responses_are_cut_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest, "MAX_SHARD_BYTES", 100_000)
    monkeypatch.setattr(ingest, "_BATCH_CHARACTERS", 20_000)
    rows = samples([question(n % 7) | {"response": f"{n} " * 2000} for n in range(60)], IngestStats())
    shards = cut(rows, tmp_path, 3)
    found = Counter(text for _, table in shards for text in table["response"].to_pylist())
    assert found == Counter(row["response"] for row in rows)


# --- the first so many problems -------------------------------------------------------------------


@given(
    sources=st.lists(st.lists(st.integers(0, 20), max_size=8), min_size=1, max_size=4),
    limit=st.none() | st.integers(1, 10),
)
def test_sources_take_turns_up_to_the_limit(sources: list[list[int]], limit: int | None) -> None:
    streams = [iter([{"problem_id": str(n)} for n in source]) for source in sources]
    over: list[Row] = []
    found = [row["problem_id"] for row in ingest.round_robin(list(streams), limit, over.append)]
    drawn = Counter(str(n) for source in sources for n in source)
    if limit is None:
        assert Counter(found) == drawn
    else:
        assert len(set(found)) == min(limit, len(drawn))
        assert not {row["problem_id"] for row in over} & set(found)
    unread = sum(1 for stream in streams for _ in stream)
    assert len(found) + len(over) + unread == sum(map(len, sources)), "each row is passed on, told, or never read"


def test_one_row_of_each_source_in_turn() -> None:
    streams = [
        iter([{"problem_id": f"{name}{n}"} for n in range(size)]) for name, size in (("a", 3), ("b", 1), ("c", 2))
    ]
    assert [row["problem_id"] for row in ingest.round_robin(streams, None)] == ["a0", "b0", "c0", "a1", "c1", "a2"]
