"""New problems that a model wrote: reading its words, and whether what it wrote is a problem at all.

The checks here look at one text and need no model, so they come first; `flows/expansion.py` goes on with repeats,
benchmarks and a judge. Every reason is in `EXPANSION_REASONS`, in the order in which they are tried.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from string import ascii_uppercase
from typing import Any

import pyarrow as pa

from proofmill.data.files import digest
from proofmill.filters.model_judge import CUT, MALFORMED, quoted
from proofmill.filters.near_duplicates.duplicates import mark
from proofmill.filters.near_duplicates.minhash import DedupOptions, signatures
from proofmill.filters.reasoning import split_think

MIN_CHARACTERS, MAX_CHARACTERS = 20, 4_000
MIN_OPTIONS, MAX_OPTIONS = 3, 6
MAX_CONCEPTS = 5  # that a seed is asked for
NOVELTY_RUN = 5  # words
_SIGNED_TOGETHER = 4096  # texts
EXPANSION_REASONS: dict[str, str] = {
    "failed": "the engine gave no answer; the next run asks again",
    CUT: "the text was not finished within `max_tokens`",
    MALFORMED: "there is no JSON with the problem in it",
    "not_a_problem": "the text is incomplete, does not ask exactly one question, or holds its own answer",
    "repeats_parent": "too few of its runs of five words are new (`min_novelty`)",
    "near_duplicate": "a seed, an earlier version or a better new problem says nearly the same",
    "contaminated": "it overlaps with an item of a benchmark",
    "not_judged": "the judge's two answers contradict each other, or are none",
    "insufficient": "the judge says that something needed is missing",
    "inconsistent": "the judge says that its conditions contradict each other",
    "programs_alike": "its proven programs are copies of each other but for names, comments and layout (`new_tests`)",
    "bad_setup": "the seed's own setup fails where its tests would run (`new_tests`)",
    "no_inputs": "its generator makes no input that its validator takes (`new_tests`)",
    "programs_differ": "proven programs agree on the output of no new input (`new_tests`)",
    "unfunded": "`max_total_tokens` was spent before it was judged",
    "no_agreement": "its samples agree on no answer (`problems.pseudo_labels`), or none was drawn",
    "outside_band": "its pass rate is outside `select.expanded_pass_rate`",
}
"""Why a new problem is left out, in the order of the checks."""

_FENCED = re.compile(r"```(?:json)?\s*(.*?)```", re.DOTALL)
_WORD = re.compile(r"\w+")
_SENTENCE_END = re.compile(r"[.?!…。？！:)\]}$\"'”’»]\s*\Z")
_QUESTION = re.compile(r"[?？]")
_ASKS = re.compile(
    r"\b(?:find|calculate|compute|determine|evaluate|solve|simplify|express|estimate|give|state|list|count|write|name|"
    r"what|how|which|who|when|where)\b",
    re.IGNORECASE,
)
_PROOF = re.compile(r"\b(?:prove|show|verify|explain|justify)\b(?: that| why|:)", re.IGNORECASE)
_ANSWER_INSIDE = re.compile(
    r"\\boxed\b|####|\b(?:the )?(?:final )?(?:answer|solution)\s*(?:is\b|:)|\b(?:let's|let us) solve\b|"
    r"\bto solve (?:this|the) problem\b",
    re.IGNORECASE,
)
_ABOUT_IT = re.compile(
    r"\b(?:new|original|given|similar|following|above|previous|changed) (?:math )?problem\b|\bas an ai\b|"
    r"\bjson object\b",
    re.IGNORECASE,
)


def read_text(text: str, finish_reason: str, key: str) -> tuple[Any, str | None]:
    """Return (value of a key, None) of the JSON in a reply, or (None, reason).

    The object may stand in a fenced block or between other words; of several, the first that has the key counts.
    """
    if finish_reason != "stop":
        return None, CUT if finish_reason == "length" else "failed"
    for value in _objects(split_think(text).rest):
        if key in value:
            return value[key], None
    return None, MALFORMED


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects in a text: the whole of it, a fenced block, or from the first braces on."""
    for part in (text, *_FENCED.findall(text)):
        try:
            value = json.loads(part)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            yield value
    decoder = json.JSONDecoder()
    for brace in list(re.finditer(r"\{", text))[:8]:  # a text of braces alone must not be read again at each of them
        try:
            value, _ = decoder.raw_decode(text, brace.start())
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            yield value


def read_problem(text: str, finish_reason: str) -> tuple[str | None, str | None]:
    """Return (problem, None) of a reply, or (None, reason)."""
    value, reason = read_text(text, finish_reason, "problem")
    if reason is None and not (isinstance(value, str) and value.strip()):
        return None, MALFORMED
    return (value.strip() if reason is None else None), reason


def read_options(text: str, finish_reason: str) -> list[str] | None:
    """Return the options of a multiple-choice problem in a reply; None where they are none, or not all different."""
    value, _ = read_text(text, finish_reason, "options")
    if not isinstance(value, list) or not all(isinstance(option, str) and option.strip() for option in value):
        return None
    options = [" ".join(option.split()) for option in value]
    different = len({option.casefold() for option in options}) == len(options)
    return options if different and MIN_OPTIONS <= len(options) <= MAX_OPTIONS else None


def with_options(problem: str, options: Iterable[str]) -> str:
    """Return the text of a multiple-choice problem as it is asked."""
    lettered = [f"{letter}) {option}" for letter, option in zip(ascii_uppercase, options, strict=False)]
    return "\n".join([problem, *lettered])


def read_concepts(text: str, finish_reason: str) -> list[str]:
    """Return the concepts that a reply names, at most `MAX_CONCEPTS`; none where it can't be read."""
    value, _ = read_text(text, finish_reason, "concepts")
    names = value if isinstance(value, list) else []
    return [name.strip()[:100] for name in names if isinstance(name, str) and name.strip()][:MAX_CONCEPTS]


def fault(problem: str) -> str | None:
    """Return in words why a text is no problem that can be asked as it stands; None where it is one."""
    if len(problem) < MIN_CHARACTERS:
        return f"shorter than {MIN_CHARACTERS} characters"
    if len(problem) > MAX_CHARACTERS:
        return f"longer than {MAX_CHARACTERS} characters"
    if found := _ANSWER_INSIDE.search(problem):
        return f"states an answer: {found[0]!r}"
    if found := _ABOUT_IT.search(problem):
        return f"speaks about itself: {found[0]!r}"
    if not _SENTENCE_END.search(problem):
        return "ends in the middle of a sentence"
    return _asks_once(problem)


def _asks_once(problem: str) -> str | None:
    questions = len(_QUESTION.findall(problem))
    if questions > 1:
        return f"asks {questions} questions"
    if _PROOF.search(problem) and not questions:
        return "asks for a proof"
    # Of other scripts the verbs are not known here, so they are asked for nothing but an end.
    if not questions and problem.isascii() and not _ASKS.search(problem):
        return "asks nothing"
    return None


def words(text: str) -> list[str]:
    """Return the words and numbers of a text, case folded."""
    return _WORD.findall(text.casefold())


def novelty(problem: str, parents: Iterable[str]) -> float:
    """Return the share of a problem's runs of five words that stand in none of its parents, 0 to 1.

    A text of fewer words is one run.
    """
    runs = _runs(problem)
    known = set().union(*map(_runs, parents))
    return len(runs - known) / max(1, len(runs))


def _runs(text: str) -> set[tuple[str, ...]]:
    found = words(text)
    return {tuple(found[start : start + NOVELTY_RUN]) for start in range(max(1, len(found) - NOVELTY_RUN + 1))}


def repeats(
    texts: Callable[[], Iterable[tuple[str, str, bool]]],
    known: Callable[[], Iterable[tuple[str, str]]],
    similarity: float,
) -> dict[str, str]:
    """Return by name which texts say what a known one or another of them says, and which one that is.

    Texts with the same words are repeats; of those that were meant to be rewritten, near-duplicates too.

    Args:
        texts: yields name, text, and whether it was meant to be rewritten; called more than once, as `known` is.
        known: yields name and text of what must not come again.
        similarity: Jaccard similarity of near-duplicates, 0 to 1.
    """
    first: dict[str, str] = {}
    for name, text in known():
        first.setdefault(_words_digest(text), name)
    found = {}
    for name, text, _ in texts():
        if (other := first.setdefault(_words_digest(text), name)) != name:
            found[name] = other
    signing = DedupOptions(threshold_within=similarity, threshold_across=similarity)
    if any(rewrites and name not in found for name, _, rewrites in texts()):
        rewritten = ((name, text) for name, text, rewrites in texts() if rewrites and name not in found)
        marks = mark(_signed(rewritten, signing), signing, previous=_signed(known(), signing))
        pairs = zip(marks["id"].to_pylist(), marks["duplicate_of"].to_pylist(), strict=True)
        found |= {name: other for name, other in pairs if other is not None}
    return found


def _words_digest(text: str) -> str:
    return digest("words", words(text))


def _signed(texts: Iterable[tuple[str, str]], options: DedupOptions) -> Iterator[pa.Table]:
    """Yield signed tables of texts for `mark`, which keeps the shorter one of two near-duplicates."""
    source = iter(texts)
    while batch := list(islice(source, _SIGNED_TOGETHER)):
        table = signatures([text for _, text in batch], options)
        table = table.append_column("id", pa.array([name for name, _ in batch], pa.string()))
        yield table.append_column("length", pa.array([len(text) for _, text in batch], pa.int32()))


# --- a model as judge: sufficient and consistent conditions -------------------------------------------------------

_ASKED = (
    """\
Read the problem below. Do not solve it. Say whether its conditions are sufficient (everything that is needed for one \
answer is stated) and whether they are consistent (no two of them contradict each other, and none is impossible).

PROBLEM
{problem}
END OF PROBLEM

Answer with a JSON object whose keys "sufficient" and "consistent" hold true or false.""",
    """\
Somebody checks the problem below for faults before it is given to pupils. Do not solve it. Say whether something that \
is needed for one answer is missing, and whether conditions contradict each other or are impossible.

PROBLEM
{problem}
END OF PROBLEM

Answer with a JSON object whose keys "missing" and "contradiction" hold true or false.""",
)
_KEYS = (("sufficient", "consistent"), ("missing", "contradiction"))
JUDGE_SCHEMAS: tuple[dict[str, Any], ...] = tuple(
    {
        "type": "object",
        "properties": {key: {"type": "boolean"} for key in keys},
        "required": list(keys),
        "additionalProperties": False,
    }
    for keys in _KEYS
)


def judge_prompts(problem: str) -> tuple[str, ...]:
    """Return the two questions about a new problem."""
    return tuple(ask.replace("{problem}", quoted(problem)) for ask in _ASKED)


def judged(replies: Iterable[tuple[str, str]]) -> str | None:
    """Return why the judge drops a problem; None where both replies let it through.

    Args:
        replies: text and finish reason of the answers to `judge_prompts`, in order.
    """
    said = [_said(number, *reply) for number, reply in enumerate(replies)]
    if len(said) < len(_ASKED) or any(found is None for found in said):
        return "not_judged"
    first, second = said
    for place, reason in enumerate(("insufficient", "inconsistent")):
        if first[place] != second[place]:  # type: ignore[index] # both were read
            return "not_judged"
        if not first[place]:  # type: ignore[index]
            return reason
    return None


def _said(number: int, text: str, finish_reason: str) -> tuple[bool, bool] | None:
    """Return whether a reply calls the conditions sufficient, and consistent; None where it can't be read."""
    found = [read_text(text, finish_reason, key)[0] for key in _KEYS[number]]
    if not all(isinstance(value, bool) for value in found):
        return None
    return (found[0], found[1]) if number == 0 else (not found[0], not found[1])
