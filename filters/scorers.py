"""Which scorers of reasoning-gym can be trusted, and with what kind of answer.

The scorers were written to give rewards, not proof. Some evaluate the answer as Python, some give full
marks to anything, some have no gold. A task is used only if its scorer passes the probes of `usable`,
and a scorer that evaluates text only sees text of a form that can't do harm (`FORMS`).
"""

from __future__ import annotations

import functools
import inspect
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

FULL_MARKS = 1.0  # partial credit rewards form, it proves nothing
_PROBE_SEED, _PROBE_ENTRIES = 20, 2
_GARBAGE = ("", " ", "zzqx", "zzqx 17 zzqx", "[]", "I do not know.")
_EVALUATES = re.compile(r"\b(?:eval|exec|parse_expr|sympify|literal_eval|lambdify|pickle)\b")
_MAX_EXPRESSION = 1000  # characters
_ARITHMETIC = re.compile(r"[\w.*/+\-()\s]+", re.ASCII)
_ATTRIBUTE = re.compile(r"\.(?!\d)")
_NAME = re.compile(r"[A-Za-z_]\w*")
_FUNCTIONS = frozenset(
    {"sin", "cos", "tan", "exp", "log", "ln", "sqrt", "pi", "sec", "csc", "cot"}
    | {"sinh", "cosh", "tanh", "asin", "acos", "atan", "Abs"}
)

Scorer = Callable[[str, Mapping[str, Any]], float]


def _expression(text: str) -> bool:
    """Arithmetic over numbers, one-letter symbols and elementary functions: no attributes, no strings."""
    if len(text) > 1000 or not re.fullmatch(r"[\w.*/+\-()\s]+", text, re.ASCII) or re.search(r"\.(?!\d)", text):
        return False
    return all(len(name) == 1 or name in _FUNCTIONS for name in _NAME.findall(text))


def _pattern(pattern: str) -> Callable[[str], bool]:
    compiled = re.compile(pattern, re.ASCII)
    return lambda text: compiled.fullmatch(text) is not None


_WORDS = _pattern(r"[\w\s]+")  # no brackets, dots or operators: nothing that Python could evaluate to harm
_NUMBER_LIST = _pattern(r"[\[\]'\",.\d\s+\-eE]+")
FORMS: Mapping[str, Callable[[str], bool]] = {
    "binary_matrix": _WORDS,
    "countdown": _expression,
    "game_of_life": _pattern(r"\[\s*\[[\[\]\d,\s]*\]\s*\]"),
    "intermediate_integration": _expression,
    "n_queens": _WORDS,
    "number_sorting": _NUMBER_LIST,
    "polynomial_multiplication": _expression,
    "pool_matrix": _pattern(r"[\d.\s-]*\d[\d.\s-]*"),
    "prime_factorization": _pattern(r"\s*\d{1,30}(?:\s*×\s*\d{1,30})*\s*"),
    "puzzle24": _expression,
    "simple_integration": _expression,
    "spiral_matrix": _WORDS,
    "string_insertion": _WORDS,
}
"""By task: the form an answer, and the gold, must have before the scorer is asked."""


def entry_json(entry: Mapping[str, Any]) -> dict[str, Any]:
    """A generated entry as it comes back from a JSON column: tuples are lists, keys are strings."""
    plain: dict[str, Any] = json.loads(json.dumps(entry, default=str))
    return plain


@functools.cache
def scorer(task: str) -> Scorer:
    """The scorer of a reasoning-gym task.

    Raises:
        ValueError: there is no such task.
    """
    import reasoning_gym  # takes seconds, so only where a logic row comes

    score: Scorer = reasoning_gym.get_score_answer_fn(task)
    return score


def safe_form(task: str, entry: Mapping[str, Any], answer: str) -> bool:
    """Whether the scorer may see this answer with this entry: neither may hold code it would evaluate."""
    form = FORMS.get(task)
    if form is None:
        return True
    metadata = entry.get("metadata") or {}
    gold = [entry["answer"], *(metadata[key] for key in ("integrand", "variable") if key in metadata)]
    return form(answer) and all(form(str(text)) for text in gold) and _own_numbers(task, metadata, answer)


def _own_numbers(task: str, metadata: Mapping[str, Any], answer: str) -> bool:
    """The scorer of puzzle24 forgets to check that the four numbers are the given ones."""
    if task != "puzzle24":
        return True
    used = sorted(int(number) for number in re.findall(r"\d{1,9}", answer))
    return used == sorted(int(number) for number in metadata["numbers"])


@functools.cache
def usable(task: str) -> str | None:
    """Why a task can't be used, or None if it can.

    Generates a few entries and probes the scorer: the gold must get full marks after a round trip through
    JSON, and garbage must neither get them nor raise. Takes up to two seconds a task; cached.
    """
    try:
        score, entries = scorer(task), list(_probe_entries(task))
    except Exception as error:  # noqa: BLE001 - third-party generators raise anything; the task is then not used
        return f"no such task or no entries: {type(error).__name__}"
    if task not in FORMS and _evaluates(score):
        return "evaluates the answer as code"
    return next((reason for entry in entries if (reason := _fault(task, score, entry))), None)


def _probe_entries(task: str) -> Iterator[dict[str, Any]]:
    import reasoning_gym

    dataset = reasoning_gym.create_dataset(task, seed=_PROBE_SEED, size=_PROBE_ENTRIES)
    return (entry_json(dataset[index]) for index in range(_PROBE_ENTRIES))


def _fault(task: str, score: Scorer, entry: Mapping[str, Any]) -> str | None:
    gold = entry["answer"]
    if not isinstance(gold, str):
        return "no gold"
    if _mark(task, score, entry, gold) != FULL_MARKS:
        return "the gold fails"
    marks = [_mark(task, score, entry, text) for text in _GARBAGE if text.strip() != gold.strip()]
    if None in marks:
        return "raises on garbage"
    return "accepts garbage" if FULL_MARKS in marks else None


def _mark(task: str, score: Scorer, entry: Mapping[str, Any], answer: str) -> float | None:
    if not safe_form(task, entry, answer):
        return 0.0
    try:
        return float(score(answer, entry))
    except Exception:  # noqa: BLE001 - whatever a scorer raises, the probe only asks whether it does
        return None


def _evaluates(score: Scorer) -> bool:
    """Whether the scorer's source, or that of a method it calls, evaluates text."""
    source = inspect.getsource(score)
    owner = getattr(score, "__self__", None)
    for name in set(re.findall(r"self\.(\w+)\(", source)):
        method = getattr(owner, name, None)
        source += inspect.getsource(method) if inspect.isroutine(method) else ""
    return _EVALUATES.search(source) is not None
