"""Claims with unknowns: identities, equations and their solutions, definitions.

An equation states nothing to check by itself; a stated solution is substituted into the equations that stand near
it. Refuted are only such solutions, a false link inside a chain of transformations, an equation concluded from one
with another root, and an expression that does not come to what is stated for the values just given.

Whether two expressions agree for all values of their unknowns is tried at fixed rational points: to mislead the test,
a polynomial of bounded degree would have to vanish at all of them by chance. Linear equations are solved over the
rationals.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import NamedTuple

from proofmill.filters.claims.comparison import AGREES, agree, last_place
from proofmill.filters.claims.model import JUMP, NOT_CHECKABLE, REFUTED, VERIFIED, Finding
from proofmill.filters.claims.relations import implies, refers_back
from proofmill.filters.symbolic.expressions import (
    Call,
    Node,
    NoValueError,
    Number,
    Symbol,
    UndefinedError,
    Value,
    binary,
    evaluate,
    is_leaf,
    show,
    unknowns_of,
    walk,
)

_POINTS = ((17, 7), (29, 11), (53, 13), (89, 19))
_FIRST = 7  # whole numbers are quick, and most equations that are no identities differ here
_WHOLE = (2, 3, 5, 8)  # where fractions have no value, as in n!
_LARGE, _ALIKE = 10**6, 1e-3
_TRIALS = (2, 5, -4, -9, Fraction(1, 3), Fraction(-2, 7))  # what depends on signs or on whole numbers shows here


def is_identity(left: Node, right: Node, unknowns: frozenset[str]) -> bool:
    """Return whether both sides agree at every point tried, and have a value at two of them at least."""
    if _agree_at(left, right, _row(unknowns, _FIRST)) is False:
        return False
    # At fractions: sides that are equal at whole numbers alone, as with floors, must not pass for identical.
    agreeing = _agreements(left, right, (_point(unknowns, shift) for shift in range(len(_POINTS))))
    if agreeing == 0:
        agreeing = _agreements(left, right, (_row(unknowns, start) for start in _WHOLE))
    return agreeing is not None and agreeing >= 2


def _agreements(left: Node, right: Node, points: Iterable[Mapping[str, Value]]) -> int | None:
    """Return at how many points the sides have a value and agree; None as soon as they differ at one."""
    count = 0
    for point in points:
        agrees = _agree_at(left, right, point)
        if agrees is False:
            return None
        count += agrees is not None
    return count


def is_never_equal(left: Node, right: Node, unknowns: frozenset[str]) -> bool:
    """Return whether both sides differ wherever they were tried, at whole, negative and small values too.

    Sides that agree for some of these, such as |x| and −x, may be meant for those only.
    """
    points = [_row(unknowns, start) for start in _TRIALS]
    found = [agrees for point in points if (agrees := _agree_at(left, right, point)) is not None]
    return len(found) >= 2 and not any(found)


def is_nearly_equal(left: Node, right: Node, unknowns: frozenset[str]) -> bool:
    """Return whether sides with decimals in them agree but for rounding: `0.10c / 0.28 = 0.36c`."""
    if not any(isinstance(part, Number) and part.places for part in (*walk(left), *walk(right))):
        return False
    try:
        # One point is enough: this only keeps a false link from being called false.
        sides = [float(evaluate(side, env=_row(unknowns, 2))) for side in (left, right)]
    except (NoValueError, OverflowError):
        return False
    return abs(sides[0] - sides[1]) <= _ROUNDED * max(map(abs, sides))


def is_alike_at_infinity(left: Node, right: Node, unknowns: frozenset[str]) -> bool:
    """Return whether the sides come close to one another, in proportion, where all unknowns are large."""
    try:
        sides = [float(evaluate(side, env=_row(unknowns, _LARGE))) for side in (left, right)]
    except (NoValueError, OverflowError):
        return False
    return abs(sides[0] - sides[1]) <= _ALIKE * abs(sides[0])


def _agree_at(left: Node, right: Node, point: Mapping[str, Value]) -> bool | None:
    """Return whether two sides agree at a point; None where one of them has no value there."""
    try:
        return same(evaluate(left, env=point), evaluate(right, env=point))
    except NoValueError:
        return None


def _row(unknowns: frozenset[str], start: int | Fraction) -> dict[str, Value]:
    """Return neighbouring values from `start` on."""
    return {name: start + index * (1 if start > 0 else -1) for index, name in enumerate(sorted(unknowns))}


def constant_difference(left: Node, right: Node, unknowns: frozenset[str]) -> Value | None:
    """Return by how much the left side exceeds the right at every point tried, None where that varies."""
    if unknowns_of(left) != unknowns_of(right):
        return None
    found: set[Value] = set()
    for shift in range(len(_POINTS)):
        try:
            sides = [evaluate(side, env=_point(unknowns, shift)) for side in (left, right)]
        except NoValueError:
            return None
        # Differences of floats are never exactly constant.
        if any(isinstance(side, float) for side in sides):
            return None
        found.add(binary("-", sides[0], sides[1]))
        if len(found) > 1:
            return None
    return found.pop() if found else None


def _point(unknowns: frozenset[str], shift: int) -> dict[str, Value]:
    return {
        name: Fraction(_POINTS[shift][0] + 31 * index * (shift + 1), _POINTS[shift][1])
        for index, name in enumerate(sorted(unknowns))
    }


def same(first: Value, second: Value) -> bool:
    """Return whether two values are equal, floats to nine digits."""
    if isinstance(first, float) or isinstance(second, float):
        first, second = float(first), float(second)
        return abs(first - second) <= 1e-9 * max(1.0, abs(first))
    return first == second


def counterexample(left: Node, right: Node, unknowns: frozenset[str]) -> str:
    """Return values at which two sides differ, for a reader."""
    for whole in (2, 3, 5):
        env: dict[str, Value] = {name: whole + index for index, name in enumerate(sorted(unknowns))}
        try:
            first, second = evaluate(left, env=env), evaluate(right, env=env)
        except NoValueError:
            continue
        if not same(first, second):
            return f"for {listed(env)} the sides are {show(first)} and {show(second)}"
    return "the sides are not equal for all values"


def listed(env: Mapping[str, Value]) -> str:
    """Return the values as text: `x = 3, y = 4`."""
    return ", ".join(f"{name} = {show(value)}" for name, value in sorted(env.items()))


Row = tuple[Fraction, ...]
"""Coefficients of the unknowns, then the constant they add up to."""


def linear_row(left: Node, right: Node, names: tuple[str, ...]) -> Row | None:
    """Return the row of `left = right`, None if it isn't linear in `names` with rational coefficients."""
    try:
        # The coefficients are read off by evaluation: at zero, and with one unknown set to 1 at a time.
        at_zero = _difference(left, right, dict.fromkeys(names, 0))
        units = [_difference(left, right, {n: int(n == name) for n in names}) for name in names]
        coefficients = [value - at_zero for value in units]
        # One more point, to see whether the equation is linear at all.
        point = {name: 3 + 2 * index for index, name in enumerate(names)}
        expected = at_zero + sum(c * point[name] for c, name in zip(coefficients, names, strict=True))
        if _difference(left, right, dict(point)) != expected or not any(coefficients):
            return None
    except NoValueError:
        return None
    return (*coefficients, -at_zero)


def _difference(left: Node, right: Node, env: dict[str, Value] | dict[str, int]) -> Fraction:
    values = [evaluate(side, env=env) for side in (left, right)]
    if any(isinstance(value, float) for value in values):
        raise UndefinedError
    return Fraction(values[0]) - Fraction(values[1])


def solve_for(name: str, rows: list[Row], names: tuple[str, ...]) -> Value | None:
    """Return the value that the rows force on `name`, None if they leave it open or contradict each other."""
    column = names.index(name)
    order = [index for index in range(len(names)) if index != column]
    remaining = list(rows)
    for other in order:  # eliminate every other unknown
        pivot = next((row for row in remaining if row[other]), None)
        if pivot is None:
            continue
        remaining = [_eliminate(row, pivot, other) for row in remaining if row is not pivot]
    values = {row[-1] / row[column] for row in remaining if row[column]}
    # A row without unknowns and with a constant is a contradiction: 0 = 3.
    if len(values) != 1 or any(row[-1] for row in remaining if not row[column]):
        return None
    value = values.pop()
    return value.numerator if value.denominator == 1 else value


def _eliminate(row: Row, pivot: Row, column: int) -> Row:
    factor = row[column] / pivot[column]
    return tuple(a - factor * b for a, b in zip(row, pivot, strict=True))


_MAX_SYMBOLS = 6
_NEAR = 1  # a stated solution is held against equations of its own step and this many before it
_RECENT = 8
_SPECIAL = frozenset({"j", "I", "E", "omega"})  # more often √-1, unit matrices and roots of unity than unknowns
_ROUNDED = 0.02
_CLOSE = 1e-3  # of the larger side: a solution may be stated rounded
_RENAMED = re.compile(r"\b(?:let|denote|define|call|where|represents?)\b", re.IGNORECASE)


class Equation(NamedTuple):
    """An equation as stated: its sides, unknowns, text, step, and the offset of its end in the step."""

    left: Node
    right: Node
    unknowns: frozenset[str]
    text: str
    step: int
    end: int
    doubtful: bool = False  # one of several cases, or called impossible in the same breath


@dataclass(slots=True)
class Algebra:
    """The unknowns of a trace: equations met so far and values bound to names.

    Attributes:
        equations: the equations, oldest first.
        bound: the values stated for each name, each with its step.
        latest: the equation met last for each set of unknowns, suppositions included.
        constrained: the sets of unknowns that an equation or a value ties, in the problem or so far.
    """

    equations: list[Equation] = field(default_factory=list)
    bound: dict[str, list[tuple[Value, int]]] = field(default_factory=dict)
    constrained: set[frozenset[str]] = field(default_factory=set)
    latest: dict[frozenset[str], Equation] = field(default_factory=dict)

    def begin_step(self, text: str) -> None:
        """Forget names that the step introduces anew: "let x be …"."""
        # All are dropped, since the step doesn't say in a readable way which name it reuses.
        if self.equations and _RENAMED.search(text):
            self.equations.clear()

    def judge(self, left: Node, right: Node, context: EquationContext) -> tuple[str, Finding] | None:
        """Return the kind and finding of `left = right`, None where it says nothing."""
        unknowns = unknowns_of(left) | unknowns_of(right)
        if len(unknowns) > _MAX_SYMBOLS:
            return None
        # The left side alone and a number: a definition or a solution, never an identity.
        if isinstance(left, Symbol) and not unknowns_of(right):
            return self._value_of(left.name, right, context)
        if is_identity(left, right, unknowns):
            trivial = left == right
            return None if trivial else ("identity", Finding(VERIFIED, "both sides agree for all values tried"))
        if unknowns_of(left) == unknowns_of(right) and self._is_rewriting(context):
            return self._broken(left, right, unknowns, context)
        if not isinstance(left, Symbol) and (apart := constant_difference(left, right, unknowns)) is not None:
            return self._contradiction(apart, context)
        if isinstance(left, Symbol) and left.name in unknowns_of(right) and is_never_equal(left, right, unknowns):
            return None  # x = x + 4 gives x a new value, in code
        doubtful = context.cases or context.supposed or " not " in context.text
        return self._equation(
            Equation(left, right, unknowns, context.text, context.step, context.end, doubtful), context
        )

    def _is_rewriting(self, context: EquationContext) -> bool:
        """Return whether the link says that one expression equals another, by its words or by its place in a chain."""
        if context.rewrites and not (context.supposed or context.cases or context.ambiguous):
            return True
        return context.transforms and not context.ambiguous

    def _broken(
        self, left: Node, right: Node, unknowns: frozenset[str], context: EquationContext
    ) -> tuple[str, Finding] | None:
        """Return the finding on a false link in a chain of rewritings; None where an equation may have been used."""
        shown = counterexample(left, right, unknowns)
        # An equation between these unknowns may have been used to rewrite, so the sides need not be identical.
        is_tied = any(names <= unknowns for names in self.constrained)
        is_unsure = is_tied or is_nearly_equal(left, right, unknowns) or bool(unknowns & _SPECIAL)
        if context.doubted or is_unsure or not is_never_equal(left, right, unknowns):
            return "identity", Finding(NOT_CHECKABLE, shown)
        return "identity", Finding(REFUTED, f"{context.text}: {shown}")

    def _contradiction(self, apart: Value, context: EquationContext) -> tuple[str, Finding]:
        """Return the finding where both sides differ by a constant in the same unknowns: `x + 84 - 25 = x + 44`."""
        shown = f"the left side is larger by {show(apart)} for every value of the unknowns"
        if context.supposed or context.doubted or context.ambiguous or context.cases:
            return "equation", Finding(NOT_CHECKABLE, shown)
        return "identity", Finding(REFUTED, f"{context.text}: {shown}")

    def _equation(self, equation: Equation, context: EquationContext) -> tuple[str, Finding]:
        finding = self._substituted(equation, context) or self._follows(equation, context)
        self.constrained.add(equation.unknowns)
        self.latest[equation.unknowns] = equation
        # A check of values already given: no new condition that a later solution must meet.
        is_trial = finding is not None and finding.status == VERIFIED and finding.evidence.startswith("holds for")
        if not context.supposed and not context.ambiguous and not is_trial:
            self.equations.append(equation)
            del self.equations[:-_RECENT]
        return "equation", finding or Finding(NOT_CHECKABLE, "an equation with unknowns")

    def _substituted(self, equation: Equation, context: EquationContext) -> Finding | None:
        """Return the finding on an equation whose unknowns have all been given a value in its own step or the last."""
        env: dict[str, Value] = {}
        for name in equation.unknowns:
            known = self.bound.get(name, [])
            if not known or known[-1][1] < equation.step - _NEAR:
                return None
            env[name] = known[-1][0]
        if _holds(equation, env):
            return Finding(VERIFIED, f"holds for {listed(env)}")
        # A name that had another value before may mean that one here.
        if any(len({value for value, _ in self.bound[name]}) > 1 for name in env):
            return None
        is_value = not unknowns_of(equation.right) and not is_leaf(equation.right)
        here = all(self.bound[name][-1][1] == equation.step for name in env)
        if env and is_value and here and not (context.doubted or context.ambiguous or context.cases):
            return _no_value(equation, env)
        return None

    def _follows(self, equation: Equation, context: EquationContext) -> Finding | None:
        """Return the finding on an equation in one unknown that should have the root of the one before it."""
        before = next((e for e in reversed(self.equations) if e.unknowns == equation.unknowns), None)
        # Far apart, the name may stand for something else by now.
        if before is None or len(equation.unknowns) != 1 or before.step < equation.step - _NEAR:
            return None
        name = next(iter(equation.unknowns))
        roots = [_linear_root(e, name) for e in (before, equation)]
        if roots[0] is None or roots[1] is None or context.supposed or context.cases:
            return None
        if roots[0] == roots[1]:
            return Finding(VERIFIED, f"has the solution {name} = {show(roots[0])} of {before.text}")
        shown = f"{before.text} gives {name} = {show(roots[0])}, this {name} = {show(roots[1])}"
        rewrites = context.simplifies and before.right == equation.right
        if before.step == equation.step:
            concludes = implies(context.before[before.end :])
        else:
            concludes = before is self.equations[-1] and refers_back(context.before)
        is_next = self.latest.get(equation.unknowns) is before  # else another case lies between the two
        if (rewrites or concludes) and is_next and not (context.ambiguous or context.doubted):
            return Finding(REFUTED, f"{context.text}: {shown}")
        return Finding(JUMP, shown)

    def _value_of(self, name: str, right: Node, context: EquationContext) -> tuple[str, Finding] | None:
        """Return the kind and finding of `x = 3`: a definition, or the solution of the equations before it."""
        try:
            value = evaluate(right)
        except NoValueError:
            return None
        finding = None if context.supposed else self._solution(name, value, right, context)
        self.bound.setdefault(name, []).append((value, context.step))
        self.constrained.add(frozenset({name}))
        if finding is not None:
            return "solution", finding
        return "definition", Finding(NOT_CHECKABLE, "a value given to a name")

    def _solution(self, name: str, value: Value, right: Node, context: EquationContext) -> Finding | None:
        near = [e for e in self.equations if e.step >= context.step - _NEAR]
        alone = [e for e in near if e.unknowns == {name}]
        for equation in reversed(alone):
            if _solves(equation, name, value, right):
                return Finding(VERIFIED, f"satisfies {equation.text}")
        if alone:
            return self._no_solution(alone[-1], name, value, context)
        return _by_elimination(near, name, value, right, context)

    def _no_solution(self, equation: Equation, name: str, value: Value, context: EquationContext) -> Finding:
        try:
            sides = [evaluate(side, env={name: value}) for side in (equation.left, equation.right)]
            is_near = abs(float(sides[0]) - float(sides[1])) <= _CLOSE * max(abs(float(side)) for side in sides)
        except (NoValueError, OverflowError):
            return Finding(NOT_CHECKABLE, f"{equation.text} has no value there")
        shown = f"at {name} = {show(value)} the sides of {equation.text} are {show(sides[0])} and {show(sides[1])}"
        # In an equation of angles the unknown may be meant in degrees.
        unsure = (
            equation.doubtful
            or context.binds_several
            or is_near
            or _has_angles(equation.left)
            or _has_angles(equation.right)
        )
        if unsure or context.cases or context.doubted:
            return Finding(NOT_CHECKABLE, shown)
        return Finding(REFUTED, f"{context.text}: {shown}")


def _has_angles(node: Node) -> bool:
    return any(isinstance(part, Call) and part.name in ("sin", "cos", "tan") for part in walk(node))


@dataclass
class EquationContext:
    """What surrounds a link; what is seldom needed is computed on first use.

    Attributes:
        text: the link as written.
        step: its step.
        supposed: it is a definition or supposition rather than a conclusion.
        cases: the sentence lists alternatives.
        binds_several: the sentence gives values to several names.
        transforms: an earlier link of its chain is an identity.
        simplifies: the words before it say that it only rewrites what precedes it.
        before: the step up to the link.
        end: offset of its end in the step.
        is_doubted: whether the words around it take it back.
        is_ambiguous: whether the sides may be read in more than one way.
        is_rewriting: whether the words say that its sides are one expression, written anew.
    """

    text: str
    step: int
    supposed: bool
    cases: bool
    binds_several: bool
    transforms: bool
    simplifies: bool
    before: str
    end: int
    is_doubted: Callable[[], bool]
    is_ambiguous: Callable[[], bool]
    is_rewriting: Callable[[], bool]

    @cached_property
    def doubted(self) -> bool:
        """The result of `is_doubted`."""
        return self.is_doubted()

    @cached_property
    def ambiguous(self) -> bool:
        """The result of `is_ambiguous`."""
        return self.is_ambiguous()

    @cached_property
    def rewrites(self) -> bool:
        """The result of `is_rewriting`."""
        return self.is_rewriting()


def _holds(equation: Equation, env: Mapping[str, Value]) -> bool:
    try:
        return same(evaluate(equation.left, env=env), evaluate(equation.right, env=env))
    except NoValueError:
        return False


def _solves(equation: Equation, name: str, value: Value, stated: Node) -> bool:
    """Return whether a value solves an equation, exactly or as the rounding of a root."""
    if _holds(equation, {name: value}):
        return True
    root = _linear_root(equation, name)
    if root is not None:
        return agree(root, value, last_place(stated), "") == AGREES
    place = last_place(stated)
    if place is None or place >= 1 or isinstance(value, float):
        return False
    return _changes_sign(equation, name, value - place / 2, value + place / 2)


def _changes_sign(equation: Equation, name: str, low: Value, high: Value) -> bool:
    try:
        ends = [
            float(evaluate(equation.left, env={name: at})) - float(evaluate(equation.right, env={name: at}))
            for at in (low, high)
        ]
    except (NoValueError, OverflowError):
        return False
    # A continuous difference that changes its sign has a root between: the stated decimal is that root, rounded.
    return ends[0] * ends[1] <= 0


def _linear_root(equation: Equation, name: str) -> Value | None:
    row = linear_row(equation.left, equation.right, (name,))
    return solve_for(name, [row], (name,)) if row is not None else None


def _no_value(equation: Equation, env: Mapping[str, Value]) -> Finding | None:
    """Return the finding on an expression that comes to another value for the values just given."""
    try:
        sides = [show(evaluate(side, env=env)) for side in (equation.left, equation.right)]
    except NoValueError:
        return None
    return Finding(REFUTED, f"{equation.text}: for {listed(env)} the sides are {sides[0]} and {sides[1]}")


def _by_elimination(
    near: list[Equation], name: str, value: Value, stated: Node, context: EquationContext
) -> Finding | None:
    """Return the finding on a value against the linear system of the equations near it."""
    names = tuple(sorted(frozenset().union(*(e.unknowns for e in near)))) if near else ()
    if name not in names or len(names) > _MAX_SYMBOLS:
        return None
    rows: list[Row] = []
    for equation in near:
        row = linear_row(equation.left, equation.right, names)
        if row is not None:
            rows.append(row)
    root = solve_for(name, rows, names)
    if root is None:
        return None
    if agree(root, value, last_place(stated), "") == AGREES:
        return Finding(VERIFIED, "solves the equations before it")
    shown = f"the equations before it give {name} = {show(root)}"
    here = all(equation.step == context.step for equation in near)
    if here and not (context.cases or context.doubted):
        return Finding(REFUTED, f"{context.text}: {shown}")
    return Finding(JUMP, shown)
