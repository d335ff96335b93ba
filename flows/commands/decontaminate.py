"""`proofmill decontaminate`: overlap with benchmarks marked, or what a new benchmark would remove from a version."""

from __future__ import annotations

import re
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from rich.console import Console
from rich.table import Table
from rich.text import Text

from proofmill.data.errors import UsageError
from proofmill.data.rows_io import Row, check_out, open_rows
from proofmill.data.tables import batches
from proofmill.data.versions import Version, find
from proofmill.filters.contamination.decontamination import Index, build_index
from proofmill.flows.commands.filter_command import Command, tally_table
from proofmill.flows.rows.overlaps import ADDED, CLEAN, NOT_CHECKED, check_first
from proofmill.flows.rows.reading import Source
from proofmill.flows.rows.reading import columns as source_columns
from proofmill.flows.rows.stream import RowStream
from proofmill.flows.stages.benchmarks import Benchmark, items

_LABEL = re.compile(r"[\w.-]+@v\d+\Z")
_LISTED = pa.schema(
    dict.fromkeys(("config", "id", "problem_id", "found_in", "contaminated_by", "contaminated_span"), pa.string())
)
_SHOWN = 20
_SHOWN_CHARACTERS = 200


@dataclass(frozen=True)
class Against:
    """The benchmarks, and the words of a run that counts."""

    benchmarks: Sequence[Benchmark]
    n: int

    def index(self, folder: str) -> Index:
        """The index of all items."""
        return build_index(items(self.benchmarks), Path(folder) / "index", self.n)


def is_version(traces: str) -> bool:
    """Whether `NAME@vN` is meant, not a file."""
    return bool(_LABEL.match(traces)) and not Path(traces).exists()


def run(source: Source, out: Path | None, against: Against, workers: int | None, console: Console) -> None:
    """Reads, marks and writes; then says how many rows overlap with which benchmark."""
    if out is None:
        raise UsageError("No file to write is given.", where="--out", remedy="pass --out FILE")
    command = Command("decontaminate", source, out, console)
    if first := command.first():
        check_first(*first)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="proofmill-") as folder:
        index = against.index(folder)
        with (
            command.shown(),
            open_rows(out, ADDED, source_columns(source)) as writer,
            RowStream(command, "proofmill.flows.rows.overlaps", lambda: index.path, workers) as stream,
        ):
            stream.run(writer)
    _report(command, stream, len(index), time.monotonic() - started)


def _report(command: Command, stream: RowStream, items: int, seconds: float) -> None:
    found = sorted((n, -count) for n, count in stream.tally.items() if n not in (CLEAN, NOT_CHECKED))
    counts = [(CLEAN, stream.tally[CLEAN]), *((n, -count) for n, count in found)]
    if stream.tally[NOT_CHECKED]:
        counts.append((NOT_CHECKED, stream.tally[NOT_CHECKED]))
    table = tally_table(f"overlap with {items:,} benchmark items", "contaminated by", counts, stream.rows, seconds)
    command.finish(table, "dedup")


def would_remove(home: Path, label: str, out: Path | None, against: Against, console: Console) -> None:
    """Lists the rows of a version that its decontamination would have dropped, had it known these benchmarks."""
    version = find(home, label)
    with tempfile.TemporaryDirectory(prefix="proofmill-") as folder:
        found = list(_overlaps(version, against.index(folder)))
    counts = Counter((row["contaminated_by"].partition("/")[0], row["config"]) for row in found)
    table = Table("benchmark", "config", "rows", title=f"{version.label}: what would go", title_justify="left")
    for (benchmark, config), count in sorted(counts.items()):
        table.add_row(benchmark, config, f"{count:,}")
    console.print(table if found else f"Nothing of {version.label} overlaps with these benchmarks.")
    for row in found[:_SHOWN]:
        span = row["contaminated_span"][:_SHOWN_CHARACTERS]
        told = f"{row['config']} {row['id']}  {row['contaminated_by']}  {row['found_in']}: {span}"
        console.print(Text(told), soft_wrap=True)
    if len(found) > _SHOWN:
        console.print(f"and {len(found) - _SHOWN:,} more" + ("" if out else "; --out FILE writes all of them"))
    if out is not None:
        check_out(out)
        with open_rows(out, _LISTED) as writer:
            writer.write_rows(found)
        console.print(f"written: {out}", markup=False, soft_wrap=True)
    if found:
        console.print(
            "next: name the benchmarks in the recipe's decontaminate section, then [bold]proofmill regenerate[/]",
            soft_wrap=True,
        )


def _overlaps(version: Version, index: Index) -> Iterator[Row]:
    """Published traces and reinforcement-learning prompts that overlap, each with the evidence."""
    prompts = dict(_found(version, "problems", "prompt", index))
    traces = dict(_found(version, "traces", "response", index))
    for config, key in (("rl", "id"), ("sft_stage1", "problem_id"), ("sft_stage2", "problem_id")):
        for path in version.files(config):
            for table in batches(path, sorted({"id", key})):
                for row in table.to_pylist():
                    by_prompt = prompts.get(row[key])
                    by_trace = traces.get(row["id"].partition("-")[0])  # behind it stands the form of the answer
                    if evidence := by_prompt or by_trace:
                        found_in = "prompt" if by_prompt else "response"
                        yield {
                            "config": config,
                            "id": row["id"],
                            "problem_id": row[key],
                            "found_in": found_in,
                        } | evidence


def _found(version: Version, config: str, column: str, index: Index) -> Iterator[tuple[str, Row]]:
    for path in version.files(config):
        for table in batches(path, ["id", column], rows=1024):
            matches = index.find_many([text or "" for text in table[column].to_pylist()])
            for row_id, match in zip(table["id"].to_pylist(), matches, strict=True):
                if match is not None:
                    yield row_id, {"contaminated_by": match.label, "contaminated_span": match.span}
