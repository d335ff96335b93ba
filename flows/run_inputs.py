"""The inputs of a run: its sources and replays, and the published versions that it must not repeat."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from proofmill.data.errors import RecipeError
from proofmill.data.files import cached_sha256
from proofmill.data.rows_io import HUB
from proofmill.data.sections import ReplayEngine, portable
from proofmill.data.versions import Version, find
from proofmill.filters.near_duplicates.minhash import METADATA_KEY, DedupOptions, signature_fields
from proofmill.filters.verification import VERDICTS
from proofmill.flows.recipe.schema import FileSource, HuggingFaceSource, Recipe


def inputs_of(recipe: Recipe, home: Path, limit: int | None) -> dict[str, Any]:
    """Return the recipe's sources and replays; files by their digest, never by their path."""
    sources = recipe.problems.sources
    verifiers = recipe.options(VERDICTS).verifiers
    replays = [sampler for sampler in recipe.samplers if isinstance(sampler.engine, ReplayEngine)]
    return {
        "sources": [portable(source.model_dump(mode="json")) for source in sources],
        "replays": [portable(sampler.model_dump(mode="json")) for sampler in replays],
        "files": [cached_sha256(path) for path in files(recipe, home)],
        "hubs": [_folder_digest(source.name) for source in sources if isinstance(source, HuggingFaceSource)],
        "seed": recipe.seed,
        "limit": limit,
        **({"unlabelled": True} if recipe.problems.pseudo_labels else {}),
        **({"verifiers": sorted(verifiers)} if verifiers else {}),  # rows that name none of them are left out
    }


def files(recipe: Recipe, home: Path) -> list[Path]:
    """Return the files among the recipe's sources and replays, in the recipe's order."""
    named = [source.path for source in recipe.problems.sources if isinstance(source, FileSource)]
    for sampler in recipe.samplers:
        if isinstance(sampler.engine, ReplayEngine):
            named += [name for item in sampler.engine.files for name in expand(home, item)]
    paths = [Path(name).expanduser() for name in named]
    return [path for path in paths if path.is_file()]


def expand(home: Path, item: str) -> list[str]:
    """Return the files that one entry of a replay means: itself, or those of a published version."""
    version = replayed(home, item)
    return [str(path) for config in ("traces", "problems") for path in version.files(config)] if version else [item]


def replayed(home: Path, item: str) -> Version | None:
    """Return the published version (NAME@vN) that an entry of a replay names; None if it is a file.

    Raises:
        UsageError: there is no such version.
    """
    return None if "@v" not in item or item.startswith(HUB) or Path(item).expanduser().exists() else find(home, item)


def _folder_digest(name: str) -> dict[str, str]:
    """Return the digests of a local data-set folder's files; a hub id is identified by name and revision."""
    folder = Path(name)
    if not folder.is_dir():
        return {}
    return {
        path.relative_to(folder).as_posix(): cached_sha256(path) for path in sorted(folder.rglob("*")) if path.is_file()
    }


# --- Rows that published versions have already: a run leaves out what repeats them, and reads none of their texts ---
#
# A version keeps, in its folder `signatures`, the MinHash signatures and hashed shingle sets of the traces it kept.

INDEX = "signatures"
_WHERE = "dedup.against"


def index_schema(options: DedupOptions) -> pa.Schema:
    """Return the schema of the index files; its metadata says how the rows were signed."""
    named = [pa.field("id", pa.string()), pa.field("problem_id", pa.string())]
    return pa.schema([*named, *signature_fields(options)], metadata={METADATA_KEY: options.signature_key()})


def prior_versions(home: Path, labels: Sequence[str], options: DedupOptions) -> list[Version]:
    """Return the versions that a run is compared with.

    Args:
        home: HOME.
        labels: NAME@vN each.
        options: what this run signs with.

    Raises:
        UsageError: there is no such version.
        RecipeError: a version keeps no index, or one made with other shingles or permutations.
    """
    prior = [find(home, label) for label in labels]
    for version in prior:
        _check(version, options)
    return prior


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


def version_digests(versions: Sequence[Version]) -> list[dict[str, str]]:
    """Return the SHA-256 of each version's index files, by path: a run's duplicates depend on them."""
    return [
        {path: digest for path, digest in sorted(version.data_digests().items()) if path.startswith(f"{INDEX}/")}
        for version in versions
    ]
