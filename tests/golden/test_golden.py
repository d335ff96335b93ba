"""What each filter says of a small fixed corpus: a changed output asks for a raised version.

A version is part of every key: it is raised when an output may change, and then the filter runs again in every HOME.
`make golden` writes the outputs of the present code down, once the versions are right.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pyarrow as pa
import pytest

from proofmill.data.files import digest, loads_exact
from proofmill.filters import reliability, selection
from proofmill.filters.base import Filter, GatherContext, GatherFilter, MapFilter, ModelFilter, ProblemFilter
from proofmill.filters.catalog import FILTERS, problem_schema, trace_schema
from proofmill.filters.claim_checks import ClaimOptions
from proofmill.filters.contamination import DecontaminateOptions
from proofmill.filters.curriculum import LongToShort
from proofmill.filters.learning_potential import LearningOptions
from proofmill.filters.runner import FilterWorkers
from proofmill.filters.verification import VerifyOptions, problem_of
from proofmill.flows.up_to_date import step_versions

FOLDER = Path(__file__).parent
GOLDEN = FOLDER / "golden.json"
Row = dict[str, Any]


def read(name: str) -> list[Row]:
    return [loads_exact(line) for line in (FOLDER / name).read_bytes().splitlines()]


class Outputs:
    """Every filter's output on the corpus, each made when it is first asked for."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.problems = read("problems.jsonl")
        self.traces = read("traces.jsonl")
        self.workers = FilterWorkers(VerifyOptions(workers=1), stack)
        self.folder = folder
        self.tables: dict[str, pa.Table] = {}

    def of(self, filter_: Filter[Any]) -> pa.Table:
        if filter_.name not in self.tables:
            self.tables[filter_.name] = self._make(filter_)
        return self.tables[filter_.name]

    def _make(self, filter_: Filter[Any]) -> pa.Table:
        options = self._options(filter_)
        if isinstance(filter_, MapFilter):
            return self.workers.annotate(
                filter_.name, options, self._rows(filter_), self._shared(filter_, options)
            ).table
        if isinstance(filter_, ProblemFilter):
            by_problem: dict[str, list[Row]] = {}
            for row in self._rows(filter_):
                by_problem.setdefault(row["problem_id"], []).append(row)
            rows = filter_.annotate(self.problems, by_problem, options, self._shared(filter_, options))
            return pa.Table.from_pylist(list(rows), schema=filter_.schema)
        if isinstance(filter_, GatherFilter):
            part = _Shard(self._columns(filter_.reads))
            (found,) = filter_.gather([part], options, GatherContext(self.folder))
            return found.select(filter_.schema.names)
        return self._of_model(filter_)

    def _options(self, filter_: Filter[Any]) -> Any:
        if filter_.options is DecontaminateOptions:
            return DecontaminateOptions(against=({"source": str(FOLDER / "benchmark.jsonl")},))
        return LearningOptions(min_tokens=0) if filter_.options is LearningOptions else filter_.options()

    def _shared(self, filter_: Any, options: Any) -> Path | None:
        if filter_.shared is None:
            return None
        path = self.folder / f"{filter_.shared.step.name}.index"
        if not path.exists():
            filter_.shared.build(options, path)
        return path

    def _rows(self, filter_: Filter[Any]) -> list[Row]:
        problems = {row["id"]: row for row in self.problems}
        known = self._known([*filter_.reads, *filter_.optional])
        rows = []
        for number, trace in enumerate(self.traces):
            problem = problems[trace["problem_id"]]
            row = {name: trace.get(name, problem.get(name)) for name in (*filter_.reads, *filter_.optional)}
            row |= {name: values[number] for name, values in known.items()}
            row |= {"problem": problem_of(problem), "problem_id": trace["problem_id"]}
            rows.append(row)
        return rows

    def _known(self, names: Iterable[str]) -> dict[str, list[Any]]:
        """Columns that earlier filters have."""
        return {
            name: self.of(filter_)[name].to_pylist()
            for name in names
            for filter_ in FILTERS
            if name in filter_.schema.names and not isinstance(filter_, ProblemFilter)
        }

    def _columns(self, names: Iterable[str]) -> pa.Table:
        columns: dict[str, Any] = {}
        metadata: dict[bytes, bytes] = {}
        problems = {row["id"]: row for row in self.problems}
        traces = [problems[trace["problem_id"]] | trace for trace in self.traces]
        for name in names:
            owner = next(
                (
                    filter_
                    for filter_ in FILTERS
                    if name in filter_.schema.names and not isinstance(filter_, ProblemFilter)
                ),
                None,
            )
            if owner is None:
                columns[name] = pa.array([trace.get(name) for trace in traces])
            else:
                columns[name] = self.of(owner)[name]
                metadata |= self.of(owner).schema.metadata or {}
        return pa.table(columns).replace_schema_metadata(metadata)

    def _of_model(self, filter_: Filter[Any]) -> pa.Table:
        """What model filters make of fixed answers."""
        count = len(self.traces)
        if filter_.name == "nll":
            values = [0.2 + (7 * number % 11) / 10 for number in range(count)]
            tokens = [trace["completion_tokens"] for trace in self.traces]
            return pa.table([pa.array(values, pa.float32()), pa.array(tokens, pa.int32())], schema=filter_.schema)
        answers = ['{"claims": ["17 + 25 = 42", "He has marbles", "42"]}', "no JSON", '{"claims": []}']
        named = [reliability.read_claims(text, "stop", 5) for text in answers]
        said = [
            reliability.read_judgement(text, "stop")
            for text in ('{"check": "", "claim_is_true": true}', '{"check": "off", "claim_is_true": false}', "{")
        ]
        exact = [{"text": "17 + 25 = 42", "status": "verified", "evidence": "42 = 42"}]
        over = [reliability.overruled(claim, exact) for claim in named[0].claims]
        score = reliability.reliability(said, 5)
        told = [(item.claims, item.fault) for item in named] + [(item.status, item.evidence) for item in said]
        lists = [
            {
                "text": str(told),
                "status": str([item and (item.status, item.evidence) for item in over]),
                "evidence": str(score),
            }
        ]
        rows = [{"clr_score": score, "clr_fault": None, "clr_claims": lists} for _ in range(count)]
        return pa.Table.from_pylist(rows, schema=filter_.schema)

    def selection(self) -> pl.DataFrame:
        """What is kept by the rules of all filters."""
        names = ["id", "problem_id", "sampler", "first_round", "domain", "finish_reason", "completion_tokens"]
        small = [
            field.name for filter_ in FILTERS if not isinstance(filter_, ProblemFilter) for field in filter_.schema
        ]
        small = [name for name in small if name not in ("claims", "clr_claims", "signature", "shingles")]
        frame = pl.DataFrame(self._columns([*names, *small]).replace_schema_metadata(None))
        rules = [(rule.reason, rule.when(self._options(filter_))) for filter_ in FILTERS for rule in filter_.rules]
        frame = frame.with_columns(length="completion_tokens")
        return selection.preselect(frame, rules, selection.SelectOptions(), LongToShort())


@dataclass
class _Shard:
    """The shard, as a gather reads it."""

    table: pa.Table

    @property
    def rows(self) -> int:
        return int(self.table.num_rows)

    def __call__(self, names: Sequence[str] = ()) -> pa.Table:
        return self.table.select(names or self.table.column_names)


def said(table: pa.Table) -> str:
    """Digest of an output: numbers to nine digits, since processors differ in the last ones."""

    def plain(value: Any) -> Any:
        if isinstance(value, float):
            return f"{value:.9g}"
        if isinstance(value, list):
            return [plain(item) for item in value]
        return {name: plain(item) for name, item in value.items()} if isinstance(value, dict) else str(value)

    return digest([plain(row) for row in table.to_pylist()])


def current(folder: Path) -> dict[str, dict[str, Any]]:
    """Version and digest of each filter, as the present code has them."""
    with ExitStack() as stack:
        outputs = Outputs(folder, stack)
        found = {filter_.name: {"version": filter_.version, "says": said(outputs.of(filter_))} for filter_ in FILTERS}
        chosen = outputs.selection().to_arrow()
    return found | {"selection": {"version": step_versions()["selection"], "says": said(chosen)}}


@pytest.fixture(scope="module")
def now(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    return current(tmp_path_factory.mktemp("golden"))


def names() -> Iterator[str]:
    yield from (filter_.name for filter_ in FILTERS)
    yield "selection"


@pytest.mark.parametrize("name", list(names()))
def test_an_output_changes_only_with_its_version(now: dict[str, dict[str, Any]], name: str) -> None:
    known = orjson.loads(GOLDEN.read_bytes()).get(name)
    assert known, f"{name} is new: run `make golden`"
    version = known["version"]
    if now[name]["version"] == version:
        assert now[name]["says"] == known["says"], f"{name} says otherwise: raise its version to {version + 1}"
    assert now[name] == known, f"the version of {name} was raised: run `make golden`"


def test_the_corpus_is_one_that_tells() -> None:
    """Every kind of verdict and drop reason that a small corpus can show stands in it."""
    with ExitStack() as stack:
        outputs = Outputs(Path(stack.enter_context(_folder())), stack)
        verdicts = set(outputs.of(FILTERS[0])["verdict"].to_pylist())
        dropped = set(outputs.selection()["drop_reason"].to_list())
    assert verdicts >= {"correct", "wrong", "unparsed"}
    assert dropped >= {None, "wrong", "unparsed", "truncated", "refuted_claim", "contaminated", "near_duplicate"}


def test_every_column_is_described() -> None:
    """The reference pages are made from these descriptions."""
    for schema in (trace_schema(), problem_schema()):
        bare = [field.name for field in schema if not (field.metadata or {}).get(b"description")]
        assert not bare
    assert all(isinstance(filter_, MapFilter | ProblemFilter | GatherFilter | ModelFilter) for filter_ in FILTERS)
    assert ClaimOptions().scope == "all" and LearningOptions().buckets == 4


def _folder() -> Any:
    from tempfile import TemporaryDirectory

    return TemporaryDirectory()


if __name__ == "__main__":
    with _folder() as scratch:
        GOLDEN.write_bytes(orjson.dumps(current(Path(scratch)), option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))
    sys.stdout.write(f"{GOLDEN.name} holds what the present code says\n")
