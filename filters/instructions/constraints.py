"""Constraints on a response that a rule can check: the base, the registry, and how a list of them is read.

A new kind is one class in `constraint_kinds`: its fields are the parameters, `holds` is the rule.
"""

from __future__ import annotations

import difflib
import functools
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

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


def parse_constraints(raw: object) -> tuple[Constraint, ...]:
    """The constraints of `Problem.info["constraints"]`, a list of `{"kind": …, parameters}`.

    Raises:
        ConstraintError: not a non-empty list of mappings, an unknown kind, an unknown or bad parameter.
    """
    if not isinstance(raw, Sequence) or isinstance(raw, str) or not raw:
        raise ConstraintError("bad_gold: constraints must be a list of {kind, …} with at least one entry")
    try:
        plain = orjson.dumps(raw)
    except TypeError as error:
        raise ConstraintError(f"bad_gold: {error}") from error
    return _parse(plain)


@functools.lru_cache(maxsize=4096)
def _parse(raw: bytes) -> tuple[Constraint, ...]:
    return tuple(_parse_one(item) for item in orjson.loads(raw))


def _parse_one(item: object) -> Constraint:
    from proofmill.filters.instructions import constraint_kinds  # noqa: F401 - fills the registry

    if not isinstance(item, Mapping) or not isinstance(item.get("kind"), str):
        raise ConstraintError("bad_gold: a constraint must be a mapping with a kind")
    kind: str = item["kind"]
    if kind not in KINDS:
        near = difflib.get_close_matches(kind, KINDS, 1)
        raise ConstraintError(f"unknown constraint {kind}" + (f"; did you mean {near[0]}?" if near else ""))
    try:
        return KINDS[kind].model_validate(item)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ConstraintError(f"bad_gold: {kind}: {where + ': ' if where else ''}{first['msg']}") from error
