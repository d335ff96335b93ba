"""Tokens of an expression and the numerals among them: mixed numbers, stated bases, scientific notation."""

from __future__ import annotations

from fractions import Fraction

from proofmill.filters.mathematics.expressions import Node, NotCoveredError, TooCostlyError, number

_BASES = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10}


class Tokens:
    """A cursor over (kind, text) pairs; kinds are "number", "command", "word" and "sign"."""

    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self.tokens = tokens
        self.at = 0

    def peek(self, ahead: int = 0) -> tuple[str, str]:
        """The token that many places ahead; two empty strings past the end."""
        position = self.at + ahead
        return self.tokens[position] if position < len(self.tokens) else ("", "")

    def take(self, *texts: str) -> str:
        """The next token's text if it is one of `texts` (any if none is given), which is then consumed."""
        kind, text = self.peek()
        if not kind or (texts and text not in texts):
            return ""
        self.at += 1
        return text

    def expect(self, text: str) -> None:
        """Consume the given token or raise `NotCoveredError`."""
        if not self.take(text):
            raise NotCoveredError(f"expected {text}")

    def numeral(self) -> Node:
        """A number with what belongs to it: its base, or the fraction that makes it a mixed one."""
        text = self.take()
        value = numeral_value(text)
        if self.peek()[1] == "_":
            return number(self._in_base(text))
        if not text.isdigit():
            return number(value)
        fraction = self._mixed_part()
        return number(value + fraction) if fraction is not None else number(value)

    def _mixed_part(self) -> Fraction | None:
        r"""The fraction of a mixed number: `1/2` after `1 `, or `\frac{1}{2}` after `1`; else None."""
        texts = [self.peek(ahead) for ahead in range(7)]
        if texts[0][0] == texts[2][0] == "number" and texts[1][1] == "/":
            upper, lower, length = texts[0][1], texts[2][1], 3
        elif texts[0][1] == "\\frac" and [texts[k][1] for k in (1, 3, 4, 6)] == ["{", "}", "{", "}"]:
            upper, lower, length = texts[2][1], texts[5][1], 7
        else:
            return None
        if not (upper.isdigit() and lower.isdigit()) or not 0 < int(upper) < int(lower):
            return None
        self.at += length
        return Fraction(int(upper), int(lower))

    def _in_base(self, digits: str) -> int:
        """The value of decimal-looking digits whose subscript states their base."""
        name = self.subscript()
        base = _BASES.get(name) or (int(name) if name.isdecimal() and len(name) < 3 else 0)
        if not 2 <= base <= 36 or not digits.isdigit():
            raise NotCoveredError("base")
        try:
            return int(digits, base)
        except ValueError as error:
            raise NotCoveredError("digit beyond the base") from error

    def subscript(self) -> str:
        """The text of a subscript, braces and fonts removed."""
        self.expect("_")
        if not self.take("{"):
            return self.take()
        parts: list[str] = []
        while (text := self.take()) != "}":
            if not text:
                raise NotCoveredError("subscript")
            parts.append(text)
        return "".join(part for part in parts if part not in ("\\text", "{", "(", ")", "base"))


def numeral_value(text: str) -> Fraction:
    """The exact value of a number token."""
    digits = text.replace(",", "").replace(" ", "")
    mantissa, _, exponent = digits.lower().partition("e")
    if len(exponent.lstrip("+-")) > 4:
        raise TooCostlyError("exponent")
    return Fraction(mantissa + ("0" if mantissa.endswith(".") else "")) * Fraction(10) ** int(exponent or 0)
