"""Rows that published versions have already: a run leaves out what repeats them, and reads none of their texts.

A version keeps, in its folder `signatures`, the MinHash signatures and hashed shingle sets of the traces it kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from proofmill.data.errors import RecipeError
from proofmill.data.tables import batches
from proofmill.data.versions import Version, find
from proofmill.filters.duplicates.minhash import METADATA_KEY, DedupOptions, signature_fields

INDEX = "signatures"
_WHERE = "dedup.against"


def index_schema(options: DedupOptions) -> pa.Schema:
    """Schema of the index files; its metadata says how the rows were signed."""
    named = [pa.field("id", pa.string()), pa.field("problem_id", pa.string())]
    return pa.schema([*named, *signature_fields(options)], metadata={METADATA_KEY: options.signature_key()})


def indexed(home: Path, labels: Sequence[str], options: DedupOptions) -> list[Version]:
    """The versions that a run is compared with.

    Args:
        home: HOME.
        labels: NAME@vN each.
        options: what this run signs with.

    Raises:
        UsageError: there is no such version.
        RecipeError: a version keeps no index, or one made with other shingles or permutations.
    """
    found = [find(home, label) for label in labels]
    for version in found:
        _check(version, options)
    return found


def _check(version: Version, options: DedupOptions) -> None:
    files = version.files(INDEX)
    if not files:
        raise RecipeError(
            f"{version.label} keeps no index of near-duplicates.",
            where=_WHERE,
            remedy=f"run its recipe again, which writes a version that has one, or leave {version.label} out",
        )
    made_with = (pq.read_schema(files[0]).metadata or {}).get(METADATA_KEY, b"other options")
    if made_with != options.signature_key():
        raise RecipeError(
            f"{version.label} was signed with {made_with.decode()}, not with {options.signature_key().decode()}.",
            where=_WHERE,
            remedy="set dedup.shingle, shingle_size and permutations as they were, or run that version's recipe again",
        )


def digests(versions: Sequence[Version]) -> list[dict[str, str]]:
    """SHA-256 of the index files of each version, by path: what a run's marks depend on."""
    return [
        {path: digest for path, digest in sorted(version.data_digests().items()) if path.startswith(f"{INDEX}/")}
        for version in versions
    ]


def rows(versions: Sequence[Version], ids: pa.ChunkedArray) -> Iterator[pa.Table]:
    """The versions' signed rows in batches, without those whose id is among `ids`.

    A trace with the same id is the same trace: a run that grows a data set keeps it, and doesn't take it for a
    repeat of itself.
    """
    for version in versions:
        for path in version.files(INDEX):
            other = pc.invert(pc.is_in(pq.read_table(path, columns=["id"]).column("id"), value_set=ids))
            start = 0
            for table in batches(path):
                yield table.filter(other.slice(start, table.num_rows))
                start += table.num_rows
