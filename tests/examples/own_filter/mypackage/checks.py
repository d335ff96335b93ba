"""Politeness: how much of a trace is courtesy, which a reasoning model need not learn."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

import polars as pl
import pyarrow as pa
from pydantic import Field

from proofmill.data.schemas import column
from proofmill.data.sections import Section
from proofmill.filters.base import DropRule, MapFilter

COURTESY = re.compile(r"\b(?:please|thank you|thanks|sorry|kindly|happy to help|great question)\b", re.IGNORECASE)


class Options(Section):
    """What is too polite."""

    threshold: float = Field(0.3, ge=0, le=1, description="courtesies a sentence; traces with more are dropped")


def annotate(rows: Iterable[dict[str, Any]], _: Options) -> Iterator[dict[str, Any]]:
    """Yield `politeness` (courtesies a sentence, 0 to 1) and the first courtesy of each row."""
    for row in rows:
        found = COURTESY.findall(row["response"])
        sentences = max(1, len(re.findall(r"[.!?](?:\s|$)", row["response"])))
        yield {"politeness": min(1.0, len(found) / sentences), "courtesy": found[0] if found else None}


too_polite = MapFilter(
    name="politeness",
    version=1,
    options=Options,
    reads=("response",),
    adds=pa.schema(
        [
            column("politeness", pa.float32(), "courtesies a sentence, 0 to 1"),
            column("courtesy", pa.string(), "the first courtesy"),
        ]
    ),
    annotate=annotate,
    rules=(
        DropRule(
            "too_polite",
            lambda options: pl.col("politeness") > options.threshold,
            "more courtesies a sentence than `threshold`",
            hangs_on=("threshold",),
            evidence=("courtesy", "politeness"),
        ),
    ),
)
