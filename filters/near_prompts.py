"""Prompts near a benchmark's item in a user's file, to be decided about before the rows are marked.

A run looks at problems (`CONTAMINATED_PROBLEMS`); a file has rows, so these are read twice: first for the prompts that
mean an item or are near one, in one process, which alone loads the encoder; then to be marked with what was decided.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import orjson

from proofmill.filters.base import Row
from proofmill.filters.contamination import (
    CONTAMINATION,
    DecontaminateOptions,
    Index,
    marks_of,
    opened,
    overlap_columns,
    whole_prompts,
)


@dataclass(frozen=True)
class DecidedPrompts:
    """What was decided about prompts before the rows are read once more.

    Attributes:
        index: the benchmarks' index.
        marks: JSON file with the columns of each prompt that means an item, near enough or as a model says.
    """

    index: Path
    marks: Path


@lru_cache(maxsize=1)
def _decided(marks: Path) -> dict[str, Row]:
    return dict(orjson.loads(marks.read_bytes()))


def annotate_decided(rows: Sequence[Row], _: DecontaminateOptions, decided: DecidedPrompts) -> list[Row]:
    """Return the overlap of each row where it is decided already which prompts mean an item."""
    index, prompts, marks = opened(decided.index), whole_prompts(rows), _decided(decided.marks)
    different = list(dict.fromkeys(prompts))
    by_words = dict(zip(different, map(overlap_columns, index.find_many(different)), strict=True))
    asked = {prompt: found or marks.get(prompt, {}) for prompt, found in by_words.items()}
    return marks_of(rows, prompts, asked, index)


class NearPrompt(NamedTuple):
    """A prompt that means a benchmark's item, near enough or for a model to say.

    Attributes:
        question: what a model is shown: the prompt without its system message.
        item: `benchmark/item`.
        text: of the item.
        span: how near it is, and the item.
        nearness: see `meaning`.
    """

    question: str
    item: str
    text: str
    span: str
    nearness: float

    def columns(self, said: str = "") -> Row:
        """Return the marks of its rows; `said` stands before how near it is."""
        return {"contaminated_by": self.item, "contaminated_span": said + self.span}


def near_prompts(rows: Sequence[Row], options: DecontaminateOptions, index: Index) -> dict[str, NearPrompt]:
    """Return what of these rows' prompts (`system`, `prompt`) means an item, by the whole prompt.

    Raises:
        InputError: the encoder is not installed.
    """
    meaning = options.meaning
    questions = {prompt: row["prompt"] for prompt, row in zip(whole_prompts(rows), rows, strict=True)}
    matches = index.find_prompts(list(questions), meaning, lowest=meaning.lowest if meaning else None)
    return {
        prompt: NearPrompt(question, match.label, match.near.text, match.span, match.near.nearness)
        for (prompt, question), match in zip(questions.items(), matches, strict=True)
        if match and match.near
    }


DECIDED_CONTAMINATION = replace(CONTAMINATION, annotate=annotate_decided)
