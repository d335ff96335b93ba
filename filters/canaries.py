"""Planted answers that are known to be right or wrong: a verifier that misjudges one is not to be trusted today.

They ride along with every shard and are taken out again, so a broken library, a scorer that changed, or a jail
that no longer runs code stops the run before a single verdict of it is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from proofmill.data.errors import VerifierError
from proofmill.filters.verdicts import CORRECT, UNPARSED, WRONG, Problem, Verdict


class Canary(NamedTuple):
    """An answer and the verdict that it must get."""

    problem: Problem
    text: str
    expected: str


_SUM = Problem("math", "What is 17 + 25?", "42")
_HALF = Problem("math", "What is one half?", r"\frac{1}{2}")
_ROOT = Problem("math", "Solve x^2 = 8 for x > 0.", r"2\sqrt{2}")
_ADD = Problem(
    "code",
    "Write add(a, b).",
    None,
    {"tests": ["assert add(1, 2) == 3", "assert add(-4, 4) == 0"], "entry_point": "add"},
)
_CHOICE = Problem("choice", "Which one is a metal?", "B", {"options": ["oxygen", "iron", "helium", "neon"]})
_FORMAT = Problem(
    "instruction", "Answer in upper case.", None, {"constraints": [{"kind": "casing", "casing": "upper"}]}
)
_QUESTION = "Does it logically follow that all cats are animals? (Answer Yes or No)"
_LOGIC_ENTRY = {
    "question": _QUESTION,
    "answer": "Yes",
    "metadata": {"source_dataset": "syllogism", "source_index": 0, "is_valid": True},
}
_LOGIC = Problem("logic", _QUESTION, "Yes", {"task": "syllogism", "entry": _LOGIC_ENTRY})

CANARIES: dict[str, Sequence[Canary]] = {
    "math": (
        Canary(_SUM, r"Adding, we get \boxed{42}.", CORRECT),
        Canary(_SUM, r"Adding, we get \boxed{43}.", WRONG),
        Canary(_SUM, "I would rather not say.", UNPARSED),
        Canary(_HALF, "The answer is 0.5.", CORRECT),
        Canary(_ROOT, r"So x = \boxed{\sqrt{8}}.", CORRECT),
        Canary(_ROOT, r"So x = \boxed{2\sqrt{3}}.", WRONG),
    ),
    "code": (
        Canary(_ADD, "```python\ndef add(a, b):\n    return a + b\n```", CORRECT),
        Canary(_ADD, "```python\ndef add(a, b):\n    return a - b\n```", WRONG),
        Canary(_ADD, "I would rather not say.", UNPARSED),
    ),
    "logic": (
        Canary(_LOGIC, "The answer is Yes.", CORRECT),
        Canary(_LOGIC, "The answer is No.", WRONG),
    ),
    "choice": (
        Canary(_CHOICE, "The answer is B.", CORRECT),
        Canary(_CHOICE, "The answer is C.", WRONG),
    ),
    "instruction": (
        Canary(_FORMAT, "YES, OF COURSE.", CORRECT),
        Canary(_FORMAT, "yes, of course.", WRONG),
    ),
}


def planted(verifiers: Iterable[str], custom: Iterable[str]) -> Iterator[tuple[str, Canary]]:
    """(verifier, canary) for each built-in verifier in use; a custom one has its own rules."""
    for name in sorted(set(verifiers) - set(custom)):
        for canary in CANARIES.get(name, ()):
            yield name, canary


def check(name: str, canary: Canary, verdict: Verdict | None) -> None:
    """Compares a canary's verdict with what it must be.

    Raises:
        VerifierError: they differ.
    """
    found = verdict.verdict if verdict else "none"
    if found != canary.expected:
        raise VerifierError(
            f"The verifier '{name}' called a planted answer {found!r} that is {canary.expected!r}.",
            where=f"{canary.problem.prompt!r}, answer {canary.text!r}: {verdict.detail if verdict else ''}",
            remedy="no verdict of this shard was written; check the installed libraries with "
            "`pip check`, and the machine's load, then run the same command again",
        )
