"""Reads a problem's tests and decides what is evaluated where, so that no expected value enters the jail.

Tests come with a data set: they are parsed here, never run here. Where every assertion is of the form
`assert CALL == LITERAL` (or bare, `not`, `is None`, `abs(CALL - LITERAL) < LITERAL`), one jail is
enough: the calls are evaluated inside, and the typed answers are compared outside. Everything else is
run in a second jail, with stand-ins for what the solution defines.
"""

from __future__ import annotations

import ast
import functools
import importlib
from dataclasses import dataclass

from proofmill.data.source import tree as syntax_tree
from proofmill.filters.sandbox import block_joiner, checks
from proofmill.filters.sandbox.checks import Check

MAX_TEST_CHARS = 1 << 20
_KNOWN_MODULES = frozenset(
    {"bisect", "cmath", "collections", "copy", "datetime", "decimal", "fractions", "functools", "itertools", "json"}
    | {"math", "operator", "re", "statistics", "string"}
)


class BadTestError(ValueError):
    """A test of the problem can't be read: the problem's fault, never the trace's."""


@dataclass(frozen=True)
class Plan:
    """How the tests of one problem are run.

    Attributes:
        tests: sources of the assert-style tests.
        checks: one for every test, where all of them have a literal on one side; else empty.
        names: global names of the tests that setup may not define: bound to stand-ins if it doesn't.
        under_test: names that belong to the solution even where setup or Python define them too.
        modules: of the standard library, that tests use without importing: never the solution's.
        total: tests counted where they can't all be reached: assertions of the test text included.
    """

    tests: tuple[str, ...]
    checks: tuple[Check, ...]
    names: frozenset[str]
    under_test: frozenset[str]
    total: int
    modules: frozenset[str] = frozenset()


@functools.lru_cache(maxsize=512)
def plan(tests: tuple[str, ...], setup: str, test: str, entry_point: str) -> Plan:
    """The plan for assert-style `tests` and the data set's own test text `test`.

    Raises:
        BadTestError: a test is no Python, or too large.
    """
    if sum(map(len, tests)) + len(setup) + len(test) > MAX_TEST_CHARS:
        raise BadTestError("the tests are larger than 1 MiB")
    try:
        own = bound_by(setup)
        under_test = frozenset({entry_point} - {""}) or _tested_builtins(tests)
        modules = _modules((*tests, test)) - under_test - own
        trusted = (own | modules | checks.BUILTIN_NAMES) - under_test
        found: list[Check | None] = [_check(source, trusted) for source in tests]
        if test.strip():
            found += checks.read_function(test, entry_point) or [None]
        simple = () if None in found or "*" in own else tuple(check for check in found if check)
        if simple:
            return Plan(tests, simple, _called(simple) | under_test, under_test, len(simple))
        names = frozenset().union(*(block_joiner.names(source)[0] for source in (*tests, test)))
        total = len(tests) + _assertions(test)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise BadTestError(f"{type(error).__name__}: {str(error)[:200]}") from error
    needed = (names - checks.BUILTIN_NAMES - modules) | under_test
    return Plan(tests, (), needed, under_test, total, modules & names)


def _called(simple: tuple[Check, ...]) -> frozenset[str]:
    """The names that the checked expressions start from."""
    return frozenset(check.asked for check in simple)


def _assertions(test: str) -> int:
    if not test.strip():
        return 0
    return max(1, sum(isinstance(node, ast.Assert) for node in ast.walk(syntax_tree(test))))


@functools.lru_cache(maxsize=512)
def prompt_setup(prompt: str, entry_point: str) -> str:
    """What a prompt in code defines beside the stub of `entry_point`; empty for a prompt in prose."""
    if len(prompt) > MAX_TEST_CHARS or f"def {entry_point}" not in prompt:
        return ""
    try:
        body = syntax_tree(prompt).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ""
    others = [node for node in body if getattr(node, "name", None) != entry_point]
    return ast.unparse(ast.Module(others, [])) if len(others) < len(body) else ""


def bound_by(setup: str) -> frozenset[str]:
    """Names that the statements of `setup` bind; `*` where a star import hides them."""
    bound: set[str] = set()
    for node in ast.walk(syntax_tree(setup)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            bound.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            bound |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            bound.add(node.id)
    return frozenset(bound)


def _modules(sources: tuple[str, ...]) -> frozenset[str]:
    """Modules that the sources use without importing them, for no more than what these modules have.

    Data sets rely on the solution's own imports (`math.isclose(f(1), 2.5)`), but a solution's version of
    `math` would be shown what is expected of it, and could agree to anything.
    """
    used: dict[str, set[str]] = {}
    bare: set[str] = set()
    for source in sources:
        roots = set[int]()
        for node in ast.walk(syntax_tree(source)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                used.setdefault(node.value.id, set()).add(node.attr)
                roots.add(id(node.value))
            elif isinstance(node, ast.Name) and id(node) not in roots:
                bare.add(node.id)  # an attribute is walked before the name that it starts from
    return frozenset(
        name
        for name in used.keys() & _KNOWN_MODULES - bare
        if all(hasattr(importlib.import_module(name), attribute) for attribute in used[name])
    )


def _tested_builtins(tests: tuple[str, ...]) -> frozenset[str]:
    """In tests that name nothing but builtins (`assert sum(1, 2) == 3`), the one called is the solution's."""
    found: set[str] = set()
    for source in tests:
        if not block_joiner.names(source)[0] - checks.BUILTIN_NAMES:
            found |= {
                root
                for node in ast.walk(syntax_tree(source))
                if isinstance(node, ast.Assert) and (root := checks.root(checks.sides(node.test)[0])) is not None
            }
    return frozenset(found)


def _check(source: str, trusted: frozenset[str]) -> Check | None:
    body = syntax_tree(source).body
    if len(body) != 1 or not isinstance(body[0], ast.Assert):
        return None
    return checks.read(body[0].test, trusted)
