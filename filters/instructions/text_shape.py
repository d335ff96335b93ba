"""Units and shapes of a text: how words, sentences and lists are counted, what a title or a table is.

Words are runs of non-space characters with a letter or digit in them, and each Chinese or Japanese character,
as word processors count; other scripts without spaces count as few. A sentence ends at `.`, `!`, `?` or their
full-width forms before white space; a known abbreviation does not end one. Paragraphs are parted by blank
lines. All of it takes time linear in the text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from proofmill.filters.instructions.words import CHINESE_JAPANESE

WORD = re.compile(rf"[{CHINESE_JAPANESE}]|\w[^\s{CHINESE_JAPANESE}]*")
_SENTENCE = re.compile(r"(?<![.!?])[.!?]++[\"')\]]*+(?=\s|$)|[。！？]+")
_ABBREVIATIONS = frozenset({"mr.", "mrs.", "ms.", "dr.", "prof.", "st.", "vs.", "e.g.", "i.e.", "cf.", "no.", "fig."})
BULLET = re.compile(r"^[ \t]*[-*+•][ \t]+\S", re.MULTILINE)
NUMBERED = re.compile(r"^[ \t]*(\d{1,6})[.)][ \t]+\S", re.MULTILINE)
ITEM = re.compile(r"[-*+•][ \t]+\S|\d{1,6}[.)][ \t]+\S")
HEADING = re.compile(r"#{1,6}[ \t]+\S|<<[^<>\n]+>>$|\*\*[^*\n]+\*\*$")
_SMALL_WORDS = frozenset(
    {"a", "an", "and", "as", "at", "but", "by", "for", "from", "in", "nor", "of", "on", "or"}
    | {"per", "so", "the", "to", "via", "with", "yet"}
)
CAPITALS = re.compile(r"\b[^\W\d_a-z]{2,}\b")


def _sentences(text: str) -> int:
    ends = [match.end() for match in _SENTENCE.finditer(text) if not _abbreviates(text, match)]
    pieces = zip([0, *ends], [*ends, len(text)], strict=True)
    return sum(WORD.search(text, start, end) is not None for start, end in pieces)


def _abbreviates(text: str, match: re.Match[str]) -> bool:
    start = max(0, match.end() - 8)
    last = text[start : match.end()].split()
    return match[0] == "." and bool(last) and last[-1].lower() in _ABBREVIATIONS


def _paragraphs(text: str) -> int:
    return sum(bool(part.strip()) for part in re.split(r"\n[ \t]*\n", text))


UNITS: Mapping[str, Callable[[str], int]] = {
    "characters": len,
    "words": lambda text: len(WORD.findall(text)),
    "sentences": _sentences,
    "paragraphs": _paragraphs,
    "lines": lambda text: sum(bool(line.strip()) for line in text.split("\n")),
}


def lines(text: str) -> list[str]:
    """The non-empty lines, stripped."""
    return [line.strip() for line in text.split("\n") if line.strip()]


def _is_numbered(text: str) -> bool:
    """Every line is an item, and the numbers run from 1 without a gap."""
    numbers = [int(number) for number in NUMBERED.findall(text)]
    return 0 < len(numbers) == len(lines(text)) and numbers == list(range(1, len(numbers) + 1))


def _has_table(text: str) -> bool:
    """A Markdown table: a row, a row of dashes, a row, all with as many bars."""
    rows = [(line.count("|"), "---" in line and not line.strip("|-: \t")) for line in lines(text)]
    triples = zip(rows, rows[1:], rows[2:], strict=False)
    return any(rule and above == bars == below for (above, _), (bars, rule), (below, _) in triples)


FORMATS: Mapping[str, Callable[[str], bool]] = {
    "bullet_list": lambda text: 0 < len(BULLET.findall(text)) == len(lines(text)),
    "numbered_list": _is_numbered,
    "title": lambda text: HEADING.match(lines(text)[0]) is not None,
    "quotation": lambda text: len(text) > 2 and (text[0], text[-1]) in {('"', '"'), ("“", "”"), ("«", "»")},
    "no_commas": lambda text: not any(comma in text for comma in ",，、"),
    "single_line": lambda text: "\n" not in text,
    "code_block": lambda text: text.count("```") >= 2 and text.count("```") % 2 == 0,
    "table": _has_table,
}


def is_title(text: str) -> bool:
    """Whether every word but small ones after the first is capitalised."""
    words = [word for word in WORD.findall(text) if word[0].isalpha()]
    small = (n > 0 and word.strip(".,:;!?").lower() in _SMALL_WORDS for n, word in enumerate(words))
    return bool(words) and all(fine or word[0].isupper() for word, fine in zip(words, small, strict=True))
