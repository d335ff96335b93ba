"""What each filter would drop by itself, whatever the verdict, with ten examples a reason to be read by a person.

Run as `python tests/benchmarks/bench_filters.py DATA`; DATA is a folder with gsm8k_traces_6b.jsonl and
benchmarks_math.jsonl. In a run, `proofmill show NAME --dropped all --samples 10` shows the same of a version.
"""

from __future__ import annotations

import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from proofmill.data.rows_io import Located, Row, read
from proofmill.filters.contamination import Benchmark, build_index, items
from proofmill.filters.near_duplicates.duplicates import mark
from proofmill.filters.near_duplicates.minhash import DedupOptions, signatures
from proofmill.filters.repetition import measure

Found = Iterator[tuple[str, Row, str]]  # reason, row, evidence
_ANSWER = "\nA: "
_SHOWN, _CHARACTERS = 10, 400


def degenerate(rows: list[Row]) -> Found:
    for row in rows:
        reasoning, found, final = row["solution"].rpartition(_ANSWER)
        reasoning, final = (reasoning, final) if found else (final, "")
        quality = measure(row["solution"], reasoning=reasoning, final=final, prompt=row["question"])
        if quality.reason:
            yield f"degenerate: {quality.reason}", row, f"{quality.evidence}, repetition {quality.repetition:.2f}"


def contaminated(rows: list[Row], data: Path) -> Found:
    with tempfile.TemporaryDirectory() as folder:
        index = build_index(items([Benchmark(str(data / "benchmarks_math.jsonl"))]), Path(folder) / "index")
        matches = index.find_many([row["solution"] for row in rows])
    for row, match in zip(rows, matches, strict=True):
        if match:
            yield "contaminated", row, f"{match.label}: {match.span}"


def near_duplicates(rows: list[Row]) -> Found:
    options = DedupOptions(threshold_across=0.8)
    table = signatures([row["solution"] for row in rows], options)
    ids = pa.array([str(number) for number in range(len(rows))])
    problems = pa.array([row["question"] for row in rows])
    marks = mark([table.add_column(0, "id", ids).add_column(1, "problem_id", problems)], options)
    for row, original in zip(rows, marks["duplicate_of"].to_pylist(), strict=True):
        if original is not None:
            yield "near_duplicate", row, f"of: {rows[int(original)]['solution']}"


def main(data: Path) -> None:
    rows = [found.row for found in read(str(data / "gsm8k_traces_6b.jsonl")) if isinstance(found, Located)]
    by_reason: dict[str, list[tuple[Row, str]]] = defaultdict(list)
    for found in (degenerate(rows), contaminated(rows, data), near_duplicates(rows)):
        for reason, row, evidence in found:
            by_reason[reason].append((row, evidence))
    print(f"{len(rows):,} traces")  # noqa: T201
    for reason, hits in by_reason.items():
        right = sum(row["is_correct"] for row, _ in hits)
        print(f"\n=== {reason}: {len(hits)}, of them {right} with the right answer")  # noqa: T201
        for row, evidence in hits[:: max(1, len(hits) // _SHOWN)][:_SHOWN]:
            print(f"--- {row['solution'][:_CHARACTERS]}\n  > {evidence[:_CHARACTERS]}")  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]))
