"""One spelling of the texts in which options are written and answers name them."""

from __future__ import annotations

import re

from proofmill.filters.symbolic.grammar import FUNCTIONS
from proofmill.filters.symbolic.units import known_unit

_WRAPPER = re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf|mathit)\s?\{([^{}]{0,500})\}")
_FULL_WIDTH = str.maketrans({0xFF01 + n: 0x21 + n for n in range(94)} | {"。": ".", "、": ",", "“": '"', "”": '"'})
_LABEL_NOUN = re.compile(r"(?<![A-Za-z])([A-Z])\s?(?:选项|项)")  # 选C项
_MARKUP = re.compile(r"[$*`\"]|\\[()\[\],;!\s]|\\left|\\right|\\quad")
_NAMES = re.compile(r"^(?:the\s)?(?:(?:answer|option|choice|letter)\s){1,2}", re.IGNORECASE)
_QUOTED = re.compile(r"(?<!\w)'(\w{1,2})'(?!\w)")
_RUN = re.compile(r"(?<!\\)\b[A-Za-z]{3,}")
_FORMULA_WORDS = FUNCTIONS | {"sqrt", "pi", "frac", "text"}
_MAX_FORMULA = 200
ENDS = " .,:;!?\"'"


def is_formula(text: str) -> bool:
    """Whether a short text is mathematics or a quantity and holds no words but units."""
    if len(text) > _MAX_FORMULA or not any(sign.isdigit() or sign in "\\^=+*/√π∞" for sign in text):
        return False
    return all(word in _FORMULA_WORDS or known_unit(word) for word in _RUN.findall(_WRAPPER.sub(r" \1 ", text)))


def clean(text: str) -> str:
    """A text without Markdown and LaTeX wrappers, its white space plain, a leading "option" gone."""
    if not text.isascii():
        text = _LABEL_NOUN.sub(r"\1", text.translate(_FULL_WIDTH))
    if "\\" in text:
        text = _WRAPPER.sub(r"\1", text)
    if "'" in text:
        text = _QUOTED.sub(r"\1", text)
    return _NAMES.sub("", " ".join(_MARKUP.sub(" ", text).split()))


def normalise(text: str) -> str:
    """The form in which option texts are compared: wrappers, case and outer punctuation do not count."""
    plain = clean(text).lower().strip(ENDS)
    return f"{plain}!" if plain[-1:].isdigit() and f"{plain}!" in text else plain  # a factorial is another value
