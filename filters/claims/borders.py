"""Where an expression begins and ends: what stands beside it and is, or may be, a part of it.

A relation is only called false where both of its sides are whole, so whatever the grammar doesn't read and that may
belong to a side is told here from what surely doesn't: punctuation, words, the border of a formula.
"""

from __future__ import annotations

import unicodedata

from proofmill.filters.claims.latex import GREEK
from proofmill.filters.claims.phrases import AGGREGATES
from proofmill.filters.claims.tokens import (
    CLOSING,
    COMMAND,
    FENCED,
    NEWLINE,
    NUMBER,
    PUNCTUATION,
    RELATION,
    TIGHT,
    WORD,
    Token,
)
from proofmill.filters.claims.wording import CLEAN_WORDS, NAMED_FUNCTIONS, UNITS, words

_REMAINDERS = frozenset({"remainder", "r"})
_TRAILING_SIGNS = frozenset({"±", "_", "^", "+", "-", "*", "/", "…", "'"})
# Commands that the grammar doesn't read here and that make the expression beside them a part of something larger.
_UNREAD = words(
    r"\pm \mp \sum \prod \int \iint \oint \lim \overline \underline \bar \hat \vec \dot \choose \sin \cos \tan \cot "
    r"\sec \csc \arcsin \arccos \arctan \sinh \cosh \tanh \log \ln \lg \exp \max \min \sup \inf \gcd \deg \det "
    r"\operatorname \mathbf \mathbb \mathcal \mathfrak \vert \Vert \mid \lfloor \lceil \langle \infty \partial \nabla "
    r"\not \prime \binom \dbinom \frac \dfrac \tfrac \sqrt \pi \overrightarrow \stackrel \overset \underset \vdots"
) | {f"\\{name}" for name in GREEK}
# Operations that a problem makes up: a number beside one is only a part of a side.
_STRANGE_SIGNS = words(
    r"@ # ⊕ ⊗ ⊙ ⊖ ◇ ◆ △ ▽ ▲ ∆ ∇ ∘ ★ ☆ ♦ ♥ ♠ ♣ □ ■ ∧ ∨ ∪ ∩ \# \star \oplus \otimes \odot \ominus \circ \bullet "
    r"\diamond \Diamond \triangle \bigtriangleup \nabla \square \Box \wedge \vee \cup \cap \heartsuit \spadesuit "
    r"\clubsuit \diamondsuit \dagger \bigstar \blacksquare \clubs \hearts"
)
_RANGES = frozenset({"or", "to", "and"})
_PARTS = words("+ * / ^ _ √ ± | … ' mod modulo") | {"\\frac", "\\sqrt"}  # before an expression, parts of a larger one
_SIGNS_OF_ONE = frozenset("-%!°")
_BINDING = words("mod modulo choose base log ln sin cos tan cot sec csc exp")
_MAX_INDEX = 12
_ARTICLES = frozenset({"the", "their", "these", "a"})
_STARTS = words(
    r""". ; : , ( [ { } ) | ! — " “ → ⇒ => -> --> ∴ \{ \therefore \item \begin \to \rightarrow \Rightarrow
    \Longrightarrow \implies \iff"""
)


def goes_on(tokens: list[Token], position: int, *, after_percent: bool) -> bool:
    """Whether what stands behind an expression may belong to it: `4ab`, `2 \\sin x`, `3 + …`, `5 remainder 2`."""
    token, following = tokens[position], tokens[position + 1]
    if token.kind == WORD:
        return _word_goes_on(token, following, after_percent)
    if token.kind == COMMAND:
        return token.text in _UNREAD or token.text in _STRANGE_SIGNS
    if token.kind == NUMBER:
        return token.gap != FENCED
    if token.text in (":", "."):
        return token.gap == TIGHT == following.gap and following.kind == NUMBER
    return token.text in _TRAILING_SIGNS or token.text in _STRANGE_SIGNS or _is_unread_sign(token)


def _word_goes_on(token: Token, following: Token, after_percent: bool) -> bool:
    word = token.text.lower()
    return (
        token.gap == TIGHT
        or word in _REMAINDERS
        or (word in _RANGES and following.kind == NUMBER)
        or (word == "of" and after_percent)
        or (word == "and" and following.text in ("a", "half", "one"))
        or (token.text in NAMED_FUNCTIONS and following.text == "(")
    )


def is_joined(tokens: list[Token], position: int) -> bool:
    """Whether the expression is the right part of a larger one that the grammar can't read."""
    if position == 0:
        return False
    token, before = tokens[position], tokens[position - 1]
    if before.kind == WORD:
        return _is_joined_to_word(token, before) or _is_second_unit(tokens, position)
    if before.text in _STRANGE_SIGNS or before.text in _UNREAD:
        return True
    if token.gap == FENCED:
        return before.text in _SIGNS_OF_ONE and not is_bullet(tokens, position - 1)
    if token.text == "+" or before.text in _PARTS or before.kind == NUMBER or before.text[:1].isdecimal():
        return True
    if before.text == "," and token.gap == TIGHT == before.gap and tokens[position - 2].kind == NUMBER:
        return True  # 160,0000: a number written wrongly
    if before.text in _SIGNS_OF_ONE:
        return not is_bullet(tokens, position - 1)
    if before.text in CLOSING.values():
        return token.gap == TIGHT or _closes_an_index(tokens, position - 1)
    return _is_unread_sign(before)


def _closes_an_index(tokens: list[Token], position: int) -> bool:
    """Whether the bracket closes what stands above or below a sign, as in `\\sum_{k=1}^{5} k`."""
    for opening in range(position, max(0, position - _MAX_INDEX), -1):
        if tokens[opening].text == "{":
            return tokens[opening - 1].text in ("^", "_")
    return False


def _is_second_unit(tokens: list[Token], position: int) -> bool:
    """`2 hr 15 min × 4`: the smaller of two units that are one quantity together."""
    if position < 2 or [token.kind for token in tokens[position - 2 : position + 2]] != [NUMBER, WORD, NUMBER, WORD]:
        return False
    units = [UNITS.get(tokens[place].text) for place in (position - 1, position + 1)]
    return units[0] is not None and units[1] is not None and units[0][0] == units[1][0] and units[0][1] > units[1][1]


def _is_joined_to_word(token: Token, before: Token) -> bool:
    """`boxes + 3 = 5`, `x2 = 4`, `area(3) = 9`, `n mod 5 = 2`."""
    if token.gap == FENCED:
        return False
    if token.text in ("+", "-"):
        return before.text.lower() not in CLEAN_WORDS
    if before.text.lower() in _BINDING:
        return True
    return token.gap == TIGHT and (token.kind == NUMBER or token.text in CLOSING)


def is_clean(tokens: list[Token], position: int) -> bool:
    """Whether the words in front of an expression leave its value alone."""
    token = tokens[position]
    if position == 0 or token.gap == FENCED:
        return True
    before = tokens[position - 1]
    if before.kind == WORD:
        word = before.text.lower()
        return word in CLEAN_WORDS or (token.text.lower() in AGGREGATES and word in _ARTICLES)
    return before.kind in (NEWLINE, RELATION) or before.text in _STARTS or is_bullet(tokens, position - 1)


def is_bullet(tokens: list[Token], position: int) -> bool:
    """A dash that opens a line of text and stands apart marks an item; it is no minus."""
    token, following, before = tokens[position], tokens[position + 1], tokens[position - 1]
    opens = position == 0 or (before.kind == NEWLINE and before.end - before.start == 1)
    return token.text in ("-", "*", "+") and opens and following.gap != TIGHT


def _is_unread_sign(token: Token) -> bool:
    """A letter or mathematical sign outside ASCII that no token stands for, such as ∑ or an Ω on a number."""
    sign = token.text[:1]
    if token.kind != PUNCTUATION or sign < "\x80" or sign in _STARTS:
        return False
    category = unicodedata.category(sign)
    return category in ("Sm", "Lm", "No") or (category in ("Ll", "Lu") and token.gap == TIGHT)
