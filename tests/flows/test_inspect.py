"""`proofmill inspect` on what `proofmill verify` writes: groups, endings, and nothing that moves a terminal."""

from __future__ import annotations

import io
import logging
from pathlib import Path

import orjson
import pytest
from rich.table import Table
from rich.text import Text
from typer.testing import CliRunner

from proofmill.flows.cli import app
from proofmill.flows.commands.inspect import kind_of, shape_of
from proofmill.flows.display import InertConsole, InertFormatter, inert
from support.samples import sums, write_jsonl


def invoke(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize("name", ["judged.jsonl", "judged.parquet"])
def test_it_tells_why_rows_are_not_correct(tmp_path: Path, name: str) -> None:
    rows = [row | {"domain": "math"} for row in sums()]
    rows[5]["response"] += "\x1b]0;owned\x07"
    traces, judged = write_jsonl(tmp_path / "traces.jsonl", rows), tmp_path / name
    invoke("verify", str(traces), "--out", str(judged))
    found = orjson.loads(invoke("inspect", str(judged), "--json", "--examples", "2"))
    assert found["rows"] == 36
    groups = {(group["verdict"], group["detail"]): group for group in found["groups"]}
    assert groups["unparsed", "truncated"]["rows"] == 6
    assert sum(group["rows"] for group in groups.values()) == 36
    assert all(len(group["examples"]) <= 2 for group in groups.values())

    shown = invoke("inspect", str(judged), "--verdict", "unparsed")
    assert "truncated" in shown
    assert "\x1b]" not in shown


def test_shapes_and_kinds_gather_what_looks_alike() -> None:
    assert shape_of("so there are 12 apples left.") == shape_of("so we have 3,400 pears.")
    assert shape_of("答案是 4") != shape_of("answer is 4")
    assert kind_of("TypeError: bad thing") == "TypeError"
    assert kind_of(None) == ""
    assert inert("a\x1b[2J\nb\x9b") == "a\\u001b[2J\nb\\u009b"


@pytest.mark.parametrize("text", ["\x1b]0;owned\x07", "\x9b2J", "\u202egnp.exe", "\r\x08"])
@pytest.mark.parametrize("terminal", [True, False])
def test_nothing_that_a_row_says_acts_on_a_terminal_or_a_log(text: str, terminal: bool) -> None:
    stream = io.StringIO()
    console = InertConsole(file=stream, force_terminal=terminal, color_system=None)
    table = Table(title=text)
    table.add_row(Text(text), text)
    for what in (text, Text(text), table):
        console.print(what, markup=False)
    line = InertFormatter().format(logging.LogRecord("a", 30, "b", 1, "%s", (text,), None))
    assert set(stream.getvalue() + line).isdisjoint("\x1b\x07\x9b\u202e\r\x08")


def test_a_file_without_verdicts_is_told(tmp_path: Path) -> None:
    traces = write_jsonl(tmp_path / "traces.jsonl", sums(1))
    result = CliRunner().invoke(app, ["inspect", str(traces)])
    assert result.exit_code != 0
    assert "proofmill verify" in str(getattr(result.exception, "remedy", ""))
