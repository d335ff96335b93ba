"""`proofmill diff`: how two versions differ, and why, from their folders alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from proofmill.data.differences import ADDED, CHANGED, REMOVED, Group, changed_configs, compare_problems, compare_traces
from proofmill.data.versions import Version, check_files, find
from proofmill.flows.diff_causes import ManifestDiff, causes, causes_of_files, manifest_diff

REMEASURED = "measured otherwise"
_STATES = ("verdict", "stage", "drop_reason")


def run(home: Path, before: str, after: str, rows: int, as_json: bool, out: Console) -> None:
    """Compare two versions, of one data set or of two, and print every difference with its cause.

    Raises:
        StoreError: a file of either is not what was published; a difference would have a false cause.
    """
    result = difference(find(home, before), find(home, after), rows)
    if as_json:
        out.print(orjson.dumps(result, option=orjson.OPT_INDENT_2).decode(), markup=False, soft_wrap=True)
    else:
        _show(result, out)


def difference(before: Version, after: Version, rows: int = 0) -> dict[str, Any]:
    """Return the differences as JSON-like data: `equal`, `rows`, `problems`, `configs`, and the `facts` that differ.

    `causes` are those of files that differ where no trace and no problem does; `unused` are facts that explain nothing
    of the rest.
    """
    check_files(before)
    check_files(after)
    facts, configs = manifest_diff(before, after), changed_configs(before, after)
    result: dict[str, Any] = {
        "before": before.label,
        "after": after.label,
        "equal": not configs,
        "rows": [],
        "problems": {},
        "configs": configs,
        "facts": facts.lines(),
    }
    if not configs:
        return result
    groups = compare_traces(before, after, rows)
    others = any(group.kind != CHANGED or "verdicts" in group.judged for group in groups)
    moved = others or any(group.judged and group.fate_changed for group in groups)
    result["rows"] = _merged([_told(group, facts, others=others, moved=moved) for group in groups])
    result["problems"] = compare_problems(before, after)
    if any(result["problems"].values()):
        result["problem_causes"] = causes_of_files(facts, ["problems"])
    if not result["rows"]:
        result["causes"] = causes_of_files(facts, configs)
    told = {cause for row in result["rows"] for cause in row["causes"]}
    told |= {*result.get("causes", ()), *result.get("problem_causes", ())}
    result["unused"] = [fact for fact in result["facts"] if fact not in told]
    return result


def _told(group: Group, facts: ManifestDiff, *, others: bool, moved: bool) -> dict[str, Any]:
    return {
        "kind": group.kind if group.kind != CHANGED or group.fate_changed else REMEASURED,
        "before": _state(group.before),
        "after": _state(group.after),
        "columns_of": list(group.judged),
        "count": group.count,
        "causes": causes(group, facts, others=others, moved=moved),
        "examples": group.rows,
    }


def _state(fate: Mapping[str, Any]) -> str | None:
    """Return a row's fate in words."""
    if not fate:
        return None
    if fate["drop_reason"] is None:
        return f"{fate['verdict']}, stage {fate['stage']}"
    return fate["verdict"] if fate["drop_reason"] == fate["verdict"] else f"{fate['verdict']}, {fate['drop_reason']}"


def _merged(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Merge differences that read the same."""
    groups: dict[str, dict[str, Any]] = {}
    for row in rows:
        columns = row["columns_of"] if row["kind"] == REMEASURED else []
        key = repr((row["kind"], row["before"], row["after"], columns, row["causes"]))
        known = groups.setdefault(key, row | {"columns_of": [], "count": 0, "examples": []})
        known["columns_of"] = sorted({*known["columns_of"], *row["columns_of"]})
        known["count"] += row["count"]
        known["examples"] = (known["examples"] + row["examples"])[: max(len(row["examples"]), len(known["examples"]))]
    return list(groups.values())


def _show(found: Mapping[str, Any], out: Console) -> None:
    if found["equal"]:
        out.print(f"No difference: {found['before']} and {found['after']} hold the same rows.")
        if found["facts"]:
            out.print("These differ in how they were made, and changed no row:")
            _list(found["facts"], out)
        return
    counts: Counter[str] = Counter()
    for row in found["rows"]:
        counts[row["kind"]] += row["count"]
    told = [f"{counts[kind]:,} {kind}" for kind in (ADDED, REMOVED, CHANGED, REMEASURED) if counts[kind]]
    out.print(f"[bold]{found['before']} → {found['after']}[/]: traces {', '.join(told) or 'the same'}", soft_wrap=True)
    if found["rows"]:
        out.print(_table(found["rows"]))
        _examples(found["rows"], out)
    if any(found["problems"].values()):
        counted = ", ".join(f"{count:,} {kind}" for kind, count in found["problems"].items() if count)
        out.print(f"problems: {counted}, because of:")
        _list(found["problem_causes"], out)
    out.print(f"files differ in: {', '.join(found['configs'])}", soft_wrap=True)
    if "causes" in found:
        out.print("No trace differs; the files do because of:")
        _list(found["causes"], out)
    if found["unused"]:
        out.print("These differ too, and changed no trace:")
        _list(found["unused"], out)


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table("traces", "rows", "before", "after", "cause", show_lines=True)
    table.columns[1].justify = "right"
    for column in table.columns:
        column.overflow = "fold"  # a recipe key is longer than its column on a narrow terminal
    for row in rows:
        kind = f"{REMEASURED}: {', '.join(row['columns_of'])}" if row["kind"] == REMEASURED else row["kind"]
        cells = (kind, f"{row['count']:,}", row["before"] or "-", row["after"] or "-", "\n".join(row["causes"]))
        table.add_row(*map(Text, cells))
    return table


def _examples(rows: list[dict[str, Any]], out: Console) -> None:
    for row in rows:
        for example in row["examples"]:
            state = " → ".join(filter(None, (row["before"], row["after"])))
            told = f"  {row['kind']}  {example['id']}  of problem {example['problem_id']}  {state}"
            out.print(Text(told), soft_wrap=True)


def _list(lines: list[str], out: Console) -> None:
    for line in lines:
        out.print(Text(f"  {line}"), soft_wrap=True)
