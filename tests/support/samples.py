"""Recorded samples of a known kind, the recipe that replays them, and what a run has published of them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson
import polars as pl

from proofmill.data.versions import find

Row = dict[str, Any]

CORRECT = (
    "First I look at the two numbers, {a} and {b}. Counting up from {a} by {b} single steps brings me past every "
    "number between them, and the last one that I touch is {sum}. As a check I go back down by {b} and land on {a} "
    "once more, so nothing was skipped. The answer is \\boxed{{{sum}}}.",
    "Let me split the second term: {b} is made of ones, and each of those ones pushes the first term higher. "
    "When they are used up, the total stands at {sum}; there is no carry to worry about here. "
    "The answer is \\boxed{{{sum}}}.",
    "Both terms are small, so I add them at once. Thus \\boxed{{{sum}}}.",
)
WRONG = "I believe that both terms together make one too many, hence the answer is \\boxed{{{off}}}."
CUT = "<think>The first term is {a} and the second one is {b}, so if I now begin to"
NOTHING = "I would rather talk about the weather over the sea, and about boats."
SAMPLES = (*CORRECT, WRONG, CUT, NOTHING)
"""Of each problem: three correct samples from long to short, a wrong one, a cut one, one without an answer."""


def sums(problems: int = 6, samples: Iterable[str] = SAMPLES) -> list[Row]:
    """Return recorded samples of `problems` sums; each row has what the replay engine needs."""
    rows = []
    for number in range(problems):
        a, b = 11 + 3 * number, 5 + number
        for text in samples:
            response = text.format(a=a, b=b, sum=a + b, off=a + b + 1)
            finish = "length" if text is CUT else "stop"
            question = {"prompt": f"How much is {a} + {b}?", "answer": str(a + b)}
            rows.append(question | {"response": response, "finish_reason": finish, "license": "mit"})
    return rows


def write_jsonl(path: Path, rows: Iterable[Row]) -> Path:
    """Write rows as JSON lines; return the path."""
    path.write_bytes(b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows))
    return path


def replay_recipe(file: Path, **sections: Any) -> Row:
    """Return a recipe that replays one file; a few rows need one process that judges, and starting more costs most."""
    samplers = [{"engine": {"kind": "replay", "files": [str(file)]}}]
    return {"name": "replayed", "samplers": samplers, "verify": {"workers": 1}} | sections


def table(home: Path, config: str, label: str = "replayed") -> pl.DataFrame:
    """Return all rows of one config of a version: `label` is a name, or NAME@vN."""
    return pl.concat([pl.read_parquet(path) for path in find(home, label).files(config)])
