"""Overlap of prompts and traces with benchmarks: runs of n words that stand in a benchmark item too.

Texts are compared as words (`overlap_index`), so letter case, punctuation, LaTeX signs and white
space never hide a copy, and a copy with some words exchanged is found as long as n kept words stand
in a row. `overlap_index` says which runs count and how short items are handled. A hit in the table of
hashes is confirmed on the words themselves; the match names the item and gives the longest common run as
it stands in the text, to be read as evidence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, field_validator

from proofmill.data.errors import InputError
from proofmill.data.files import cached_sha256
from proofmill.data.rows_io import HUB, Located, Unreadable, read, read_hub
from proofmill.data.run import Step
from proofmill.data.schemas import column
from proofmill.data.sections import Needs, Section, portable_name
from proofmill.filters import overlap_index
from proofmill.filters.base import DropRule, MapFilter, ProblemFilter, Row, SharedFile
from proofmill.filters.meaning import Items, MeaningOptions, crowding, embed
from proofmill.filters.overlap_index import DEFAULT_N, MIN_SHORT, Item, OverlapIndex, word_lines, word_spans
from proofmill.filters.rolling_hash import I64, U64, Lines, blocks

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
    config: str | None = Field(None, description="config of a hub data set; None: its default")
    revision: str | None = Field(None, description="commit, tag or branch of a hub data set; None: the newest")
    name: str | None = None

    @property
    def called(self) -> str:
        """Its name, else the hub's name or the file's, without its folder and endings."""
        on_hub = self.source.startswith(HUB)
        return self.name or (self.source.removeprefix(HUB) if on_hub else Path(self.source).name.partition(".")[0])

    def identity(self) -> dict[str, Any]:
        """Return what identifies it: the digest of a file's content, or the name and revision of a hub set."""
        path = Path(self.source).expanduser()
        return {
            "source": portable_name(self.source),
            "called": self.called,
            "file": cached_sha256(path) if path.is_file() else None,
            "part": [list(self.fields), self.split, self.config, self.revision],
        }


def items(benchmarks: Iterable[Benchmark]) -> Iterator[Item]:
    """Yield every item as (benchmark, item's id, text).

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
    fields = list(benchmark.fields)
    number = -1
    for number, item in enumerate(_rows(benchmark)):
        if isinstance(item, Unreadable):
            raise InputError(
                f"An item can't be read: {item.why}.", where=item.where, remedy="correct or remove the line"
            )
        row = item.row
        fields = fields or [field for field in QUESTION_FIELDS if field in row][:1]
        missing = [field for field in fields if field not in row]
        if missing or not fields:
            raise InputError(
                f"The benchmark has no field {(missing or QUESTION_FIELDS)[0]!r}.",
                where=item.where,
                remedy=f"this item has: {', '.join(map(str, row))}; name its question with --against-field, "
                "or in the recipe with decontaminate.fields",
            )
        for field in fields:
            if text := whole_text(row[field]):
                yield str(row.get("benchmark") or benchmark.called), _item_id(row, number), text
    if number < 0:
        raise InputError("The benchmark has no items.", where=benchmark.source, remedy="check the file, or its split")


def _item_id(row: Row, number: int) -> str:
    return next((str(row[field]) for field in ID_FIELDS if row.get(field) is not None), str(number))


def whole_text(value: Any) -> str | None:
    """Return all text of a string, a message list or a list of strings."""
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
    name: str | None = Field(None, description="name in marks and reports; None: that of the source")
    fields: tuple[str, ...] | None = Field(
        None, description="fields whose text is compared; None: those of the section"
    )
    split: str | None = Field(None, description="split of a hub data set; None: that of the section")
    config: str | None = Field(None, description="config of a hub data set; None: its default")
    revision: str | None = Field(None, description="commit, tag or branch of a hub data set; None: the newest")


class DecontaminateOptions(Section):
    """Overlap of prompts and traces with benchmarks: runs of `n` words that stand in a benchmark's item too.

    Ten words are the VibeThinker-3B report's (arXiv 2606.16140).
    """

    against: tuple[Annotated[AgainstBenchmark, BeforeValidator(_benchmark)], ...] = Field(
        (), description="benchmarks to compare with: files or hf://user/name"
    )
    n: Annotated[int, Needs("against")] = Field(10, ge=MIN_SHORT, description="words in a run that counts as overlap")
    fields: Annotated[tuple[str, ...], Needs("against")] = Field(
        (), description="fields of an item whose text is compared; none: its question, found by name"
    )
    split: Annotated[str, Needs("against")] = Field("test", description="split of hub data sets")
    skip_problems: Annotated[bool, Needs("against")] = Field(
        True, description="don't sample problems that overlap at all; false: sample them, and drop their traces"
    )
    meaning: Annotated[MeaningOptions | None, Needs("against")] = Field(
        None, description="also mark prompts that say an item in other words; true: with the defaults"
    )

    @field_validator("meaning", mode="before")
    @classmethod
    def _switched(cls, value: Any) -> Any:
        return ({} if value else None) if isinstance(value, bool) else value

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


# --- The index, and the overlaps that it finds ---


class Near(NamedTuple):
    """The nearest item of a prompt."""

    nearness: float
    text: str


_SIEVE_SPARSITY = 3  # places in the sieve for each hash, as a power of two


@dataclass(frozen=True, slots=True)
class Match:
    """Where a text overlaps with a benchmark.

    Attributes:
        benchmark: name of the benchmark.
        item_id: id of its item.
        words: length of the common run, in words; 0 where it was found by meaning.
        start: offset of the run in the text.
        end: offset behind it.
        span: the run as it stands in the text; where it was found by meaning, how near it is, and the item.
        near: where it was found by meaning: the item, and how near it is.
    """

    benchmark: str
    item_id: str
    words: int
    start: int
    end: int
    span: str
    near: Near | None = None

    @property
    def label(self) -> str:
        """`benchmark/item`; what stands before the first slash is the benchmark, `openai:gsm8k` of `openai/gsm8k`."""
        return f"{self.benchmark.replace('/', ':')}/{self.item_id}"


class Index:
    """The runs of any number of benchmarks. Safe in threads; cheap to open in every process.

    Attributes:
        path: the file it is mapped from.
        digest: of the indexed content and the rules, hexadecimal; equal for equal items.
        n: words of a run.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._index: OverlapIndex = overlap_index.load(path)
        self.digest, self.n = self._index.digest, self._index.n

    @classmethod
    def open(cls, path: Path) -> Index:
        """Return the index that `build_index` saved.

        Raises:
            InputError: the file is not an index, or was built by other rules.
            StoreError: it is damaged.
        """
        return cls(path)

    def __reduce__(self) -> tuple[type[Index], tuple[Path]]:
        """Pickle as a call of `open`, so that another process maps the same file."""
        return Index, (self.path,)

    def __len__(self) -> int:
        """Number of items."""
        return len(self._index.names.ends)

    def items(self) -> Counter[str]:
        """Return the number of items of each benchmark; an item with several texts counts once for each."""
        return Counter(self._index.name(number)[0] for number in range(len(self)))

    def find(self, text: str) -> Match | None:
        """Return the longest overlap of one text, or None."""
        return self.find_many([text])[0]

    def find_many(self, texts: Sequence[str]) -> list[Match | None]:
        """Return the longest overlap of each text; of equally long ones the first item's."""
        matches: list[Match | None] = []
        for part in blocks(texts):
            lines = word_lines(part)
            by_line: dict[int, list[_Hit]] = {}
            # By line, then by position: `_longest` relies on hits that come from left to right.
            for hit in sorted(self._hits(lines)):
                by_line.setdefault(hit.line, []).append(hit)
            matches += [
                self._longest(text, lines.line(number), by_line[number]) if number in by_line else None
                for number, text in enumerate(part)
            ]
        return matches

    def find_prompts(
        self, texts: Sequence[str], meaning: MeaningOptions | None, *, lowest: float | None = None
    ) -> list[Match | None]:
        """Return the overlap of each prompt: by words, else by meaning where that is asked for.

        Args:
            texts: the prompts.
            meaning: None: by words alone.
            lowest: nearness from which an item is returned; None: from that on that marks by itself.

        Raises:
            InputError: the encoder is not installed.
        """
        matches = self.find_many(texts)
        left = [place for place, match in enumerate(matches) if match is None and texts[place].strip()]
        if meaning is None or self._meanings is None or not left:
            return matches
        asked = [texts[place] for place in left]
        for place, found in zip(left, self._meanings.nearest(embed(asked), asked), strict=True):
            if found and found.nearness >= (meaning.threshold if lowest is None else lowest):
                text = self._meanings.texts[found.item]
                span = f"in other words ({found.nearness:.2f}): {text}"
                matches[place] = Match(*self._index.name(found.item), 0, 0, 0, span, Near(found.nearness, text))
        return matches

    @cached_property
    def _meanings(self) -> Items | None:
        found, texts = self._index.meanings, self._index.texts
        return None if found is None or texts is None else Items(found, crowding(found), texts)

    def _hits(self, lines: Lines) -> Iterator[_Hit]:
        """Yield the runs of the lines whose hash stands in the index."""
        runs, wholes = self._index.runs, self._index.wholes
        for size in self._index.sizes:
            head, tail, counts = lines.windows(size)
            line = np.repeat(np.arange(len(counts)), counts)
            at, entry = self._look_up(lines.hashes(head, tail))
            yield from _hits_of(line[at], (head - lines.first_units[line])[at], runs[entry])
        if len(wholes):
            at, entry = _equal(wholes["hash"], lines.whole_hashes())
            yield from _hits_of(at, np.zeros_like(at), wholes[entry], whole=True)

    def _look_up(self, hashes: U64) -> tuple[I64, I64]:
        """Return which of `hashes` are indexed, and as which entry."""
        shift, sieve = self._sieve
        # One look into a small table rules out most hashes; a binary search for each would cost far more.
        possible = np.flatnonzero(sieve[hashes >> shift])
        at, entry = _equal(self._hashes, hashes[possible])
        return possible[at], entry

    @cached_property
    def _hashes(self) -> U64:
        return np.ascontiguousarray(self._index.runs["hash"])

    @cached_property
    def _sieve(self) -> tuple[np.uint64, NDArray[np.bool_]]:
        """A table by the hash's upper bits that lets nearly no strange hash through to the search."""
        bits = max(len(self._hashes).bit_length() + _SIEVE_SPARSITY, 8)
        shift = np.uint64(64 - bits)
        sieve = np.zeros(1 << bits, bool)
        sieve[self._hashes >> shift] = True
        return shift, sieve

    def _longest(self, text: str, words: list[str], hits: list[_Hit]) -> Match | None:
        """Return the longest run that the words themselves confirm."""
        best: tuple[int, int, int] | None = None  # begin, end, item
        covered: dict[tuple[int, int], int] = {}
        items = {hit.item: self._index.words[hit.item].split(" ") for hit in hits}
        for hit in hits:
            alignment = (hit.item, hit.position - hit.item_position)
            # The run that was found before already covers this hit of the same item, shifted by the same distance.
            if covered.get(alignment, 0) > hit.position:
                continue
            run = _common_run(words, items[hit.item], hit)
            if run is None:
                continue
            covered[alignment] = run[1]
            # Strictly longer, so that of equally long runs the first stays.
            if best is None or run[1] - run[0] > best[1] - best[0]:
                best = (*run, hit.item)
        return None if best is None else self._match(text, *best)

    def _match(self, text: str, begin: int, end: int, item: int) -> Match:
        spans = word_spans(text)
        start, stop = spans[begin][0], spans[end - 1][1]
        return Match(*self._index.name(item), end - begin, start, stop, text[start:stop])


@lru_cache(maxsize=2)
def opened(path: Path) -> Index:
    """Return `Index.open`, once in a process: its pages are mapped, so all processes on a machine share them."""
    return Index.open(path)


def build_index(items: Iterable[Item], path: Path, n: int = DEFAULT_N, meaning: MeaningOptions | None = None) -> Index:
    """Return the index of benchmark items, saved at `path` and opened.

    Args:
        items: benchmark, item's id and text; an item may come several times with other texts.
        path: the file to write.
        n: words of a run, at least `overlap_index.MIN_SHORT`.
        meaning: also keep what finds items in other words.

    Raises:
        InputError: n is too small, or the encoder is not installed.
    """
    overlap_index.build(items, path, n, embed if meaning else None)
    return Index(path)


class _Hit(NamedTuple):
    """A run of a line that looks like a run of an item; positions and sizes in words."""

    line: int
    position: int
    item: int
    item_position: int
    size: int
    whole: bool


def _hits_of(line: I64, position: I64, entries: NDArray[Any], *, whole: bool = False) -> Iterator[_Hit]:
    item, item_position, size = (entries[name].tolist() for name in ("item", "position", "size"))
    columns = (line.tolist(), position.tolist(), item, item_position, size)
    return (_Hit(*values, whole=whole) for values in zip(*columns, strict=True))


def _equal(table: U64, hashes: U64) -> tuple[I64, I64]:
    """Return the positions of the hashes that stand in the sorted table, and their positions there."""
    if not len(table):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    place = np.searchsorted(table, hashes).clip(max=len(table) - 1)
    at = np.flatnonzero(table[place] == hashes)
    return at, place[at]


def _common_run(words: list[str], item: list[str], hit: _Hit) -> tuple[int, int] | None:
    """Return begin and end in `words` of the longest common run around the hit; None if there is none."""
    if hit.whole:
        return (0, len(words)) if words == item else None
    begin, other = hit.position, hit.item_position
    # Two runs may share a hash; the words decide.
    if words[begin : begin + hit.size] != item[other : other + hit.size]:
        return None
    shift, end = other - begin, begin + hit.size
    while end < len(words) and end + shift < len(item) and words[end] == item[end + shift]:
        end += 1
    while begin and begin + shift and words[begin - 1] == item[begin + shift - 1]:
        begin -= 1
    return begin, end


def annotate(rows: Sequence[Row], options: DecontaminateOptions, path: Path) -> list[Row]:
    """Return the overlap of each row with a benchmark: that of its prompt, else that of its trace.

    Args:
        rows: `prompt`, `response`, and where known `system`.
        options: whether prompts are compared by meaning too.
        path: the benchmarks' index.
    """
    index, prompts = opened(path), whole_prompts(rows)
    # The samples of one problem have one prompt, which is looked up once.
    different = list(dict.fromkeys(prompts))
    asked = dict(zip(different, map(overlap_columns, index.find_prompts(different, options.meaning)), strict=True))
    return marks_of(rows, prompts, asked, index)


def whole_prompts(rows: Sequence[Row]) -> list[str]:
    """Return the text of each row's prompt that is compared: its system message too."""
    return ["\n".join(filter(None, (row["system"], row["prompt"]))) for row in rows]


def marks_of(rows: Sequence[Row], prompts: Sequence[str], asked: Mapping[str, Row], index: Index) -> list[Row]:
    """Return each row's marks: those of its prompt, else those of its trace."""
    written = index.find_many([row["response"] or "" for row in rows])
    return [asked[prompt] or overlap_columns(match) for prompt, match in zip(prompts, written, strict=True)]


def annotate_problems(
    problems: Sequence[Row], _: Mapping[str, Sequence[Row]], options: DecontaminateOptions, path: Path | None = None
) -> list[Row]:
    """Return the overlap of each problem with a benchmark, or the item near it that a model is to be shown."""
    if path is None:
        return [{} for _ in problems]
    meaning = options.meaning
    matches = opened(path).find_prompts(whole_prompts(problems), meaning, lowest=meaning.lowest if meaning else None)
    return [
        {"near_item": match.label, "near_text": match.near.text, "near_span": match.span}
        if match and match.near and meaning and match.near.nearness < meaning.threshold
        else overlap_columns(match)
        for match in matches
    ]


def overlap_columns(match: Match | None) -> Row:
    """Return the columns of an overlap; nothing where there is none."""
    return {} if match is None else {"contaminated_by": match.label, "contaminated_span": match.span}


def _build(options: DecontaminateOptions, path: Path) -> dict[str, Any]:
    index = build_index(items(options.benchmarks), path, options.n, options.meaning)
    counts = dict(sorted(index.items().items()))
    return {"content": index.digest, "n": index.n, "items": counts, "rows": len(index), "sources": _identity(options)}


def _identity(options: DecontaminateOptions) -> list[dict[str, Any]]:
    return [benchmark.identity() for benchmark in options.benchmarks]


CLEAN, NOT_CHECKED = "clean", "not checked"


def _label(added: Row) -> str:
    if added["contaminated_detail"] is not None:
        return NOT_CHECKED
    label: str | None = added["contaminated_by"]
    return CLEAN if label is None else label.partition("/")[0]


def _meaning_identity(options: DecontaminateOptions) -> Any:
    return options.meaning and options.meaning.identity()


def _problems_identity(options: DecontaminateOptions) -> Any:
    judge = options.meaning and options.meaning.judge
    return [_meaning_identity(options), *([judge.nearness] if judge else [])]


def _file_identity(options: DecontaminateOptions) -> Any:
    return (_identity(options), options.n, *([_meaning_identity(options)] if options.meaning else []))


BENCHMARKS = SharedFile(Step("benchmarks", 1), _file_identity, _build)
_ADDS = pa.schema(
    [
        column("contaminated_by", pa.string(), "benchmark/item that the prompt or the response overlaps with"),
        column(
            "contaminated_span", pa.string(), "the common words as they stand there; by meaning: how near, and the item"
        ),
    ]
)

CONTAMINATION = MapFilter(
    name="contamination",
    version=1,
    shown_as="new",
    section="decontaminate",
    options=DecontaminateOptions,
    reads=("prompt", "response"),
    optional=("system",),
    adds=_ADDS,
    command=pa.schema([column("contaminated_detail", pa.string(), "why a row was not checked")]),
    labels=lambda added: (_label(added),),
    why=lambda added: added["contaminated_detail"],
    annotate=annotate,
    identity=_meaning_identity,
    runs="chunks",
    fault=lambda kind, detail: {"contaminated_detail": detail if kind == "row" else kind},
    shared=BENCHMARKS,
    rules=(
        DropRule(
            "contaminated",
            lambda _: pl.col("contaminated_by").is_not_null(),
            "prompt or trace has a run of words in common with a benchmark's item, or the prompt means the same",
            evidence=("contaminated_by", "contaminated_span"),
        ),
    ),
)

CONTAMINATED_PROBLEMS = ProblemFilter(
    name="contaminated_problems",
    version=2,
    section="decontaminate",
    options=DecontaminateOptions,
    reads=("problem",),
    adds=_ADDS,
    internal=pa.schema([(name, pa.string()) for name in ("near_item", "near_text", "near_span")]),
    annotate=annotate_problems,
    identity=_problems_identity,
    shared=BENCHMARKS,
)
