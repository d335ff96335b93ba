"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Home = Annotated[
    str | None,
    typer.Option(
        "--home",
        help="Where everything is kept, a folder or s3://bucket/prefix; else $PROOFMILL_HOME or ./proofmill-home.",
    ),
]
Cluster = Annotated[
    str | None,
    typer.Option("--cluster", metavar="ADDRESS", help="Sample and judge on this Ray cluster: auto, or HOST:PORT."),
]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="a.b=value", help="Change a recipe key; repeatable.")
]
ProblemLimit = Annotated[int | None, typer.Option(min=1, help="Take only this many problems, from the first.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks and Prefect's own log.")]

Traces = Annotated[str, typer.Argument(help="A .jsonl (.gz, .zst) or .parquet file, or hf://user/name.")]
Out = Annotated[Path, typer.Option("--out", help="The file to write: .jsonl, .jsonl.gz, .jsonl.zst or .parquet.")]
Maps = Annotated[
    list[str] | None,
    typer.Option("--map", metavar="ours=theirs", help="Field names; `[]` unrolls a list. Repeatable, or with commas."),
]
Domain = Annotated[str | None, typer.Option(help="Domain of the rows that name none.")]
Split = Annotated[str, typer.Option(help="Split of a hub data set.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Read only this many rows, from the first.")]
Options = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="option=value", help="An option of the filter, as in a recipe; repeatable."),
]
Against = Annotated[list[str], typer.Option("--against", help="A benchmark: file or hf://user/name; repeatable.")]
AgainstFields = Annotated[
    list[str] | None, typer.Option(help="Field of a benchmark's question; repeatable. Default: found by name.")
]
AgainstSplit = Annotated[str, typer.Option(help="Split of hub benchmarks.")]
AgainstConfig = Annotated[str | None, typer.Option(help="Config of hub benchmarks, `main` of gsm8k.")]
Meaning = Annotated[
    float | None,
    typer.Option(
        help="Also mark prompts that say an item in other words, from this nearness on (a recipe's default is 1.6)."
    ),
]
JudgeDryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say what the judge would be asked; ask and write nothing.")
]
Judge = Annotated[
    str | None,
    typer.Option(
        help="Ask this model about prompts that are less near: `bundled`, a folder, a hub id, a trained model NAME@vN, "
        "or a server ADDRESS#MODEL."
    ),
]
JudgeOptions = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="option=value", help="An option of the judge, as in a recipe; repeatable."),
]
Workers = Annotated[int | None, typer.Option(min=1, help="Worker processes; default: one for each core.")]


def option_of(arguments: list[str], name: str) -> str | None:
    """Return the value of an option in a command line, before it is parsed; None where it is not given."""
    for place, argument in enumerate(arguments):
        if argument == name and place + 1 < len(arguments):
            return arguments[place + 1]
        if argument.startswith(f"{name}="):
            return argument.partition("=")[2]
    return None
