"""Constraints on a response that a rule can check: the base, the registry, and how a list of them is read.

A new kind is one class in `constraint_kinds`: its fields are the parameters, `holds` is the rule. Constraints named as
in IFEval or IFBench (`keywords:existence`) have their definitions and parameters from there. Ours are judged by our
definitions, or with `definitions: official` by IFEval's where it has the same instruction; with `official_loose`
also if the response would hold without its asterisks, its first line, or its last line.
"""

from __future__ import annotations

import difflib
import functools
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

Kind = TypeVar("Kind", bound="Constraint")


class ConstraintError(ValueError):
    """A constraint that can't be checked: unknown kind, bad parameter, missing library."""


class Constraint(BaseModel):
    """One constraint; a subclass is one kind, registered by `constraint`."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    kind: str

    @abstractmethod
    def holds(self, text: str) -> bool:
        """Whether the response (NFC, lines parted by \\n, no outer white space) keeps the constraint."""


KINDS: dict[str, type[Constraint]] = {}


def constraint(kind: str) -> Callable[[type[Kind]], type[Kind]]:
    """Register a class as the rule of a kind."""

    def register(rule: type[Kind]) -> type[Kind]:
        KINDS[kind] = rule
        return rule

    return register


class Count(Constraint):
    """A constraint on a count: `min`, `max`, both, or `exactly`."""

    min: int | None = Field(None, ge=0)
    max: int | None = Field(None, ge=0)
    exactly: int | None = Field(None, ge=0)

    @model_validator(mode="after")
    def _bounded(self) -> Count:
        if (self.exactly is None) == (self.min is None and self.max is None):
            raise ValueError("give min, max, both, or exactly")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError("min is above max")
        return self

    @abstractmethod
    def count(self, text: str) -> int:
        """What is counted."""

    def holds(self, text: str) -> bool:
        """Whether the count lies within the bounds."""
        found = self.count(text)
        if self.exactly is not None:
            return found == self.exactly
        return (self.min is None or found >= self.min) and (self.max is None or found <= self.max)


class Rule(Protocol):
    """What a constraint is checked by."""

    @property
    def kind(self) -> str:
        """Its name."""

    def holds(self, text: str) -> bool:
        """Whether a response keeps it."""


@dataclass(frozen=True, slots=True)
class OfficialRule:
    """A constraint by the definition of the benchmark that it comes from."""

    kind: str
    check: Callable[[str], bool]
    loose: bool = False

    def holds(self, text: str) -> bool:
        """Whether the response keeps it; in loose mode, whether one of its variants does."""
        from proofmill.filters.instructions.ifeval import variants

        return self.check(text) or (self.loose and any(map(self.check, variants(text))))


DEFINITIONS = (None, "official", "official_loose")


def parse_constraints(raw: object, definitions: object = None) -> tuple[Rule, ...]:
    """The constraints of `Problem.info["constraints"]`, a list of `{"kind": …, parameters}`.

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
    from proofmill.filters.instructions import constraint_kinds, ifbench, ifeval  # noqa: F401 - fills the registry

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
