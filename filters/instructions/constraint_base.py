"""What every kind of constraint builds on: the base, a count with bounds, the registry, and the error."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

Kind = TypeVar("Kind", bound="Constraint")


class ConstraintError(ValueError):
    """A constraint that can't be checked: unknown kind, bad parameter, missing library."""


class Constraint(BaseModel):
    """One constraint; a subclass is one kind, registered by `constraint`."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    kind: str

    @abstractmethod
    def holds(self, text: str) -> bool:
        """Return whether the response (NFC, lines parted by \\n, no outer white space) keeps the constraint."""


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
        """Return what is counted."""

    def holds(self, text: str) -> bool:
        """Return whether the count lies within the bounds."""
        found = self.count(text)
        if self.exactly is not None:
            return found == self.exactly
        return (self.min is None or found >= self.min) and (self.max is None or found <= self.max)
