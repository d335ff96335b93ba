"""What passes between the modules while a trace is judged."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from proofmill.filters.claims.algebra import Algebra
from proofmill.filters.claims.functions import Functions
from proofmill.filters.claims.nodes import Node, Value
from proofmill.filters.claims.setting import Setting


@dataclass(slots=True)
class Link:
    """A judged link: what a `Claim` needs, in offsets of the step.

    Attributes:
        kind: the claim's kind.
        status: its status.
        evidence: why.
        start: offset of its first character in the step.
        end: offset behind its last.
        left: the left side's value, by which a later recomputation is recognised.
        left_text: the left side as written, blanks and signs of multiplication made equal.
        stated: the right side's value.
        inputs: the expression whose literals must come from somewhere, None behind the first link.
        sides: both sides, whose literals are known from here on.
    """

    kind: str
    status: str
    evidence: str
    start: int
    end: int
    left: Value | None = None
    left_text: str = ""
    stated: Value | None = None
    inputs: Node | None = None
    sides: tuple[Node, ...] = ()


class Named(NamedTuple):
    """A calculation that was given a name in words."""

    name: str
    node: Node
    step: int
    rewritten: bool  # its step announces a rewriting


@dataclass(slots=True)
class Facts:
    """What a trace has established so far.

    Attributes:
        rounded: stated values that were rounded.
        algebra: the unknowns and equations.
        named: the named calculation that came last.
        functions: those that the problem and the trace define.
        setting: other meanings that the problem gives to arithmetic.
    """

    rounded: set[Value] = field(default_factory=set)
    algebra: Algebra = field(default_factory=Algebra)
    named: Named | None = None
    functions: Functions = field(default_factory=Functions)
    setting: Setting = field(default_factory=lambda: Setting("", ""))
