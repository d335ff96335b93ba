"""Instructions: a response is correct if it keeps every constraint that a rule can check.

`Problem.info["constraints"]` is a list of `{"kind": …, parameters}`; `constraint_kinds` has the kinds, and IFEval's
and IFBench's own names are kinds too. IFEval's data are read as they are: `instruction_id_list` beside `kwargs`.
`Problem.info["definitions"]` is absent (ours), `official` (IFEval's, so that scores can be compared), or
`official_loose`. A kind that is unknown or a parameter that doesn't fit is `error`: it is the data's fault.
"""

from __future__ import annotations

import unicodedata

from proofmill.filters.instructions.constraint_base import ConstraintError
from proofmill.filters.instructions.constraints import parse_constraints
from proofmill.filters.verdicts import CORRECT, ERROR, UNPARSED, WRONG, Canary, Domain, Problem, Verdict

_MAX_TEXT = 1_000_000  # characters; longer ones are no answer to an instruction
_SLOW = frozenset({"json", "language"})  # a schema may hold patterns, a language model takes a second to load
_QUICK_TEXT = 50_000  # characters that are counted and searched at once


class Instruction:
    """The judge of constraints."""

    def quick(self, problem: Problem, text: str) -> Verdict | None:
        """Return the verdict, unless a kind is slow or the text very long."""
        raw = problem.info.get("constraints")
        kinds = {item.get("kind") for item in raw if isinstance(item, dict)} if isinstance(raw, list) else {""}
        official = "definitions" in problem.info or any(":" in str(kind) for kind in kinds)
        slow = official or kinds & _SLOW or "" in kinds
        return None if slow or len(text) > _QUICK_TEXT else self.verify(problem, text)

    def verify(self, problem: Problem, text: str) -> Verdict:
        """Check every constraint; `tests_passed` of `tests_total` held."""
        answer = unicodedata.normalize("NFC", text.replace("\r\n", "\n").strip())
        try:
            constraints = parse_constraints(_constraints(problem), problem.info.get("definitions"))
            if not answer or len(answer) > _MAX_TEXT:
                return Verdict(UNPARSED, detail="too_long" if answer else "empty", tests_total=len(constraints))
            broken = [constraint.kind for constraint in constraints if not constraint.holds(answer)]
        except ConstraintError as error:
            return Verdict(ERROR, detail=str(error))
        detail = "broken: " + ", ".join(broken) if broken else None
        held = len(constraints) - len(broken)
        return Verdict(WRONG if broken else CORRECT, None, detail, held, len(constraints), final_start=0)


def _constraints(problem: Problem) -> object:
    """Return the constraints of a problem; IFEval's data have names in one list and parameters in another."""
    info = problem.info
    names, parameters = info.get("instruction_id_list"), info.get("kwargs")
    if info.get("constraints") is not None or not isinstance(names, list):
        return info.get("constraints")
    if not isinstance(parameters, list) or len(parameters) != len(names):
        raise ConstraintError("bad_gold: instruction_id_list and kwargs must be lists of one length")
    return [{"kind": name, **(given or {})} for name, given in zip(names, parameters, strict=True)]


def _no_line(_gold: str | None, _extracted: str | None) -> None:
    """Return no answer line: an instruction is kept by the whole response."""


_UPPER = Problem("instruction", "Answer in upper case.", None, {"constraints": [{"kind": "casing", "casing": "upper"}]})

VERIFIER = Instruction()
DOMAIN = Domain(
    name="instruction",
    version=5,
    quick=VERIFIER.quick,
    verify=VERIFIER.verify,
    needs=(("constraints", "instruction_id_list"),),
    fields=("constraints", "definitions", "instruction_id_list", "kwargs"),
    short_answer=_no_line,
    canaries=(
        Canary(_UPPER, "YES, OF COURSE.", CORRECT),
        Canary(_UPPER, "yes, of course.", WRONG),
        Canary(_UPPER, "", UNPARSED),
        Canary(Problem("instruction", "?", None, {"constraints": [{"kind": "no_such_kind"}]}), "YES.", ERROR),
    ),
)
