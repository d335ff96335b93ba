"""Facts: short answers that a model knows or doesn't, judged by their names.

`Problem.answer` is the fact's name; `Problem.info["aliases"]` are other names of it, `Problem.info["rivals"]` what the
answer is most easily mistaken for (the other capitals, where a capital is asked). Policy:

- Names are compared as words: letter case, accents and punctuation don't matter, and a name inside a word is none.
- A text that names the fact and no rival is `correct`; one that names a rival and not the fact is `wrong`.
- One that names both is `unparsed`, detail `several_answers`; so nothing is won by listing.
- One that names neither is `wrong`, detail `not_named`: it may say what no list holds.
- What the question itself says is no answer: a rival that it names is left out, and a fact that it names is bad gold.

It is no domain of training data, since nothing follows from a name but the name; evaluation suites use it as the
control that training on reasoning should not move (`verify.verifiers`, as a verifier of one's own).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from proofmill.filters.verdicts import CORRECT, ERROR, UNPARSED, WRONG, Canary, Domain, Problem, Verdict

_WORD = re.compile(r"[^\W_]+")
_MAX_TEXT = 200_000  # characters; longer ones are no short answer


def verify(problem: Problem, text: str) -> Verdict:
    """Return whether a text names the fact; see the module's policy."""
    said = _words(text[:_MAX_TEXT])
    asked = _words(problem.prompt)
    names = [_words(name) for name in _texts([problem.answer, *_listed(problem, "aliases")])]
    if not names or not names[0].strip() or any(name in asked for name in names[:1]):
        return Verdict(ERROR, detail="bad_gold: the answer is empty or stands in the question")
    if not said.strip():
        return Verdict(UNPARSED, detail="empty")
    rivals = {_words(name): name for name in _texts(_listed(problem, "rivals"))}
    found = set()
    for name in sorted({name for name in (*names, *rivals) if name.strip()}, key=len, reverse=True):
        if name in said:  # "Guinea" is not said where "Guinea-Bissau" is
            found.add(name)
            said = said.replace(name, " · ")
    others = [shown for name, shown in rivals.items() if name in found and name not in asked]
    right = not found.isdisjoint(names)
    if right and others:
        return Verdict(UNPARSED, detail="several_answers")
    if right:
        return Verdict(CORRECT, problem.answer, "named", final_start=0)
    return Verdict(WRONG, others[0] if len(others) == 1 else None, "rival" if others else "not_named", final_start=0)


def _words(text: str) -> str:
    """Return the words of a text between blanks, so that a whole name is found as a substring."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    letters = "".join(character for character in plain if not unicodedata.combining(character))
    return f" {' '.join(_WORD.findall(letters))} "


def _listed(problem: Problem, name: str) -> Iterable[object]:
    found = problem.info.get(name)
    return found if isinstance(found, list) else ()


def _texts(values: Iterable[object]) -> list[str]:
    return [value for value in values if isinstance(value, str)]


_CAPITAL = Problem("fact", "What is the capital of France?", "Paris", {"rivals": ["Rome", "Madrid"]})
DOMAIN = Domain(
    name="fact",
    version=2,
    verify=verify,
    quick=verify,
    needs=("answer",),
    canaries=(
        Canary(_CAPITAL, "It is Paris, I think.", CORRECT),
        Canary(_CAPITAL, "The capital is Rome.", WRONG),
        Canary(_CAPITAL, "", UNPARSED),
        Canary(Problem("fact", "Is it Paris?", "Paris"), "Paris", ERROR),
    ),
)
