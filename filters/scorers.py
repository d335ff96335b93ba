"""The scorers of reasoning-gym as proofs: with a task's own parameters, and corrected where they accept wrong answers.

The scorers were written to give rewards, not proofs. Some evaluate the answer as Python, some give full marks to
anything, some are more lenient than the question. So:

- a scorer is made with the parameters that the problem was made with (`parameters`);
- where it accepts answers that are wrong, a check of ours stands in its place (`_CHECKS`);
- where it evaluates text, or reads what it likes out of a text, it only sees text of a form (`FORMS`);
- a task whose gold is null is judged by its scorer alone, one whose scorer fails the probes of `usable` not at all.
"""

from __future__ import annotations

import ast
import functools
import inspect
import json
import math
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any

FULL_MARKS = 1.0  # partial credit rewards form, it proves nothing
_PROBE_SEED, _PROBE_ENTRIES = 20, 2
_GARBAGE = ("", " ", "zzqx", "zzqx 17 zzqx", "[]", "{}", "I do not know.")
_EVALUATES = re.compile(r"\b(?:eval|exec|parse_expr|sympify|literal_eval|lambdify|pickle)\b")
WITHOUT_GOLD = frozenset({"boxnet", "graph_color", "propositional_logic", "rubiks_cube", "rush_hour"})
"""Tasks whose entries have no gold, because many answers are right: their scorers know one when they see it."""
_MAX_EXPRESSION = 1000  # characters
_ATTRIBUTE = re.compile(r"\.(?!\d)")
_NAME = re.compile(r"[A-Za-z_]\w*")
_FUNCTIONS = frozenset(
    {"sin", "cos", "tan", "exp", "log", "ln", "sqrt", "pi", "sec", "csc", "cot"}
    | {"sinh", "cosh", "tanh", "asin", "acos", "atan", "Abs"}
)
_MAX_PLACES = 50  # decimal places that a tolerance may have
_BOARD_SIDE = 6  # squares, of rush_hour

Entry = Mapping[str, Any]
Scorer = Callable[[str, Entry], float]
Form = Callable[[str], bool]


def entry_json(entry: Entry) -> dict[str, Any]:
    """Return a generated entry as it comes back from a JSON column: tuples are lists, keys are strings."""
    plain: dict[str, Any] = json.loads(json.dumps(entry, default=str))
    return plain


# --- what a scorer may see ------------------------------------------------------------------------


def _expression(text: str) -> bool:
    """Return whether a text is arithmetic over numbers, letters and elementary functions: no attributes, no strings."""
    if len(text) > _MAX_EXPRESSION or not re.fullmatch(r"[\w.*/+\-()\s]+", text, re.ASCII) or _ATTRIBUTE.search(text):
        return False
    return all(len(name) == 1 or name in _FUNCTIONS for name in _NAME.findall(text))


def _pattern(pattern: str) -> Form:
    compiled = re.compile(pattern, re.ASCII)
    return lambda text: compiled.fullmatch(text) is not None


_WORDS = _pattern(r"[\w\s]+")  # no brackets, dots or operators: nothing that Python could evaluate to harm
_NUMBER_LIST = _pattern(r"[\[\]'\",.\d\s+\-eE]+")
_LONG_NUMBER = re.compile(r"\d{3}")


def _cube_moves(text: str) -> bool:
    """Return whether a text is turns of a cube; no solution needs a turn repeated hundreds of times."""
    return _CUBE.fullmatch(text) is not None and not _LONG_NUMBER.search(text)


_REAL = r"[+-]?\d{1,40}(?:\.\d{0,40})?(?:[eE][+-]?\d{1,3})?"
_CUBE = re.compile(r"[UDLRFBMESXYZudlrfbmesxyzw'’0-9\s]{0,20000}")
FORMS: Mapping[str, Form] = {
    "advanced_geometry": _pattern(r"[^,]{1,40}(?:,[^,]{1,40})?"),  # no third coordinate
    "binary_matrix": _WORDS,
    "complex_arithmetic": _pattern(r"[\d.+\-()ij\s]{1,200}"),
    "countdown": _expression,
    "fraction_simplification": _pattern(  # it doesn't look behind a fraction in LaTeX
        r"[\s$]*(?:\\[dt]?frac\s*\{\s*\d{1,30}\s*\}\s*\{\s*\d{1,30}\s*\}|-?\d{1,30}\s*/\s*\d{1,30})[\s$]*"
    ),
    "intermediate_integration": _expression,
    "kakurasu": _pattern(r"[01\s,\[\]|]+"),
    "n_queens": _WORDS,
    "polynomial_equations": _pattern(rf"\s*(?:{_REAL}\s*(?:,\s*{_REAL}\s*)*)?"),  # it skips what is no number
    "polynomial_multiplication": _expression,
    "pool_matrix": _pattern(r"[\d.\s-]*\d[\d.\s-]*"),
    "prime_factorization": _pattern(r"\s*\d{1,30}(?:\s*×\s*\d{1,30})*\s*"),
    "propositional_logic": _pattern("[A-Z()¬∧∨→↔\\s]{1,500}"),
    "puzzle24": _expression,
    "quantum_lock": _pattern(r"[ABCabc\s,>\-→]+"),  # it takes any A, B or C out of a text
    "rubiks_cube": _cube_moves,
    "rush_hour": _pattern(r"(?:[A-Z][+-]\d{1,2}[\s,]*)+"),
    "simple_integration": _expression,
    "sokoban": _pattern(r"[UDLRudlr\s,]+"),  # it passes over keys that it doesn't know
    "spiral_matrix": _WORDS,
    "string_insertion": _WORDS,
    "survo": _pattern(r"[\d\s,\[\]|]+"),
}
"""By task: the form that an answer must have before the scorer is asked."""

_GOLD_FORMS: Mapping[str, Form] = {
    task: FORMS[task]
    for task in ("binary_matrix", "n_queens", "polynomial_multiplication", "spiral_matrix", "string_insertion")
} | {"number_sorting": _NUMBER_LIST}
"""By task: the form that the gold answer must have, because the scorer evaluates it too."""

_DATA_FORMS: Mapping[str, Mapping[str, Form]] = {
    "bitwise_arithmetic": {"problem": _pattern(r"[0-9a-fA-Fx<>+\-*()\s|&^~]{1,2000}")},
    "intermediate_integration": {"integrand": _expression, "variable": _pattern(r"[A-Za-z]")},
    "simple_integration": {"integrand": _expression, "variable": _pattern(r"[A-Za-z]")},
}
"""By task: the form that fields of the entry's metadata must have, because the scorer evaluates them."""


def safe_entry(task: str, entry: Entry) -> bool:
    """Return whether the scorer may be given this entry: it must not hold code that the scorer would evaluate."""
    gold, metadata = entry.get("answer"), entry.get("metadata") or {}
    form = _GOLD_FORMS.get(task)
    if form is not None and isinstance(gold, str) and not form(gold):
        return False
    return all(check(str(metadata.get(name, ""))) for name, check in _DATA_FORMS.get(task, {}).items())


def safe_form(task: str, answer: str) -> bool:
    """Return whether the scorer may see this answer."""
    form = FORMS.get(task)
    return form is None or form(answer)


# --- checks that stand in for a scorer ------------------------------------------------------------


def _value(text: str) -> Fraction | None:
    """Return the exact value of an expression of +, -, *, / over integers; None where it is something else."""
    try:
        return _node_value(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError, ZeroDivisionError, RecursionError, MemoryError, KeyError):
        return None


def _node_value(node: ast.expr) -> Fraction:
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return Fraction(node.value)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        value = _node_value(node.operand)
        return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.BinOp):
        left, right = _node_value(node.left), _node_value(node.right)
        operations: dict[type[ast.operator], Callable[[], Fraction]] = {
            ast.Add: lambda: left + right,
            ast.Sub: lambda: left - right,
            ast.Mult: lambda: left * right,
            ast.Div: lambda: left / right,
        }
        return operations[type(node.op)]()
    raise ValueError("another operation")


def _uses(answer: str, numbers: list[int]) -> bool:
    return sorted(int(number) for number in re.findall(r"\d{1,9}", answer)) == sorted(numbers)


def _puzzle24(answer: str, entry: Entry) -> bool:
    """The scorer cuts the value to an integer, so 24.9 is 24, and doesn't ask which numbers were given."""
    return _value(answer) == 24 and _uses(answer, [int(number) for number in entry["metadata"]["numbers"]])


def _countdown(answer: str, entry: Entry) -> bool:
    """The scorer takes values for equal that differ by one in a hundred thousand."""
    data = entry["metadata"]
    return _value(answer) == int(data["target"]) and _uses(answer, [int(number) for number in data["numbers"]])


def _halting(answer: str, entry: Entry) -> bool:
    """The scorer compares Python's truth of two texts, which is true of both."""
    return answer.strip().lower() == str(entry["answer"]).strip().lower()


def _game_of_life(answer: str, entry: Entry) -> bool:
    """The scorer passes over rows and cells beyond those of the gold."""
    return _same_json(answer, entry["answer"])


def _number_sorting(answer: str, entry: Entry) -> bool:
    """The scorer takes numbers for equal that differ by 1."""
    found, gold = (_decimals(text) for text in (answer, entry["answer"]))
    return found is not None and found == gold


def _decimals(text: str) -> list[Decimal] | None:
    try:
        values = json.loads(text.replace("'", '"'))
        return [Decimal(str(value)) for value in values] if isinstance(values, list) else None
    except (ValueError, InvalidOperation):
        return None


def _number_format(answer: str, entry: Entry) -> bool:
    """The scorer allows a hundredth, which may be more than what sets the candidates apart."""
    solution = float(entry["metadata"]["solution"])
    try:
        distance = abs(float(answer.strip().replace(",", "")) - solution)
    except ValueError:
        return False
    others = [abs(float(other) - solution) for other in entry["metadata"].get("candidates") or ()]
    nearest = min((gap for gap in others if gap > 0), default=math.inf)
    return distance < min(1e-2, nearest / 2)


def _pool_matrix(answer: str, entry: Entry) -> bool:
    """The scorer allows one in a hundred; a mean may be rounded to two decimals."""
    found, gold = ([line.split() for line in text.split("\n") if line.strip()] for text in (answer, entry["answer"]))
    if [len(row) for row in found] != [len(row) for row in gold]:
        return False
    pairs = zip((cell for row in found for cell in row), (cell for row in gold for cell in row), strict=True)
    try:
        return all(abs(float(a) - float(b)) <= 0.011 for a, b in pairs)
    except ValueError:
        return False


def _coin_flip(answer: str, entry: Entry) -> bool:
    """The scorer gives full marks to an answer that only begins as the gold does: 1.5 for 1."""
    try:
        return abs(Fraction(answer.replace(",", "")) - Fraction(entry["answer"])) <= Fraction(1, 10_000)
    except (ValueError, ZeroDivisionError):
        return False


def _word_sorting(answer: str, entry: Entry) -> bool:
    """The scorer passes over words behind the last one."""
    return [word.strip() for word in answer.split(",")] == list(entry["metadata"]["sorted_words"])


def _letter_jumble(answer: str, entry: Entry) -> bool:
    """The scorer passes over words behind the last one."""
    gold: str = entry["answer"]
    return answer.strip().lower() == gold.strip().lower()


_FILLERS = frozenset({"is", "a", "an", "the", "and", "are", "so", "thus", "therefore", "hence"})


def _knights_knaves(answer: str, entry: Entry) -> bool | None:
    """The scorer passes over words that are neither a name nor a role, "it is false that" too."""
    words, known = (set(re.findall(r"\w+", text.lower())) for text in (answer, entry["answer"]))
    return None if words <= known | _FILLERS else False


_DURATION = re.compile(r"\s*(?:(\d{1,7})\s+days?)?\s*,?\s*(?:(\d{1,4}):(\d{1,2})(?::(\d{1,2}(?:\.\d{1,9})?))?)?\s*")


def _time_intervals(answer: str, entry: Entry) -> bool:
    """The scorer reads `5 hours` as 5 days, and .5 seconds as 5 milliseconds."""
    gold = entry["answer"]
    if gold.strip().endswith(("day", "days")) and answer.strip().isdecimal():
        return int(answer) == int(gold.split()[0])
    return _duration(answer) == _duration(gold) is not None


def _duration(text: str) -> Decimal | None:
    match = _DURATION.fullmatch(text)
    if match is None or not text.strip():
        return None
    days, hours, minutes, seconds = (Decimal(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def _polynomial_equations(answer: str, entry: Entry) -> bool | None:
    """Without a real solution the gold is empty, and the scorer takes any text for the same."""
    if entry["answer"].strip():
        return None
    return answer.strip() in ("", "[]")


def _rush_hour(answer: str, entry: Entry) -> bool:
    """The scorer passes over moves that are blocked."""
    import sys

    board = sys.modules[inspect.getmodule(scorer("rush_hour")).__name__].Board(entry["metadata"]["board_config"])  # type: ignore[union-attr]
    for name, sign, steps in re.findall(r"([A-Z])([+-])(\d{1,2})", answer):
        index, step = ord(name) - ord("A"), int(sign + steps)
        if index >= len(board._pieces) or abs(step) >= _BOARD_SIDE:
            return False
        piece = board._pieces[index]
        reached = piece.position + step * piece.stride
        board.move(name, step)
        if piece.position != reached:
            return False
    return bool(board.solved)


def _arc(task: str) -> Callable[[str, Entry], bool]:
    def check(answer: str, entry: Entry) -> bool:
        """The scorer compares tuples with the lists that JSON has made of them."""
        metadata = {**entry["metadata"], "output": tuple(tuple(row) for row in entry["metadata"]["output"])}
        return scorer(task)(answer, {**entry, "metadata": metadata}) == FULL_MARKS

    return check


def _same_json(a: str, b: str) -> bool:
    try:
        left, right = json.loads(a), json.loads(b)
    except (ValueError, RecursionError):
        return False
    return json.dumps(left) == json.dumps(right)  # which tells 1 from true


_CHECKS: Mapping[str, Callable[[str, Entry], bool | None]] = {
    "arc_agi": _arc("arc_agi"),
    "coin_flip": _coin_flip,
    "countdown": _countdown,
    "game_of_life": _game_of_life,
    "game_of_life_halting": _halting,
    "knights_knaves": _knights_knaves,
    "letter_jumble": _letter_jumble,
    "number_format": _number_format,
    "number_sorting": _number_sorting,
    "polynomial_equations": _polynomial_equations,
    "pool_matrix": _pool_matrix,
    "puzzle24": _puzzle24,
    "rearc": _arc("rearc"),
    "rush_hour": _rush_hour,
    "time_intervals": _time_intervals,
    "word_sorting": _word_sorting,
}
"""By task, what decides instead of the scorer; None leaves it to the scorer."""


# --- the scorers themselves -----------------------------------------------------------------------


def _decimal_places(entry: Entry) -> dict[str, Any]:
    """Allowed is one unit in the last of the places that the task was made with; of the gold's, where none are told."""
    metadata = entry["metadata"]
    made_with = (metadata.get("difficulty") or {}).get("decimal_places") or [metadata.get("decimal_places")]
    own = len(str(entry.get("answer") or "").partition(".")[2])
    places = min(own if made_with[-1] is None else int(made_with[-1]), _MAX_PLACES)
    return {"max_num_decimal_places": places, "min_num_decimal_places": 1, "precision": places + 2}


def _word_length(entry: Entry) -> dict[str, Any]:
    length = len(entry["metadata"]["end_word"])
    return {"min_word_length": length, "max_word_length": length}


_PARAMETERS: Mapping[str, Callable[[Entry], dict[str, Any]]] = {
    "decimal_arithmetic": _decimal_places,
    "word_ladder": _word_length,
}
"""By task, the parameters that its scorer reads; the other scorers read none, or read them for partial credit only."""


@functools.cache
def library() -> Any:
    """Return the module reasoning_gym. To import it takes seconds, so only a logic row or a procedural task does."""
    with warnings.catch_warnings():
        # A library that it imports compares with `is`, which Python says whenever it compiles that file.
        warnings.simplefilter("ignore", SyntaxWarning)
        import reasoning_gym.factory
    return reasoning_gym


def scorer(task: str, parameters: Mapping[str, Any] | None = None) -> Scorer:
    """Return the scorer of a reasoning-gym task, made with a problem's own parameters.

    Raises:
        ValueError, AssertionError: there is no such task, or the parameters don't fit it.
    """
    return _scorer(task, tuple(sorted((parameters or {}).items())))


@functools.lru_cache(maxsize=256)
def _scorer(task: str, parameters: tuple[tuple[str, Any], ...]) -> Scorer:
    if task not in (tasks := library().factory.DATASETS):
        raise ValueError(f"there is no task {task}")
    made, config = tasks[task]
    score: Scorer = made(config=config(**dict(parameters))).score_answer
    return score


def passes(task: str, entry: Entry, answer: str) -> bool:
    """Return whether an answer of a safe form gets full marks.

    Raises:
        Exception: whatever the scorer raises.
    """
    check = _CHECKS.get(task)
    found = None if check is None else check(answer, entry)
    if found is not None:
        return found
    parameters = _PARAMETERS.get(task)
    score = scorer(task, parameters(entry) if parameters else None)
    return score(answer, entry) == FULL_MARKS


@functools.cache
def usable(task: str) -> str | None:
    """Return why a task can't be used, or None if it can.

    Generates a few entries and probes what judges them: the gold, where there is one, must pass after a round trip
    through JSON, and garbage must neither pass nor raise. Takes up to two seconds a task; cached.
    """
    try:
        score, entries = scorer(task), list(_probe_entries(task))
    except Exception as error:  # noqa: BLE001 - third-party generators raise anything; the task is then not used
        return f"no such task or no entries: {type(error).__name__}"
    if task not in FORMS and task not in _CHECKS and task not in _DATA_FORMS and _evaluates(score):
        return "evaluates the answer as code"
    return next((reason for entry in entries if (reason := _fault(task, entry))), None)


def _probe_entries(task: str) -> Iterator[dict[str, Any]]:
    dataset = library().create_dataset(task, seed=_PROBE_SEED, size=_PROBE_ENTRIES)
    return (entry_json(dataset[index]) for index in range(_PROBE_ENTRIES))


def _fault(task: str, entry: Entry) -> str | None:
    gold = entry["answer"]
    if not isinstance(gold, str) and task not in WITHOUT_GOLD:
        return "no gold"
    if isinstance(gold, str) and safe_form(task, gold) and not _probe(task, entry, gold):
        return "the gold fails"
    marks = [_probe(task, entry, text) for text in _GARBAGE if text.strip() != str(gold).strip()]
    if None in marks:
        return "raises on garbage"
    return "accepts garbage" if True in marks else None


def _probe(task: str, entry: Entry, answer: str) -> bool | None:
    if not safe_entry(task, entry) or not safe_form(task, answer):
        return False
    try:
        return passes(task, entry, answer)
    except Exception:  # noqa: BLE001 - whatever a scorer raises, the probe only asks whether it does
        return None


def _evaluates(score: Scorer) -> bool:
    """Return whether the scorer's source, or that of a method it calls, evaluates text."""
    source = inspect.getsource(score)
    owner = getattr(score, "__self__", None)
    for name in set(re.findall(r"self\.(\w+)\(", source)):
        method = getattr(owner, name, None)
        source += inspect.getsource(method) if inspect.isroutine(method) else ""
    return _EVALUATES.search(source) is not None
