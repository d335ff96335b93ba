"""Stated program outputs: `f(3)  # 15`, `>>> f(3)` with the result below, `print(f(3))  # 15`.

Code is parsed only, to find the calls and the values stated for them. It is run by an evaluator that is handed in, as
a rule the jail's; without one such a claim is `not_checkable`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from proofmill.filters import verdicts
from proofmill.filters.claims.model import NOT_CHECKABLE, REFUTED, VERIFIED, ClaimCandidate
from proofmill.filters.verdicts import Problem

if TYPE_CHECKING:
    from proofmill.filters.domains.code import CodeVerifier

Evaluator = Callable[[str, str, str], bool | None]
"""(code, expression, literal) -> whether the expression has that value after running the code.

None where that can't be told: a crash of the jail, a time-out, code that doesn't load.
"""

_FENCE = re.compile(r"```[ \t]{0,3}(?:python|py|python3|pycon)?[ \t]{0,3}\n(.*?)```", re.DOTALL | re.IGNORECASE)
_COMMENT = re.compile(
    r"#[ \t]{0,4}(?:(?:output|returns?|prints?|result|gives|expected|should (?:be|return|print))"
    r"(?: output)?[ \t]{0,2}:?|=>|->|→)?[ \t]{0,4}([^#\n]{1,200})\Z",
    re.IGNORECASE,
)
_PROMPT = re.compile(r"^>>> (?P<call>[^\n]{1,200})\n(?P<value>(?!>>>)[^\n]{1,200})$", re.MULTILINE)
_MAX_CODE = 20_000
_MAX_OUTPUTS = 50
_SIGNS = (ast.UnaryOp, ast.USub, ast.UAdd)
_LITERALS = (ast.Constant, ast.List, ast.Tuple, ast.Dict, ast.Set, ast.Load, ast.Expression, *_SIGNS)


class StatedOutput(NamedTuple):
    """A call and the value stated for it.

    Attributes:
        code: the code up to its block, without the statements that only call something.
        expression: the call.
        literal: the stated value.
        start: offset of the call in the text.
        end: offset behind the stated value.
    """

    code: str
    expression: str
    literal: str
    start: int
    end: int


def stated_outputs(text: str) -> Iterator[StatedOutput]:
    """The stated outputs in a trace's fenced code, at most 50."""
    code = ""
    count = 0
    for fence in _FENCE.finditer(text):
        block = fence.group(1)
        if len(code) + len(block) > _MAX_CODE:
            return
        plain = "\n".join(line for line in block.split("\n") if not line.startswith(">>>"))
        tree = _parse(plain, "exec") if ">>>" not in block else None
        code += _without_calls(plain, tree)
        names = _defined(code)
        for found in (*_comments(block, tree, code), *_prompts(block, code)):
            if _is_call_of(found.expression, names) and count < _MAX_OUTPUTS:
                count += 1
                shift = fence.start(1)
                yield found._replace(start=found.start + shift, end=found.end + shift)


def unrun_output(stated: StatedOutput) -> ClaimCandidate:
    """The claim of a stated output as long as nothing has run it."""
    return ClaimCandidate("output", NOT_CHECKABLE, "not run", stated.start, stated.end)


def judge_output(stated: StatedOutput, evaluate: Evaluator) -> ClaimCandidate:
    """The claim of a stated output, run by `evaluate`."""
    holds = evaluate(stated.code, stated.expression, stated.literal)
    if holds is None:
        return unrun_output(stated)
    if holds:
        return ClaimCandidate(
            "output", VERIFIED, f"{stated.expression} gives {stated.literal}", stated.start, stated.end
        )
    evidence = f"{stated.expression} does not give {stated.literal}"
    return ClaimCandidate("output", REFUTED, evidence, stated.start, stated.end)


def _without_calls(source: str, tree: ast.AST | None) -> str:
    """A block without the statements that only call something: one that fails would hide the others' values."""
    if not isinstance(tree, ast.Module):
        return ""
    lines: list[str | None] = [*source.split("\n")]
    for node in tree.body:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            for line in range(node.lineno - 1, node.end_lineno or node.lineno):
                lines[line] = None
    return "".join(f"{line}\n" for line in lines if line is not None)


def _comments(block: str, tree: ast.AST | None, code: str) -> Iterator[StatedOutput]:
    """`f(3)  # 15` and `print(f(3))  # 15`, as statements of the module."""
    lines = block.split("\n")
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line) + 1)
    for node in tree.body if isinstance(tree, ast.Module) else ():
        if not isinstance(node, ast.Expr | ast.Assign) or node.lineno != node.end_lineno:
            continue
        call, line = _printed(node.value), lines[node.lineno - 1]
        comment = _COMMENT.search(line, node.end_col_offset or 0)
        if call is None or comment is None or not line.isascii() or not _is_literal(comment.group(1).strip()):
            continue
        start = starts[node.lineno - 1]
        expression = ast.get_source_segment(block, call) or ""
        yield StatedOutput(code, expression, comment.group(1).strip(), start + node.col_offset, start + len(line))


def _prompts(block: str, code: str) -> Iterator[StatedOutput]:
    for match in _PROMPT.finditer(block):
        if _is_literal(match["value"].strip()):
            yield StatedOutput(code, match["call"].strip(), match["value"].strip(), match.start(), match.end())


def _printed(node: ast.expr) -> ast.Call | None:
    """The call whose value is shown: of `print(f(3))` the inner one."""
    if not isinstance(node, ast.Call):
        return None
    if isinstance(node.func, ast.Name) and node.func.id == "print":
        inner = node.args[0] if len(node.args) == 1 and not node.keywords else None
        return inner if isinstance(inner, ast.Call) else None
    return node


def _parse(source: str, mode: str) -> ast.AST | None:
    if len(source) > _MAX_CODE:
        return None
    try:
        return ast.parse(source, mode=mode)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _is_literal(text: str) -> bool:
    tree = _parse(text, "eval")
    return tree is not None and all(isinstance(node, _LITERALS) for node in ast.walk(tree))


def _is_call_of(expression: str, names: frozenset[str]) -> bool:
    tree = _parse(expression, "eval")
    body = tree.body if isinstance(tree, ast.Expression) else None
    return isinstance(body, ast.Call) and isinstance(body.func, ast.Name) and body.func.id in names


def _defined(code: str) -> frozenset[str]:
    tree = _parse(code, "exec")
    body = tree.body if isinstance(tree, ast.Module) else []
    return frozenset(node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef))


def jail_evaluator(verifier: CodeVerifier | None = None) -> Evaluator:
    """An evaluator for `check(..., evaluate=…)`; blocks while the jail works.

    Args:
        verifier: the judge of code whose jail is used; default one on the process-wide jail.

    The evaluator raises VerifierError where a layer of the jail is missing.
    """
    from proofmill.filters.domains.code import CodeVerifier  # a recipe is read without any verifier

    judge = verifier or CodeVerifier()

    def evaluate(code: str, expression: str, literal: str) -> bool | None:
        # The first test holds whenever the call returns at all: so a crash is not taken for a wrong value. It stands
        # first because a failed test ends a row.
        tests = [f"assert isinstance([{expression}], list)", f"assert {expression} == {literal}"]
        problem = Problem("code", "", info={"tests": tests})
        verdict = judge.verify(problem, f"```python\n{code}\n```")
        if verdict.verdict == verdicts.CORRECT:
            return True
        return False if verdict.verdict == verdicts.WRONG and verdict.tests_passed == 1 else None

    return evaluate
