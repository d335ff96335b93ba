"""Constraints on a response that a rule can check, and how a list of them is read.

A new kind is one class in `constraint_kinds`: its fields are the parameters, `holds` is the rule. Constraints named as
in IFEval or IFBench (`keywords:existence`) have their definitions and parameters from there. Ours are judged by our
definitions, or with `definitions: official` by IFEval's where it has the same instruction; with `official_loose`
also if the response would hold without its asterisks, its first line, or its last line.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import orjson
from pydantic import ValidationError

from proofmill.filters.instructions import constraint_kinds, ifbench, ifeval  # noqa: F401 (its classes fill the registry)
from proofmill.filters.instructions.constraint_base import KINDS, ConstraintError


class Rule(Protocol):
    """What a constraint is checked by."""

    @property
    def kind(self) -> str:
        """Its name."""

    def holds(self, text: str) -> bool:
        """Return whether a response keeps it."""


@dataclass(frozen=True, slots=True)
class OfficialRule:
    """A constraint by the definition of the benchmark that it comes from."""

    kind: str
    check: Callable[[str], bool]
    loose: bool = False

    def holds(self, text: str) -> bool:
        """Return whether the response keeps it; in loose mode, whether one of its variants does."""
        return self.check(text) or (self.loose and any(map(self.check, ifeval.variants(text))))


DEFINITIONS = (None, "official", "official_loose")


def parse_constraints(raw: object, definitions: object = None) -> tuple[Rule, ...]:
    """Return the constraints of `Problem.info["constraints"]`, a list of `{"kind": …, parameters}`.

    Args:
        raw: the list.
        definitions: one of `DEFINITIONS`.

    Raises:
        ConstraintError: not a non-empty list of mappings, an unknown kind, an unknown or bad parameter.
    """
    if not isinstance(raw, Sequence) or isinstance(raw, str) or not raw:
        raise ConstraintError("bad_gold: constraints must be a list of {kind, …} with at least one entry")
    if definitions not in DEFINITIONS:
        raise ConstraintError(
            f"bad_gold: definitions must be 'official' or 'official_loose', not {definitions!r}"[:200]
        )
    try:
        plain = orjson.dumps(raw)
    except TypeError as error:
        raise ConstraintError(f"bad_gold: {error}") from error
    return _parse(plain, None if definitions is None else str(definitions))


@functools.lru_cache(maxsize=4096)
def _parse(raw: bytes, definitions: str | None) -> tuple[Rule, ...]:
    return tuple(_parse_one(item, definitions) for item in orjson.loads(raw))


def _parse_one(item: object, definitions: str | None) -> Rule:
    if not isinstance(item, Mapping) or not isinstance(item.get("kind"), str):
        raise ConstraintError("bad_gold: a constraint must be a mapping with a kind")
    kind: str = item["kind"]
    loose = definitions == "official_loose"
    checks = {**ifeval.CHECKS, **ifbench.CHECKS}
    if kind in checks:
        given = {name: value for name, value in item.items() if name != "kind"}
        return OfficialRule(kind, ifeval.bound_check(kind, checks[kind], given), loose)
    if kind not in KINDS:
        near = difflib.get_close_matches(kind, [*KINDS, *checks], 1)
        raise ConstraintError(f"unknown constraint {kind}" + (f"; did you mean {near[0]}?" if near else ""))
    try:
        rule = KINDS[kind].model_validate(item)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ConstraintError(f"bad_gold: {kind}: {where + ': ' if where else ''}{first['msg']}") from error
    official = ifeval.counterpart(kind, rule.model_dump()) if definitions else None
    return OfficialRule(kind, official, loose) if official else rule
