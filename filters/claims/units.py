"""Units behind a number: the words up to the next sign, and what stands behind a slash or `per`."""

from __future__ import annotations

import re
from typing import NamedTuple

from proofmill.filters.claims.lexicon import (
    ATTACHED_UNITS,
    NAMED_FUNCTIONS,
    NUMBER_WORDS,
    OTHER_UNITS,
    STOP_WORDS,
)
from proofmill.filters.claims.tokens import END, NEWLINE, NUMBER, RELATION, TIGHT, WORD, Token
from proofmill.filters.symbolic.units import EVERYDAY_UNITS

_MAX_WORDS = 5
_MAX_TOKENS = 20
_ORDINAL = re.compile(r"(?:st|nd|rd|th)\Z")
_NOT_NOUNS = STOP_WORDS | NUMBER_WORDS.keys()
NEVER_UNITS = frozenset({NUMBER, RELATION, NEWLINE, END})
NOT_BEFORE_UNITS = frozenset("+*.,)")
_LETTERS = frozenset("mglLsh")


class Unit(NamedTuple):
    """The unit found and the position behind it; `opaque` for an ordinal such as `5th`."""

    position: int
    words: tuple[str, ...] = ()
    per: tuple[str, ...] = ()
    opaque: bool = False


def read_unit(tokens: list[Token], position: int, closing: dict[int, int]) -> Unit:
    """The unit at `position`, at most five words; the same position where there is none."""
    token = tokens[position]
    if token.kind in NEVER_UNITS or token.text in NOT_BEFORE_UNITS:
        return Unit(position)
    if token.kind == WORD and token.gap == TIGHT and _ORDINAL.match(token.text):
        return Unit(position + 1, opaque=True)
    return _Reader(tokens, position, closing).read()


class _Reader:
    def __init__(self, tokens: list[Token], position: int, closing: dict[int, int]) -> None:
        self.tokens, self.position, self.closing = tokens, position, closing
        self.begin = position
        self.words: list[str] = []
        self.per: list[str] = []
        self.behind_slash = False

    def read(self) -> Unit:
        while self.position - self.begin < _MAX_TOKENS and self._step():
            pass
        if len(self.words) + len(self.per) > _MAX_WORDS:
            return Unit(self.begin)
        return Unit(self.position, tuple(self.words), tuple(self.per))

    def _step(self) -> bool:
        token = self.tokens[self.position]
        if token.kind == WORD:
            return self._word(token)
        if token.text == "\\text" or token.text == "\\mathrm" or token.text == "\\textrm":
            return self._group(self.position + 1)
        if token.text == "/":
            return self._slash(token)
        if token.text == "-":
            return self._hyphen(token)
        if token.text == "(":
            return self._remark()
        return bool(self.words) and self._power(token)

    def _add(self, words: list[str]) -> None:
        (self.per if self.behind_slash else self.words).extend(words)

    def _word(self, token: Token) -> bool:
        word, following = token.text, self.tokens[min(self.position + 1, len(self.tokens) - 1)]
        is_noun_next = following.kind == WORD and following.text.lower() not in _NOT_NOUNS
        if word.lower() == "per" or (word in ("a", "an") and self.position > self.begin):
            if is_noun_next:
                self.behind_slash = True
                self.position += 1
            return is_noun_next
        if word == "of" and self.words and is_noun_next:
            self.position += 1
            return True
        if word.lower() in _NOT_NOUNS or not self._is_noun(token, following):
            return False
        self._add([word])
        self.position += 1
        return True

    def _is_noun(self, token: Token, following: Token) -> bool:
        word = token.text
        if word in NAMED_FUNCTIONS and following.text == "(":
            return False
        if len(word) == 1:
            return token.gap != TIGHT and word in _LETTERS and following.text not in ("(", "^", "_")
        if token.gap == TIGHT and self.position == self.begin:
            return word in ATTACHED_UNITS or (len(word) > 3 and word.lower() in EVERYDAY_UNITS)
        return True

    def _group(self, opening: int) -> bool:
        """`\\text{ cookies per day}`."""
        end = self.closing.get(opening)
        if end is None or self.tokens[opening].text != "{" or end - opening > 9:
            return False
        inside = [token.text for token in self.tokens[opening + 1 : end]]
        if any(token.kind == NUMBER for token in self.tokens[opening + 1 : end]):
            return False
        for text in inside:
            self.behind_slash = self.behind_slash or text in ("/", "per")
            self._add([text] if text.isalpha() and text != "per" else [])
        self.position = end + 1
        return True

    def _slash(self, token: Token) -> bool:
        following = self.tokens[self.position + 1]
        in_formula = following.text in ("\\text", "\\mathrm")
        is_word = following.kind == WORD and len(following.text) > 1 and following.gap == TIGHT
        if is_word and not (
            following.text.islower() or following.text in EVERYDAY_UNITS or following.text in OTHER_UNITS
        ):
            return False  # 1/VSWR
        if not (in_formula or (is_word and token.gap == TIGHT)):
            return False
        self.behind_slash = True
        self.position += 1
        return self._group(self.position + 1) if in_formula else self._word(following)

    def _hyphen(self, token: Token) -> bool:
        following = self.tokens[self.position + 1]
        if token.gap != TIGHT or following.gap != TIGHT or following.kind != WORD or len(following.text) == 1:
            return False
        self._add([following.text])
        self.position += 2
        return True

    def _remark(self) -> bool:
        """A bracket in words behind a number, as in `70 (70%)` or `20 (the price)`."""
        end = self.closing.get(self.position)
        if end is None or end - self.position > _MAX_TOKENS or self.tokens[self.position].gap == TIGHT:
            return False
        inside = self.tokens[self.position + 1 : end]
        is_share = len(inside) == 2 and inside[-1].text == "%"
        has_word = any(token.kind == WORD and len(token.text) > 1 for token in inside)
        has_claim = any(token.text in ("=", "≈") for token in inside)
        if has_claim or not (is_share or (has_word and not any(t.kind == NUMBER for t in inside))):
            return False
        self.position = end + 1
        return True

    def _power(self, token: Token) -> bool:
        """The power of a unit: `m²`, `\\text{cm}^2`, `\\text{m}^{-1}`, `s^-1`."""
        if token.text.lstrip("⁻") in ("¹", "²", "³"):
            self.position += 1
            return True
        if token.text != "^":
            return False
        after = [following.text for following in self.tokens[self.position + 1 : self.position + 5]]
        braced = after[:1] == ["{"]
        signed = after[braced : braced + 1] == ["-"]
        digit = after[braced + signed : braced + signed + 1]
        if digit not in (["1"], ["2"], ["3"]) or (braced and after[2 + signed : 3 + signed] != ["}"]):
            return False
        self.position += 2 + signed + 2 * braced
        return True
