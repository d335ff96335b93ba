"""Other ways to read a relation that doesn't hold as it was read first."""

from __future__ import annotations

from proofmill.filters.claims import judge
from proofmill.filters.claims.grammar import Parser
from proofmill.filters.claims.nodes import NotNumericError, is_percent
from proofmill.filters.claims.rounding import AGREES, DIFFERS, UNDECIDED
from proofmill.filters.claims.scan import Member
from proofmill.filters.claims.tokens import TIGHT, Token


class OtherReadings:
    """Reads the members of one step's chains again.

    Args:
        tokens: the step's tokens.
    """

    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = tokens
        self._loose: Parser | None = None

    def negative(self, left: Member, right: Member, about: str) -> judge.Comparison | None:
        """`- 3 + 5 = 2` at the start of a line, where the dash was taken for a bullet."""
        if self.tokens[left.first].text == "-" and self.tokens[left.first + 1].gap != TIGHT:
            begin = left.first + 1  # and the other way: an item in the middle of a line
        elif left.first and self.tokens[left.first - 1].text == "-":
            begin = left.first - 1
        else:
            return None
        parsed = Parser(self.tokens).parse(begin)
        if parsed is None or parsed[1] != left.last or not judge.is_numeric(parsed[0]):
            return None
        try:
            comparison = judge.equate(parsed[0], right.node, about)
        except NotNumericError:
            return None
        return comparison if comparison.outcome != DIFFERS else None

    def _loose_parser(self) -> Parser:
        if self._loose is None:
            self._loose = Parser(self.tokens, loose=True)
        return self._loose

    def is_ambiguous(self, member: Member) -> bool:
        """Whether the loose reading differs, or a percentage stands where it may mean more than its value."""
        if any(is_percent(part) for part in judge.walk(member.node)):
            return True
        parsed = self._loose_parser().parse(member.first)
        return parsed is not None and parsed[0] != member.node

    def loose(self, left: Member, right: Member, about: str) -> judge.Comparison | None:
        """Both sides, or one of them, as the loose parser reads them; None where that helps nothing."""
        sides = []
        for member in (left, right):
            parsed = self._loose_parser().parse(member.first)
            if parsed is None or not judge.is_numeric(parsed[0]):
                return None
            sides.append(parsed[0])
        for pair in ((sides[0], sides[1]), (sides[0], right.node), (left.node, sides[1])):
            try:
                comparison = judge.equate(*pair, about)
            except NotNumericError:
                continue
            if comparison.outcome in (AGREES, UNDECIDED):
                return comparison
        return None
