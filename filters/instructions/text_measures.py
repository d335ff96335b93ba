"""How a text is measured and searched: words, sentences, paragraphs, list items, shapes, and where a phrase stands.

Words are runs of non-space characters with a letter or digit in them, and each Chinese or Japanese character, as word
processors count; other scripts without spaces count as few. Sentences are those of the segmenter `sentencex`, which
knows abbreviations and the marks of many scripts. Paragraphs are parted by blank lines; a line of asterisks or dashes
divides, and is neither a paragraph nor a list item.

Texts that look the same are the same: letters and their accents in one piece (Unicode's NFC) or two, straight and curly
quotes, with and without invisible characters; a phrase may run over a line's end, and through Markdown's marks. A word
ends where the next character is neither letter, digit nor mark. Where words are written without spaces (Chinese,
Japanese, Thai) or with endings attached (Korean), a keyword is found inside a run of letters.
All of it takes time linear in the text.
"""

from __future__ import annotations

import functools
import importlib
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from proofmill.filters.instructions.constraint_base import ConstraintError

CHINESE_JAPANESE = (
    "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
"""Ranges of a regular expression's set: characters, each of which a word processor counts as a word."""
_UNSPACED = re.compile(
    f"[{CHINESE_JAPANESE}\u0e00-\u109f\u1100-\u11ff\u1780-\u17ff\u3100-\u318f\ua960-\ua97f\uac00-\ud7ff]"
)
_REACH = 4  # characters: Markdown has at most three underscores in a row
_SAME = str.maketrans(
    dict.fromkeys("\u2018\u2019\u02bc\u2032", "'")
    | dict.fromkeys("\u2010\u2011", "-")
    | dict.fromkeys("\u201c\u201d", '"')
    | dict.fromkeys("\u00ad\u200b\u200c\u200d\u2060\ufeff\ufe0e\ufe0f")
)
_MARKS = re.compile(r"[*`~]+|(?<![^\W_])_+|_+(?![^\W_])")  # an underscore inside a word is a character of it
WORD = re.compile(rf"[{CHINESE_JAPANESE}]|\w[^\s{CHINESE_JAPANESE}]*")
_DIVIDER = re.compile(r"[ \t]*(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})$")
_BULLET_MARKS = "-*+•–—◦●○▪■‣·✓✔→➤➢★"
_BULLET = re.compile(rf"[ \t]*(?:[{re.escape(_BULLET_MARKS)}][ \t]+|・[ \t]*)\S")
_NUMBERED = re.compile(
    r"[ \t]*(?:\*\*|__)?(?:\(?(\d{1,6})(?:[.)）]{1,2}(?:[ \t]+|(?=\*\*))|[、．][ \t]*)|[①-⑳][ \t]*)\S"
)
HEADING = re.compile(r"#{1,6}[ \t]+\S|<<[^<>\n]+>>$|\*\*[^*\n]+\*\*$")
_CAPITALS = re.compile(r"\b[^\W\d_a-z]{2,}\b")
_TABLE_RULE = re.compile(r"\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?")
_COMMAS = frozenset(
    ",\u060c\u3001\uff0c\ufe50\ufe51\uff64\u1363\u055d\u07f8\u1802\u1808\ua4fe\ua60d\ua6f5\u2e41\u2e32\u2e34"
)
_QUOTES = {"“": "”", "«": "»", "‹": "›", "「": "」", "『": "』", "„": "“", "‘": "’", "»": "«", "《": "》"}
_SMALL_WORDS = frozenset(
    {"a", "an", "and", "as", "at", "but", "by", "for", "from", "in", "nor", "of", "on", "or"}
    | {"per", "so", "the", "to", "via", "with", "yet"}
)
_ENDINGS = frozenset(".!?。！？:)]}\"'”»`*|$…؟۔।॥%‰」』）】》〉’›;~")
_NO_NUMBER = re.compile(r"\b[Nn]o\.(?=\s+[A-Z])")  # the word, where the segmenter sees the abbreviation of "number"
_UNKNOWN = re.compile(r"\b(Ms|Ft|Ph\.D|[Aa]pprox|[Vv]ol|eds?|Sra|Srta)\.(?=\s+[A-Z\d])")  # to the segmenter
_BEHIND_BRACKET = re.compile(r"(?<=[.!?]\))\s+(?=[A-Z])")
_MAX_CHUNK = 4_000  # characters that the segmenter sees at once
_SURE_END = re.compile(r"[a-z]{4}[.!?]\s+(?=[A-Z])|[。！？]|\n\n")
_GOES_ON = frozenset("/\\&#@,،、$")  # punctuation behind which a text goes on
_SPACE = re.compile(r"\s+")


def library(name: str) -> Any:
    """Import an optional library.

    Raises:
        ConstraintError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConstraintError(f"constraint needs the package {name}; install it: pip install {name}") from error


# --- counts -----------------------------------------------------------------------------------------


def sentences(text: str) -> list[str]:
    """Return the sentences of a text that hold a word, Markdown's marks left out."""
    plain = _MARKS.sub("", "\n".join(line for line in text.split("\n") if not _DIVIDER.match(line)))
    plain = _UNKNOWN.sub(r"\1", _NO_NUMBER.sub("not.", plain))
    return [part for part in _segments(plain) if WORD.search(part)]


def _segments(text: str) -> list[str]:
    """Return what the segmenter takes for sentences; it leaves a quotation whole, which may be the response."""
    segment = library("sentencex").segment
    found: list[str] = []
    for part in (piece.strip() for chunk in _chunks(text) for piece in segment("en", chunk)):
        closing = '"' if part[:1] == '"' else _QUOTES.get(part[:1])
        quoted = closing is not None and len(part) > 1 and part.endswith(closing) and closing not in part[1:-1]
        found += segment("en", part[1:-1]) if quoted else _BEHIND_BRACKET.split(part)
    return found


def _chunks(text: str) -> Iterator[str]:
    """Yield pieces that end where a sentence surely does, for the segmenter takes quadratic time on runs of marks."""
    while len(text) > _MAX_CHUNK:
        ends = [match.end() for match in _SURE_END.finditer(text, 0, _MAX_CHUNK)]
        end = ends[-1] if ends else _MAX_CHUNK
        yield text[:end]
        text = text[end:]
    yield text


def paragraphs(text: str) -> list[str]:
    """Return what blank lines and dividers part."""
    parts: list[list[str]] = [[]]
    for line in text.split("\n"):
        if not line.strip() or _DIVIDER.match(line):
            parts.append([])
        else:
            parts[-1].append(line)
    return ["\n".join(part) for part in parts if part]


def lines(text: str) -> list[str]:
    """Return the non-empty lines, stripped."""
    return [line.strip() for line in text.split("\n") if line.strip()]


UNITS: Mapping[str, Callable[[str], int]] = {
    "characters": len,
    "words": lambda text: len(WORD.findall(text)),
    "sentences": lambda text: len(sentences(text)),
    "paragraphs": lambda text: len(paragraphs(text)),
    "lines": lambda text: len(lines(text)),
}


def is_bullet(line: str) -> bool:
    """Return whether a line is an item of a bullet list."""
    return _BULLET.match(line) is not None and not _DIVIDER.match(line)


def item_number(line: str) -> int | None:
    """Return the number of an item of a numbered list."""
    match = _NUMBERED.match(line)
    if match is None:
        return None
    return int(match[1]) if match[1] else int(unicodedata.numeric(line.strip("* _\t")[0]))


def count_items(text: str, style: str) -> int:
    """Return the list items of a style: `bullet`, `numbered`, or `any`."""
    rows = text.split("\n")
    bullets = 0 if style == "numbered" else sum(map(is_bullet, rows))
    return bullets + (0 if style == "bullet" else sum(item_number(row) is not None for row in rows))


def capital_words(text: str) -> int:
    """Return the words of capitals only, of two letters or more."""
    return sum(word.isupper() for word in _CAPITALS.findall(_MARKS.sub("", text)))


# --- shapes -----------------------------------------------------------------------------------------


def _is_numbered_list(text: str) -> bool:
    """Every line is an item, and the numbers run from 1 without a gap."""
    numbers = [item_number(line) for line in lines(text)]
    return numbers == list(range(1, len(numbers) + 1))


def _has_table(text: str) -> bool:
    """A Markdown table: a row, a row of dashes, a row, all with as many bars."""
    rows = [(line.count("|"), _TABLE_RULE.fullmatch(line) is not None) for line in lines(text)]
    triples = zip(rows, rows[1:], rows[2:], strict=False)
    return any(rule and above == bars == below > 0 for (above, _), (bars, rule), (below, _) in triples)


def _has_title(text: str) -> bool:
    """A first line that is a heading, or underlined with equals signs."""
    first, second = [*lines(text)[:2], ""][:2]
    return HEADING.match(first) is not None or set(second) == {"="}


def _is_quotation(text: str) -> bool:
    """One pair of quotation marks around the whole, and not two quotations with something between them."""
    if len(text) <= 2:
        return False
    opening, inner = text[0], text[1:-1]
    if opening == '"':
        return text[-1] == '"' and '"' not in inner.replace('\\"', "")
    closing = "”" if opening == "„" and text[-1] == "”" else _QUOTES.get(opening)
    if closing is None or text[-1] != closing:
        return False
    depth = 1
    for char in inner:
        depth += (char == opening) - (char == closing)
        if depth == 0:
            return False
    return True


FORMATS: Mapping[str, Callable[[str], bool]] = {
    "bullet_list": lambda text: all(map(is_bullet, lines(text))),
    "numbered_list": _is_numbered_list,
    "title": _has_title,
    "quotation": _is_quotation,
    "no_commas": lambda text: _COMMAS.isdisjoint(text),
    "single_line": lambda text: "\n" not in text,
    "code_block": lambda text: any(text.count(fence) >= 2 and text.count(fence) % 2 == 0 for fence in ("```", "~~~")),
    "table": _has_table,
}


def is_title(text: str) -> bool:
    """Return whether every word but small ones after the first is capitalised."""
    words = [word for word in WORD.findall(text) if word[0].isalpha()]
    small = (n > 0 and word.strip(".,:;!?").lower() in _SMALL_WORDS for n, word in enumerate(words))
    return bool(words) and all(fine or word[0].isupper() for word, fine in zip(words, small, strict=True))


def is_finished(text: str) -> bool:
    """Return whether every code fence is closed, and the last line ends something: a sentence, an item, a picture."""
    last = lines(text)[-1].rstrip("\ufe0e\ufe0f\u200d")
    ended = last[-1:] in _ENDINGS or is_bullet(last) or item_number(last) is not None
    drawn = last[-1:] not in _GOES_ON and unicodedata.category(last[-1:] or "a") in ("So", "Sk", "Sc", "Po", "Pf", "Pe")
    return (ended or drawn) and text.count("```") % 2 == 0


# --- phrases ----------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=8)
def fold(text: str, *, case: bool = False) -> str:
    """Return a form that is equal for texts that read the same; `case` keeps upper and lower case apart."""
    seen = unicodedata.normalize("NFC", text).translate(_SAME)
    return seen if case else unicodedata.normalize("NFC", seen.casefold())


@functools.lru_cache(maxsize=8)
def seen(text: str, *, case: bool = False, marks: bool = False) -> str:
    """Return a text as a reader sees it: folded, single spaces, and without Markdown's marks unless asked for."""
    folded = fold(text, case=case)
    return _SPACE.sub(" ", folded if marks else _MARKS.sub("", folded))


def has_marks(text: str) -> bool:
    """Return whether a keyword is itself written with characters that Markdown uses as marks."""
    return _MARKS.search(text) is not None


def spans(keyword: str, text: str, *, whole_words: bool) -> Iterator[int]:
    """Yield where `keyword` begins in `text`, both as they are seen."""
    start = text.find(keyword)
    while start >= 0:
        end = start + len(keyword)
        whole = not whole_words or _is_whole(text, start, end)
        if whole:
            yield start
        start = text.find(keyword, end if whole else start + 1)


def _is_whole(text: str, start: int, end: int) -> bool:
    """Return whether `text[start:end]` is no mere part of a word."""
    before = _beyond(text[max(0, start - _REACH) : start][::-1])
    return not (_joins(text[start], before) or _joins(text[end - 1], _beyond(text[end : end + _REACH])))


def _beyond(rest: str) -> str:
    """Return the next character of a word, underscores aside; empty where none follows."""
    return rest.lstrip("_")[:1]


def _joins(edge: str, beyond: str) -> bool:
    """Return whether a keyword's first or last character makes one word with what is beyond."""
    if not _is_word(edge) or not _is_word(beyond):
        return False
    return not (_UNSPACED.match(edge) or _UNSPACED.match(beyond))


def _is_word(char: str) -> bool:
    return char.isalnum() or char == "_" or (bool(char) and unicodedata.category(char)[0] == "M")
