"""Suspicious gold answers and tests: what the samples of a problem say about the problem itself.

Weak tests would let a wrong solution through: they reject no sample and no simple mutant. Mutants are made from the
problem's own canonical solution, which comes with the data set, or from a sample that was judged `correct`.
"""

from __future__ import annotations

import ast
import copy
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from proofmill.data.schemas import column
from proofmill.filters.base import ProblemFilter, Row
from proofmill.filters.domains import find_domain
from proofmill.filters.verdicts import CORRECT, ERROR, TIMEOUT, WRONG, Domain, Problem
from proofmill.filters.verification import VerifyOptions, problem_of

MIN_VOTES = 4  # samples with an answer, below which a majority says nothing
MIN_SHARE = 0.75  # of them that agree on one answer that is not the gold
BAD_GOLD = "bad_gold"
MAX_MUTANTS = 12
MAX_SOLUTION_CHARS = 2 << 20  # as a tree it takes hundreds of times as much
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


@dataclass(frozen=True, slots=True)
class JudgedSample:
    """What the audit needs of one sample."""

    verdict: str
    detail: str | None
    extracted: str | None


def suspicion(samples: Sequence[JudgedSample]) -> str | None:
    """Return why a problem's gold answer is doubtful, in words; None where nothing speaks against it.

    Either the gold can't be read, or no sample was correct and a confident majority agrees on another answer.
    """
    bad = next((s.detail for s in samples if s.verdict == ERROR and (s.detail or "").startswith(BAD_GOLD)), None)
    from proofmill.filters.symbolic.equality import canonical  # a recipe is read without any verifier

    if bad:
        return f"the gold answer can't be read: {bad}"
    if any(sample.verdict == CORRECT for sample in samples):
        return None
    answers = [sample.extracted.strip() for sample in samples if sample.verdict == WRONG and sample.extracted]
    votes = Counter(canonical(answer) or answer for answer in answers)
    if not votes:
        return None
    (key, count), voters = votes.most_common(1)[0], len(answers)
    if voters < MIN_VOTES or count / voters < MIN_SHARE:
        return None
    shown = next(answer for answer in answers if (canonical(answer) or answer) == key)
    return f"{count} of {voters} answers agree on {shown!r}"


def annotate(
    problems: Sequence[Row], traces: Mapping[str, Sequence[Row]], _: VerifyOptions, __: Path | None = None
) -> list[Row]:
    """Return what the samples of each problem say about it.

    Args:
        problems: rows of schema PROBLEMS.
        traces: by problem id: `verdict`, `verdict_detail` and `extracted` of its samples.
    """
    judged = {
        name: [JudgedSample(row["verdict"], row["verdict_detail"], row["extracted"]) for row in rows]
        for name, rows in traces.items()
    }
    weak = weak_problems(problems, judged)
    rows = []
    for problem in problems:
        evidence = suspicion(judged.get(problem["id"], ()))
        suspect = {"gold_suspect": evidence is not None, "gold_evidence": evidence}
        rows.append(suspect | {"weak_tests": weak.get(problem["id"])})
    return rows


def weak_problems(
    problems: Iterable[Mapping[str, Any]], samples: Mapping[str, Sequence[JudgedSample]]
) -> dict[str, bool]:
    """Return for each problem with tests, by id, whether these reject no sample and no mutant of a solution.

    Runs mutants of a solution in the jail; the solution is one that came with the problem, or a correct sample.
    """
    weak = {}
    for row in problems:
        if row["verifier"] != "code":
            continue
        problem = problem_of(row)
        judged = samples.get(row["id"], ())
        rejected = sum(s.verdict in (WRONG, TIMEOUT) and not _NO_PROGRAM.search(s.detail or "") for s in judged)
        solution = next((s.extracted for s in judged if s.verdict == CORRECT), row["answer"])
        weak[row["id"]] = weak_tests(find_domain("code"), problem, solution, rejected)
    return weak


_NO_PROGRAM = re.compile(r"\b(?:SyntaxError|IndentationError|TabError)\b")  # the tests have seen nothing of it


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
    """Yield versions of `code` with one place changed each: another return value, constant, comparison, operator.

    Args:
        code: a canonical solution; what is not Python, or nested too deeply to be copied, gives none.
        limit: the most to make, taken from all kinds of change in turn.
    """
    from proofmill.filters.sandbox.formats import syntax_tree  # a recipe is read without any verifier

    try:
        tree = syntax_tree(code)
        ast.unparse(copy.deepcopy(tree))  # deeper than these can follow: nothing can be changed
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
    """Return whether the tests of a problem tell right from wrong at all.

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
    return mutants(canonical) if canonical and len(canonical) <= MAX_SOLUTION_CHARS else ()


def _rejects(domain: Domain, problem: Problem, code: str) -> bool:
    verdict = domain.verify(problem, f"```python\n{code}\n```").verdict
    return verdict in (WRONG, TIMEOUT)


AUDIT = ProblemFilter(
    name="audit",
    version=1,
    section="verify",
    options=VerifyOptions,
    reads=("problem", "verdict", "verdict_detail", "extracted"),
    adds=pa.schema(
        [
            column("gold_suspect", pa.bool_(), "whether the samples speak against the gold answer"),
            column("gold_evidence", pa.string(), "why, in words"),
            column("weak_tests", pa.bool_(), "whether its tests reject nothing; null where the domain has no tests"),
        ]
    ),
    annotate=annotate,
    libraries=("mpmath", "python"),
)
