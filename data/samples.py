"""Recorded samples: HOME/samples/KEY, shared by all runs, never written twice.

A sample is identified by the digest of its rendered prompt and its index. While a shard is being sampled, every
finished sample is a line of the shard's journal; the complete shard becomes one Parquet file, and the journal is
deleted. After a crash, the journals left behind lose their torn tail and become Parquet files the same way.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from proofmill.data.files import Journal, digest, locked, read_journal, sweep, write_json
from proofmill.data.schemas import SAMPLES
from proofmill.data.tables import from_rows, read_table, write_table

QUARANTINE = "quarantine.json"
FAILED = "failed"
"""Finish reason of a sample whose every request failed; the next run asks for it again."""
QUARANTINED = "quarantined"
"""Finish reason of a sample whose prompt kills the engine; not asked again while the quarantine names it."""
FILTERED = "content_filter"
"""Finish reason of a sample that the server's content filter cut off; not asked again, since it would do so again."""
REFUSED = "refused_by_server"
"""Finish reason of a sample whose request all servers reject, while they answer others; not asked again."""
_RANKS = {QUARANTINED: 1, FAILED: 2}


class SampleStore:
    """The samples of one KEY. Use it as a context manager: it holds the KEY's lock while open.

    Args:
        folder: HOME/samples/KEY.
        identity: what the KEY is the digest of; written beside the samples for human readers.

    Raises:
        StoreError: another run is sampling with the same model and decoding parameters.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        self.folder = folder
        self.quarantine = folder / QUARANTINE  # prompts that killed the engine
        self._identity = dict(identity)
        self._lock = locked(
            folder / "lock",
            what="Another run is sampling with the same model and decoding parameters.",
            remedy="wait for it (its samples will be shared), or stop it and run this again",
        )
        self._index = pl.DataFrame(schema=_INDEX)
        self._files: list[Path] = []

    def __enter__(self) -> Self:
        with ExitStack() as stack:  # releases the lock if anything here fails
            stack.enter_context(self._lock)
            sweep(self.folder)
            write_json(self.folder / "identity.json", self._identity)
            for journal in sorted(self.folder.glob("*.journal")):
                self._seal(journal)
            for path in sorted(self.folder.glob("*.parquet")):
                self._add(path)
            stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.__exit__(kind, error, trace)

    def have(self, prompt_digests: Iterable[str]) -> set[tuple[str, int]]:
        """Return the samples of these prompts that are recorded for good, as (prompt digest, sample index).

        A failed one is not: it is asked again. One of a quarantined prompt is until the quarantine's file is deleted.
        """
        highest = _RANKS[QUARANTINED] if self.quarantine.exists() else 0
        recorded = self._index.filter(pl.col("prompt_digest").is_in(list(prompt_digests)) & (pl.col("rank") <= highest))
        return set(recorded.select("prompt_digest", "sample_index").iter_rows())

    def read(self, prompt_digests: Iterable[str], n: int) -> pa.Table:
        """Return the first `n` samples of each prompt (schema SAMPLES), sorted, each once; an answered one wins."""
        digests = list(prompt_digests)
        numbers = self._index.filter(pl.col("prompt_digest").is_in(digests))["file"].unique().sort()
        tables = [_first(read_table(self._files[number]), digests, n) for number in numbers]
        table = pa.concat_tables(tables) if tables else SAMPLES.empty_table()
        frame = pl.from_arrow(table)
        assert isinstance(frame, pl.DataFrame)  # noqa: S101 (narrowing for the type checker)
        keys = ["prompt_digest", "sample_index"]
        frame = frame.sort(*keys, _rank(), maintain_order=True).unique(keys, keep="first", maintain_order=True)
        return frame.to_arrow().cast(SAMPLES)

    def journal(self, name: str) -> Journal:
        """Open the journal of a shard."""
        return Journal(self.folder / f"{name}.journal")

    def seal(self, journal: Journal) -> None:
        """Turn a finished journal into a Parquet file; its rows then count as recorded."""
        journal.close()
        if path := self._seal(journal.path):
            self._add(path)

    def set_aside(self, label: str) -> None:
        """Move all samples recorded so far into a subfolder, so that sampling starts anew; nothing is deleted.

        May be called again with the same label: it completes an interrupted move and moves no later sample.
        """
        files = [*sorted(self.folder.glob("*.parquet")), *self.folder.glob(self.quarantine.name)]
        aside = self.folder / f"set-aside-{label}"
        if not (listing := aside / "still-to-move.json").exists():
            if not files:
                return
            write_json(listing, [path.name for path in files])
        names = orjson.loads(listing.read_bytes())
        for path in files:
            if path.name in names:
                path.rename(aside / path.name)
        write_json(listing, [])
        self._index, self._files = pl.DataFrame(schema=_INDEX), []
        for path in sorted(self.folder.glob("*.parquet")):
            self._add(path)

    def _seal(self, journal: Path) -> Path | None:
        rows = list(read_journal(journal, SAMPLES.names))
        path = None
        if rows:
            table = from_rows(rows, SAMPLES).sort_by([("prompt_digest", "ascending"), ("sample_index", "ascending")])
            path = self.folder / f"{journal.stem}-{digest(rows)[:12]}.parquet"
            write_table(path, table)
        journal.unlink(missing_ok=True)
        return path

    def _add(self, path: Path) -> None:
        if path in self._files:
            return
        columns = pl.DataFrame(read_table(path, ["prompt_digest", "sample_index", "finish_reason"]))
        number = pl.lit(len(self._files), pl.Int32).alias("file")
        frame = columns.select("prompt_digest", "sample_index", number, _rank().alias("rank"))
        self._files.append(path)
        self._index = pl.concat([self._index, frame])


_INDEX = {"prompt_digest": pl.String, "sample_index": pl.Int32, "file": pl.Int32, "rank": pl.Int8}


def _rank() -> pl.Expr:
    """Return 0 for an answered sample, more for reasons why there is no answer; the lowest rank is read."""
    return pl.col("finish_reason").replace_strict(_RANKS, default=0, return_dtype=pl.Int8)


def _first(table: pa.Table, digests: list[str], n: int) -> pa.Table:
    keep = pc.and_(pc.is_in(table["prompt_digest"], pa.array(digests, pa.string())), pc.less(table["sample_index"], n))
    return table.filter(keep).cast(SAMPLES)
