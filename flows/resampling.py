"""`--resample` that survives an interruption: whether samples are being drawn anew is kept beside the run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from proofmill.data.errors import NothingKeptError
from proofmill.data.files import write_json


@dataclass(frozen=True, slots=True)
class Resampling:
    """How often a run was told to sample anew, and whether the last time is not finished yet."""

    count: int = 0
    open: bool = False


def read(folder: Path) -> Resampling:
    """What is kept in a run's folder."""
    path = folder / "resampled.json"
    known = orjson.loads(path.read_bytes()) if path.exists() else 0
    return Resampling(**known) if isinstance(known, dict) else Resampling(int(known))


def begun(folder: Path, *, asked: bool, keep: bool = True) -> Resampling:
    """The resampling under way: where one was interrupted it is gone on with, and not begun again.

    Args:
        folder: of the run.
        asked: whether to sample anew.
        keep: remember it beside the run.
    """
    known = read(folder)
    if asked and not known.open:
        known = Resampling(known.count + 1, open=True)
        if keep:
            write_json(folder / "resampled.json", asdict(known))
    return known


def end(folder: Path) -> None:
    """Remembers that the new samples are drawn and used."""
    known = read(folder)
    if known.open:
        write_json(folder / "resampled.json", asdict(Resampling(known.count)))


@contextmanager
def ended_in_vain(folder: Path) -> Iterator[None]:
    """Where nothing survives, the new samples are all drawn and only no good: the next `--resample` begins anew."""
    try:
        yield
    except NothingKeptError:
        end(folder)
        raise
