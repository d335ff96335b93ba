"""The options of a multiple-choice question, and how an answer to it is read."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase

from proofmill.filters.answers.endings import TAIL, sentence_start
from proofmill.filters.answers.hedging import denied, negated, retracted
from proofmill.filters.answers.marks import Mark
from proofmill.filters.symbolic.dates import may_be_date, same_date
from proofmill.filters.symbolic.equality import equivalent, named_number
from proofmill.filters.symbolic.expressions import TooCostlyError
from proofmill.filters.symbolic.notation import FUNCTIONS
from proofmill.filters.symbolic.number_words import in_figures
from proofmill.filters.symbolic.units import known_unit

_WRAPPER = re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf|mathit)\s?\{([^{}]{0,500})\}")
_FULL_WIDTH = str.maketrans({0xFF01 + n: 0x21 + n for n in range(94)} | {"。": ".", "、": ",", "“": '"', "”": '"'})
_LABEL_NOUN = re.compile(r"(?<![A-Za-z])([A-Z])\s?(?:选项|项|です|である|だ(?!\w)|입니다|이다|번)")  # 选C项
_MINUS = re.compile("\u2212(?=\\d)")
_MARKUP = re.compile(r"[$*`\"]|\\[()\[\],;!\s]|\\left|\\right|\\quad")
_NAMES = re.compile(r"^(?:the\s)?(?:(?:answer|option|choice|letter)\s){1,2}", re.IGNORECASE)
_QUOTED = re.compile(r"(?<!\w)'(\w{1,2})'(?!\w)")
_BRACED = re.compile(r"[\s*]*(?:\\?\{|<|«|【|「)\s?([A-Z])\s?(?:\\?\}|>|»|】|」)[\s*.]*")  # {B}
_RUN = re.compile(r"(?<!\\)\b[A-Za-z]{3,}")
_FORMULA_WORDS = FUNCTIONS | {"sqrt", "pi", "frac", "text"}
_MAX_FORMULA = 200
_ENDS = " .,:;!?\"'"


_ARTICLE = re.compile(r"[\s*\"]{0,3}(?:the|an?)\s(?=\w{2})", re.IGNORECASE)
_BECAUSE = re.compile(r"(?:because|since|as|for|which|is|and thus|so|with)\b|[-–—(]")
_EXPLAINED = re.compile(r"(?:because|since)\b")
_DENIED = re.compile(r"(?:is|was)\s(?:wrong|incorrect|false|not)\b|(?:isn't|cannot|can't)\b|(?:in\s)?base\s\d")
_NOT_BUT = re.compile(r"not\s[^.!?\n]{1,100}?,?\s(?:(?:but|rather)\s(?:rather\s)?|it(?:\sis|['’]s)\s)", re.IGNORECASE)
_DASH = re.compile(r"\A[-–—]\s(?=[A-Za-z]{2})")  # C - argon
_NAMELY = re.compile(r"(?:即|也就是|就是)[是为:,]?\s?")
_SMALL_LABEL = re.compile(r"[(\[]?[a-z][)\]]\s?(?=\S|$)")
_CIRCLED = re.compile("[\u2460-\u24ff]")
_ALTERED = re.compile(  # what makes another statement of an option's text
    r"\s?,?\s?(?:or|nor|but(?!\snot)|then|until|unless|except|if|only|at\sfirst|initially|and\sthen)\b|\snot\b"
)
_LABEL_ALTERED = re.compile(
    r"[(,]?\s?(?:(?:only\sif|if|unless|until|except|or|but(?!\snot)|had|wrong|incorrect|false)\b"
    r"|\\(?:land|lor|wedge|vee|cap|cup|setminus|to)\b)"
)
_HEAD_END = re.compile(r"[,;.]\s|\s(?:because|since|as|for|which|where|so|and|with)\b")
_NUMBER = re.compile(r"[-+]?\d{1,30}(?:\.\d{1,30})?")
_FORMULA = re.compile(r"\\|[\^=√π]|^[-+]?\d[\d.]*(?:\s?[a-z]{1,2})?$")
_GOES_ON = re.compile(
    r"\s?(?:\\?[!%]|[\^*/+=×·÷<>]|\\(?!quad|text)[a-z]+|[-–—:(]\s?\d|[-–—]\s?(?:[b-z]\b|\\)|[xyz]\b|'|(?<=\s)\d|(?:less|more|fewer)\sthan\b|plus\b|minus\b|out\sof\b|times\b|(?:hundred|thousand|million|billion)s?\b)"
)
_OPERATORS = "=<>+*/^"
_SHORT = 4  # characters of "(b)." - in anything longer, a lower-case letter is a word
_MAX_OPTIONS = len(ascii_uppercase)


def is_formula(text: str) -> bool:
    """Return whether a short text is mathematics or a quantity and holds no words but units."""
    if len(text) > _MAX_FORMULA or not any(sign.isdigit() or sign in "\\^=+*/√π∞" for sign in text):
        return False
    return all(word in _FORMULA_WORDS or known_unit(word) for word in _RUN.findall(_WRAPPER.sub(r" \1 ", text)))


def clean(text: str) -> str:
    """Return a text without Markdown and LaTeX wrappers, its white space plain, a leading "option" gone."""
    if not text.isascii():
        text = _MINUS.sub("-", _LABEL_NOUN.sub(r"\1", text.translate(_FULL_WIDTH)))
    if "\\" in text:
        text = _WRAPPER.sub(r"\1", text)
    if "'" in text:
        text = _QUOTED.sub(r"\1", text)
    if (braced := _BRACED.fullmatch(text)) is not None:
        text = braced[1]
    return _NAMES.sub("", " ".join(_MARKUP.sub(" ", text).split()))


def normalise(text: str) -> str:
    """Return the form in which option texts are compared: wrappers, case and outer punctuation do not count."""
    plain = clean(text).lower().strip(_ENDS)
    return f"{plain}!" if plain[-1:].isdigit() and f"{plain}!" in text else plain  # a factorial is another value


@dataclass(frozen=True, slots=True)
class Reading:
    """What an answer says: the labels it names (none, one or several), and whether it contradicts itself."""

    labels: tuple[str, ...]
    contradiction: bool = False


@dataclass(frozen=True)
class Choices:
    """Labels and texts of a question's options, in order.

    Attributes:
        labels: "A", "B", ….
        texts: the options' texts, normalised.
        written: the options' texts as they are written.
        slow: whether to compare mathematics that is no rational number too, which only a worker may do.
    """

    labels: tuple[str, ...]
    texts: tuple[str, ...]
    written: tuple[str, ...]
    slow: bool = False

    @functools.cached_property
    def _numbers(self) -> tuple[str | None, ...]:
        """Each option's value where it is one rational number."""
        return tuple(_number(text) for text in self.written)

    @functools.cached_property
    def symbolic(self) -> bool:
        """Whether some option is mathematics other than a rational number, so that comparing may be costly."""
        return any(
            number is None and is_formula(text) for number, text in zip(self._numbers, self.written, strict=True)
        )

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
        return re.compile(rf"[(\[]?({names})(?![\w'^=+/\\<>−]|-\d)[)\]]?[).:]?")

    @functools.cached_property
    def _next_label(self) -> re.Pattern[str]:
        names = "|".join(re.escape(label.lower()) for label in self.labels)
        joint = r"\s?(?:,|;|/|&|\+|[-–—]|[、，；]|或者?|和|与|及"
        joint += r"|(?:and|or|but|unless|through|to|plus|besides|oder|und|ou|et|o|y|e|oppure|lub|eller|или|и)\b|\s)\s?"
        joint += r"(?:(?:and|or|maybe|perhaps|also|plus|as\swell\sas|(?:along|together)\swith|in\saddition\sto)\s){0,2}"
        joint += r"(?:option\s)?[(\[]?"
        return re.compile(rf"{joint}({names})(?:[).:\],;]|$|\s(?:and|or)\b)")

    def gold(self, answer: str | None) -> str | None:
        """Return the label of the gold, given as label, option text or 0-based index; None if it is not one of them."""
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
        reading = self._read(content, whole)
        if not reading.labels and (article := _ARTICLE.match(content)):
            return self._read(content[article.end() :], whole)
        return reading

    def _read(self, content: str, whole: bool) -> Reading:
        plain = clean(content)
        if label := self._by_text.get(normalise(plain).replace(" ", "")):
            return Reading((label,))
        if denied := _NOT_BUT.match(plain):
            return self.read(plain[denied.end() :], whole=whole)
        small = _SMALL_LABEL.match(plain)
        if plain[:2] == "A " and self._prefix(normalise(plain[2:])) not in (None, "A"):
            return self.read(plain[2:], whole=whole)  # A penguin is a bird
        match = self._label.match(plain) or self._label.match(plain.upper() if len(plain) <= _SHORT or small else "")
        if match is None:
            return self._read_value(content) or self._read_text(normalise(plain), whole)
        closed = plain[match.end() - 1] in ").:]" or plain[match.end() : match.end() + 1] in (",", ";")
        rest = _bared(plain[match.end() :].strip(_ENDS))
        owned = self._prefix(normalise(rest)) == match[1]
        question = plain.startswith("?", match.end())
        if not owned and (question or _DENIED.match(rest.lower()) or retracted(plain, match.end())):
            return Reading(())
        head = _HEAD_END.split(rest)[0]
        same = None if owned else self._same_value(match[1], head)
        if same is False or (same and head == rest):
            return Reading((match[1],), contradiction=not same)
        return self._read_label(match[1], closed, normalise(rest), whole)

    def _read_value(self, content: str) -> Reading | None:
        """Return the reading of a content that is nothing but one option's value, otherwise written; else None."""
        if may_be_date(content) and (dated := self._where(lambda index: same_date(content, self.written[index], ""))):
            return Reading(tuple(dated[:1])) if len(dated) == 1 else None
        named = named_number(content)
        if named is None and len(content) < 40 and content.replace(" ", "").replace("-", "").isalpha():
            named = named_number(in_figures(content))
        found = [] if named is None else self._where(lambda index: self._numbers[index] == named[1])
        if not found and self.slow and self.symbolic and is_formula(content):
            found = self._where(lambda index: _same(self.written[index], content))
        if len(found) != 1:
            return None if named is None else Reading(())
        name = "" if named is None else named[0].upper()
        other = name in self.labels and name != found[0]  # "B = 14", where 14 is C
        return Reading((found[0], name) if other else (found[0],), contradiction=other)

    def _where(self, holds: Callable[[int], bool]) -> list[str]:
        return [label for index, label in enumerate(self.labels) if holds(index)]

    def _same_value(self, label: str, said: str) -> bool | None:
        """Return whether the value `said` behind a label is the label's own; None where one of them is none."""
        index = self.labels.index(label)
        if _CIRCLED.search(said) or _CIRCLED.search(self.written[index]):  # ② numbers a statement
            return None
        own, number = self._numbers[index], _number(said)
        if own is not None and number is not None:
            return own == number
        written = self.written[index]
        return (
            _same(written, said) if self.slow and self.symbolic and is_formula(said) and is_formula(written) else None
        )

    def _read_label(self, label: str, closed: bool, rest: str, whole: bool) -> Reading:
        """Return the reading of a label, `closed` by a bracket, dot or colon, with `rest` behind it."""
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
        if _LABEL_ALTERED.match(tail):
            return Reading(())
        is_word = label in {"A", "I"} and not closed and not _BECAUSE.match(rest)
        if whole and not is_word and _EXPLAINED.match(rest):
            return Reading((label,))
        return Reading(() if whole or is_word or rest[0] in _OPERATORS else (label,))

    def _read_text(self, text: str, whole: bool) -> Reading:
        """Return the reading of an answer that names no label first: an option's text, a label perhaps behind it."""
        label = self._prefix(text)
        if label is None:
            return Reading(())
        tail = text[len(self._text(label)) :]
        behind = re.match(r"\s?[(\[](?:option\s)?(\w)[)\]]", tail)
        if behind and behind[1].upper() in self.labels and behind[1].upper() != label:
            return Reading((label, behind[1].upper()), contradiction=True)
        joined = re.match(r"\s?(?:,|;|/|&|and\b|or\b)\s?(?:or\s|and\s)?", tail)
        if joined and (other := self._prefix(tail[joined.end() :])) and other != label:
            more = tail[joined.end() + len(self._text(other)) :].strip(_ENDS)
            return Reading(()) if whole and ". " in more else Reading((label, other))  # sentences on them
        if _ALTERED.match(tail):
            return Reading(())
        return Reading(()) if whole and tail.strip(_ENDS) and not behind else Reading((label,))

    def option(self, label: str) -> str:
        """Return an option's text, normalised."""
        return self._text(label)

    def mentioned(self, text: str) -> list[tuple[str, str, str]]:
        """Return the options whose texts stand in a text as whole words, each with what stands before and behind it.

        An option inside the text of a longer one is not counted.
        """
        plain = normalise(text)
        found: list[tuple[int, int, str]] = []
        for option, label in self._by_length:
            at = plain.find(option)
            while at >= 0:
                end = at + len(option)
                whole = not (at and plain[at - 1].isalnum() and option[0].isalnum()) and not _continues(
                    option, plain[end:]
                )
                if whole and not _is_operand(plain[:at]) and not any(a < end and at < b for a, b, _ in found):
                    found.append((at, end, label))
                at = plain.find(option, end)
        return [(label, plain[:at], plain[end:]) for at, end, label in found]

    def owns(self, label: str, text: str) -> bool:
        """Return whether `text` begins with the text of that option."""
        return self._prefix(normalise(text)) == label

    def is_label(self, text: str) -> bool:
        """Return whether a text is a label and nothing else."""
        plain = clean(text)
        return self._label.fullmatch(plain.upper() if len(plain) <= _SHORT else plain) is not None

    def _text(self, label: str) -> str:
        return self.texts[self.labels.index(label)]

    def _prefix(self, text: str) -> str | None:
        """Return the label of the longest option that `text` begins with, up to a word boundary."""
        for option, label in self._by_length:
            if text.startswith(option) and not _continues(option, text[len(option) :]):
                return label
        return None


def _is_operand(before: str) -> bool:
    """Return whether what stands before a text makes it a part of an expression or number."""
    return before[-1:] in _OPERAND_SIGNS or (before[-1:] in ".," and before[-2:-1].isdigit())


_OPERAND_SIGNS = frozenset("+-*/^<>√×÷·−$€£\\_") - {"$"}


def _continues(option: str, after: str) -> bool:
    """Return whether the word, number or formula at the end of `option` goes on in what stands after it."""
    formula = _FORMULA.search(option) is not None
    if not after or not (option[-1].isalnum() or formula):
        return False
    if (
        after[0].isalnum()
        or (after[0] in "-‑" and after[1:2].isalpha())
        or (option[-1].isdigit() and after[0] in ".,/^" and after[1:2].isdigit())
    ):
        return True
    return formula and _GOES_ON.match(after) is not None


def _other_number(rest: str, own: str) -> bool:
    """Return whether the label is followed by a number other than its own."""
    said, meant = _NUMBER.match(rest), _NUMBER.fullmatch(own)
    return said is not None and meant is not None and float(said[0]) != float(meant[0])


def _bared(rest: str) -> str:
    """Return what stands behind a label, without the brackets around it or a word that only introduces it."""
    rest = _DASH.sub("", rest)
    rest = rest[_NAMELY.match(rest).end() :] if _NAMELY.match(rest) else rest  # type: ignore[union-attr]
    if rest.startswith("(") and rest.endswith(")") and ")" not in rest[:-1]:
        return rest[1:-1].strip()
    return rest


def _number(text: str) -> str | None:
    if _CIRCLED.search(text):
        return None
    named = named_number(text)
    return None if named is None else named[1]


def _same(a: str, b: str) -> bool:
    try:
        return (":" in a) == (":" in b) and equivalent(a, b)  # 12:1 is no 12 beside 12:5
    except (TooCostlyError, RecursionError):
        return False


def parse_options(raw: object, *, slow: bool = False) -> Choices:
    """Return the options of `Problem.info["options"]`: a list of texts, or a mapping of label to text.

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
    return _build(tuple(pairs), slow)


@functools.lru_cache(maxsize=4096)
def _build(pairs: tuple[tuple[str, str], ...], slow: bool) -> Choices:
    written = tuple(_without_label(label, text) for label, text in pairs)
    return Choices(tuple(label for label, _ in pairs), tuple(map(normalise, written)), written, slow)


def _without_label(label: str, text: str) -> str:
    """Return the text without a label in it, which data sets often repeat: `["A) Paris", …]`."""
    return re.sub(rf"^\s?\(?{re.escape(label)}[).:]\s", "", text)


# --- labels in other letters, and options named by their place ---

_LIKE_LATIN = dict(zip("АВСЕ", "ABCE", strict=True))  # Cyrillic letters, which look as Latin ones do
_CYRILLIC_LABEL = re.compile(
    r"(?P<cue>(?:\b(?:[Оо]твет|ОТВЕТ|[Вв]ариант|[Бб]уква|[Оо]пция)\w{0,3}|boxed)[\s:*({—–-]{1,6}|^[*(]{0,3})"
    r"(?P<label>[АВСЕ])(?=\s*(?:\Z|\n)|[).:}*\],;]|\s[—–(])",
    re.MULTILINE,
)
_CYRILLIC_PROMPT = re.compile("[А-Яа-яЁё]{3}")
_CYRILLIC_LIST = re.compile(r"(?:^|\s)\(?[Бб][).:]", re.MULTILINE)


def in_latin_labels(text: str, prompt: str) -> str:
    """Return a text with Latin letters for Cyrillic ones that are labels.

    Only where the prompt is in Cyrillic letters, and its own labels are not: elsewhere such a letter is another one.
    """
    if _CYRILLIC_LABEL.search(text) is None or _CYRILLIC_LIST.search(prompt) is not None:
        return text
    if _CYRILLIC_PROMPT.search(prompt) is None:
        return text
    return _CYRILLIC_LABEL.sub(lambda match: match["cue"] + _LIKE_LATIN[match["label"]], text)


_ORDER = ("first", "second", "third", "fourth", "fifth", "sixth")
_ORDINAL = re.compile(
    rf"\b[Tt]he\s(?P<one>{'|'.join(_ORDER)}|last)\s(?:option|choice|alternative)\s(?:is\s|must\sbe\s|as\s)?(?:(?:therefore|thus|indeed)\s)?"
    r"(?:the\s)?(?:right|correct|answer|best)\b(?!\s(?:only|if|when|unless))"
    rf"|\b(?:is|be|choose|select|pick|leaves(?:\sus)?(?:\swith)?)\s(?:therefore\s|only\s)?the\s(?P<other>{'|'.join(_ORDER)}|last)\s(?:option|choice|alternative)\W*$"
)


def by_order(choices: Choices, text: str) -> Iterator[Mark]:
    """Yield what the last paragraph names by its place: "the second option is correct"."""
    start = text.rstrip().rfind("\n") + 1
    for match in _ORDINAL.finditer(text, max(start, len(text) - TAIL)):
        place = match["one"] or match["other"]
        index = len(choices.labels) - 1 if place == "last" else _ORDER.index(place)
        sentence = text[sentence_start(text, match.start()) : match.end() + 40]
        if index < len(choices.labels) and not negated(sentence) and not denied(text, match.start()):
            yield Mark("named", choices.labels[index], match.start(), match.end())
