r"""The form of an answer: a value, a list or set, a tuple or interval, a union, a relation, or words.

Policy:
- `{1,2}`, `1, 2` and `1 and 2` are the same unordered collection; `(1,2)` is a tuple or an open interval,
  which are written alike and so count as the same; it is no set. `[1,2]`, `[1,2)` differ from both. A column
  of numbers is a tuple. A collection of one is that one.
- `a ± b` is the collection of both values.
- `x = 5` is the value 5 named x; `x = 2 or x = 3` is a collection; `x = 1, y = 2` is the tuple by the order
  of the names. `2 = 3` and `2x = 6` are no values: an equation only names a value where its left side is a
  name, or where a chain of numbers holds (`2 + 3 = 5`).
- `1 < x ≤ 5`, `x ∈ (1,5]`, `(1,5]`, `]1,5]` and `{x | 1 < x ≤ 5}` are the same interval; `≤ 5` bounds what is asked.
- A system of equations is read as its equations, a function by cases as values with their conditions.
- An answer in words is keyed by its letters; words around a value are left out.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

from proofmill.filters.symbolic.answer_forms import (
    CLOSERS,
    OPENERS,
    TOKEN,
    AnswerKey,
    UnreadableError,
    bounded,
    cases,
    complement,
    condition,
    intersection,
    is_name,
    lone_points,
    matrix,
    special_form,
    split,
    usual_brackets,
)
from proofmill.filters.symbolic.expressions import TooCostlyError
from proofmill.filters.symbolic.grammar import MAX_LENGTH
from proofmill.filters.symbolic.notation import FUNCTIONS, clean
from proofmill.filters.symbolic.number_words import in_figures, spelled_number
from proofmill.filters.symbolic.number_words_abroad import number_abroad
from proofmill.filters.symbolic.units import TWO_MEASURES, known_unit, plain_text
from proofmill.filters.symbolic.values import rational_value

_MAX_ITEMS = 200
_CHAIN_BITS = 4_000  # of the numbers in a chain of equations that are compared
_SPLITTERS = frozenset([",", ";", "or", "and"])
_RELATIONS = {
    "=": "=",
    "<": "<",
    ">": ">",
    "\\le": "<=",
    "\\ge": ">=",
    "\\ne": "!=",
    "\\in": "in",
    "\\approx": "~",
}
_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?!,?\d)")


@lru_cache(maxsize=16_384)
def parse_answer(answer: str) -> AnswerKey:
    """Return the form of an answer as it stands in a text or a data set.

    Raises:
        UnreadableError: it is empty, or its brackets do not match.
        TooCostlyError: it is longer than an answer.
    """
    if len(answer) > MAX_LENGTH:
        raise TooCostlyError("too long")
    if "|" in answer or "\\mid" in answer or "∣" in answer:
        answer = _BARRED_POINT.sub(_with_comma, answer)
    text = clean(answer)
    return _read(_VECTOR_NAMED.sub("", text) if text.startswith("\\vec") else text, 0)


_VECTOR_NAMED = re.compile(r"\A\\vec ?\{ ?[A-Za-z]{1,3} ?\} ?= ?(?=[^=]*\Z)")  # \vec{AB} =


_COORDINATE = r"\s*(?:[-−+]?\s*(?:\d+(?:[.,]\d+)?(?:\s?/\s?\d+)?|\\[dt]?frac\s?\{\d+\}\s?\{\d+\}))\s*"
_BAR = r"(?:\||\\mid(?![a-z])|∣)"
_BARRED_POINT = re.compile(  # (-1 | 5), as German books write points
    rf"\((?P<first>{_COORDINATE}){_BAR}(?P<second>{_COORDINATE})(?:{_BAR}(?P<third>{_COORDINATE}))?\)"
)


def _with_comma(match: re.Match[str]) -> str:
    return "(" + ", ".join(part.replace(",", ".") for part in match.groups() if part is not None) + ")"


def _read(text: str, depth: int) -> AnswerKey:
    text = _figures(bare(text)) if not depth else bare(text)
    if not text:
        raise UnreadableError("empty")
    if depth > 8:
        raise TooCostlyError("nested too deep")
    if name := synonym(text):
        return _special(name)
    if (
        depth < 4
        and _SPECIAL.search(text)
        and (form := special_form(text, lambda part: _read(part, depth + 1))) is not None
    ):
        return form
    pieces = TOKEN.findall(text if depth else usual_brackets(_joined(unlabelled(text))))
    _check_balance(pieces)
    for reader in (_sequence, _union, _relation, _bracketed, _table):
        result = reader(pieces, depth)
        if result is not None:
            return result
    if "\\pm" in text or "\\mp" in text:
        return _both_signs(text, depth)
    key = word_key(text)
    return AnswerKey("words", key) if key else AnswerKey("value", "".join(pieces))


_SPECIAL = re.compile(
    r"mathbb|integer|equiv|for |forall|\^ ?\{? ?(?:T|t|\\top)|\\(?:hat|vec|text|mathbf|boldsymbol"
    r"|bar) ?\{ ?\\?[ijk]|all real",
    re.IGNORECASE,
)


def _special(name: str) -> AnswerKey:
    if name == "empty":
        return AnswerKey("empty")
    if name == "reals":
        return AnswerKey("group", "()", (AnswerKey("value", "-\\infty"), AnswerKey("value", "\\infty")))
    infinite = {"infinity": "\\infty", "minus infinity": "-\\infty"}.get(name)
    return AnswerKey("words", name) if infinite is None else AnswerKey("value", infinite)


def _joined(text: str) -> str:
    """Return the text without thousands separators, where no bracket makes the comma one of a list."""
    if "," not in text or any(bracket in plain_text(text) for bracket in "([{"):
        return text
    return _THOUSANDS.sub(lambda match: match[0].replace(",", ""), text)


def _check_balance(pieces: list[str]) -> None:
    depth = 0
    for piece in pieces:
        depth += (piece == "{") - (piece == "}")
        if depth < 0:
            break
    if depth:
        raise UnreadableError("unmatched braces")


def _sequence(pieces: list[str], depth: int) -> AnswerKey | None:
    pieces = _or_and(pieces)
    texts, signs = split(pieces, _SPLITTERS)
    if ";" in signs and "," in signs:  # p=3, q=2; p=11, q=2
        texts, signs = split(pieces, frozenset([";"]))
    texts = [text for text in texts if text]
    if not signs or len(texts) < 2:
        return _read(texts[0], depth + 1) if signs and texts else None
    if len(texts) > _MAX_ITEMS:
        raise TooCostlyError("too many items")
    letter, unequal, _ = texts[0].partition("\\ne")
    if unequal and "or" not in signs and not any("\\ne" in text for text in texts[1:]):  # x ≠ 2, 3
        texts = [texts[0], *(f"{letter}{unequal} {text}" for text in texts[1:])]
    items = [_read(text, depth + 1) for text in texts]
    if "or" in signs and all(item.kind == "group" for item in items) and not any(map(_is_pair, items)):
        return AnswerKey("union", "", tuple(items))
    if "or" not in signs and (both := intersection(texts, items)) is not None:
        return both
    if (points := lone_points(items)) is not None and (rest := complement(points)) is not None:
        return rest
    names = [item.name for item in items]
    if all(names) and len(set(names)) == len(names):
        items.sort(key=lambda item: item.name)
        return AnswerKey("group", "()", tuple(items))
    return _collection(items)


def _is_pair(group: AnswerKey) -> bool:
    """Return whether two numbers in brackets are no interval, as (5, 2) is none."""
    if group.text not in _INTERVALS or len(group.items) != 2:
        return True
    try:
        low, high = [rational_value(item.text, _CHAIN_BITS) if item.kind == "value" else None for item in group.items]
    except TooCostlyError:
        return False
    return low is not None and high is not None and low >= high


_INTERVALS = frozenset({"()", "(]", "[)", "[]"})


def _or_and(pieces: list[str]) -> list[str]:
    r"""Return `\text{ or }`, `\text{ apples and }` with the words that join two answers outside of them."""
    text = "".join(pieces)
    if "\\text" not in text or not ("or" in text or "and" in text):
        return pieces
    text = _JOINING.sub(lambda match: f"{_in_text(match[1])} {match[2]} {_in_text(match[3])}", text)
    return TOKEN.findall(re.sub(r"\\text ?\{\s?,?\s?(or|and)\s?\}", r" \1 ", text))


def _in_text(words: str) -> str:
    return f"\\text{{{words}}}" if words.strip(" ,") else ""


_JOINING = re.compile(r"\\text ?\{([^{}]*?)\b(or|and)\b([^{}]*)\}")


def _collection(items: list[AnswerKey]) -> AnswerKey:
    flat: list[AnswerKey] = []
    for item in items:
        flat.extend(item.items if item.kind == "collection" else (item,))
    return flat[0] if len(flat) == 1 else AnswerKey("collection", "", tuple(flat))


def _union(pieces: list[str], depth: int) -> AnswerKey | None:
    texts, signs = split(pieces, frozenset(["\\cup", "\\bigcup"]))
    if not signs or any(not text or text[0] in "_^" for text in texts):
        return None
    return AnswerKey("union", "", tuple(_read(text, depth + 1) for text in texts))


def _relation(pieces: list[str], depth: int) -> AnswerKey | None:
    texts, signs = split(pieces, frozenset(_RELATIONS))
    kinds = [_RELATIONS[sign] for sign in signs]
    if len(texts) == 2 and not texts[0] and kinds[0] not in "=~":  # "≤ 5" bounds what the question asks for
        texts[0] = "x"
    if not signs or not all(texts):
        return None
    if "~" in kinds:  # what is approximated is the answer, the approximation a gloss
        cut = kinds.index("~")
        keep = cut + 2 if cut == 0 and is_name(texts[0]) else cut + 1
        texts, kinds = texts[:keep], ["=" if kind == "~" else kind for kind in kinds[: keep - 1]]
        if not kinds:
            return _read(texts[0], depth + 1)
    if kinds == ["in"] and is_name(texts[0]):
        return _read(texts[1], depth + 1)
    if set(kinds) == {"="}:
        return _equation(texts, depth)
    return bounded(texts, kinds) or _plain_relation(texts, kinds, depth)


def _equation(texts: list[str], depth: int) -> AnswerKey | None:
    """Return a name with its value, or the two sides; a chain after a name gives its last value."""
    if len(texts) == 2 and len(texts[1]) == 1 and is_name(texts[1]) and rational_value(texts[0]) is not None:
        texts = [texts[1], texts[0]]  # 4 = x
    if is_name(texts[0]) and not _contradictory(texts[1:]):
        value = _read(texts[-1], depth + 1)
        return AnswerKey(value.kind, value.text, value.items, plain_text(texts[0]).replace(" ", ""))
    if len(texts) == 2 and texts[1][:1] in _VECTOR_SIGNS and _VECTORS.fullmatch(texts[0]):
        value = _read(texts[1], depth + 1)
        if value.kind in ("group", "matrix"):  # a \times b = (1, 2, 3)
            return value
    return _plain_relation(texts, ["="] * (len(texts) - 1), depth)


_VECTORS = re.compile(r"(?:\\(?:text|vec|overline|hat|times|cdot)(?![a-z])|[A-Za-z\d{}+\-* ])+")
_VECTOR_SIGNS = frozenset("([<-\\") | frozenset("0123456789")


def _contradictory(chain: list[str]) -> bool:
    """Return whether numbers in a chain of equations are not the last one, nor rounded to it."""
    if len(chain) < 2:
        return False
    try:
        *numbers, last = [rational_value(text, _CHAIN_BITS) for text in chain]
    except TooCostlyError:
        return False
    places = len(chain[-1].partition(".")[2])
    rounding = Fraction(1, 10**places) if places else 0
    return last is not None and any(number is not None and abs(number - last) > rounding for number in numbers)


def _plain_relation(texts: list[str], kinds: list[str], depth: int) -> AnswerKey:
    sides = tuple(AnswerKey("value", text) if depth > 8 else _read(text, depth + 1) for text in texts)
    return AnswerKey("relation", " ".join(kinds), sides)


def _bracketed(pieces: list[str], depth: int) -> AnswerKey | None:
    """Return a tuple, interval or set where one pair of brackets holds the whole."""
    opener, closer = pieces[0], pieces[-1]
    if opener not in OPENERS or closer not in CLOSERS or opener == "{" or not _one_pair(pieces):
        return None
    inner = pieces[1:-1]
    if opener == "\\{":
        return _set(inner, depth)
    texts, signs = split(inner, frozenset([",", ";"]))
    if not signs:
        enclosed = "".join(inner).strip()
        wrapper = (opener, closer) == ("[", "]") or (opener == "(" and enclosed.startswith("\\begin"))
        return _read(enclosed, depth + 1) if wrapper else None
    items = tuple(_read(text, depth + 1) for text in texts if text)
    opener, closer = opener.replace("\\langle", "("), closer.replace("\\rangle", ")")
    return AnswerKey("group", opener + closer, items)


def _one_pair(pieces: list[str]) -> bool:
    depth = 0
    for index, piece in enumerate(pieces):
        depth += (piece in OPENERS) - (piece in CLOSERS)
        if depth <= 0:
            return index == len(pieces) - 1
    return False


def _set(inner: list[str], depth: int) -> AnswerKey | None:
    if "|" in inner or ":" in inner:  # a set by its property
        stated = condition(inner)
        bounds = _read(stated, depth + 1) if stated else None
        return bounds if bounds is not None and bounds.kind in ("group", "union") and not bounds.name else None
    texts = [text for text in split(inner, frozenset([",", ";"]))[0] if text]
    if not texts:
        return AnswerKey("empty")
    items = [_read(text, depth + 1) for text in texts]
    if any(item.kind == "empty" for item in items):
        return AnswerKey("collection", "", tuple(items))  # the set of the empty set holds something
    return _collection(items)


def _table(pieces: list[str], depth: int) -> AnswerKey | None:
    text = "".join(pieces)
    if "\\begin" not in text:
        return None

    def read(part: str) -> AnswerKey:
        return _read(part, depth + 1)

    return cases(text, read) or matrix(text, read)


def _both_signs(text: str, depth: int) -> AnswerKey:
    r"""Return both readings of `±`: all `\pm` of a text take one sign, all `\mp` the other."""
    upper = text.replace("\\pm", "+").replace("\\mp", "-")
    lower = text.replace("\\pm", "-").replace("\\mp", "+")
    return _collection([_read(upper.lstrip("+ "), depth + 1), _read(lower, depth + 1)])


_ADVERB = re.compile(
    r"^(?:all(?: real)?(?= [a-z] ?(?:[<>]|\\[gln]e|\\in))"
    r"|(?:approximately|approx|about|exactly|only|roughly|around|nearly|almost|just|simply|either|both"
    r"|equal to|equals)\b\.?|\\approx|~|=)\s*",
    re.IGNORECASE,
)
_TITLE = re.compile(r"^\\text ?\{ ?[A-Za-z][A-Za-z ]{0,30}: ?\} ?(?=[-\d\\$(])")  # \text{Total: }12
_GLOSS = re.compile(  # 12 (twelve)
    r"(?<=[\d}%$])\s?(?P<text>\\text ?\{ ?)?\((?![^()]*\b(?:or|not|wrong|incorrect|maybe|probably|if|unless)\b)"
    r"[A-Za-z]{3,}[A-Za-z -]{0,60}\)(?(text) ?\})\Z"
)
_WORDS = re.compile(r"[A-Za-z][A-Za-z' ,.\-]*\Z")
_POINT = re.compile(r"^[ABD-Z]'? ?(?=\([^()]{1,60},[^()]{1,60}\)\Z)")  # M(1, 2.5); C(5, 2) is a binomial
_CONSTANT_NAMED = re.compile(
    r",? ?(?:\\text ?\{ ?)?(?:where|with|for) ?\}? ?[A-Za-z] ?(?:\\text ?\{ ?)?(?:is|being|denotes) (?:an?|the) "
    r"(?:[a-z]+ ){0,2}constant(?: of integration)? ?\}?\Z"
)
_CONSTANT_WORD = re.compile(r"(?<=[+\-] )(?:\\text ?\{ ?)?[Cc]onst(?:ant)?\b\.?(?: ?\})?\Z")  # x^2 + const.
_SHORT_WORD = re.compile(  # a Roman numeral, letters of heads and tails, a word; `ab` is a product
    r"(?:[A-Z]{2,3}|(?i:no|on|of|to|in|is|it|at|am|up|so|we|he|my|go|or))\Z"
)
_WORDS_ABROAD = re.compile(  # in letters of other alphabets; without blanks between them a name only, and no numeral
    r"(?:[^\W\d_\u3000-\u9fff](?:[^\W\d_\u3000-\u9fff]|[' ,.\-])*"
    r"|(?:(?![零一二三四五六七八九十百千万两])[\u3040-\u9fff]){1,4})\Z"
)
_HYPHEN = re.compile(r" ?- ?")
_RUN = re.compile(r"[A-Za-z]+")
_MATH_WORDS = FUNCTIONS | {"sqrt", "pi"}

_VALUE = r"[\d.]|\\(?:frac|sqrt|pi|\$)|\$"
_LABELLED = re.compile(  # "(A) 7", an option with its letter; an operator behind it would make it mathematics
    rf"\\text ?\{{ ?(?:\([A-E]\)|[A-E][.):]) ?\}} ?(?=-?(?:{_VALUE})|[\\({{\[])"
    rf"|(?:\([A-E]\)|[A-E][.)]) (?={_VALUE})"
)

_SYNONYMS = {
    "empty": "no solution|no solutions|empty|no real solution|no real solutions|none|empty set|the empty set"
    "|there is no solution|there are no solutions|no such value|no such number|no real root|no real roots"
    "|no values|null set|\\emptyset",
    "reals": "all real numbers|all reals|real numbers|any real number|every real number|\\mathbb{r}",
    "undefined": "dne|does not exist|undefined|not defined|limit does not exist",
    "infinity": "\\infty|+\\infty|positive \\infty|plus \\infty|infinite|infinitely many",
    "minus infinity": "-\\infty|negative \\infty|minus \\infty",
}
_SYNONYM = {text: name for name, texts in _SYNONYMS.items() for text in texts.split("|")}


def synonym(text: str) -> str:
    """Return which of "empty", "reals", "undefined", "infinity" the text says; "" if none."""
    return _SYNONYM.get(plain_text(text).lower(), "")


def bare(text: str) -> str:
    """Return the text without leading adverbs and without braces round the whole."""
    while True:
        before = text
        if text[:1].isupper():
            text = _POINT.sub("", text)
        if "onst" in text:
            text = _CONSTANT_WORD.sub("C", _CONSTANT_NAMED.sub("", text))
        text = _GLOSS.sub("", _ADVERB.sub("", _TITLE.sub("", text), count=1)).lstrip(" ,;").rstrip(" .,;")
        if text.startswith("{") and text.endswith("}") and _closing(text) == len(text) - 1:
            text = text[1:-1]
        if text.startswith("\\text{") and _closing(text[5:]) == len(text) - 6:
            text = text[6:-1]
        if text == before:
            return text


_SPELLED = re.compile(
    r"(?P<words>[A-Za-z][A-Za-z -]{2,60}?) ?\((?P<figures>-?[\d.,/]+)\)(?P<rest>(?: [A-Za-z]+){0,3})\Z"
)


def _figures(text: str) -> str:
    """Return a number in figures that a text gives in words too, `twelve (12)`, or in words with "and" in them.

    Raises:
        UnreadableError: the two differ.
    """
    if text[:1].isalpha() and (abroad := _abroad(text)):
        return abroad
    if "h" in text and (clock := _HOURS.match(text)):
        return f"{clock[1]} h and {clock[2]} min"
    if " " in text and any(sign.isalpha() for sign in text):
        if (measures := TWO_MEASURES.fullmatch(plain_text(text))) and _compound(measures):
            text = "{} {} and {} {}".format(*measures.groups())
        if text[:5].lower() in ("minus", "negat", "plus ") or " and " in text or "root " in text:
            text = in_figures(text)
    if " and " in text and text[:1].isalpha() and (number := spelled_number(plain_text(text))) is not None:
        label = number[1]
        return f"{number[0]} {label}".strip() if not label or label.isalpha() else text
    match = _SPELLED.match(plain_text(text)) if text.endswith(")") or ")" in text else None
    spelled = spelled_number(match["words"]) if match is not None else None
    if match is None or spelled is None or spelled[1]:
        return text
    if rational_value(match["figures"]) != spelled[0]:
        raise UnreadableError("two numbers")
    return f"{match['figures']}{match['rest']}"


_HOURS = re.compile(r"(\d{1,3}) ?h ?([0-5]\d)(?: ?m(?:in)?)?\Z")  # 12h15
_OPERATIVE = frozenset(
    re.findall(
        r"\w+",
        "oder ou oppure o или und et y e i и en pour por per pro prozent procent процентов процента cento ciento cent "
        "de demi medio media halb halbe mezzo plus minus mal fois veces millones millions milioni millionen",
    )
)
_COUNTED = re.compile(r"[个只名位本条张岁次种件辆棵朵人枚块元米天年月日时分秒]?\Z")  # behind a Chinese numeral


def _abroad(text: str) -> str:
    """Return a number in the words of another language, and the noun behind it, in figures; "" where it is none."""
    found = number_abroad(text)
    if found is None:
        return ""
    number, label = found
    if not text.isascii() and text[:1] > "\u3000":
        return f"{number}{label}" if _COUNTED.match(label) else ""
    words = label.lower().split()
    plain = len(words) <= 2 and all(word.isalpha() for word in words) and _OPERATIVE.isdisjoint(words)
    return f"{number} {label}".strip() if plain else ""


def _compound(measures: re.Match[str]) -> bool:
    """Return whether two measures are one quantity: 1 hour 30 minutes, 5 ft 3 in."""
    first, second = (known_unit({"m": "min"}.get(unit, unit)) for unit in measures.group(2, 4))
    return first is not None and second is not None and first[1] == second[1] and first[0] > second[0]


def unlabelled(text: str) -> str:
    """Return an option's value without the letter before it."""
    return _LABELLED.sub("", text, count=1) if _LABELLED.match(text) else text


def _closing(text: str) -> int:
    depth = 0
    for index, sign in enumerate(text):
        depth += (sign == "{") - (sign == "}")
        if not depth:
            return index
    return -1


def word_key(text: str) -> str:
    """Return an answer in words, keyed by its letters; empty where it may be mathematics: `x - y`, `ab-cd`, `sin x`."""
    plain = plain_text(text)
    if not plain.isascii():
        return " ".join(plain.lower().split()) if _WORDS_ABROAD.match(plain) else ""
    if _SHORT_WORD.match(plain):
        return plain.lower()
    if not _WORDS.match(plain) or all(len(run) < 3 or run in _MATH_WORDS for run in _RUN.findall(plain)):
        return ""
    words = [word.strip(".,'-") for word in _HYPHEN.sub("-", plain.lower()).split()]
    words = [word for word in words if word not in ("the", "a", "an")] or words
    return " ".join(words)
