r"""Units of measurement: what they measure and how large they are, exactly.

Numbers that carry something: units, money, percent signs, clock times, ratios, bases.

Policy:
- A unit that only one side states is taken as understood ("5" and "5 cm" agree). Two stated units must
  measure the same thing, and the values are converted exactly: 5 m = 500 cm, 5 m ≠ 5 km, 2 kg ≠ 2 g.
  Words that are no known unit ("apples") are labels: two labels must share a word.
- `50%` is 1/2. Only where the question itself asks for a percentage is a bare 50 read as 50%; 0.5 then is
  0.5%. So within one question the relation is transitive.
- `12:30` is a pair of numbers: equal to the same clock time and to the same ratio (6:8 = 3:4 = 3/4), never
  to 12; with a leading zero in its minutes, or am or pm, it is a time only.
- `5 million` and `2 dozen` are products, 5000000 and 24; where the question names such a scale, also 5 and 2.
- `101_2` is a value, 5; it differs from 101.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from proofmill.filters.symbolic.grammar import FUNCTIONS

UNIT_TOKEN = re.compile(r"\\[A-Za-z]+|[A-Za-zµμ]+|\d+|[^\sA-Za-z\d]|\s+")


@dataclass(frozen=True, slots=True)
class Unit:
    """What a number counts.

    Attributes:
        factor: size in the base unit of its dimensions.
        dimensions: sorted (base, exponent) pairs; empty where only labels are stated.
        labels: words that are no known unit, singular, lower case.
    """

    factor: Fraction
    dimensions: tuple[tuple[str, int], ...]
    labels: frozenset[str]

    def agrees(self, other: Unit) -> bool:
        """Whether both measure the same thing."""
        if self.dimensions or other.dimensions:
            return self.dimensions == other.dimensions
        return bool(self.labels & other.labels)


ONE = Fraction(1)
_PREFIXES = {"": 0, "k": 3, "c": -2, "m": -3, "d": -1, "M": 6, "G": 9, "u": -6, "µ": -6, "μ": -6, "n": -9}
_LONG_PREFIXES = {
    "": 0,
    "kilo": 3,
    "centi": -2,
    "milli": -3,
    "deci": -1,
    "mega": 6,
    "giga": 9,
    "micro": -6,
    "nano": -9,
}
_CUBIC_METRE = (("metre", 3),)
_BASES: dict[str, tuple[Fraction, tuple[tuple[str, int], ...]]] = {
    "m": (ONE, (("metre", 1),)), "g": (ONE, (("gram", 1),)), "s": (ONE, (("second", 1),)),
    "L": (Fraction(1, 1000), _CUBIC_METRE), "l": (Fraction(1, 1000), _CUBIC_METRE),
    "Hz": (ONE, (("second", -1),)), "N": (ONE, (("newton", 1),)), "J": (ONE, (("joule", 1),)),
    "W": (ONE, (("watt", 1),)), "V": (ONE, (("volt", 1),)), "A": (ONE, (("ampere", 1),)),
    "Pa": (ONE, (("pascal", 1),)), "mol": (ONE, (("mole", 1),)),
}  # fmt: skip
_LONG_BASES = {
    "meter": "m", "metre": "m", "gram": "g", "gramme": "g", "second": "s", "liter": "L", "litre": "L",
    "hertz": "Hz", "newton": "N", "joule": "J", "watt": "W", "volt": "V", "ampere": "A", "amp": "A",
    "pascal": "Pa", "mole": "mol",
}  # fmt: skip
_OTHERS: dict[str, tuple[str, Fraction]] = {
    "inch": ("metre", Fraction(254, 10_000)), "in": ("metre", Fraction(254, 10_000)),
    "foot": ("metre", Fraction(3048, 10_000)), "ft": ("metre", Fraction(3048, 10_000)),
    "yard": ("metre", Fraction(9144, 10_000)), "yd": ("metre", Fraction(9144, 10_000)),
    "mile": ("metre", Fraction(1_609_344, 1000)), "mi": ("metre", Fraction(1_609_344, 1000)),
    "pound": ("gram", Fraction(45_359_237, 100_000)), "lb": ("gram", Fraction(45_359_237, 100_000)),
    "ounce": ("gram", Fraction(45_359_237, 1_600_000)), "oz": ("gram", Fraction(45_359_237, 1_600_000)),
    "tonne": ("gram", Fraction(10**6)), "ton": ("ton", ONE),
    "sec": ("second", ONE), "minute": ("second", Fraction(60)), "min": ("second", Fraction(60)),
    "hour": ("second", Fraction(3600)), "hr": ("second", Fraction(3600)), "h": ("second", Fraction(3600)),
    "day": ("second", Fraction(86_400)), "week": ("second", Fraction(604_800)),
    "month": ("month", ONE), "year": ("month", Fraction(12)), "yr": ("month", Fraction(12)),
    "dollar": ("dollar", ONE), "usd": ("dollar", ONE), "buck": ("dollar", ONE),
    "cent": ("dollar", Fraction(1, 100)), "penny": ("dollar", Fraction(1, 100)), "euro": ("euro", ONE),
    "gbp": ("gbp", ONE), "yen": ("yen", ONE), "rupee": ("rupee", ONE),
    "degree": ("degree", ONE), "deg": ("degree", ONE), "radian": ("radian", ONE), "rad": ("radian", ONE),
    "celsius": ("celsius", ONE), "fahrenheit": ("fahrenheit", ONE), "kelvin": ("kelvin", ONE),
}  # fmt: skip
_COMPOUND = {"mph": "mile/hour", "kmh": "km/hour", "kph": "km/hour", "kmph": "km/hour", "sqft": "square foot"}
_IRREGULAR = {
    "feet": "foot", "inches": "inch", "people": "person", "children": "child", "men": "man",
    "women": "woman", "pennies": "penny", "lbs": "lb", "hrs": "hr", "mins": "min", "secs": "sec",
}  # fmt: skip
_FILLERS = frozenset(
    re.findall(
        r"\w+",
        "unit of the a an in total each are is and more left per square sq cubic cu to for all away ago old",
    )
)


@lru_cache(maxsize=1024)
def known_unit(word: str) -> tuple[Fraction, tuple[tuple[str, int], ...]] | None:
    """Factor and dimensions of a unit's name or symbol, singular or plural."""
    for prefix, size in _PREFIXES.items():
        if word.startswith(prefix) and (base := _BASES.get(word[len(prefix) :])):
            return Fraction(10) ** size * base[0], base[1]
    lower = singular(word.lower())
    for prefix, size in _LONG_PREFIXES.items():
        if lower.startswith(prefix) and lower[len(prefix) :] in _LONG_BASES:
            factor, dimensions = _BASES[_LONG_BASES[lower[len(prefix) :]]]
            return Fraction(10) ** size * factor, dimensions
    if lower in _OTHERS:
        name, factor = _OTHERS[lower]
        return factor, ((name, 1),)
    return None


def singular(word: str) -> str:
    """A rough singular, good enough to match a word with its own plural."""
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


@lru_cache(maxsize=1024)
def read_unit(tokens: tuple[str, ...]) -> Unit:
    """The unit that tokens spell: products, quotients and powers of known units, other words as labels."""
    factor, dimensions, labels = ONE, dict[str, int](), set[str]()
    sign, power, index = 1, 1, 0
    words = [part for token in tokens for part in UNIT_TOKEN.findall(_COMPOUND.get(token.lower(), token))]
    while index < len(words):
        word = words[index]
        index += 1
        if word in ("/", "per"):
            sign = -1
        elif word in ("square", "sq"):
            power = 2
        elif word in ("cubic", "cu"):
            power = 3
        elif word == "\\circ":
            dimensions["degree"] = 1
        elif word[0].isalpha():
            exponent, index = _unit_exponent(words, index)
            known = known_unit(word) or ({"C": (ONE, (("celsius", 1),)), "F": (ONE, (("fahrenheit", 1),))}.get(word))
            if known is None:
                labels |= {singular(word.lower())} - _FILLERS
            else:
                exponent *= sign * power
                factor *= known[0] ** exponent
                for name, size in known[1]:
                    dimensions[name] = dimensions.get(name, 0) + size * exponent
            power = 1
    if {"celsius", "fahrenheit", "kelvin"} & dimensions.keys():
        dimensions.pop("degree", None)
    stated = tuple(sorted((name, size) for name, size in dimensions.items() if size))
    return Unit(factor, stated, frozenset(labels))


def _unit_exponent(words: list[str], index: int) -> tuple[int, int]:
    """The exponent that follows a unit, 1 if none does, and the index behind it."""
    if words[index : index + 1] != ["^"]:
        return 1, index
    text = ""
    while index < len(words) and (words[index] in "^{}-" or words[index].isdecimal()):
        text += words[index]
        index += 1
    digits = text.strip("^{}")
    return (int(digits) if digits.lstrip("-").isdecimal() else 1), index


_TEXT = re.compile(r"\\text\s*\{([^{}]*)\}")
_POWER_WORD = re.compile(r"\b([A-Za-z]{1,15}) (squared|cubed)\b")
_MONEY = re.compile(r"^(-?)\s*(?:US\s*)?(\\\$|\$|€|£|¥|₹|Rs\.?(?=[\s\d]))\s*(?=[-\d.\\(])")
_PERCENT = re.compile(r"\s*(?:\\?%|per\s?cent(?:age)?(?: points?)?)$", re.IGNORECASE)
_COLON = re.compile(r"^(\d{1,9})(?::| to )(\d{1,9})(?::(\d{1,9}))?\s*([ap])?\.?(m)?\.?$", re.IGNORECASE)
_BASE = re.compile(
    r"^(?=\(\w{1,200}\)|\w)\(?([0-9A-Za-z]{1,200})\)?(?:_\{?\(?|,?\s+(?:in )?base[- ])(?:base\s*)?(\w{1,7})\)?\}?$"
)
_BASE_NAMES = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
               "ten": 10, "twelve": 12, "sixteen": 16}  # fmt: skip
_CURRENCY = {"\\$": "dollar", "$": "dollar", "€": "euro", "£": "gbp", "¥": "yen", "₹": "rupee"}


_NOT_UNITS = (
    FUNCTIONS
    | {"sqrt", "pi", "mod", "modulo", "max", "det", "gcd", "lcm", "factorial", "remainder"}
    | {"not", "nor", "or", "maybe", "perhaps", "wrong", "incorrect"}
    | {"squared", "cubed", "half", "halves", "thirds", "kilo", "mega", "milli"}
) - {"sec"}
_SCALES = {"dozen": 12, "hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_SCALED = re.compile(rf"(\d[\d.,]*)\s?({'|'.join(_SCALES)})s?\b", re.IGNORECASE)


def plain_text(text: str) -> str:
    r"""The text with every `\text{…}` replaced by what it says, set off by spaces."""
    return " ".join(_TEXT.sub(r" \1 ", text).split()) if "\\text" in text else text


def split_percent(text: str) -> tuple[str, bool]:
    """The text before a closing percent sign or word, and whether there was one."""
    match = _PERCENT.search(plain_text(text)[-40:])
    if match is None:
        return text, False
    whole = plain_text(text)
    return whole[: len(whole) - len(match[0])].strip(), True


def scaled(text: str) -> str:
    """The text with a number and its scale (`5 million`, `2 dozen`) as one product, so that it is no unit."""
    plain = plain_text(text)
    return _SCALED.sub(_product, plain) if _SCALED.search(plain) else text


def _product(match: re.Match[str]) -> str:
    return f"{match[1]}*{_SCALES[match[2].lower()]}"


@lru_cache(maxsize=8192)
def split_unit(text: str) -> tuple[str, Unit | None]:
    """The value's text and its unit; the unit is None where none is stated."""
    money = _MONEY.match(text)
    if money:
        rest, _ = split_unit(text[money.end() :])
        name = _CURRENCY.get(money[2], "rupee")
        return money[1] + rest, Unit(ONE, ((name, 1),), frozenset())
    pieces = UNIT_TOKEN.findall(_POWER_WORD.sub(_power_of_unit, _TEXT.sub(r" \1 ", text)).strip())
    start = _unit_start(pieces)
    if start is None or (pieces[start] == "^" and any(piece[1:] in FUNCTIONS for piece in pieces[:start])):
        return text, None  # the degrees of a sine are its argument's
    unit = read_unit(tuple(piece for piece in pieces[start:] if piece.strip()))
    return "".join(pieces[:start]).strip(), unit if unit.dimensions or unit.labels else None


def _power_of_unit(match: re.Match[str]) -> str:
    return match[0] if known_unit(match[1]) is None else f"{match[1]}^{2 if match[2] == 'squared' else 3}"


def _unit_start(pieces: list[str]) -> int | None:
    """Index of the first piece of the unit at the end, which something must precede."""
    start = None
    for index in range(len(pieces) - 1, 0, -1):
        piece = pieces[index]
        if (
            _is_unit_word(piece, pieces[index - 1])
            or (piece in ("C", "F") and "\\circ" in pieces[max(0, index - 3) : index])
            or (piece == "^" and pieces[index + 1 : index + 2] == ["\\circ"])
        ):
            start = index
        elif not (
            piece.isspace() or piece in "^{}/-*.\\circ\\cdot" or (piece.isdigit() and pieces[index - 1] in "^{-")
        ) or (piece.isdigit() and len(piece) > 1):
            break
    before = "".join(pieces[:start]).rstrip() if start else ""
    return None if not before or before[-1] in "+-*/=(" else start


def _is_unit_word(piece: str, before: str) -> bool:
    if not piece[0].isalpha() or piece in _NOT_UNITS:
        return False
    if len(piece) == 1:
        return known_unit(piece) is not None and (before.isspace() or before in "/*")
    return known_unit(piece) is not None or len(piece) > 2


def colon_form(text: str) -> tuple[str, tuple[int, ...]] | None:
    """("clock", minutes or parts) or ("ratio", parts) for `12:30`, `12:05 pm`, `3:4:5`; else None."""
    match = _COLON.match(plain_text(text))
    if match is None or bool(match[4]) != bool(match[5]):
        return None
    parts = tuple(int(part) for part in match.group(1, 2, 3) if part is not None)
    if match[4]:
        hours = parts[0] % 12 + (12 if match[4] in "pP" else 0)
        return "clock", (hours, *parts[1:])
    is_time = len(match[2]) == 2 and match[2][0] == "0"
    return ("clock" if is_time else "ratio"), parts


def based_value(text: str) -> int | None:
    """The value of a numeral whose base is stated: `1A_{16}`, `101_{\\text{two}}`, `101 base 2`."""
    match = _BASE.match(plain_text(text).replace("{ ", "{").replace(" }", "}").replace("_ ", "_").replace(" _", "_"))
    if match is None:
        return None
    base = _BASE_NAMES.get(match[2].lower()) or (int(match[2]) if match[2].isdecimal() else 0)
    try:
        return int(match[1], base) if 2 <= base <= 36 else None
    except ValueError:  # a digit that the base does not have
        return None
