"""Units of measurement: what they measure and how large they are, exactly."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

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
