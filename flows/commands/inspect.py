"""`proofmill inspect`: a summary of a judged file, which shows in a minute why rows are not `correct`.

Rows are grouped by verdict and detail; those that are `unparsed` also by the shape of their last line, since what a
model ends with is what the answer was looked for in.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from proofmill.data.errors import InputError
from proofmill.data.rows_io import Row
from proofmill.filters.sandbox.formats import SuiteCensus
from proofmill.filters.verdicts import CORRECT, UNPARSED, VERDICTS
from proofmill.flows.row_chunks import Chunk, Source, chunks, views
from proofmill.generators.problems.problem import info_of, response_text

_GROUPS, _SHAPES = 40, 8  # shown at most
_LINE, _TAIL = 120, 400  # characters
_KINDS = re.compile(r"[A-Za-z]+|\d[\d.,]*|[^\x00-\x7f]+")


@dataclass
class DetailGroup:
    """Rows with the same verdict and detail.

    Attributes:
        rows: how many.
        domains: rows by domain.
        endings: rows by the shape of their last line, with one such line.
        examples: the first rows: where, answer found, gold, end of the trace.
    """

    rows: int = 0
    domains: Counter[str] = field(default_factory=Counter)
    endings: Counter[str] = field(default_factory=Counter)
    lines: dict[str, str] = field(default_factory=dict)
    examples: list[dict[str, Any]] = field(default_factory=list)

    def add(self, row: Row, where: str, examples: int) -> None:
        """Count a row."""
        self.rows += 1
        self.domains[str(row.get("domain") or "-")] += 1
        text = response_text(row.get("response")) or ""
        last = text.rstrip().rpartition("\n")[2][-_LINE:]
        shape = shape_of(last)
        self.endings[shape] += 1
        self.lines.setdefault(shape, last)
        if len(self.examples) < examples:
            self.examples.append(
                {"where": where, "answer": row.get("extracted"), "gold": row.get("answer"), "end": text[-_TAIL:]}
            )


def run(source: Source, examples: int, verdict: str | None, console: Console, *, as_json: bool) -> None:
    """Read a judged file and print its summary.

    Raises:
        InputError: it has no column `verdict`.
    """
    census = SuiteCensus()
    groups, total = grouped(source, examples, verdict, census)
    if as_json:
        told = orjson.dumps(_plain(groups, total, census), option=orjson.OPT_INDENT_2).decode()
        console.print(told, markup=False, soft_wrap=True)
        return
    console.print(_table(groups, total))
    for line in census.lines(()):
        console.print(Text(line), soft_wrap=True)
    for (name, detail), group in sorted(groups.items(), key=_order):
        if name == CORRECT and verdict is None:
            continue
        console.print(Text(f"\n{name} · {detail or '-'} · {group.rows:,} rows", style="bold"))
        if name == UNPARSED and len(group.endings) > 1:
            for shape, count in group.endings.most_common(_SHAPES):
                console.print(Text(f"  {count:>7,} end like: {group.lines[shape]}"), soft_wrap=True)
        for example in group.examples:
            found = f"answer {example['answer']!r}, gold {example['gold']!r}"
            console.print(Text(f"  {example['where']}: {found}"), soft_wrap=True)
            console.print(Text("    " + example["end"].strip().replace("\n", "\n    "), style="dim"))


def grouped(
    source: Source, examples: int, verdict: str | None, census: SuiteCensus
) -> tuple[dict[tuple[str, str], DetailGroup], int]:
    """Return rows by verdict and detail, and their number; formats of program tests are counted in `census`."""
    groups: dict[tuple[str, str], DetailGroup] = {}
    total = 0
    for chunk in chunks(source):
        for row, where in _rows(chunk, source.fields):
            if "verdict" not in row:
                raise InputError(
                    "The rows have no verdict.",
                    where=where,
                    remedy=f"judge them first: proofmill verify {source.name} --out judged.jsonl",
                )
            total += 1
            if row.get("domain") == "code":
                census.add(info_of(row), str(row.get("extracted") or ""))
            name = str(row["verdict"])
            if verdict in (None, name):
                groups.setdefault((name, kind_of(row.get("verdict_detail"))), DetailGroup()).add(row, where, examples)
    return groups, total


def _rows(chunk: Chunk, fields: Mapping[str, str]) -> list[tuple[Row, str]]:
    seen = views(chunk, fields, frozenset(), as_lines=False)
    return [(view.row, view.where) for view in seen if view.fault is None]


def kind_of(detail: Any) -> str:
    """Return the general part of a verdict's detail: what stands before its first colon."""
    return str(detail or "").partition(":")[0].strip()


def shape_of(line: str) -> str:
    """Return the form of a line: words, numbers and other scripts by kind, signs as they are."""

    def kind(match: re.Match[str]) -> str:
        first = match[0][0]
        return "0" if first.isdigit() else "w" if first.isascii() else "文"

    return re.sub(r"(?:w +)+w\b", "w", _KINDS.sub(kind, line.strip()))[:_LINE]


def _order(item: tuple[tuple[str, str], DetailGroup]) -> tuple[int, int]:
    (name, _), group = item
    return (VERDICTS.index(name) if name in VERDICTS else len(VERDICTS)), -group.rows


def _table(groups: Mapping[tuple[str, str], DetailGroup], total: int) -> Table:
    table = Table(title=f"{total:,} rows by verdict and detail", title_justify="left")
    for name, justify in (("verdict", "left"), ("detail", "left"), ("rows", "right"), ("share", "right")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    table.add_column("domains")
    for (name, detail), group in sorted(groups.items(), key=_order)[:_GROUPS]:
        domains = ", ".join(f"{domain} {count:,}" for domain, count in group.domains.most_common(4))
        cells = (name, detail or "-", f"{group.rows:,}", f"{group.rows / max(total, 1):.1%}", domains)
        table.add_row(*(Text(cell) for cell in cells))
    return table


def _plain(groups: Mapping[tuple[str, str], DetailGroup], total: int, census: SuiteCensus) -> dict[str, Any]:
    listed = [
        {
            "verdict": name,
            "detail": detail,
            "rows": group.rows,
            "domains": dict(group.domains),
            "endings": [{"like": group.lines[shape], "rows": n} for shape, n in group.endings.most_common(_SHAPES)],
            "examples": group.examples,
        }
        for (name, detail), group in sorted(groups.items(), key=_order)
    ]
    tests = {"formats": dict(census.formats), "packages": dict(census.packages)}
    return {"rows": total, "groups": listed, "tests": tests}
