"""Assignments in logic puzzles, held against the puzzle's own constraints.

A puzzle is recognised by the shape of its data, `info["entry"]["metadata"]` or `info["metadata"]`, as
reasoning-gym writes it: `names` and `statements` (who tells the truth), or a `puzzle` grid with zeros for
blanks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import isqrt
from typing import Any

from proofmill.filters.claims.model import NOT_CHECKABLE, REFUTED, VERIFIED, ClaimCandidate
from proofmill.filters.verdicts import Problem

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
        """The claims of a step about who is what."""
        people = "|".join(re.escape(name) for name in self.names)
        kinds = f"{re.escape(self.knight)}|{re.escape(self.knave)}"
        pattern = rf"\b({people}) (?:is|must be|has to be) (not )?(?:an? |the )?({kinds})\b"
        for match in re.finditer(pattern, step, re.IGNORECASE):
            sentence = step[max(0, match.start() - 80) : match.end()]
            hypothetical = not final and (supposed or bool(_SUPPOSES.search(sentence)))
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
        """The filled grids of a trace. Before the final part a false one may be an attempt."""
        rows = [(m.start(), m.end(), tuple(map(int, re.findall(r"\d+", m.group())))) for m in _ROW.finditer(text)]
        rows = [row for row in rows if len(row[2]) == len(self.cells)]
        for first in range(0, len(rows) - len(self.cells) + 1, len(self.cells)):
            chosen = rows[first : first + len(self.cells)]
            filled = [row for _, _, row in chosen]
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
    """The puzzle in a problem's `info`, None if there is none of a known shape."""
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
    """The claims of a trace about the puzzle, each with its offset.

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
