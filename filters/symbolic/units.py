r"""Units of measurement, exactly, and what else a number may carry: money, percent signs, times of day, ratios, bases.

One table says what units measure and how large they are; prose reads it by `EVERYDAY_UNITS`.

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
from typing import NamedTuple

from proofmill.filters.symbolic.notation import FUNCTIONS, SCALE_WORDS, in_base

UNIT_TOKEN = re.compile(r"\\[A-Za-z]+|[A-Za-zµμÀ-ÖØ-öø-žА-яЁё]+|[\u4e00-\u9fff]+|\d+|[^\sA-Za-z\d]|\s+")


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

    @property
    def measures(self) -> bool:
        """Whether it measures something, as neither a count nor digits in a base do."""
        return bool(self.dimensions) and self.dimensions[0][0] not in ("numeral", "count")

    def agrees(self, other: Unit) -> bool:
        """Return whether both measure the same thing."""
        if self.dimensions or other.dimensions:
            return self.dimensions == other.dimensions
        return bool(self.labels & other.labels)


TWO_MEASURES = re.compile(  # 1 hour 30 minutes
    r"(\d{1,6}) ?([A-Za-z]{1,12})(?:,? (?:and|und|et|y|e) |,? )(\d{1,6}(?:\.\d{1,6})?) ?([A-Za-z]{1,12})\b(?!/)"
)
ONE = Fraction(1)
Dimensions = tuple[tuple[str, int], ...]

_PREFIXES = {
    "": 0,
    "k": 3,
    "K": 3,
    "c": -2,
    "m": -3,
    "d": -1,
    "M": 6,
    "G": 9,
    "T": 12,
    "u": -6,
    "µ": -6,
    "μ": -6,
    "n": -9,
    "p": -12,
}
_LONG_PREFIXES = {
    "": 0, "kilo": 3, "centi": -2, "milli": -3, "deci": -1, "mega": 6, "giga": 9, "tera": 12, "micro": -6, "nano": -9,
}  # fmt: skip
_CUBIC_METRE = (("metre", 3),)
_BASES: dict[str, tuple[Fraction, Dimensions]] = {
    "m": (ONE, (("metre", 1),)), "g": (ONE, (("gram", 1),)), "s": (ONE, (("second", 1),)),
    "L": (Fraction(1, 1000), _CUBIC_METRE), "l": (Fraction(1, 1000), _CUBIC_METRE),
    "Hz": (ONE, (("second", -1),)), "N": (ONE, (("newton", 1),)), "J": (ONE, (("joule", 1),)),
    "W": (ONE, (("watt", 1),)), "V": (ONE, (("volt", 1),)), "A": (ONE, (("ampere", 1),)),
    "Pa": (ONE, (("pascal", 1),)), "bar": (Fraction(100_000), (("pascal", 1),)),
    "atm": (Fraction(101_325), (("pascal", 1),)), "cal": (ONE, (("calorie", 1),)),
    "Ω": (ONE, (("ohm", 1),)), "Wh": (Fraction(3600), (("joule", 1),)), "mol": (ONE, (("mole", 1),)),
    "eV": (ONE, (("electronvolt", 1),)),
    "b": (ONE, (("bit", 1),)), "B": (Fraction(8), (("bit", 1),)),
}  # fmt: skip
_NEEDS_PREFIX = frozenset("bB")  # alone they are letters
_LONG_BASES = {
    "meter": "m", "metre": "m", "gram": "g", "gramme": "g", "second": "s", "liter": "L", "litre": "L",
    "hertz": "Hz", "newton": "N", "joule": "J", "watt": "W", "volt": "V", "ampere": "A", "amp": "A",
    "pascal": "Pa", "mole": "mol", "bit": "b", "byte": "B",
}  # fmt: skip
_GALLON = Fraction(231 * 254**3, 10**12)  # of the United States, in cubic metres: 231 cubic inches
_POUND = Fraction(45_359_237, 100_000)  # in grams
_INCH = Fraction(254, 10_000)


class _Row(NamedTuple):
    """Units of one scale: names by their size in the scale's smallest unit."""

    scale: str
    base: str
    size: Fraction
    power: int
    names: dict[int, str]


# Every scale of everyday units: exact by definition within itself. Months and years stand apart from days.
_SCALES_OF_UNITS = (
    _Row("time", "second", ONE, 1, {1: "second seconds sec secs s", 60: "minute minutes min mins",
                                    3600: "hour hours hr hrs h",
                                    86_400: "day days", 604_800: "week weeks"}),
    _Row("calendar", "month", ONE, 1, {1: "month months", 12: "year years yr yrs"}),
    _Row("metric length", "metre", Fraction(1, 1000), 1, {1: "mm millimeter millimeters",
         10: "cm centimeter centimeters",
         1000: "m meter meters metre metres", 10**6: "km kilometer kilometers"}),
    _Row("imperial length", "metre", _INCH, 1, {1: "inch inches in", 12: "foot feet ft", 36: "yard yards yd",
                                                63_360: "mile miles mi"}),
    _Row("metric mass", "gram", Fraction(1, 1000), 1, {1: "mg milligram milligrams", 1000: "g gram grams",
         10**6: "kg kilogram kilograms", 10**9: "tonne tonnes"}),
    _Row("imperial mass", "gram", _POUND / 16, 1, {1: "ounce ounces oz", 16: "pound pounds lb lbs"}),
    _Row("metric volume", "metre", Fraction(1, 10**6), 3, {1: "ml mL milliliter milliliters",
         1000: "l L liter liters litre litres"}),
    _Row("imperial volume", "metre", _GALLON / 768, 3, {1: "teaspoon teaspoons tsp", 3: "tablespoon tablespoons tbsp",
         48: "cup cups", 96: "pint pints pt", 192: "quart quarts qt qts", 768: "gallon gallons gal"}),
    _Row("money", "dollar", Fraction(1, 100), 1, {1: "cent cents penny pennies", 5: "nickel nickels", 10: "dime dimes",
         25: "quarter quarters", 100: "dollar dollars usd buck bucks"}),
)  # fmt: skip
_COUNTS = {2: "pair pairs", 12: "dozen dozens", 144: "gross"}
_ONLY_IN_PROSE = frozenset(
    ["nickel", "nickels", "dime", "dimes", "quarter", "quarters"]
)  # a quarter is 1/4 in an answer
_ALONE: dict[str, Dimensions] = {
    name: ((base, 1),)
    for base, names in {
        "ton": "ton tons", "euro": "euro euros", "gbp": "gbp", "yen": "yen", "rupee": "rupee rupees",
        "yuan": "yuan rmb",
        "degree": "degree degrees deg", "radian": "radian radians rad", "celsius": "celsius",
        "fahrenheit": "fahrenheit",
        "kelvin": "kelvin", "ohm": "ohm ohms", "calorie": "cal calorie calories", "acre": "acre acres",
        "hectare": "ha hectare hectares",
        "revolution": "revolution revolutions", "knot": "knot knots",
    }.items()
    for name in names.split()
}  # fmt: skip
_NAMED: dict[str, tuple[Fraction, Dimensions]] = (
    {
        name: (row.size * size, ((row.base, row.power),))
        for row in _SCALES_OF_UNITS
        for size, names in row.names.items()
        for name in names.split()
        if len(name) > 1 and name not in _ONLY_IN_PROSE
    }
    | {name: (ONE, dimensions) for name, dimensions in _ALONE.items()}
    | {"h": (Fraction(3600), (("second", 1),))}
    | {name: (Fraction(3600), (("second", 1),)) for name in ("stunde", "stunden", "heure", "heures", "hora", "horas")}
    | {name: (Fraction(60), (("second", 1),)) for name in ("minuten", "minutos", "minuti")}
)


def _everyday_units() -> dict[str, tuple[str, int]]:
    scales = [(row.scale, row.names) for row in _SCALES_OF_UNITS if row.scale != "calendar"] + [("count", _COUNTS)]
    units = {name: (scale, size) for scale, rows in scales for size, names in rows.items() for name in names.split()}
    units.update({"ton": ("imperial mass", 32_000), "tons": ("imperial mass", 32_000)})
    for ambiguous in ("in", "mi", "tonne", "tonnes", "usd", "buck", "bucks"):
        units.pop(ambiguous, None)
    return units


EVERYDAY_UNITS = _everyday_units()
"""Names of units in prose, each with its scale and how many of the scale's smallest unit it is.

Units of two scales (inches and centimetres) are not converted into each other: in prose that is mostly rounded.
"""
_COMPOUND = {
    "mph": "mile/hour", "kmh": "km/hour", "kph": "km/hour", "kmph": "km/hour", "sqft": "square foot",
    "mbps": "Mb/second", "rpm": "revolution/minute",
}  # fmt: skip
_IRREGULAR = {
    "feet": "foot", "inches": "inch", "people": "person", "children": "child", "men": "man",
    "women": "woman", "pennies": "penny", "lbs": "lb", "hrs": "hr", "mins": "min", "secs": "sec",
    "celsius": "celsius",
}  # fmt: skip
_FILLERS = frozenset(
    re.findall(
        r"\w+",
        "unit of the a an in total each are is and more left per square sq cubic cu to for all away ago old",
    )
)


ATTACHED_UNITS = frozenset(
    re.findall(r"\w+", "cm mm km kg mg ml mL ft lb lbs oz hr hrs min mins sec secs mph kWh kph cents am pm")
)
"""Units that may follow their number without a blank: `5m` may be a product."""


@lru_cache(maxsize=1024)
def is_other_unit(word: str) -> bool:
    """Return whether a word is a unit that no everyday scale holds, so that converting it in prose is not checked."""
    return word not in EVERYDAY_UNITS and (word in _COMPOUND or known_unit(word) is not None)


@lru_cache(maxsize=1024)
def known_unit(word: str) -> tuple[Fraction, tuple[tuple[str, int], ...]] | None:
    """Return the factor and dimensions of a unit's name or symbol, singular or plural."""
    if (named := _NAMED.get(word)) is not None:
        return named
    for prefix, size in _PREFIXES.items():
        if word.startswith(prefix) and (base := _BASES.get(word[len(prefix) :])):
            if not prefix and word in _NEEDS_PREFIX:
                continue
            return Fraction(10) ** size * base[0], base[1]
    lower = singular(word.lower())
    for prefix, size in _LONG_PREFIXES.items():
        if lower.startswith(prefix) and lower[len(prefix) :] in _LONG_BASES:
            factor, dimensions = _BASES[_LONG_BASES[lower[len(prefix) :]]]
            return Fraction(10) ** size * factor, dimensions
    return _NAMED.get(lower)


def singular(word: str) -> str:
    """Return a rough singular, good enough to match a word with its own plural."""
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if len(word) > 4 and word.endswith(("xes", "ches", "shes", "sses")):
        return word[:-2]
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


@lru_cache(maxsize=1024)
def read_unit(tokens: tuple[str, ...]) -> Unit:
    """Return the unit that tokens spell: products, quotients and powers of known units, other words as labels."""
    words = [part for token in tokens for part in UNIT_TOKEN.findall(_COMPOUND.get(token.lower(), token))]
    cut = next((index for index in range(1, len(words)) if _counts_in(words, index)), len(words))
    reader = _UnitReader(words[:cut])
    reader.read()
    dimensions = reader.dimensions
    if {"celsius", "fahrenheit", "kelvin"} & dimensions.keys():
        dimensions.pop("degree", None)
    stated = tuple(sorted((name, size) for name, size in dimensions.items() if size))
    return Unit(reader.factor, stated, frozenset(reader.labels))


def _counts_in(words: list[str], index: int) -> bool:
    """Return whether "in" separates what is counted from when: "loads in a year" are loads."""
    return words[index] == "in" and words[index - 1][0].isalpha() and words[index - 1] not in ("square", "sq", "cubic")


_AREAS = {"square": 2, "sq": 2, "cubic": 3, "cu": 3}
_SIGNED_UNITS: dict[str, tuple[Fraction, Dimensions]] = {
    "C": (ONE, (("celsius", 1),)), "F": (ONE, (("fahrenheit", 1),)), "\\Omega": (ONE, (("ohm", 1),)),
}  # fmt: skip


class _UnitReader:
    """The factor, dimensions and labels that words of a unit add up to."""

    def __init__(self, words: list[str]) -> None:
        self.words = words
        self.factor, self.sign, self.power = ONE, 1, 1
        self.dimensions: dict[str, int] = {}
        self.labels: set[str] = set()

    def read(self) -> None:
        index = 0
        while index < len(self.words):
            word = self.words[index]
            index += 1
            if word in ("/", "per") or (word in ("a", "an") and index > 1):  # 3 hours a week
                self.sign = -1
            elif word in _AREAS:
                self.power = _AREAS[word]
            elif word == "\\circ":
                self.dimensions["degree"] = 1
            elif word[0].isalpha() or word in _SIGNED_UNITS:
                exponent, index = _unit_exponent(self.words, index)
                self._count(word, exponent)

    def _count(self, word: str, exponent: int) -> None:
        known = known_unit(word) or _SIGNED_UNITS.get(word)
        if known is None:
            self.labels |= {singular(word.lower())} - _FILLERS
        else:
            exponent *= self.sign * self.power
            self.factor *= known[0] ** exponent
            for name, size in known[1]:
                self.dimensions[name] = self.dimensions.get(name, 0) + size * exponent
        self.power = 1


def _unit_exponent(words: list[str], index: int) -> tuple[int, int]:
    """Return the exponent that follows a unit, 1 if none does, and the index behind it."""
    if words[index : index + 1] != ["^"]:
        return 1, index
    text = ""
    while index < len(words) and (words[index] in "^{}-" or words[index].isdecimal()):
        text += words[index]
        index += 1
    digits = text.strip("^{}")
    return (int(digits) if digits.lstrip("-").isdecimal() else 1), index


_ASKS_RATE = re.compile(
    r"\b(?:per|rate|speed|fast|each|every|(?:an?|one) (?:second|minute|hour|day|week|month|year)|hourly|daily|weekly"
    r"|monthly|yearly|annual\w*|wage|salary|rent|pace|velocity|income|earnings)\b|/",
    re.IGNORECASE,
)
_ASKS_SPEED = re.compile(
    r"\bwhat (?:is|was|will be|would be|must be)\b[^.?]{0,40}\b(?:speed|velocity)\b[^?]*\?|\bhow fast\b[^?]*\?",
    re.IGNORECASE,
)
_ASKS_AGE = re.compile(r"\bhow old\b[^?]*\?|\bwhat (?:is|was|will be)\b[^.?]{0,40}\bage\b[^?]*\?", re.IGNORECASE)
_PHYSICAL = frozenset({"metre", "second", "gram"})
_TIMES = frozenset({"month", "second"})
_ANGLES = frozenset({"degree", "radian", "prime '", "prime ''", 'prime "'})
_CURRENCIES = frozenset({"dollar", "euro", "gbp", "yen", "yuan", "rupee"})


def contradicts(unit: Unit, asked: Unit, question: str) -> bool:
    """Return whether a unit can't be what a question asks for: another power of a length, a speed."""
    (name, power), *others = unit.dimensions
    (asked_name, asked_power), *asked_others = asked.dimensions
    if asked_others:  # 60 km, where km/h are asked for
        return not others and unit.dimensions[0] in asked.dimensions
    if others:
        rate = [pair for pair in unit.dimensions if pair[1] > 0] == list(asked.dimensions)
        return rate and _ASKS_RATE.search(question) is None
    if any(
        name in kinds and asked_name in kinds and name != asked_name
        for kinds in (_CURRENCIES, _PHYSICAL, _ANGLES, _TIMES)
    ):
        return True
    return name == asked_name and power != asked_power


def of_other_kind(unit: Unit, question: str) -> bool:
    """Return whether a length or time is stated where a speed is asked for, or money per hour where money is."""
    if unit.dimensions in (_LENGTH, _TIME):
        return _ASKS_SPEED.search(question) is not None
    kinds = dict(unit.dimensions)
    if "fahrenheit" in kinds or "celsius" in kinds:
        other = _CELSIUS if "fahrenheit" in kinds else _FAHRENHEIT
        own = _FAHRENHEIT if "fahrenheit" in kinds else _CELSIUS
        return other.search(question) is not None and own.search(question) is None
    paid = question != "" and len(kinds) == 2 and any(kinds.get(name) == 1 for name in _CURRENCIES)
    return paid and any(kinds.get(name) == -1 for name in _TIMES) and _ASKS_RATE.search(question) is None


_CELSIUS = re.compile(r"circ ?\}? ?C\b|\bcelsius\b", re.IGNORECASE)
_FAHRENHEIT = re.compile(r"circ ?\}? ?F\b|\bfahrenheit\b", re.IGNORECASE)


def asked_years(question: str) -> bool:
    """Return whether a question asks for an age, and speaks of no other unit of time than years."""
    return _ASKS_AGE.search(question) is not None and _SHORTER.search(question) is None


_LENGTH, _TIME = (("metre", 1),), (("second", 1),)
_SHORTER = re.compile(r"\b(?:months?|weeks?|days?|hours?|minutes?)\b", re.IGNORECASE)


_TEXT = re.compile(r"\\text\s*\{((?:[^{}]|\^\s?\{-?\d\})*)\}")
_UNIT_FRACTION = re.compile(r"\\frac ?\{ ?\\text ?\{([^{}]*)\} ?\} ?\{ ?\\text ?\{([^{}]*)\} ?\}")
_METRES_A_SECOND = re.compile(r"(?<![A-Za-z])ms(?= ?\^ ?\{? ?-)")
_CHINESE_UNITS = {
    "米": "m", "厘米": "cm", "毫米": "mm", "分米": "dm", "千米": "km", "公里": "km", "平方米": "m^2",
    "平方厘米": "cm^2",
    "平方千米": "km^2", "平方公里": "km^2", "立方米": "m^3", "立方厘米": "cm^3", "克": "g", "千克": "kg", "公斤": "kg",
    "毫克": "mg", "吨": "tonne", "升": "L", "毫升": "ml", "秒": "s", "分钟": "minute", "小时": "hour", "天": "day",
    "周": "week", "星期": "week", "个月": "month", "年": "year", "度": "degree", "元": "yuan", "美元": "dollar",
    "千米/时": "km/hour", "米/秒": "m/s",
}  # fmt: skip
_CHINESE_UNIT = re.compile(r"(?<=[\d}%)])\s?([\u4e00-\u9fff]+(?:/[\u4e00-\u9fff]+)?)")
_PRIMES = re.compile(r"(?<=[\d}])\s?(?:\^\s?\{?\s?(?:\\prime\s?){1,2}\}?|'{1,2}|\")\Z")
_POWER_WORD = re.compile(r"\b([A-Za-z]{1,15}) (squared|cubed)\b")
_MONEY = re.compile(
    r"^(-?)\s*(?:US\s*)?(\\\$|\$|€|£|¥|₹|Rs\.?(?=[\s\d])|(?:USD|EUR|GBP|CNY|RMB|INR)\b)\s*(?=[-\d.\\(])"
)
_MONEY_BEHIND = re.compile(r"(?<=\d)\s?(\\\$|\$|€|£|¥|₹)\Z")
_PERCENT = re.compile(r"\s*(?:\\?%|per\s?cent(?:age)?(?: points?)?)$", re.IGNORECASE)
_COLON = re.compile(r"^(\d{1,9})(?: ?: ?| to )(\d{1,9})(?: ?: ?(\d{1,9}))?\s*([ap])?\.?(m)?\.?$", re.IGNORECASE)
_BASE = re.compile(
    r"^(-?)(?=\(\w{1,200}\)|\w)\(?([0-9A-Za-z]{1,200})\)?(?:_\{?\(?|,?\s+(?:in )?base[- ])(?:base\s*)?(\w{1,7})\)?\}?$"
)
_PER = re.compile(r"\b(?:per|an?)\s|/")
_CURRENCY = {
    "USD": "dollar",
    "EUR": "euro",
    "GBP": "gbp",
    "CNY": "yuan",
    "RMB": "yuan",
    "INR": "rupee",
    "\\$": "dollar",
    "$": "dollar",
    "€": "euro",
    "£": "gbp",
    "¥": "yen",
    "₹": "rupee",
}


_NOT_UNITS = (
    FUNCTIONS
    | frozenset(
        re.findall(
            r"\w+",
            "sqrt pi mod modulo max det gcd lcm factorial remainder not nor or maybe perhaps wrong incorrect "
            "january february march april may june july august september october november december "
            "squared cubed half halves thirds kilo mega milli",
        )
    )
) - {"sec"}
_SCALES = {"dozen": 12} | SCALE_WORDS
_CHINESE_SCALES = {"百": 100, "千": 1_000, "万": 10_000, "亿": 100_000_000}
_CHINESE_SCALE = re.compile(r"(\d[\d.,]*)\s?(万|亿|千(?![克米瓦卡])|百(?!分))")
_SHORT_SCALE = re.compile(r"(\\?\$|€|£)\s?(\d[\d.,]*)\s?([kKMB])\Z")
_SCALED = re.compile(rf"(\d[\d.,]*)\s?({'|'.join(_SCALES)})s?\b", re.IGNORECASE)


def plain_text(text: str) -> str:
    r"""Return the text with every `\text{…}` replaced by what it says, set off by spaces."""
    return " ".join(_TEXT.sub(r" \1 ", text).split()) if "\\text" in text else text


def split_percent(text: str) -> tuple[str, bool]:
    """Return the text before a closing percent sign or word, and whether there was one."""
    match = _PERCENT.search(plain_text(text)[-40:])
    if match is None:
        return text, False
    whole = plain_text(text)
    return whole[: len(whole) - len(match[0])].strip(), True


def scaled(text: str) -> str:
    """Return the text with a number and its scale (`5 million`, `2 dozen`) as one product, so that it is no unit."""
    plain = plain_text(text)
    if amount := _SHORT_SCALE.match(plain):
        return f"{amount[1]}{amount[2]}*{10 ** {'k': 3, 'm': 6, 'b': 9}[amount[3].lower()]}"  # $1.25k
    if not text.isascii():
        plain = _CHINESE_SCALE.sub(lambda match: f"{match[1]}*{_CHINESE_SCALES[match[2]]}", plain)
    scaled_text = _SCALED.sub(_product, plain)
    return text if scaled_text == plain_text(text) else scaled_text


_SCALE_NAME = re.compile(r"\b(dozen|hundred|thousand|million|billion|trillion)s?\b", re.IGNORECASE)
_SCALE_ASKED = re.compile(r"\bin (?:whole )?(dozen|hundred|thousand|million|billion|trillion)s?\b", re.IGNORECASE)


def scale_left_out(a: str, b: str, question: str) -> bool:
    """Return whether only one of two texts names a scale, and that is the one in which the question asks."""
    named = {name.lower() for text in (a, b) for name in _SCALE_NAME.findall(text)}
    if len(named) != 1 or (_SCALE_NAME.search(a) and _SCALE_NAME.search(b)):
        return False
    asked = _SCALE_ASKED.findall(question) or _SCALE_NAME.findall(question)
    return named <= {name.lower() for name in asked}


def _product(match: re.Match[str]) -> str:
    return f"{match[1]}*{_SCALES[match[2].lower()]}"


@lru_cache(maxsize=8192)
def split_unit(text: str) -> tuple[str, Unit | None]:
    """Return the value's text and its unit; the unit is None where none is stated."""
    if text.startswith("\\text") and _MONEY.match(plain_text(text)):
        text = plain_text(text)
    if "frac" in text or "ms" in text:
        text = _METRES_A_SECOND.sub("m s", _UNIT_FRACTION.sub(r"\\text{ \1/\2}", text))
    if money := _MONEY.match(text):
        rest, each = split_unit(text[money.end() :])
        name = _CURRENCY.get(money[2], "rupee")
        if each is not None and _PER.search(text):  # $18.50 per hour
            return money[1] + rest, Unit(each.factor, tuple(sorted(((name, 1), *each.dimensions))), each.labels)
        return money[1] + rest, Unit(ONE, ((name, 1),), frozenset())
    if behind := _MONEY_BEHIND.search(text):
        return text[: behind.start()], Unit(ONE, ((_CURRENCY[behind[1]], 1),), frozenset())
    if primes := _PRIMES.search(text):
        return text[: primes.start()], Unit(ONE, ((f"prime {primes[0].strip()}", 1),), frozenset())
    if not text.isascii():
        text = plain_text(text)
        text = _CHINESE_UNIT.sub(lambda match: f" {_CHINESE_UNITS.get(match[1], match[1])}", text)
    pieces = UNIT_TOKEN.findall(_POWER_WORD.sub(_power_of_unit, _TEXT.sub(r" \1 ", text)).strip())
    start = _unit_start(pieces)
    if start is None or (pieces[start] == "^" and any(piece[1:] in FUNCTIONS for piece in pieces[:start])):
        return text, None  # the degrees of a sine are its argument's
    unit = read_unit(tuple(piece for piece in pieces[start:] if piece.strip()))
    if unit.labels and unit.labels <= _SHARES and not unit.dimensions:
        return text, None  # 5 hundredths are no 5
    return "".join(pieces[:start]).strip(), unit if unit.dimensions or unit.labels else None


_SHARES = frozenset(re.findall(r"\w+", "fourth fifth sixth seventh eighth ninth tenth hundredth thousandth millionth"))


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
        elif piece in _LINKS and pieces[index - 1].isspace():
            start = index if start is not None else start
        elif not (
            piece.isspace() or piece in "^{}/-*.\\circ\\cdot" or (piece.isdigit() and pieces[index - 1] in "^{-")
        ) or (piece.isdigit() and len(piece) > 1):
            break
        elif piece == "/" and start is not None:
            start = index
    before = "".join(pieces[:start]).rstrip() if start else ""
    return None if not before or before[-1] in "+-*/=(" else start


_LINKS = frozenset(
    ["of", "a", "an", "per", "in", "the", "each", "to", "sq", "cu"]
)  # within a unit: 3 dollars per ear of corn


def _is_unit_word(piece: str, before: str) -> bool:
    if not piece[0].isalpha() or piece.lower() in _NOT_UNITS or piece in _LINKS:
        return piece == "\\Omega" or (piece == "in" and before.isspace()) or piece == "per"
    if len(piece) == 1 and piece.isascii():
        return known_unit(piece) is not None and (before.isspace() or before in "/*")
    return known_unit(piece) is not None or len(piece) > 2 or not piece.isascii()


def colon_form(text: str) -> tuple[str, tuple[int, ...]] | None:
    """Return ("clock", minutes or parts) or ("ratio", parts) for `12:30`, `12:05 pm`, `3:4:5`; else None."""
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
    """Return the value of a numeral whose base is stated: `1A_{16}`, `101_{\\text{two}}`, `101 base 2`."""
    match = _based(text)
    return in_base(match[1] + match[2], match[3]) if match is not None else None


def stated_base(text: str) -> int:
    """Return the base that a numeral states, 0 if none."""
    match = _based(text)
    return (in_base("10", match[3]) or 0) if match is not None else 0


def _based(text: str) -> re.Match[str] | None:
    return _BASE.match(plain_text(text).replace("{ ", "{").replace(" }", "}").replace("_ ", "_").replace(" _", "_"))
