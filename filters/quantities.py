r"""Numbers that carry something: units, money, percent signs, clock times, ratios, bases.

Policy:
- A unit that only one side states is taken as understood ("5" and "5 cm" agree). Two stated units must
  measure the same thing, and the values are converted exactly: 5 m = 500 cm, 5 m ≠ 5 km, 2 kg ≠ 2 g.
  Words that are no known unit ("apples") are labels: two labels must share a word.
- `50%` is 1/2. Only where the question itself asks for a percentage is a bare 50 read as 50%; 0.5 then is
  0.5%. So within one question the relation is transitive.
- `12:30` is a pair of numbers: equal to the same clock time and to the same ratio (6:8 = 3:4 = 3/4), never
  to 12; with a leading zero in its minutes, or am or pm, it is a time only.
- `101_2` is a value, 5; it differs from 101.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

_UNIT_TOKEN = re.compile(r"\\[A-Za-z]+|[A-Za-zµμ]+|\d+|[^\sA-Za-z\d]|\s+")
_TEXT = re.compile(r"\\text\s*\{([^{}]*)\}")
_MONEY = re.compile(r"^(-?)\s*(?:US\s*)?(\\\$|\$|€|£|¥|₹|Rs\.?(?=[\s\d]))\s*(?=[-\d.\\(])")
_PERCENT = re.compile(r"\s*(?:\\?%|per\s?cent(?:age)?(?: points?)?)$", re.IGNORECASE)
_COLON = re.compile(r"^(\d{1,9}):(\d{1,9})(?::(\d{1,9}))?\s*([ap])?\.?(m)?\.?$", re.IGNORECASE)
_BASE = re.compile(r"^([0-9A-Za-z]{1,200})(?:_\{?\(?|,?\s+(?:in )?base[- ])(?:base\s*)?(\w{1,7})\)?\}?$")
_BASE_NAMES = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
               "ten": 10, "twelve": 12, "sixteen": 16}  # fmt: skip
_CURRENCY = {"\\$": "dollar", "$": "dollar", "€": "euro", "£": "gbp", "¥": "yen", "₹": "rupee"}


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


_ONE = Fraction(1)
_PREFIXES = {"": _ONE, "k": Fraction(1000), "c": Fraction(1, 100), "m": Fraction(1, 1000), "d": Fraction(1, 10),
             "M": Fraction(10**6), "G": Fraction(10**9), "u": Fraction(1, 10**6), "µ": Fraction(1, 10**6),
             "μ": Fraction(1, 10**6), "n": Fraction(1, 10**9)}  # fmt: skip
_LONG_PREFIXES = {"": _ONE, "kilo": Fraction(1000), "centi": Fraction(1, 100), "milli": Fraction(1, 1000),
                  "deci": Fraction(1, 10), "mega": Fraction(10**6), "giga": Fraction(10**9),
                  "micro": Fraction(1, 10**6), "nano": Fraction(1, 10**9)}  # fmt: skip
_CUBIC_METRE = (("metre", 3),)
_BASES: dict[str, tuple[Fraction, tuple[tuple[str, int], ...]]] = {
    "m": (_ONE, (("metre", 1),)), "g": (_ONE, (("gram", 1),)), "s": (_ONE, (("second", 1),)),
    "L": (Fraction(1, 1000), _CUBIC_METRE), "l": (Fraction(1, 1000), _CUBIC_METRE),
    "Hz": (_ONE, (("second", -1),)), "N": (_ONE, (("newton", 1),)), "J": (_ONE, (("joule", 1),)),
    "W": (_ONE, (("watt", 1),)), "V": (_ONE, (("volt", 1),)), "A": (_ONE, (("ampere", 1),)),
    "Pa": (_ONE, (("pascal", 1),)), "mol": (_ONE, (("mole", 1),)),
}  # fmt: skip
_LONG_BASES = {"meter": "m", "metre": "m", "gram": "g", "gramme": "g", "second": "s", "liter": "L", "litre": "L",
               "hertz": "Hz", "newton": "N", "joule": "J", "watt": "W", "volt": "V", "ampere": "A", "amp": "A",
               "pascal": "Pa", "mole": "mol"}  # fmt: skip
_OTHERS: dict[str, tuple[str, Fraction]] = {
    "inch": ("metre", Fraction(254, 10_000)), "in": ("metre", Fraction(254, 10_000)),
    "foot": ("metre", Fraction(3048, 10_000)), "ft": ("metre", Fraction(3048, 10_000)),
    "yard": ("metre", Fraction(9144, 10_000)), "yd": ("metre", Fraction(9144, 10_000)),
    "mile": ("metre", Fraction(1_609_344, 1000)), "mi": ("metre", Fraction(1_609_344, 1000)),
    "pound": ("gram", Fraction(45_359_237, 100_000)), "lb": ("gram", Fraction(45_359_237, 100_000)),
    "ounce": ("gram", Fraction(45_359_237, 1_600_000)), "oz": ("gram", Fraction(45_359_237, 1_600_000)),
    "tonne": ("gram", Fraction(10**6)), "ton": ("ton", _ONE),
    "sec": ("second", _ONE), "minute": ("second", Fraction(60)), "min": ("second", Fraction(60)),
    "hour": ("second", Fraction(3600)), "hr": ("second", Fraction(3600)), "h": ("second", Fraction(3600)),
    "day": ("second", Fraction(86_400)), "week": ("second", Fraction(604_800)),
    "month": ("month", _ONE), "year": ("month", Fraction(12)), "yr": ("month", Fraction(12)),
    "dollar": ("dollar", _ONE), "usd": ("dollar", _ONE), "buck": ("dollar", _ONE),
    "cent": ("dollar", Fraction(1, 100)), "penny": ("dollar", Fraction(1, 100)), "euro": ("euro", _ONE),
    "gbp": ("gbp", _ONE), "yen": ("yen", _ONE), "rupee": ("rupee", _ONE),
    "degree": ("degree", _ONE), "deg": ("degree", _ONE), "radian": ("radian", _ONE), "rad": ("radian", _ONE),
    "celsius": ("celsius", _ONE), "fahrenheit": ("fahrenheit", _ONE), "kelvin": ("kelvin", _ONE),
}  # fmt: skip
_COMPOUND = {"mph": "mile/hour", "kmh": "km/hour", "kph": "km/hour", "kmph": "km/hour", "sqft": "square foot"}
_IRREGULAR = {"feet": "foot", "inches": "inch", "people": "person", "children": "child", "men": "man",
              "women": "woman", "pennies": "penny", "lbs": "lb", "hrs": "hr", "mins": "min", "secs": "sec"}  # fmt: skip
_FILLERS = frozenset(
    ["unit", "of", "the", "a", "an", "in", "total", "each", "are", "is", "and", "more", "left", "per", "square", "sq", "cubic", "cu", "to", "for", "all", "away", "ago", "old"]
)
_NOT_UNITS = frozenset(
    ["sin", "cos", "tan", "cot", "sec", "csc", "log", "ln", "exp", "sqrt", "pi", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh", "mod", "max", "min", "det"]
) - {"min", "sec"}


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


@lru_cache(maxsize=8192)
def split_unit(text: str) -> tuple[str, Unit | None]:
    """The value's text and its unit; the unit is None where none is stated."""
    money = _MONEY.match(text)
    if money:
        rest, _ = split_unit(text[money.end() :])
        name = _CURRENCY.get(money[2], "rupee")
        return money[1] + rest, Unit(_ONE, ((name, 1),), frozenset())
    tokens = _UNIT_TOKEN.findall(_TEXT.sub(r" \1 ", text).strip())
    start = _unit_start(tokens)
    if start is None:
        return text, None
    unit = _unit(tuple(token for token in tokens[start:] if token.strip()))
    return "".join(tokens[:start]).strip(), unit if unit.dimensions or unit.labels else None


def _unit_start(tokens: list[str]) -> int | None:
    """Index of the first token of the unit at the end, which something must precede."""
    start = None
    for index in range(len(tokens) - 1, 0, -1):
        token = tokens[index]
        if _is_unit_word(token, tokens[index - 1]) or (
            token in ("C", "F") and "\\circ" in tokens[max(0, index - 3) : index]
        ) or (token == "^" and tokens[index + 1 : index + 2] == ["\\circ"]):
            start = index
        elif not (
            token.isspace()
            or token in "^{}/-*.\\circ\\cdot"
            or (token.isdigit() and tokens[index - 1] in "^{-")
        ) or (token.isdigit() and len(token) > 1):
            break
    if start is None or not "".join(tokens[:start]).strip():
        return None
    return start if tokens[start - 1].strip() not in ("+", "-", "*", "/", "=", "(") else None


def _is_unit_word(token: str, before: str) -> bool:
    if not token[0].isalpha() or token.lower() in _NOT_UNITS:
        return False
    if len(token) == 1:
        return _known(token) is not None and (before.isspace() or before in "/*")
    return _known(token) is not None or len(token) > 2


@lru_cache(maxsize=1024)
def _known(word: str) -> tuple[Fraction, tuple[tuple[str, int], ...]] | None:
    """Factor and dimensions of a unit's name or symbol, singular or plural."""
    for prefix, size in _PREFIXES.items():
        if word.startswith(prefix) and (base := _BASES.get(word[len(prefix) :])) and (prefix or base):
            return size * base[0], base[1]
    lower = singular(word.lower())
    for prefix, size in _LONG_PREFIXES.items():
        if lower.startswith(prefix) and lower[len(prefix) :] in _LONG_BASES:
            factor, dimensions = _BASES[_LONG_BASES[lower[len(prefix) :]]]
            return size * factor, dimensions
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
def _unit(tokens: tuple[str, ...]) -> Unit:
    factor, dimensions, labels = _ONE, dict[str, int](), set[str]()
    sign, power, index = 1, 1, 0
    words = [part for token in tokens for part in _UNIT_TOKEN.findall(_COMPOUND.get(token.lower(), token))]
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
            known = _known(word) or (
                {"C": (_ONE, (("celsius", 1),)), "F": (_ONE, (("fahrenheit", 1),))}.get(word)
            )
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
    while index < len(words) and (words[index] in "^{}-" or words[index].isdigit()):
        text += words[index]
        index += 1
    digits = text.strip("^{}")
    return (int(digits) if digits.lstrip("-").isdigit() else 1), index


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
    match = _BASE.match(plain_text(text).replace("{ ", "{").replace(" }", "}").replace("_ ", "_"))
    if match is None:
        return None
    base = _BASE_NAMES.get(match[2].lower()) or (int(match[2]) if match[2].isdigit() else 0)
    try:
        return int(match[1], base) if 2 <= base <= 36 else None
    except ValueError:  # a digit that the base does not have
        return None
