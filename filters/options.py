"""The options of a multiple-choice question, and how an answer to it is read."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase

_WRAPPER = re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf|mathit)\s?\{([^{}]{0,500})\}")
_MARKUP = re.compile(r"[$*`]|\\[()\[\],;!\s]|\\left|\\right|\\quad")
_NAMES = re.compile(r"^(?:the\s)?(?:(?:answer|option|choice|letter)\s){1,2}", re.IGNORECASE)
_ENDS = " .,:;!?\"'"
_BECAUSE = re.compile(r"(?:because|since|as|for|which|is|and thus|so|with)\b|[-–—(]")
_DENIED = re.compile(r"(?:is|was)\s(?:wrong|incorrect|false|not)\b|(?:isn't|cannot|can't)\b")
_NUMBER = re.compile(r"[-+]?\d{1,30}(?:\.\d{1,30})?")
_GOES_ON = re.compile(
    r"\s?(?:\\?[!%]|[\^*/+=×·÷<>]|\\(?!quad|text)[a-z]+|[-–—:(]\s?\d|out\sof\b|times\b|(?:hundred|thousand|million|billion)s?\b)"
)
_OPERATORS = "=<>+*/^"
_SHORT = 4  # characters of "(b)." - in anything longer, a lower-case letter is a word
_MAX_OPTIONS = len(ascii_uppercase)


@dataclass(frozen=True, slots=True)
class Reading:
    """What an answer says: the labels it names (none, one or several), and whether it contradicts itself."""

    labels: tuple[str, ...]
    contradiction: bool = False


@dataclass(frozen=True)
class Options:
    """Labels and texts of a question's options, in order; texts are normalised."""

    labels: tuple[str, ...]
    texts: tuple[str, ...]

    @functools.cached_property
    def _by_length(self) -> list[tuple[str, str]]:
        pairs = zip(self.texts, self.labels, strict=True)
        return sorted(((text, label) for text, label in pairs if text), key=lambda pair: -len(pair[0]))

    @functools.cached_property
    def _by_text(self) -> dict[str, str | None]:
        """Label by text without spaces; None where two options have it."""
        found: dict[str, str | None] = {}
        for text, label in zip(self.texts, self.labels, strict=True):
            key = text.replace(" ", "")
            found[key] = None if key in found else label
        return found

    @functools.cached_property
    def _label(self) -> re.Pattern[str]:
        names = "|".join(map(re.escape, self.labels))
        return re.compile(rf"[(\[]?({names})(?![\w'^=+/\\<>])[)\]]?[).:]?")

    @functools.cached_property
    def _next_label(self) -> re.Pattern[str]:
        names = "|".join(re.escape(label.lower()) for label in self.labels)
        joint = r"\s?(?:,|;|/|&|\+|[-–—]|and\b|or\b|but\b|unless\b|\s)\s?(?:(?:and|or|maybe|perhaps|also)\s){0,2}"
        joint += r"(?:option\s)?[(\[]?"
        return re.compile(rf"{joint}({names})(?:[).:\],;]|$|\s(?:and|or)\b)")

    def gold(self, answer: str | None) -> str | None:
        """The label of the gold, given as label, option text or 0-based index; None if it is none of them."""
        plain = (answer or "").strip()
        if len(plain) > 2 and plain[0] == "(" and plain[-1] == ")":
            plain = plain[1:-1]
        label = plain.rstrip(".").upper()
        if label in self.labels:
            return label
        key = normalise(plain).replace(" ", "")
        if key in self._by_text:
            return self._by_text[key]
        index = int(plain) if plain.isdecimal() and len(plain) <= len(str(_MAX_OPTIONS)) else _MAX_OPTIONS
        return self.labels[index] if index < len(self.labels) else None

    def read(self, content: str, *, whole: bool) -> Reading:
        """Read the content of an answer statement.

        Args:
            content: what stands in the box, or after "the answer is".
            whole: the content must be nothing but an answer; else an explanation may follow it.
        """
        plain = clean(content)
        if label := self._by_text.get(normalise(plain).replace(" ", "")):
            return Reading((label,))
        match = self._label.match(plain) or self._label.match(plain.upper() if len(plain) <= _SHORT else "")
        if match is None:
            return self._read_text(normalise(plain), whole)
        closed = plain[match.end() - 1] in ").:]"
        rest = normalise(plain[match.end() :])
        if _DENIED.match(rest) or (rest and plain.startswith("?", match.end())):
            return Reading(())
        return self._read_label(match[1], closed, rest, whole)

    def _read_label(self, label: str, closed: bool, rest: str, whole: bool) -> Reading:
        """The reading of a label, `closed` by a bracket, dot or colon, with `rest` behind it."""
        own, named = self._text(label), self._prefix(rest)
        if named is not None and self._text(named) != own:
            return Reading((label, named), contradiction=True)
        if named is None and _other_number(rest, own):
            return Reading((label,), contradiction=True)
        tail = rest[len(own) :] if named else rest
        if other := self._next_label.match(" " + tail):
            return Reading((label, other[1].upper()))
        if named or not tail:
            return Reading((label,))
        is_word = label in {"A", "I"} and not closed and not _BECAUSE.match(rest)
        return Reading(() if whole or is_word or rest[0] in _OPERATORS else (label,))

    def _read_text(self, text: str, whole: bool) -> Reading:
        """The reading of an answer that names no label first: an option's text, a label perhaps behind it."""
        label = self._prefix(text)
        if label is None:
            return Reading(())
        tail = text[len(self._text(label)) :]
        behind = re.match(r"\s?[(\[](?:option\s)?(\w)[)\]]", tail)
        if behind and behind[1].upper() in self.labels and behind[1].upper() != label:
            return Reading((label, behind[1].upper()), contradiction=True)
        joined = re.match(r"\s?(?:,|;|/|&|and\b|or\b)\s?(?:or\s|and\s)?", tail)
        if joined and (other := self._prefix(tail[joined.end() :])) and other != label:
            return Reading((label, other))
        return Reading(()) if whole and tail.strip(_ENDS) and not behind else Reading((label,))

    def _text(self, label: str) -> str:
        return self.texts[self.labels.index(label)]

    def _prefix(self, text: str) -> str | None:
        """The label of the longest option that `text` begins with, up to a word boundary."""
        for option, label in self._by_length:
            if text.startswith(option) and not _continues(option, text[len(option) :]):
                return label
        return None


def _continues(option: str, after: str) -> bool:
    """Whether the word or number at the end of `option` goes on in what stands after it."""
    if not after or not option[-1].isalnum():
        return False
    if after[0].isalnum() or (option[-1].isdigit() and after[0] in ".,/^" and after[1:2].isdigit()):
        return True
    return _NUMBER.fullmatch(option) is not None and _GOES_ON.match(after) is not None


def _other_number(rest: str, own: str) -> bool:
    """Whether the label is followed by a number other than its own."""
    said, meant = _NUMBER.match(rest), _NUMBER.fullmatch(own)
    return said is not None and meant is not None and float(said[0]) != float(meant[0])


def clean(text: str) -> str:
    """A text without Markdown and LaTeX wrappers, its white space plain, a leading "option" gone."""
    if "\\" in text:
        text = _WRAPPER.sub(r"\1", text)
    return _NAMES.sub("", " ".join(_MARKUP.sub(" ", text).split()))


def normalise(text: str) -> str:
    """The form in which option texts are compared: wrappers, case and outer punctuation do not count."""
    return clean(text).lower().strip(_ENDS)


def parse_options(raw: object) -> Options:
    """The options of `Problem.info["options"]`: a list of texts, or a mapping of label to text.

    Raises:
        ValueError: there are none, too many, or labels that are the same.
    """
    if isinstance(raw, Mapping):
        pairs = [(str(label).strip("() .").upper(), str(text)) for label, text in raw.items()]
    elif isinstance(raw, Sequence) and not isinstance(raw, str):
        pairs = [(label, str(text)) for label, text in zip(ascii_uppercase, raw, strict=False)]
    else:
        raise ValueError("no options")
    if not pairs or len(pairs) != len(raw) or len({label for label, _ in pairs}) < len(pairs):
        raise ValueError("no options, more than 26, or a label twice")
    return _build(tuple(pairs))


@functools.lru_cache(maxsize=4096)
def _build(pairs: tuple[tuple[str, str], ...]) -> Options:
    texts = tuple(normalise(_without_label(label, text)) for label, text in pairs)
    return Options(tuple(label for label, _ in pairs), texts)


def _without_label(label: str, text: str) -> str:
    """Data sets often repeat the label in the text: `["A) Paris", …]`."""
    return re.sub(rf"^\s?\(?{re.escape(label)}[).:]\s", "", text)
