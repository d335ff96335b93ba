"""One module a domain: how its answer is asked for, found and checked."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from functools import cache
from importlib import import_module

from proofmill.data.errors import RecipeError
from proofmill.filters.verdicts import DOMAINS, Verifier

_BUILT_IN = {name: f"proofmill.filters.domains.{name}:VERIFIER" for name in DOMAINS}


def verifier_for(name: str, custom: Mapping[str, str] | None = None) -> Verifier:
    """The verifier of a domain, imported at first use.

    Args:
        name: a domain, or the name of a custom verifier.
        custom: custom verifiers as `package.module:name`; they win over built-in ones.

    Raises:
        RecipeError: no such verifier, or it can't be imported.
    """
    place = (custom or {}).get(name) or _BUILT_IN.get(name)
    if place is None:
        known = sorted({*_BUILT_IN, *(custom or {})})
        near = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise RecipeError(
            f"There is no verifier for '{name}'.",
            remedy=f"{hint}known: {', '.join(known)}; add your own under verify.verifiers",
        )
    return _load(place)


@cache
def _load(place: str) -> Verifier:
    module, _, attribute = place.partition(":")
    try:
        found: Verifier = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise RecipeError(
            f"The verifier {place!r} can't be imported: {error}",
            where="recipe key verify.verifiers",
            remedy="write it as package.module:name, importable from where proofmill runs",
        ) from error
    return found() if isinstance(found, type) else found
