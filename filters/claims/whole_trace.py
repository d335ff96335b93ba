"""What a trace claims beyond its single steps: assignments in a puzzle, and outputs of code.

Assignments are held against the puzzle's own constraints. A puzzle is recognised by the shape of its data,
`info["entry"]["metadata"]` or `info["metadata"]`, as reasoning-gym writes it: `names` and `statements` (who tells the
truth), or a `puzzle` grid with zeros for blanks.

Stated outputs are `f(3)  # 15`, `>>> f(3)` with the result below, `print(f(3))  # 15`. Code is parsed only, to find the
calls and the values stated for them. It is run by an evaluator that is handed in, as a rule the jail's; without one
such a claim is `not_checkable`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import isqrt
from typing import TYPE_CHECKING, Any, NamedTuple

from proofmill.filters import verdicts
from proofmill.filters.claims.model import NOT_CHECKABLE, REFUTED, VERIFIED, ClaimCandidate
from proofmill.filters.verdicts import Problem

if TYPE_CHECKING:
    from proofmill.filters.domains.code import CodeVerifier

_MAX_PEOPLE, _MAX_SIDE, _MAX_DEPTH = 12, 36, 20
_SUPPOSES = re.compile(
    r"\b(?:if|suppos\w+|assum\w+|let['’]?s|consider|case|would|could|might|whether|either|or|says?|said|claim\w*|state\w*|"
    r"remark\w*|according|told|then|hypothe\w+|imagine|possib\w+|contradict\w*|not both|mean\w*|impl\w+)\b",
    re.IGNORECASE,
)
_CONCLUDES = re.compile(r"\b(?:therefore|thus|hence|answer|solution|conclu\w+|finally|final)\b", re.IGNORECASE)
_OPEN_STEPS = 3  # a supposition reaches this many steps further
_ROW = re.compile(r"^[ \t|\[(]{0,4}\d{1,2}(?:[ \t|,<>]{1,8}\d{1,2}){1,35}[ \t|\]),]{0,4}$", re.MULTILINE)

Statement = Sequence[Any]


@dataclass(frozen=True, slots=True)
class Truthtellers:
    """Who tells the truth: the assignments that fit all statements.

    Attributes:
        names: the people.
        knight: the word for one who tells the truth.
        knave: the word for one who lies.
        models: every assignment under which each person's statement is true exactly if they tell the truth.
    """

    names: tuple[str, ...]
    knight: str
    knave: str
    models: tuple[tuple[bool, ...], ...]

    def links(self, step: str, supposed: bool, final: bool) -> Iterator[ClaimCandidate]:
        """Yield the claims of a step about who is what."""
        people = "|".join(re.escape(name) for name in self.names)
        kinds = f"{re.escape(self.knight)}|{re.escape(self.knave)}"
        pattern = rf"\b({people}) (?:is|must be|has to be) (not )?(?:an? |the )?({kinds})\b"
        for match in re.finditer(pattern, step, re.IGNORECASE):
            sentence = step[max(0, match.start() - 80) : match.end()]
            hypothetical = not final and (supposed or bool(_SUPPOSES.search(sentence)))
            # "Not a knave" is a knight: the word `not` turns the role around.
            truthful = (match.group(3).lower() == self.knight.lower()) != bool(match.group(2))
            status, evidence = self._judge(match.group(1), truthful, hypothetical)
            yield ClaimCandidate("assignment", status, evidence, match.start(), match.end())

    def _judge(self, name: str, truthful: bool, hypothetical: bool) -> tuple[str, str]:
        index = next(i for i, known in enumerate(self.names) if known.lower() == name.lower())
        holds = {model[index] == truthful for model in self.models}
        if hypothetical or len(holds) != 1:
            return (
                NOT_CHECKABLE,
                "may belong to a supposition" if hypothetical else "the statements leave it open",
            )
        count = f"{len(self.models)} assignment{'s' * (len(self.models) > 1)}"
        if holds == {True}:
            return VERIFIED, f"holds in all that fit the statements ({count})"
        return REFUTED, f"holds in none that fit the statements ({count})"


@dataclass(frozen=True, slots=True)
class Grid:
    """A square of numbers with given cells, each line a permutation.

    Attributes:
        cells: the given cells, 0 for a blank.
        boxed: whether square boxes are permutations too.
        order: (row, column, row, column, sign) between cells.
    """

    cells: tuple[tuple[int, ...], ...]
    boxed: bool
    order: tuple[tuple[int, int, int, int, str], ...]

    def links(self, text: str, final_start: int | None) -> Iterator[ClaimCandidate]:
        """Yield the claims on the filled grids of a trace. Before the final part a false one may be an attempt."""
        rows = [(m.start(), m.end(), tuple(map(int, re.findall(r"\d+", m.group())))) for m in _ROW.finditer(text)]
        rows = [row for row in rows if len(row[2]) == len(self.cells)]
        for first in range(0, len(rows) - len(self.cells) + 1, len(self.cells)):
            chosen = rows[first : first + len(self.cells)]
            filled = [row for _, _, row in chosen]
            # A grid with blanks is the puzzle itself, or work in progress.
            if any(0 in row for row in filled):
                continue
            fault = self._fault(filled)
            tentative = final_start is not None and chosen[-1][1] <= final_start
            status = VERIFIED if not fault else NOT_CHECKABLE if tentative else REFUTED
            yield ClaimCandidate("grid", status, fault or "all constraints hold", chosen[0][0], chosen[-1][1])

    def _fault(self, filled: Sequence[Sequence[int]]) -> str:
        side = len(self.cells)
        for r, c in product(range(side), repeat=2):
            if self.cells[r][c] and self.cells[r][c] != filled[r][c]:
                return f"row {r + 1}, column {c + 1} was given as {self.cells[r][c]}, not {filled[r][c]}"
        for name, line in self._lines(filled):
            if sorted(line) != list(range(1, side + 1)):
                return f"{name} is {' '.join(map(str, line))}"
        for r1, c1, r2, c2, sign in self.order:
            if not (filled[r1][c1] < filled[r2][c2] if sign == "<" else filled[r1][c1] > filled[r2][c2]):
                return f"{filled[r1][c1]} {sign} {filled[r2][c2]} does not hold"
        return ""

    def _lines(self, filled: Sequence[Sequence[int]]) -> Iterator[tuple[str, list[int]]]:
        side, box = len(self.cells), isqrt(len(self.cells))
        for i in range(side):
            yield f"row {i + 1}", list(filled[i])
            yield f"column {i + 1}", [row[i] for row in filled]
            if self.boxed and box * box == side:
                top, left = i // box * box, i % box * box
                yield f"box {i + 1}", [filled[top + d // box][left + d % box] for d in range(side)]


Puzzle = Truthtellers | Grid


def puzzle_of(problem: Problem) -> Puzzle | None:
    """Return the puzzle in a problem's `info`, None if there is none of a known shape."""
    entry = problem.info.get("entry")
    metadata = (entry if isinstance(entry, Mapping) else problem.info).get("metadata")
    if not isinstance(metadata, Mapping):
        return None
    try:
        return _truthtellers(metadata) or _grid(metadata)
    except (KeyError, TypeError, ValueError, IndexError, RecursionError):
        return None  # data of another shape: nothing to check, and not the trace's fault


def puzzle_links(
    puzzle: Puzzle, whole: str, steps: Sequence[tuple[int, str]], final_start: int | None
) -> Iterator[tuple[int, ClaimCandidate]]:
    """Yield each claim of a trace about the puzzle, with its offset.

    A claim counts as said for good in the final part, in the last step, or where a conclusion is drawn;
    elsewhere it may belong to a case that is dismissed later.
    """
    if isinstance(puzzle, Grid):
        yield from ((link.start, link) for link in puzzle.links(whole, final_start))
        return
    open_until = -1
    for number, (offset, step) in enumerate(steps):
        concludes = bool(_CONCLUDES.search(step))
        if _SUPPOSES.search(step) and not concludes:
            # A case is discussed over some steps; what is said there holds under its supposition only.
            open_until = number + _OPEN_STEPS
        final = (final_start is not None and offset + len(step) > final_start) or number == len(steps) - 1
        for link in puzzle.links(step, number <= open_until and not concludes, final):
            yield offset + link.start, link


def _truthtellers(metadata: Mapping[str, Any]) -> Truthtellers | None:
    names, statements = metadata.get("names"), metadata.get("statements")
    if not names or not statements or len(names) != len(statements) or len(names) > _MAX_PEOPLE:
        return None
    terms = metadata.get("knight_knave_terms") or {"knight": "knight", "knave": "knave"}
    models = tuple(
        model
        # All assignments are tried: `_MAX_PEOPLE` bounds them.
        for model in product((True, False), repeat=len(names))
        if all(_holds(statement, model) == told for statement, told in zip(statements, model, strict=True))
    )
    if not models:
        return None
    return Truthtellers(tuple(map(str, names)), str(terms["knight"]), str(terms["knave"]), models)


def _holds(statement: Statement, model: tuple[bool, ...], depth: int = 0) -> bool:
    if depth > _MAX_DEPTH:
        raise ValueError("statement nested too deeply")
    operator, *parts = statement
    if operator in ("telling-truth", "lying"):
        return model[int(parts[0])] is bool(operator == "telling-truth")
    values: list[bool] = [_holds(part, model, depth + 1) for part in parts]
    match operator:
        case "not":
            return not values[0]
        case "and":
            return all(values)
        case "or":
            return any(values)
        case "->":
            return not values[0] or bool(values[1])
        case "<=>":
            return bool(values[0] == values[1])
    raise ValueError(f"unknown statement: {operator}")


def _grid(metadata: Mapping[str, Any]) -> Grid | None:
    cells = metadata.get("puzzle")
    dataset = str(metadata.get("source_dataset", ""))
    if not isinstance(cells, Sequence) or not ("sudoku" in dataset or "futoshiki" in dataset):
        return None
    rows = tuple(tuple(int(cell) for cell in row) for row in cells)
    if not 1 < len(rows) <= _MAX_SIDE or any(len(row) != len(rows) for row in rows):
        return None
    order = tuple((int(a), int(b), int(c), int(d), str(sign)) for a, b, c, d, sign in metadata.get("constraints") or ())
    return Grid(rows, "sudoku" in dataset, order)


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
    """Yield the outputs stated in a trace's fenced code, 50 at most."""
    code = ""
    count = 0
    for fence in _FENCE.finditer(text):
        block = fence.group(1)
        # Each later output would have to run all code before it.
        if len(code) + len(block) > _MAX_CODE:
            return
        plain = "\n".join(line for line in block.split("\n") if not line.startswith(">>>"))
        # In a session at the prompt, lines without `>>>` are outputs, not statements.
        tree = _parse(plain, "exec") if ">>>" not in block else None
        code += _without_calls(plain, tree)
        names = _defined(code)
        for found in (*_comments(block, tree, code), *_prompts(block, code)):
            if _is_call_of(found.expression, names) and count < _MAX_OUTPUTS:
                count += 1
                shift = fence.start(1)
                yield found._replace(start=found.start + shift, end=found.end + shift)


def unrun_output(stated: StatedOutput) -> ClaimCandidate:
    """Return the claim of a stated output as long as nothing has run it."""
    return ClaimCandidate("output", NOT_CHECKABLE, "not run", stated.start, stated.end)


def judge_output(stated: StatedOutput, evaluate: Evaluator) -> ClaimCandidate:
    """Return the claim of a stated output, run by `evaluate`."""
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
    """Return a block without the statements that only call something: one that fails would hide the others' values."""
    if not isinstance(tree, ast.Module):
        return ""
    lines: list[str | None] = [*source.split("\n")]
    for node in tree.body:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            for line in range(node.lineno - 1, node.end_lineno or node.lineno):
                lines[line] = None
    return "".join(f"{line}\n" for line in lines if line is not None)


def _comments(block: str, tree: ast.AST | None, code: str) -> Iterator[StatedOutput]:
    """Yield the outputs stated by statements of the module: `f(3)  # 15` and `print(f(3))  # 15`."""
    lines = block.split("\n")
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line) + 1)
    for node in tree.body if isinstance(tree, ast.Module) else ():
        if not isinstance(node, ast.Expr | ast.Assign) or node.lineno != node.end_lineno:
            continue
        call, line = _printed(node.value), lines[node.lineno - 1]
        comment = _COMMENT.search(line, node.end_col_offset or 0)
        # `col_offset` counts bytes of UTF-8, which are characters only in ASCII.
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
    """Return the call whose value is shown: of `print(f(3))` the inner call."""
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
    """Return an evaluator for `check(..., evaluate=…)`; blocks while the jail works.

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
