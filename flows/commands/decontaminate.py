"""`proofmill decontaminate NAME@vN`: what benchmarks that were added later would remove from a version."""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
from rich.console import Console
from rich.table import Table
from rich.text import Text

from proofmill.data.rows_io import Row, check_out, open_rows
from proofmill.data.tables import batches
from proofmill.data.versions import Version, find
from proofmill.filters.contamination import DecontaminateOptions, Index, build_index, items

_LABEL = re.compile(r"[\w.-]+@v\d+\Z")
_LISTED = pa.schema(
    dict.fromkeys(("config", "id", "problem_id", "found_in", "contaminated_by", "contaminated_span"), pa.string())
)
_SHOWN = 20
_SHOWN_CHARACTERS = 200


def is_version(traces: str) -> bool:
    """Whether `NAME@vN` is meant, not a file."""
    return bool(_LABEL.match(traces)) and not Path(traces).exists()


def would_remove(home: Path, label: str, out: Path | None, options: DecontaminateOptions, console: Console) -> None:
    """Lists the rows of a version that its decontamination would have dropped, had it known these benchmarks."""
    version = find(home, label)
    with tempfile.TemporaryDirectory(prefix="proofmill-") as folder:
        found = list(_overlaps(version, build_index(items(options.benchmarks), Path(folder) / "index", options.n)))
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
