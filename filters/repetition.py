"""Repetition and degeneration of a trace: what a reader would call a broken text, whatever its answer.

The measures of duplication are those of Gopher (Rae et al. 2021, arXiv 2112.11446, table A1). They were made
for web pages, so here they see prose only: code blocks, table rows, formulas and LaTeX commands are left out,
reasoning and final part are measured apart (a final part restates its reasoning), and short texts, where one
noun phrase fills a fifth, have none. A loop is told by its period (`degenerate_text`).
Boilerplate is what a template leaves behind in a trace: its tokens, another speaker's turn, unfilled placeholders.
That many traces begin in the same words is the style of one model, for which no single trace is to blame; where
nothing but such words is left, they are near-duplicates.

The headline number, `Quality.repetition`, is the share of a text that says again what it said before: the
characters of its prose in 10-word sequences that occurred earlier, or those of a loop after its first turn,
whichever is more; of reasoning and final part, the worse.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field

from proofmill.data.schemas import SPLIT_COLUMNS, column
from proofmill.data.sections import Section, Share
from proofmill.filters.base import DropRule, MapFilter, Row
from proofmill.filters.degenerate_text import COMMAND, COUNTER_TURNS, FENCE, Loop, find_loop, is_prose, switches
from proofmill.filters.learning_potential import LearningOptions

MIN_PROSE_WORDS = 100
"""Words of prose below which shares say nothing: one restated sentence is then a quarter of the text. Gopher
drops documents below 50."""

MIN_TOP_WORDS = 300
"""The same for the commonest n-gram: a short solution says "pounds of meat" in every sentence. Own choice."""

MIN_REASONING_WORDS = 5
"""Words, numbers and names below which reasoning is a bare answer."""

LIMITS: Mapping[str, float] = {
    "duplicate_lines": 0.30,
    "duplicate_line_chars": 0.20,
    "top_2_gram_chars": 0.20,
    "top_3_gram_chars": 0.18,
    "top_4_gram_chars": 0.16,
    "duplicate_10_gram_chars": 0.33,
}
"""Largest share of each measure in a sound text: Gopher's, but for the last. Gopher allows 0.15 (5-grams) to
0.10 (10-grams); reasoning that goes step by step, and checks its steps, repeats its phrases far more often
than a web page does, so shorter n-grams are not counted, and of 10-grams a third of the text may recur."""

_MAX_CHARS = 200_000  # of longer texts only the two ends are measured
_GRAM = 10
_MIN_LINE_WORDS = 3
_SHOWN = 80  # characters of evidence

_WORD = re.compile(r"\w+")
_DIGITS = re.compile(r"\d+")
_SENTENCE_END = re.compile(r"(?<=[.!?;])\s+")
_TEMPLATE = re.compile(
    r"<\|(?:im_start|im_end|user|assistant|system|eot_id|start_header_id|endoftext|end)\|>"
    r"|\[/?INST\]|<</?SYS>>|</?s>"
    r"|^(?:#{2,3} ?)?(?:Human|User|Assistant|Instruction|Question)\s?:"
    r"|\[(?:insert|your|enter|fill in) [^\]\n]{1,40}\]|\bas an AI (?:language )?model\b",
    re.MULTILINE | re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Quality:
    """What was found in one trace.

    Attributes:
        repetition: share of the text that repeats earlier text, in [0, 1]; see the module.
        loop: the text, or its reasoning, ends in a loop or holds one.
        truncated: sampling stopped at the length limit.
        unclosed: the think block never closes.
        template: chat-template tokens, another speaker's turn, or unfilled placeholders.
        script_switch: the alphabet or language changes in the middle.
        empty_reasoning: there is no reasoning, or nothing but an answer.
        reason: the first limit that the trace breaks, a flag's name or a key of `LIMITS`; None if none.
        evidence: what to look at: the repeated unit, the switched words, the value against its limit.
    """

    repetition: float
    loop: bool
    truncated: bool
    unclosed: bool
    template: bool
    script_switch: bool
    empty_reasoning: bool
    reason: str | None
    evidence: str | None


def measure(
    text: str, *, reasoning: str, final: str, closed: bool = True, finish_reason: str | None = None, prompt: str = ""
) -> Quality:
    """Measure one trace.

    Args:
        text: the response as sampled.
        reasoning: its reasoning.
        final: the statement of the answer.
        closed: whether its think block closes.
        finish_reason: why sampling stopped; "length" means that the response was cut.
        prompt: the problem; alphabets and languages that occur in it are no switch.

    Time is linear in the text, and bounded: of more than 200,000 characters the two ends are measured.
    """
    # Apart, since a final part restates its reasoning, which is no repetition.
    parts = [_bounded(part) for part in ((reasoning, final) if reasoning.strip() else (text,))]
    shapes = [_Shape.of(part) for part in parts]
    flags = _flags(text, closed, finish_reason, prompt, shapes)
    flags["empty_reasoning"] = _empty_reasoning(reasoning, final)
    broken = next(((name, seen) for name, (found, seen) in flags.items() if found), None)
    broken = broken or next((limit for shape in shapes if (limit := _broken_limit(shape.shares))), None)
    reason, evidence = broken or (None, None)
    up = {name: found for name, (found, _) in flags.items()}
    return Quality(max(shape.repetition for shape in shapes), **up, reason=reason, evidence=evidence)


MAX_LUCK = 0.5
"""Default of the rule `lucky`: a trace goes where more than half of the right answers to its problem are guesses.

That is p < 2g / (1 + g): below 0.67 for yes or no, 0.4 for four options, 0.18 for ten. Measured on real answers, luck
from half of the models and the share known from the others:

| right answers with luck | < 0.05 | to 0.1 | to 0.2 | to 0.3 | to 0.5 | above |
| --- | --- | --- | --- | --- | --- | --- |
| MMLU-Pro, ten options, 13 models: known | 76 % | 48 % | 44 % | 26 % | 20 % | 23 % |
| share of all right answers | 48 % | 25 % | 6 % | 17 % | 2 % | 2 % |
| family relations, two to four options, 14 models: known | 78 % | 71 % | 76 % | 72 % | 57 % | 62 % |
| share of all right answers | 46 % | 14 % | 25 % | 8 % | 5 % | 3 % |

So 0.3 would drop another 2 to 5 % of the right answers, known no less than those above 0.5: a lower threshold
buys no better data, and above it the rule goes by what luck means.
"""


class QualityOptions(Section):
    """What counts as degenerate; measured once, decided in the selection."""

    max_repetition: Share = Field(0.5, description="repetition above it drops a trace")
    max_luck: Share = Field(MAX_LUCK, description="luck above it drops a trace; 1: keep all")
    learning: LearningOptions | None = Field(None, description="learning potential under a student; null: not measured")


def annotate(rows: Iterable[Row], _: QualityOptions) -> Iterator[Row]:
    """Yield `repetition` in [0, 1] and `quality_detail` of each row.

    Args:
        rows: `prompt`, `response`, its parts, and where known `finish_reason`.
    """
    for row in rows:
        quality = measure(
            row["response"],
            reasoning=row["reasoning"],
            final=row["final"],
            closed=row["reasoning_closed"],
            finish_reason=row["finish_reason"],
            prompt=row["prompt"] or "",
        )
        detail = quality.reason and (f"{quality.reason}: {quality.evidence}" if quality.evidence else quality.reason)
        yield {"repetition": quality.repetition, "quality_detail": detail}


def is_bare() -> pl.Expr:
    """Return an expression: whether a trace has next to no reasoning, so that it suits short answers alone."""
    return pl.col("quality_detail").str.starts_with(_BARE).fill_null(False)


_BARE = "empty_reasoning"

QUALITY = MapFilter(
    name="quality",
    version=2,
    section="quality",
    options=QualityOptions,
    reads=("prompt", "response", *SPLIT_COLUMNS),
    optional=("finish_reason",),
    adds=pa.schema(
        [
            column("repetition", pa.float32(), "share of the text that says again what it said before, 0 to 1"),
            column("quality_detail", pa.string(), "what is broken in the text, and the evidence; null: nothing"),
        ]
    ),
    command=pa.schema([column("quality_fault", pa.string(), "why a row was not measured")]),
    why=lambda added: added["quality_fault"],
    annotate=annotate,
    fault=lambda kind, detail: {"quality_fault": detail if kind == "row" else kind},
    rules=(
        DropRule(
            "repetition",
            lambda options: pl.col("repetition") > options.max_repetition,
            "more of the text than `quality.max_repetition` repeats earlier text",
            hangs_on=("max_repetition",),
            evidence=("repetition", "quality_detail"),
        ),
        DropRule(
            "degenerate",
            lambda _: pl.col("quality_detail").is_not_null() & ~is_bare(),
            "a loop, template tokens, another script, or more repetition than a sound text has; a bare answer too, "
            "unless it becomes a short form",
            evidence=("quality_detail",),
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class _Shape:
    """What is measured of one part of a trace."""

    loop: Loop | None
    shares: Mapping[str, float]
    repetition: float

    @classmethod
    def of(cls, part: str) -> _Shape:
        """Measure a part."""
        loop = find_loop(part)
        shares = duplication(part)
        looped = min(1.0, loop.repeated / len(part.rstrip())) if loop else 0.0
        return cls(loop, shares, max(looped, shares.get("duplicate_10_gram_chars", 0.0)))


def _flags(
    text: str, closed: bool, finish_reason: str | None, prompt: str, shapes: Sequence[_Shape]
) -> dict[str, tuple[bool, str | None]]:
    """Return each flag of `Quality`, in the order of the fields: whether it is set, and what shows it."""
    prose = FENCE.sub("", _bounded(text))
    loop = next((shape.loop.unit for shape in shapes if shape.loop), None)
    template = _TEMPLATE.search(prose)
    switch = switches(prose, prompt)
    seen = {"loop": loop, "template": template and template[0], "script_switch": switch}
    return {
        "loop": (loop is not None, _shown(seen["loop"])),
        "truncated": (finish_reason == "length", None),
        "unclosed": (not closed, None),
        "template": (template is not None, _shown(seen["template"])),
        "script_switch": (switch is not None, _shown(seen["script_switch"])),
    }


def _empty_reasoning(reasoning: str, final: str) -> tuple[bool, str | None]:
    """Return whether the answer comes first, with the text before and behind it."""
    # A thousand characters hold more words than the limit asks for.
    before = len(_WORD.findall(reasoning[:1000]))
    behind = len(_WORD.findall(final[:1000]))
    seen = f"{before} words before the answer, {behind} in it and behind it: {reasoning.strip()}"
    return before < MIN_REASONING_WORDS, _shown(seen.removesuffix(": "))


def _shown(text: str | None) -> str | None:
    return None if text is None else text.strip()[:_SHOWN]


def _broken_limit(shares: Mapping[str, float]) -> tuple[str, str] | None:
    """Return the first measure above its limit, and by how much."""
    for name, share in shares.items():
        if share > LIMITS[name]:
            return name, f"{share:.2f} > {LIMITS[name]:.2f}"
    return None


def duplication(text: str) -> dict[str, float]:
    """Return the measures of `LIMITS` of a text's prose; empty where there is too little of it.

    `duplicate_n_gram_chars` is the share of word characters inside n-grams that occurred before;
    `top_n_gram_chars` that of all occurrences of the commonest one; `duplicate_lines` and
    `duplicate_line_chars` the share of lines (of three words and more) that occurred before. Of sentences that
    differ in their numbers alone, as cases do, n-grams see one (those that occurred before: unless there are
    twice as many as `COUNTER_TURNS` has).
    """
    prose = list(_prose_lines(text))
    lines = [_WORD.findall(line) for line in prose]
    words = [word for line in lines for word in line]
    if len(words) < MIN_PROSE_WORDS:
        return {}
    shares = _duplicate_lines(lines)
    varied = _varied(prose) if len(words) >= MIN_TOP_WORDS else []
    if len(varied) >= MIN_TOP_WORDS:
        grams = _Grams(varied)
        for size in (2, 3, 4):
            shares[f"top_{size}_gram_chars"] = grams.top(size) / sum(map(len, varied))
    words = _without_cases(prose)
    if len(words) >= MIN_PROSE_WORDS:
        shares[f"duplicate_{_GRAM}_gram_chars"] = _Grams(words).repeated(_GRAM) / sum(map(len, words))
    return shares


def _varied(lines: Iterable[str]) -> list[str]:
    """Return the words of all sentences; of those that differ in their numbers alone, as cases do, the first one's."""
    sentences = (sentence for line in lines for sentence in _SENTENCE_END.split(line))
    # Reversed, so that the first sentence of a kind is written last and stays.
    different = {_DIGITS.sub("#", sentence): sentence for sentence in reversed(list(sentences))}
    return [word for sentence in reversed(different.values()) for word in _WORD.findall(sentence)]


def _without_cases(lines: Iterable[str]) -> list[str]:
    """Return the words of all sentences; of a few that differ in their numbers alone, as cases do, only the first's."""
    sentences = [sentence for line in lines for sentence in _SENTENCE_END.split(line)]
    keys = [_DIGITS.sub("#", sentence) for sentence in sentences]
    times = Counter(keys)
    first: dict[str, str] = {}
    kept = [
        sentence
        for key, sentence in zip(keys, sentences, strict=True)
        if first.setdefault(key, sentence) == sentence
        or times[key] >= 2 * next(turns for length, turns in COUNTER_TURNS if len(key) >= length)
    ]
    return [word for sentence in kept for word in _WORD.findall(sentence)]


def _duplicate_lines(lines: Sequence[Sequence[str]]) -> dict[str, float]:
    keys = [" ".join(line) for line in lines if len(line) >= _MIN_LINE_WORDS]
    again = Counter(keys) - Counter(set(keys))
    chars = sum(map(len, keys)) or 1
    return {
        "duplicate_lines": again.total() / max(1, len(keys)),
        "duplicate_line_chars": sum(len(key) * times for key, times in again.items()) / chars,
    }


class _Grams:
    """The n-grams of some words, as numbers that are equal for equal n-grams alone.

    Args:
        words: at least as many as the longest n-gram has.
    """

    def __init__(self, words: Sequence[str]) -> None:
        number: dict[str, int] = {}
        self._lengths = np.fromiter(map(len, words), np.int64, len(words))
        self._by_size = {1: np.array([number.setdefault(word, len(number)) for word in words], np.int64)}

    def top(self, size: int) -> int:
        """Return the characters in all occurrences of the commonest n-gram that occurs at least three times."""
        grams = self._of(size)
        # How often each n-gram occurs, at each of its places.
        times = np.bincount(grams)[grams]
        place = int(times.argmax())  # of several, the first in the text
        return int(self._lengths[place : place + size].sum() * times[place]) if times[place] > 2 else 0

    def repeated(self, size: int) -> int:
        """Return the characters of the words inside n-grams that occurred before, each word once."""
        grams = self._of(size)
        again = np.ones(len(grams), np.int64)
        again[np.unique(grams, return_index=True)[1]] = 0
        # A word is inside if any of the n-grams that cover it occurred before; so overlapping ones count it once.
        inside = np.convolve(again, np.ones(size, np.int64)) > 0
        return int(self._lengths[inside].sum())

    def _of(self, size: int) -> NDArray[np.int64]:
        """Return the numbers of all n-grams in order, from those of their two halves."""
        if size not in self._by_size:
            # The largest power of two below `size`: an n-gram is a pair of two parts, so log n steps number them all.
            half = 1 << (size - 1).bit_length() - 1
            first, second = self._of(half), self._of(size - half)[half:]
            pairs = first[: len(second)] * (int(second.max()) + 1) + second
            self._by_size[size] = np.unique(pairs, return_inverse=True)[1].astype(np.int64)
        return self._by_size[size]


def _prose_lines(text: str) -> Iterator[str]:
    """Yield the lines of prose, in small letters."""
    for line in FENCE.sub("", text).split("\n"):
        # Table rows, of Markdown and of LaTeX.
        if not line or line.isspace() or line.count("|") > 1 or "&" in line:
            continue
        plain = COMMAND.sub(" ", line) if "\\" in line else line
        if is_prose(plain):
            yield plain.lower()


def _bounded(text: str) -> str:
    """Return a text, or its two ends."""
    if len(text) <= _MAX_CHARS:
        return text
    return text[: _MAX_CHARS // 2] + "\n" + text[-_MAX_CHARS // 2 :]
