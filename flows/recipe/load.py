"""Reading a recipe: a bundled name or a YAML file, with `--set` overrides, and errors that name the nearest key."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from proofmill.data.errors import RecipeError
from proofmill.flows.recipe.faults import explained
from proofmill.flows.recipe.schema import Recipe


def bundled(kind: str = "recipe") -> list[str]:
    """Return the names of the recipes, or suites, that ship with the package."""
    folder = files("proofmill.flows") / f"{kind}s"
    return sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml"))


def read_yaml(name: str, kind: str = "recipe") -> tuple[dict[str, Any], Path]:
    """Return what the YAML file of a recipe or suite holds, and the file.

    Args:
        name: a bundled name, or the path of a file.
        kind: `recipe` or `suite`.

    Raises:
        RecipeError: it isn't there, isn't YAML or no mapping.
    """
    path = Path(name).expanduser()
    if name in bundled(kind):
        path = Path(str(files("proofmill.flows") / f"{kind}s" / f"{name}.yaml"))
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise RecipeError(f"The {kind} is not valid YAML.", where=f"{path}: {error}", remedy="correct it") from error
    except (OSError, UnicodeDecodeError) as error:
        near = difflib.get_close_matches(name, bundled(kind), 1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise RecipeError(
            f"There is no readable {kind} {name!r}.",
            where=str(path.absolute()),
            remedy=f"{hint}bundled {kind}s: {', '.join(bundled(kind))}; or give the path of a YAML file",
        ) from error
    if not isinstance(data, dict):
        raise RecipeError(
            f"The {kind} must be a mapping.", where=str(path), remedy=f"see the bundled ones in flows/{kind}s"
        )
    return data, path


def resolve(recipe: Recipe | Mapping[str, Any] | str, overrides: Sequence[str] = ()) -> Recipe:
    """Return the recipe that a caller gives: a name, a path, a mapping, or the recipe itself.

    Raises:
        RecipeError: as `load`.
    """
    if isinstance(recipe, Recipe):
        return recipe
    return load(recipe, overrides) if isinstance(recipe, str) else parse(dict(recipe))


def load(source: str, overrides: Sequence[str] = (), cluster: str | None = None) -> Recipe:
    """Return the recipe of a file, checked.

    Args:
        source: a bundled name or the path of a YAML file.
        overrides: `a.b=value` each, the value in YAML; list items by number (`samplers.0.model=...`).
        cluster: address of the cluster to judge on; None: as the recipe says.

    Raises:
        RecipeError: it isn't there, isn't YAML, or has a key or value that doesn't fit.
    """
    data, path = read_yaml(source)
    for item in (*overrides, *([f"cluster.address={cluster}"] if cluster else [])):
        override(data, item)
    return parse(data, f"bundled recipe '{source}'" if source in bundled() else str(path))


def parse(data: dict[str, Any], where: str = "recipe") -> Recipe:
    """Return a recipe from a mapping, checked."""
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        raise RecipeError(
            f"The recipe doesn't fit: {explained(error, Recipe)}",
            where=where,
            remedy="correct these keys and run again",
        ) from error


def override(data: dict[str, Any], text: str) -> None:
    """Set a key of a recipe, or of a filter's options: `a.b=value`, the value in YAML.

    Raises:
        RecipeError: the text is no such thing, or the key doesn't fit.
    """
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise RecipeError(f"--set takes a.b=value, not {text!r}.", remedy="for example --set select.max_per_problem=2")
    *parents, last = parts = key.split(".")
    place: Any = data
    try:
        for part, below in zip(parents, parts[1:], strict=True):
            place = place[int(part)] if isinstance(place, list) else _opened(place, part, below)
        place[int(last) if isinstance(place, list) else last] = yaml.safe_load(value)
    except (IndexError, KeyError, TypeError, ValueError, AttributeError, yaml.YAMLError) as error:
        raise RecipeError(
            f"--set {text!r} doesn't fit the recipe.",
            where=key,
            remedy="name list items by number, for example --set samplers.0.sampling.n=4",
        ) from error


def _opened(place: dict[str, Any], part: str, below: str) -> Any:
    """Return what stands under a key; a default or a bare name is written out first."""
    found = place.setdefault(part, [{}] if below == "0" else {})
    if part == "engine" and isinstance(found, str):
        found = place[part] = {"kind": found}
    return found
