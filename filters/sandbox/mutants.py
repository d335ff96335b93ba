"""Tells tests that would let a wrong solution through: they reject no sample and no simple mutant.

Mutants are made from the problem's own canonical solution, which comes with the data set; a sample of
a model is never parsed here.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterable, Iterator

from proofmill.filters import verdicts
from proofmill.filters.sandbox.formats import MAX_TEST_CHARS
from proofmill.filters.sandbox.syntax import syntax_tree
from proofmill.filters.verdicts import Domain, Problem

MAX_MUTANTS = 12
_FLIPPED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.GtE,
    ast.GtE: ast.Lt,
    ast.Gt: ast.LtE,
    ast.LtE: ast.Gt,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
_OTHER_OPERATOR: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.FloorDiv: ast.Mult,
    ast.Div: ast.Mult,
    ast.Mod: ast.Add,
}


def _wrong_return(node: ast.AST) -> bool:
    if not isinstance(node, ast.Return) or node.value is None:
        return False
    # a one-item tuple around the value: another type and another value, whatever it was
    node.value = ast.Tuple([node.value, ast.Constant("mutant")], ast.Load())
    return True


def _other_constant(node: ast.AST) -> bool:
    if not isinstance(node, ast.Constant) or not isinstance(node.value, bool | int | float):
        return False
    node.value = not node.value if isinstance(node.value, bool) else node.value + 1
    return True


def _flipped_comparison(node: ast.AST) -> bool:
    if not isinstance(node, ast.Compare) or type(node.ops[0]) not in _FLIPPED:
        return False
    node.ops[0] = _FLIPPED[type(node.ops[0])]()
    return True


def _other_operator(node: ast.AST) -> bool:
    if not isinstance(node, ast.BinOp) or type(node.op) not in _OTHER_OPERATOR:
        return False
    node.op = _OTHER_OPERATOR[type(node.op)]()
    return True


_CHANGES = (_wrong_return, _flipped_comparison, _other_constant, _other_operator)


def mutants(code: str, limit: int = MAX_MUTANTS) -> Iterator[str]:
    """Versions of `code` with one place changed each: another return value, constant, comparison, operator.

    Args:
        code: a canonical solution; what is no Python gives none.
        limit: the most to make, taken from all kinds of change in turn.
    """
    try:
        tree = syntax_tree(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    nodes = list(ast.walk(tree))
    places = [(index, change) for index in range(len(nodes)) for change in _CHANGES]
    places.sort(key=lambda place: _CHANGES.index(place[1]))
    by_kind = {change: [p for p in places if p[1] is change] for change in _CHANGES}
    made = 0
    while made < limit and any(by_kind.values()):
        for change in _CHANGES:
            while by_kind[change] and made < limit:
                changed = copy.deepcopy(tree)
                index, _ = by_kind[change].pop(0)
                if change(list(ast.walk(changed))[index]):
                    made += 1
                    yield ast.unparse(ast.fix_missing_locations(changed))
                    break


def weak_tests(domain: Domain, problem: Problem, canonical: str | None, rejected_samples: int | None = None) -> bool:
    """Whether the tests of a problem tell right from wrong at all.

    Args:
        domain: the judge of programs.
        problem: the problem with its tests.
        canonical: a solution known to be right, from the data set, where there is one.
        rejected_samples: how many samples of a model these tests have called `wrong`.

    Returns:
        True where they reject no sample and no mutant of the canonical solution. Without either there is
        no evidence that they can fail, which is weak too.
    """
    if rejected_samples:
        return False
    return not any(_rejects(domain, problem, mutant) for mutant in _bounded(canonical))


def _bounded(canonical: str | None) -> Iterable[str]:
    return mutants(canonical) if canonical and len(canonical) <= MAX_TEST_CHARS else ()


def _rejects(domain: Domain, problem: Problem, code: str) -> bool:
    found = domain.verify(problem, f"```python\n{code}\n```").verdict
    return found in (verdicts.WRONG, verdicts.TIMEOUT)
