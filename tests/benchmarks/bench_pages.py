"""What a second version repeats of the first: the share of equal Parquet pages and bytes.

    .venv/bin/python tests/benchmarks/bench_pages.py                      # made traces, a few rows changed
    .venv/bin/python tests/benchmarks/bench_pages.py HOME quickstart@v1 quickstart@v2

A page is found by the file's own page index and known by the hash of its bytes, as a store that keeps equal
chunks once would know it. The peer is pyarrow with its defaults, on the same rows in the same order.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from proofmill.data.tables import conform
from proofmill.data.version_files import VersionWriter
from proofmill.data.versions import find
from proofmill.filters.catalog import trace_schema

SHARD_ROWS = 4096
WORDS = [
    "so",
    "the",
    "sum",
    "of",
    "these",
    "two",
    "terms",
    "is",
    "what",
    "we",
    "look",
    "for",
    "and",
    "then",
    "step",
    "by",
    "step",
    "it",
    "follows",
    "that",
    "we",
    "get",
    "more",
]

# --- the page index -------------------------------------------------------------------------------
# pyarrow says that there is one and not what it holds; it and the footer are Thrift's compact protocol.

COLUMNS, METADATA, OFFSET_INDEX, LENGTH, PAGES = 1, 3, 4, 5, 1
DATA_AT, DICTIONARY_AT = 9, 11


class Compact:
    """Reads structs as {field number: value}, lists as lists."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def varint(self) -> int:
        value = shift = 0
        while True:
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7

    def number(self) -> int:
        value = self.varint()
        return (value >> 1) ^ -(value & 1)

    def value(self, kind: int) -> Any:
        if kind in (1, 2):
            return kind == 1
        if kind in (3, 7):
            width = 1 if kind == 3 else 8
            self.at += width
            return self.data[self.at - width : self.at]
        if kind in (4, 5, 6):
            return self.number()
        if kind == 8:
            length = self.varint()
            self.at += length
            return self.data[self.at - length : self.at]
        return self.list() if kind in (9, 10) else self.struct()

    def list(self) -> list[Any]:
        head = self.data[self.at]
        self.at += 1
        length = head >> 4 if head >> 4 < 15 else self.varint()
        if head & 15 in (1, 2):
            self.at += length
            return []
        return [self.value(head & 15) for _ in range(length)]

    def struct(self) -> dict[int, Any]:
        found: dict[int, Any] = {}
        field = 0
        while head := self.data[self.at]:
            self.at += 1
            field = field + (head >> 4) if head >> 4 else self.number()
            found[field] = self.value(head & 15)
        self.at += 1
        return found


def pages(path: Path) -> Iterator[bytes]:
    """The bytes of every page of a file, dictionaries too."""
    data = path.read_bytes()
    footer = Compact(data[-8 - int.from_bytes(data[-8:-4], "little") : -8]).struct()
    for group in footer[4]:
        for column in group[COLUMNS]:
            if start := column[METADATA].get(DICTIONARY_AT):
                yield data[start : column[METADATA][DATA_AT]]
            start = column[OFFSET_INDEX]
            index = Compact(data[start : start + column[LENGTH]]).struct()
            for page in index[PAGES]:
                yield data[page[1] : page[1] + page[2]]


# --- the share ------------------------------------------------------------------------------------


def shares(before: Sequence[Path], after: Sequence[Path]) -> tuple[float, float]:
    """Share of pages, and of page bytes, of `after` that `before` has too."""
    known = {hashlib.blake2b(page).digest() for path in before for page in pages(path)}
    sizes = [(hashlib.blake2b(page).digest() in known, len(page)) for path in after for page in pages(path)]
    total = sum(size for _, size in sizes)
    return sum(same for same, _ in sizes) / len(sizes), sum(size for same, size in sizes if same) / total


def made(rows: int, seed: int = 0) -> pa.Table:
    """Traces of about 2 KB whose ids rise, as in a version."""
    rng = random.Random(seed)
    texts = [" ".join(rng.choices(WORDS, k=rng.randrange(150, 650))) + f" {rng.random()}" for _ in range(rows)]
    ids = [f"{number:012x}{rng.getrandbits(48):012x}" for number in range(rows)]
    columns = {"id": ids, "problem_id": [name[:20] for name in ids], "response": texts, "reasoning": texts}
    columns["verdict"] = rng.choices(["correct", "wrong"], k=rows)
    columns["completion_tokens"] = [len(text) // 4 for text in texts]
    return conform(pa.table(columns), trace_schema())


def changed(table: pa.Table, share: float, seed: int = 1) -> pa.Table:
    """The same with so many rows taken out and as many new ones put in, anywhere."""
    rng = random.Random(seed)
    count = int(table.num_rows * share)
    out = set(rng.sample(range(table.num_rows), count))
    order = [(place, 0, place) for place in range(table.num_rows) if place not in out]
    order += [(rng.randrange(table.num_rows), 1, table.num_rows + place) for place in range(count)]
    both = pa.concat_tables([table, made(count, seed=2)])
    return both.take([place for _, _, place in sorted(order)])


def written(folder: Path, table: pa.Table) -> list[Path]:
    """As a version is written: shard by shard."""
    folder.mkdir()
    writer = VersionWriter(folder, {"traces/train": trace_schema()})
    for start in range(0, table.num_rows, SHARD_ROWS):
        writer.append("traces/train", table.slice(start, SHARD_ROWS))
    return [folder / file.path for file in writer.close()]


def plain(path: Path, table: pa.Table) -> list[Path]:
    pq.write_table(table, path, compression="zstd", write_page_index=True)
    return [path]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("home", nargs="?", type=Path)
    parser.add_argument("versions", nargs="*")
    parser.add_argument("--rows", type=int, default=40_000)
    options = parser.parse_args()
    if options.home:
        compare_versions(options.home, *options.versions)
    else:
        compare_made(options.rows)


def compare_versions(home: Path, before: str, after: str) -> None:
    first, second = find(home, before), find(home, after)
    for config in second.manifest.published_rows:
        if first.files(config) and second.files(config):
            say(config, shares(first.files(config), second.files(config)))


def compare_made(rows: int) -> None:
    table = made(rows)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        before, peer = written(root / "v1", table), plain(root / "plain-v1.parquet", table)
        for share in (0.0005, 0.005, 0.02):
            after = changed(table, share)
            say(f"{share:.2%} of rows replaced", shares(before, written(root / f"v{share}", after)))
            say("  plain pyarrow", shares(peer, plain(root / f"plain-{share}.parquet", after)))


def say(name: str, found: tuple[float, float]) -> None:
    sys.stdout.write(f"{name:28} equal pages {found[0]:6.1%}   equal bytes {found[1]:6.1%}\n")


if __name__ == "__main__":
    main()
