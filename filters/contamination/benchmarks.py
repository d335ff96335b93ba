"""Benchmarks that training data must not overlap with, as items of the overlap index."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from proofmill.data.errors import InputError
from proofmill.data.files import cached_sha256
from proofmill.data.rows_io import HUB, Located, Row, Unreadable, read, read_hub
from proofmill.data.sections import Section, portable_name
from proofmill.filters.contamination.overlap_index import MIN_SHORT, Item

QUESTION_FIELDS = ("question", "problem", "prompt", "text", "input", "query")
ID_FIELDS = ("id", "task_id", "unique_id", "problem_id", "question_id", "problem_idx", "key")


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One benchmark.

    Attributes:
        source: a file, or `hf://user/name`.
        fields: fields whose text is looked for; none: the first of `QUESTION_FIELDS` that the first row has.
        split, config, revision: of a hub data set.
        name: what it is called in the marks; a row's own `benchmark` comes before it, the source's name after it.
    """

    source: str
    fields: tuple[str, ...] = ()
    split: str = "test"
    config: str | None = None
    revision: str | None = None
    name: str | None = None

    @property
    def called(self) -> str:
        """Its name, else the hub's name or the file's, without its folder and endings."""
        on_hub = self.source.startswith(HUB)
        return self.name or (self.source.removeprefix(HUB) if on_hub else Path(self.source).name.partition(".")[0])

    def identity(self) -> dict[str, Any]:
        """What it is known by again: a file by its digest and not by its place, a hub set by name and revision."""
        path = Path(self.source).expanduser()
        return {
            "source": portable_name(self.source),
            "called": self.called,
            "file": cached_sha256(path) if path.is_file() else None,
            "part": [list(self.fields), self.split, self.config, self.revision],
        }


def items(benchmarks: Iterable[Benchmark]) -> Iterator[Item]:
    """Benchmark, item's id and text of every item.

    Raises:
        InputError: a source can't be read, has no items, or lacks a field. A benchmark is never taken in part.
    """
    for benchmark in benchmarks:
        yield from _items(benchmark)


def _rows(benchmark: Benchmark) -> Iterator[Located | Unreadable]:
    if not benchmark.source.startswith(HUB):
        return read(benchmark.source)
    name = benchmark.source.removeprefix(HUB)
    return read_hub(name, config=benchmark.config, split=benchmark.split, revision=benchmark.revision)


def _items(benchmark: Benchmark) -> Iterator[Item]:
    wanted = list(benchmark.fields)
    number = -1
    for number, found in enumerate(_rows(benchmark)):
        if isinstance(found, Unreadable):
            raise InputError(
                f"An item can't be read: {found.why}.", where=found.where, remedy="mend or remove the line"
            )
        row = found.row
        wanted = wanted or [field for field in QUESTION_FIELDS if field in row][:1]
        missing = [field for field in wanted if field not in row]
        if missing or not wanted:
            raise InputError(
                f"The benchmark has no field {(missing or QUESTION_FIELDS)[0]!r}.",
                where=found.where,
                remedy=f"this item has: {', '.join(map(str, row))}; name its question with --against-field, "
                "or in the recipe with decontaminate.fields",
            )
        for field in wanted:
            if text := whole_text(row[field]):
                yield str(row.get("benchmark") or benchmark.called), _item_id(row, number), text
    if number < 0:
        raise InputError("The benchmark has no items.", where=benchmark.source, remedy="check the file, or its split")


def _item_id(row: Row, number: int) -> str:
    return next((str(row[field]) for field in ID_FIELDS if row.get(field) is not None), str(number))


def whole_text(value: Any) -> str | None:
    """All text of a string, a message list or a list of strings."""
    if value is None or isinstance(value, str):
        return value
    if not isinstance(value, list):
        return None
    parts = [part.get("content") if isinstance(part, dict) else part for part in value]
    return "\n".join(part for part in parts if isinstance(part, str)) or None


def _benchmark(value: Any) -> Any:
    return {"source": value} if isinstance(value, str) else value


class AgainstBenchmark(Section):
    """One benchmark; a bare string is its source."""

    source: str = Field(description="a file, or hf://user/name")
    name: str | None = Field(None, description="None: as the source is called")
    fields: tuple[str, ...] | None = Field(None, description="None: those of the section")
    split: str | None = Field(None, description="None: that of the section")
    config: str | None = None
    revision: str | None = None


class DecontaminateOptions(Section):
    """Overlap of prompts and traces with benchmarks: runs of `n` words that stand in a benchmark's item too.

    Ten words are the VibeThinker-3B report's (arXiv 2606.16140).
    """

    against: tuple[Annotated[AgainstBenchmark, BeforeValidator(_benchmark)], ...] = Field(
        (), description="benchmarks: files or hf://user/name; none: nothing is looked for"
    )
    n: int = Field(10, ge=MIN_SHORT, description="words in a run that counts as overlap")
    fields: tuple[str, ...] = Field((), description="what is looked for of an item; none: its question, by name")
    split: str = Field("test", description="of hub data sets")

    @property
    def benchmarks(self) -> list[Benchmark]:
        """Each with the section's fields and split where it has none of its own."""
        return [
            Benchmark(
                item.source,
                self.fields if item.fields is None else item.fields,
                item.split or self.split,
                item.config,
                item.revision,
                item.name,
            )
            for item in self.against
        ]
