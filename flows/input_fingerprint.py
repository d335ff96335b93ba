"""What a run is made from, and by what that is known again: its sources, and all that decides what it publishes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from proofmill.data.files import cached_sha256
from proofmill.data.rows_io import HUB
from proofmill.data.sections import ReplayEngine, portable
from proofmill.data.versions import Version, find
from proofmill.flows.recipe.schema import FileSource, HuggingFaceSource, Recipe


def inputs_of(recipe: Recipe, home: Path, limit: int | None) -> dict[str, Any]:
    """The recipe's sources and replays, files by their digest and never by their place."""
    sources = recipe.problems.sources
    replays = [sampler for sampler in recipe.samplers if isinstance(sampler.engine, ReplayEngine)]
    return {
        "sources": [portable(source.model_dump(mode="json")) for source in sources],
        "replays": [portable(sampler.model_dump(mode="json")) for sampler in replays],
        "files": [cached_sha256(path) for path in files(recipe, home)],
        "hubs": [_folder_digest(source.name) for source in sources if isinstance(source, HuggingFaceSource)],
        "seed": recipe.seed,
        "limit": limit,
        **({"unlabelled": True} if recipe.problems.pseudo_labels else {}),
    }


def files(recipe: Recipe, home: Path) -> list[Path]:
    """The files among the recipe's sources and replays, in the recipe's order."""
    named = [source.path for source in recipe.problems.sources if isinstance(source, FileSource)]
    for sampler in recipe.samplers:
        if isinstance(sampler.engine, ReplayEngine):
            named += [name for item in sampler.engine.files for name in expand(home, item)]
    paths = [Path(name).expanduser() for name in named]
    return [path for path in paths if path.is_file()]


def expand(home: Path, item: str) -> list[str]:
    """Files that one entry of a replay stands for: itself, or those of a published version."""
    version = replayed(home, item)
    return [str(path) for config in ("traces", "problems") for path in version.files(config)] if version else [item]


def replayed(home: Path, item: str) -> Version | None:
    """The published version (NAME@vN) that an entry of a replay names, if it is none of a file.

    Raises:
        UsageError: there is no such version.
    """
    return None if "@v" not in item or item.startswith(HUB) or Path(item).expanduser().exists() else find(home, item)


def _folder_digest(name: str) -> dict[str, str]:
    """Files of a data set that is a local folder, by digest; a hub id is known by its name and revision."""
    folder = Path(name)
    if not folder.is_dir():
        return {}
    return {
        path.relative_to(folder).as_posix(): cached_sha256(path) for path in sorted(folder.rglob("*")) if path.is_file()
    }
