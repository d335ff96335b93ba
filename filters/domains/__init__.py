"""The domains, one line each: what a problem of each kind needs and how it is judged stands in the module named."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import Any

from proofmill.data.errors import RecipeError, VerifierError
from proofmill.filters.verdicts import Canary, Domain, Verdict

# Where each domain's object is. A module is imported when the domain is first used, so that reading a recipe, which
# needs the names only, imports no verifier.
DOMAINS: Mapping[str, str] = {
    "math": "proofmill.filters.domains.math:DOMAIN",
    "code": "proofmill.filters.domains.code:DOMAIN",
    "logic": "proofmill.filters.domains.logic:DOMAIN",
    "choice": "proofmill.filters.domains.choice:DOMAIN",
    "instruction": "proofmill.filters.domains.instruction:DOMAIN",
}


def find_domain(name: str, custom: Mapping[str, str] | None = None) -> Domain:
    """Return a domain, imported at first use.

    Args:
        name: of a built-in domain or of a custom verifier.
        custom: custom verifiers as `package.module:name`; they win over built-in domains.

    Raises:
        RecipeError: there is no such domain, or it can't be imported.
    """
    place = (custom.get(name) if custom else None) or DOMAINS.get(name)
    if place is None:
        known = sorted({*DOMAINS, *(custom or {})})
        near = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise RecipeError(
            f"There is no verifier for '{name}'.",
            remedy=f"{hint}known: {', '.join(known)}; add your own under verify.verifiers",
        )
    return _load(place, name)


@cache
def _load(place: str, name: str) -> Domain:
    module, _, attribute = place.partition(":")
    try:
        return _as_domain(getattr(import_module(module), attribute), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise RecipeError(
            f"The verifier {place!r} can't be imported: {error}",
            where="recipe key verify.verifiers",
            remedy="write it as package.module:name, importable from where proofmill runs",
        ) from error


def _as_domain(found: Any, name: str) -> Domain:
    """Return a domain as it is; a class or object with `version`, `ask`, `quick` and `verify` as a domain."""
    if isinstance(found, Domain):
        return found
    judge = found() if isinstance(found, type) else found
    return Domain(
        name=name,
        version=str(judge.version),
        ask=judge.ask,
        quick=judge.quick,
        verify=judge.verify,
        runs_in=getattr(judge, "runs_in", "pool"),
    )


def is_known(name: str, custom: Mapping[str, str] | None = None) -> bool:
    """Return whether `find_domain` knows the name."""
    return name in DOMAINS or name in (custom or {})


@cache
def info_fields() -> tuple[str, ...]:
    """Return the columns that may hold what a problem of any built-in domain needs besides prompt and answer."""
    return tuple(dict.fromkeys(field for name in DOMAINS for field in find_domain(name).fields))


def check_canary(name: str, canary: Canary, verdict: Verdict | None) -> None:
    """Compare the verdict on a planted answer with what it must be.

    Raises:
        VerifierError: they differ.
    """
    found = verdict.verdict if verdict else "none"
    if found != canary.expected:
        raise VerifierError(
            f"The verifier '{name}' called a planted answer {found!r} that is {canary.expected!r}.",
            where=f"{canary.problem.prompt!r}, answer {canary.text!r}: {verdict.detail if verdict else ''}",
            remedy="no verdict of this shard was written; check the installed libraries with "
            "`pip check`, and the machine's load, then run the same command again",
        )
