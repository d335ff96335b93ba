"""Code: what the judge says of whole sets of labelled rows, one table for any folder of them.

Every `*.jsonl` or `*.jsonl.gz` file of the folder is one set. A row is one of `proofmill verify` with a `label`
(`correct` or `wrong`), or with `expect`, a list of the verdicts that are right. Prints, by set: rows, verdicts that
are right, right solutions called `wrong`, wrong ones called `correct`, `error` and why, the reading that decided,
seconds a row. Rows that disagree are printed with `-v`.

    python tests/benchmarks/bench_code_sets.py FOLDER [--every N] [--packages numpy,pytest] [-v]
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from proofmill.filters.domains.code import FIELDS, IN_PROCESS, CodeVerifier
from proofmill.filters.sandbox.jail import Jail
from proofmill.filters.verdicts import CORRECT, ERROR, WRONG, Problem, Verdict

WORKERS = 2
COLUMNS = ("rows", "right", "false wrong", "false correct", "error", "in process", "s/row")


def rows_of(path: Path, every: int) -> Iterator[dict[str, Any]]:
    """Rows of one file that are programs with a label."""
    text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()
    for index, line in enumerate(text.splitlines()):
        row = json.loads(line)
        if index % every == 0 and row.get("domain", "code") == "code" and ("label" in row or "expect" in row):
            yield row


def problem_of(row: dict[str, Any]) -> Problem:
    """The row as the judge wants it."""
    info = {name: row[name] for name in FIELDS if row.get(name) is not None}
    return Problem("code", str(row.get("prompt") or ""), info=info)


def accepted(row: dict[str, Any]) -> list[str]:
    """The verdicts that are right for a row."""
    expect = row.get("expect", row.get("label"))
    return expect if isinstance(expect, list) else [expect]


def cause(verdict: Verdict) -> str:
    """The kind of an `error`: `needs NAME`, `not_judged`, `bad_tests`, `unsupported_language`."""
    found = re.search(r"needs \w+|not_judged|bad_tests|unsupported_language", verdict.detail or "")
    return found[0] if found else (verdict.detail or "")[:40]


def judge(verifier: CodeVerifier, rows: list[dict[str, Any]]) -> tuple[list[Verdict], float]:
    """Verdicts in order, and the seconds they took together."""
    began = time.perf_counter()
    with ThreadPoolExecutor(WORKERS) as pool:
        verdicts = list(pool.map(lambda row: verifier.verify(problem_of(row), row["response"]), rows))
    return verdicts, time.perf_counter() - began


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--packages", default="")
    parser.add_argument("-v", "--verbose", action="store_true")
    asked = parser.parse_args()
    paths = sorted(p for p in asked.folder.iterdir() if p.name.endswith((".jsonl", ".jsonl.gz")))
    print(f"{'set':34}" + "".join(f"{name:>14}" for name in COLUMNS))  # noqa: T201
    with Jail(WORKERS, packages=[name for name in asked.packages.split(",") if name]) as jail:
        for path in paths:
            rows = list(rows_of(path, asked.every))
            if rows:
                report(path.name, rows, *judge(CodeVerifier(jail), rows), verbose=asked.verbose)


def report(name: str, rows: list[dict[str, Any]], verdicts: list[Verdict], seconds: float, *, verbose: bool) -> None:
    """Print one set's line, the causes of its errors, and what disagrees."""
    pairs = list(zip(rows, verdicts, strict=True))
    right = sum(v.verdict in accepted(row) for row, v in pairs)
    false_wrong = sum(v.verdict == WRONG and WRONG not in accepted(row) for row, v in pairs)
    false_correct = sum(v.verdict == CORRECT and CORRECT not in accepted(row) for row, v in pairs)
    causes = Counter(cause(v) for v in verdicts if v.verdict == ERROR)
    beside = sum(IN_PROCESS in (v.detail or "") for v in verdicts)
    figures = (len(rows), right, false_wrong, false_correct, causes.total(), beside)
    print(f"{name[:33]:34}" + "".join(f"{f:>14}" for f in figures) + f"{seconds / len(rows):>14.2f}")  # noqa: T201
    for what, count in causes.most_common(5):
        print(f"{'':36}{count} x error: {what}")  # noqa: T201
    for row, verdict in pairs if verbose else ():
        if verdict.verdict not in accepted(row):
            print(f"  {row.get('id')}: {verdict.verdict}, {(verdict.detail or '')[:150]!a}")  # noqa: T201


if __name__ == "__main__":
    main()
