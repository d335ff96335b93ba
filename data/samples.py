"""Recorded samples: HOME/samples/KEY, shared by all runs, never written twice.

A sample is identified by the digest of its rendered prompt and its index. While a shard is being sampled, every
finished sample is a line of the shard's journal; the complete shard becomes one Parquet file, and the journal is
deleted. After a crash, the journals left behind lose their torn tail and become Parquet files the same way.

Journals lie in a numbered folder of the process that writes them. The next process makes the next number, which only
one can, and moves the older folders away: a process that is still at work there can't write any more, and stops. In an
object store, where a folder can't be moved, it takes over the older process's list of journals, so that none is opened
any more, and then each of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import orjson
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from proofmill.data.files import current, digest, locked, move, remove_folder, replaced, sweep, write_json, writing
from proofmill.data.objects import object_store
from proofmill.data.schemas import SAMPLES
from proofmill.data.segments import FIRST_SEGMENT, Segments, read_rows, remove_logs
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
_ASIDE = "set-aside-"
_TAKEN = {
    "what": "Another run is sampling with the same model and decoding parameters.",
    "remedy": "wait for it (its samples will be shared), or stop it and run this again",
}
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
        self._lock = locked(folder / "lock", **_TAKEN)
        self._what = "sampling with this model and these decoding parameters"
        self._store = object_store(folder)
        self._index = _PromptIndex()
        self._files: list[Path] = []
        self._unsealed: dict[tuple[str, int], str] = {}  # the finish reason of what journals hold, when only looked at

    def __enter__(self) -> Self:
        with ExitStack() as stack:  # releases the lock if anything here fails
            stack.enter_context(self._lock)
            sweep(self.folder)
            write_json(self.folder / "identity.json", self._identity)
            self._take_over()
            if self._store:  # only now: what a process was sealing before it was replaced is there
                self._store.pull(self.folder, lambda path: path.parent == self.folder, prune=True)
            for path in sorted(self.folder.glob("*.parquet")):
                self._add(path)
            stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.__exit__(kind, error, trace)

    def looked_at(self) -> Self:
        """Return the store with all that is recorded, in journals too; nothing is changed, whoever is at work here."""
        found = set(self._store.pull(self.folder, self._counts) if self._store else self.folder.rglob("*.*"))
        # Journals first: what is sealed in between is found in its file.
        older = {path for path in found if path.suffix == ".journal"}
        for path in sorted(older | {path for path in found if "journals-" in path.parent.parent.name}):
            with suppress(FileNotFoundError):
                for row in read_rows(path, SAMPLES.names):
                    self._unsealed[row["prompt_digest"], row["sample_index"]] = row["finish_reason"]
        files = found if self._store else self.folder.glob("*.parquet")
        for path in sorted(path for path in files if path.suffix == ".parquet" and path.parent == self.folder):
            self._add(path)
        return self

    def _counts(self, path: Path) -> bool:
        """Return whether a path in the folder is none of what was set aside."""
        return not path.relative_to(self.folder).parts[0].startswith(_ASIDE)

    def _take_over(self) -> None:
        """Make the folder of this process's journals, and recorded samples of what earlier ones left.

        Raises:
            StoreError: another process does so at this moment.
        """
        earlier, numbers = self._earlier()
        self._journals = self.folder / f"journals-{1 + max(numbers, default=0):06}"
        with writing(self._journals):
            self._journals.mkdir(exist_ok=True)
        self._opened = Segments(self._journals, self._what)
        self._opened.flush(claim=True)
        for folder in earlier:
            with suppress(FileNotFoundError):  # another process has done so meanwhile
                self._recover(folder)
        for path in sorted(self.folder.glob("*.journal")):  # of an older version of this program
            self._write(path.stem, list(read_rows(path, SAMPLES.names)))
            path.unlink()

    def _earlier(self) -> tuple[list[Path], list[int]]:
        """Return folders of other processes that may hold journals, and the numbers that were ever given."""
        if self._store is None:
            folders = sorted(self.folder.glob("*journals-*"))  # `taken-…` where a process was killed that recovered it
            return folders, [int(folder.name.rpartition("-")[2]) for folder in folders]
        found = self._store.list(self.folder)
        names = {path.relative_to(self.folder).parts[0] for path in found}
        numbers = sorted(int(name.removeprefix("journals-")) for name in names if name.startswith("journals-"))
        folders = [self.folder / f"journals-{number:06}" for number in numbers]
        return [folder for folder in folders if folder / FIRST_SEGMENT in found], numbers

    def _recover(self, folder: Path) -> None:
        """Make recorded samples of another process's journals, to which it can add nothing from then on."""
        if self._store:
            self._store.pull(folder, prune=True)
        elif not folder.name.startswith("taken-"):
            folder = folder.rename(self.folder / f"taken-{folder.name}")
        opened = Segments(folder, self._what)
        names = {str(row["journal"]) for row in opened.take_over(["journal"])}  # and none is opened any more
        names |= {path.name for path in folder.glob("[!.]*") if path.is_dir()}
        logs = [opened]
        for name in sorted(names):
            (folder / name).mkdir(exist_ok=True)
            logs.append(log := Segments(folder / name, self._what))
            self._write(name, list(log.take_over(SAMPLES.names)))
        remove_logs(folder, logs)

    def have(self, prompt_digests: Iterable[str]) -> set[tuple[str, int]]:
        """Return the samples of these prompts that are recorded for good, as (prompt digest, sample index).

        A failed one is not: it is asked again. One of a quarantined prompt is until the quarantine's file is deleted.
        """
        highest = _RANKS[QUARANTINED] if self.quarantine.exists() else 0
        prompts = list(prompt_digests)
        wanted = set(prompts)
        recorded = {
            key for key, reason in self._unsealed.items() if key[0] in wanted and _RANKS.get(reason, 0) <= highest
        }
        for number in self._index.files(prompts):
            frame = pl.DataFrame(read_table(self._files[number], ["prompt_digest", "sample_index", "finish_reason"]))
            kept = frame.filter(pl.col("prompt_digest").is_in(prompts) & (_rank() <= highest))
            recorded.update(kept.select("prompt_digest", "sample_index").iter_rows())
        return recorded

    def read(self, prompt_digests: Iterable[str], n: int) -> pa.Table:
        """Return the first `n` samples of each prompt (schema SAMPLES), sorted, each once; an answered one wins."""
        digests = list(prompt_digests)
        tables = [_first(read_table(self._files[number]), digests, n) for number in self._index.files(digests)]
        table = pa.concat_tables(tables) if tables else SAMPLES.empty_table()
        frame = pl.from_arrow(table)
        assert isinstance(frame, pl.DataFrame)  # noqa: S101 (narrowing for the type checker)
        keys = ["prompt_digest", "sample_index"]
        frame = frame.sort(*keys, _rank(), maintain_order=True).unique(keys, keep="first", maintain_order=True)
        return frame.to_arrow().cast(SAMPLES)

    def journal(self, name: str) -> Segments:
        """Open the journal of a shard.

        Raises:
            StoreError: another process has taken over.
        """
        folder = self._journals / name
        self._opened.append({"journal": name})
        self._opened.flush()
        try:
            with writing(folder):
                folder.mkdir(exist_ok=True)
        except FileNotFoundError as error:
            raise replaced(self._what, folder) from error
        return Segments(folder, self._what)

    def seal(self, name: str, journal: Segments) -> None:
        """Turn a shard's finished journal into a Parquet file; its rows then count as recorded.

        Raises:
            StoreError: another process has taken over.
        """
        if path := self._write(name, journal.rows()):
            self._add(path)
        remove_folder(journal.folder)

    def set_aside(self, label: str) -> None:
        """Move all samples recorded so far into a subfolder, so that sampling starts anew; nothing is deleted.

        May be called again with the same label: it completes an interrupted move and moves no later sample.
        """
        files = [*sorted(self.folder.glob("*.parquet")), *self.folder.glob(self.quarantine.name)]
        aside = self.folder / f"{_ASIDE}{label}"
        listing = aside / "still-to-move.json"
        if not current(listing).exists():  # it may have been begun on another machine
            if not files:
                return
            write_json(listing, [path.name for path in files])
        names = orjson.loads(listing.read_bytes())
        for path in files:
            if path.name in names:
                move(path, aside / path.name)
        write_json(listing, [])
        self._index, self._files = _PromptIndex(), []
        for path in sorted(self.folder.glob("*.parquet")):
            self._add(path)

    def _write(self, name: str, rows: Sequence[dict[str, Any]]) -> Path | None:
        if not rows:
            return None
        table = from_rows(rows, SAMPLES).sort_by([("prompt_digest", "ascending"), ("sample_index", "ascending")])
        path = self.folder / f"{name}-{digest(rows)[:12]}.parquet"
        write_table(path, table)
        return path

    def _add(self, path: Path) -> None:
        if path in self._files:
            return
        self._index.add(len(self._files), pl.Series(read_table(path, ["prompt_digest"])["prompt_digest"]))
        self._files.append(path)


class _PromptIndex:
    """Says which files may hold samples of a prompt, in 12 bytes for each prompt of a file.

    It consists of sorted runs of (hash of the prompt, number of the file). A new file is a run of its own, and runs
    of like size are merged, as in a log-structured merge tree (O'Neil et al. 1996): a look-up searches a few of them,
    and an entry is copied a logarithmic number of times. Two prompts of one hash only cost a look into a file.
    """

    def __init__(self) -> None:
        self._runs: list[tuple[NDArray[np.uint64], NDArray[np.uint32]]] = []

    def add(self, file: int, prompts: pl.Series) -> None:
        """Add a file and the prompts of its rows."""
        keys = np.sort(prompts.unique().hash().to_numpy())
        files = np.full(len(keys), file, np.uint32)
        while self._runs and len(self._runs[-1][0]) < 2 * len(keys):
            other_keys, other_files = self._runs.pop()
            keys, files = np.concatenate([other_keys, keys]), np.concatenate([other_files, files])
            order = np.argsort(keys, kind="stable")
            keys, files = keys[order], files[order]
        self._runs.append((keys, files))

    def files(self, prompts: Sequence[str]) -> list[int]:
        """Return the numbers of the files to look into, in order."""
        wanted = pl.Series(prompts, dtype=pl.String).hash().to_numpy()
        found: set[int] = set()
        for keys, files in self._runs:
            starts, ends = np.searchsorted(keys, wanted), np.searchsorted(keys, wanted, "right")
            for start, end in zip(starts[starts < ends].tolist(), ends[starts < ends].tolist(), strict=True):
                found.update(files[start:end].tolist())
        return sorted(found)


def _rank() -> pl.Expr:
    """Return 0 for an answered sample, more for reasons why there is no answer; the lowest rank is read."""
    return pl.col("finish_reason").replace_strict(_RANKS, default=0, return_dtype=pl.Int8)


def _first(table: pa.Table, digests: list[str], n: int) -> pa.Table:
    keep = pc.and_(pc.is_in(table["prompt_digest"], pa.array(digests, pa.string())), pc.less(table["sample_index"], n))
    return table.filter(keep).cast(SAMPLES)
