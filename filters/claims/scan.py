"""Find the relations of a step: expressions joined by `=`, `<`, `≈`, "is", "which gives" and the like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from proofmill.filters.claims.borders import goes_on, is_bullet, is_clean, is_joined
from proofmill.filters.claims.grammar import Parser
from proofmill.filters.claims.nodes import Node, Opaque, Symbol, is_leaf, is_percent
from proofmill.filters.claims.phrases import OPENERS
from proofmill.filters.claims.tokens import (
    END,
    FENCED,
    NEWLINE,
    NUMBER,
    OPERATOR,
    RELATION,
    TIGHT,
    WORD,
    Token,
)
from proofmill.filters.claims.wording import APPROXIMATE_WORDS, FILLERS, NUMBER_WORDS, words

_BE = frozenset({"is", "are", "was", "were", "be", "been"})
_EQUALS = words("equals equal makes make making gives give giving yields yield totals leaves leaving get gets becomes")
_LEADS = words("which that this it to we you and will would and'll there's")
_REWRITES = (("simplifies", "to"), ("expands", "to"), ("factors", "as"), ("factors", "into"))
_PHRASES = (
    *_REWRITES,
    ("results", "in"),
    ("comes", "to"),
    ("amounts", "to"),
    ("adds", "up", "to"),
    ("add", "up", "to"),
)
_COMPARATIVES = {
    "greater": ">", "more": ">", "larger": ">", "bigger": ">", "higher": ">", "less": "<", "fewer": "<",
    "smaller": "<", "lower": "<",
}  # fmt: skip
_NAME_TOKENS = 14


class Relation(NamedTuple):
    """A relation sign or phrase: its meaning, whether it is in words, and whether it says "about"."""

    sign: str
    prose: bool
    about: bool
    after: int
    rewrites: bool = False  # the words say that both sides are one expression: "simplifies to"


class Member(NamedTuple):
    """One side of a relation and the tokens it spans."""

    node: Node
    first: int
    last: int


@dataclass(slots=True)
class Chain:
    """`a = b = c`: n members and n − 1 relations between them.

    Attributes:
        members: the sides, in order.
        relations: the relation behind each member but the last.
        clean: whether the words in front leave the first member's value alone.
        behind: a word such as `of` ties the first member to an expression before it.
        joined: an operation on something unknown precedes the first member: it is only part of a side.
        trailing: words follow the last member that may change its value.
        modulus: the modulus where the chain is a congruence.
        name: the words that the chain says it is the value of, empty if there are none.
    """

    members: list[Member]
    relations: list[Relation]
    clean: bool
    joined: bool
    behind: bool = False
    trailing: bool = False
    modulus: Node | None = None
    name: str = ""


class Scanner:
    """Walks a step's tokens once; every expression is read once, from its first token."""

    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = tokens
        self.parser = Parser(tokens)

    def scan(self) -> list[Chain]:
        """All chains of the step, in order, and single expressions that are given a name."""
        found: list[Chain] = []
        position, expression_end = 0, -1
        while self.tokens[position].kind != END:
            token = self.tokens[position]
            if token.kind == WORD and len(token.text) > 1 and token.text.lower() not in OPENERS:
                position += 1  # by far the most common case, so no call is spent on it
                continue
            parsed = None if is_bullet(self.tokens, position) else self.parser.parse(position)
            if parsed is None:
                position += 1
                continue
            member = Member(parsed[0], position, parsed[1])
            named = position > 0 and self.tokens[position - 1].text == "="
            if not named and self.relation(member.last) is None:
                position = expression_end = max(member.last, position + 1)
                continue
            chain = self._chain(member)
            chain.behind = 0 < expression_end == position - 1 and self.tokens[position - 1].kind == WORD
            chain.name = self._name(chain)
            if len(chain.members) > 1 or chain.name:
                found.append(chain)
            position = expression_end = max(chain.members[-1].last, position + 1)
        return found

    def _chain(self, first: Member) -> Chain:
        chain = Chain([first], [], is_clean(self.tokens, first.first), is_joined(self.tokens, first.first))
        while (relation := self.relation(chain.members[-1].last)) is not None:
            parsed = self.parser.parse(relation.after)
            if parsed is None or not _computes(chain.members[-1].node, relation, parsed[0]):
                break
            if relation.prose and self._speaks_of_more(chain, relation, parsed[0]):
                break
            chain.relations.append(relation)
            chain.members.append(Member(parsed[0], relation.after, parsed[1]))
        self._close(chain)
        return chain

    def _speaks_of_more(self, chain: Chain, relation: Relation, right: Node) -> bool:
        """Whether the words name the value of something else than the last side.

        So in `x = 5^2, we get …`, `the maximum for 0 < x < 2 is 4` and `factor out 2^8 to get 2^8(5 + 4)`.
        """
        said = [token.text for token in self.tokens[chain.members[-1].last : relation.after]]
        if relation.rewrites and chain.relations:
            return True  # an equation that simplifies to another
        if chain.relations and isinstance(chain.members[-2].node, Symbol) and "we" in said:
            return True
        if chain.relations and chain.relations[-1].sign not in ("=", "≈") and relation.sign == "=":
            return True
        return said[:2] == ["to", "get"] and not is_leaf(right)

    def _close(self, chain: Chain) -> None:
        chain.modulus = self._modulus(chain.members[-1].last)
        chain.trailing = goes_on(self.tokens, chain.members[-1].last, after_percent=is_percent(chain.members[-1].node))

    def _name(self, chain: Chain) -> str:
        """`total cost` of `Total cost = 3 + 4`: the words before the sign, back to the last border."""
        in_words = isinstance(chain.members[0].node, Opaque) and chain.relations
        position = chain.members[0].last if in_words else chain.members[0].first - 1
        if position < 1 or self.tokens[position].text != "=":
            return ""
        words: list[str] = []
        for token in reversed(self.tokens[max(0, position - _NAME_TOKENS) : position]):
            if token.kind in (NUMBER, OPERATOR, RELATION):
                return ""
            if token.kind == WORD:
                words.append(token.text.lower())
            if token.gap == FENCED or token.text in (".", ":", ";", ","):
                break
        return " ".join(reversed(words)) if max(map(len, words), default=0) > 1 else ""

    def _modulus(self, position: int) -> Node | None:
        """`(mod 5)` or `\\pmod{5}` behind a chain."""
        texts = [token.text for token in self.tokens[position : position + 3]]
        if texts[:2] in (["(", "mod"], ["(", "modulo"], ["(", "\\bmod"], ["(", "\\mod"]):
            position += 2
        elif texts[:1] in (["\\pmod"], ["\\bmod"], ["\\mod"], ["mod"]):
            position += 1
        else:
            return None
        parsed = self.parser.parse(position)
        return None if parsed is None else parsed[0]

    def relation(self, position: int) -> Relation | None:
        """The relation that starts at `position`."""
        begin = position
        while self.tokens[position].kind == NEWLINE and position < begin + 3:
            position += 1
        token = self.tokens[position]
        if token.kind == RELATION:
            return self._with_fillers(token.text, False, position + 1)
        if position > begin:
            return None
        return self._prose(position)

    def _with_fillers(self, sign: str, prose: bool, position: int) -> Relation:
        about = sign == "≈"
        while not prose and self.tokens[position].kind == NEWLINE:
            position += 1
        for _ in range(3):
            word = self.tokens[position].text.lower()
            if not self._is_filler(position):
                break
            about = about or word in APPROXIMATE_WORDS or word in ("~", "\\sim")
            position += 1
        return Relation(sign, prose, about, position)

    def _is_filler(self, position: int) -> bool:
        token, following = self.tokens[position], self.tokens[position + 1]
        if token.text in ("~", "\\sim"):
            return True
        if token.text == "the" and (following.kind == NUMBER or following.text in NUMBER_WORDS):
            return False  # "3! ways to give the three toys"
        if len(token.text) == 1 and following.gap == TIGHT:
            return False  # a2
        is_unknown = len(token.text) == 1 and following.kind not in (WORD, NUMBER)
        return token.text.lower() in FILLERS and not is_unknown

    def _words(self, position: int, count: int) -> list[str]:
        return [token.text.lower() for token in self.tokens[position : position + count]]

    def _prose(self, position: int) -> Relation | None:
        token = self.tokens[position]
        if token.text == ",":
            position += 1
            if self.tokens[position].text.lower() in _BE:
                return None  # "the maximum, given that a + b = 1, is 4"
        for _ in range(2):
            if self.tokens[position].kind == WORD and self.tokens[position].text.lower() in _LEADS:
                position += 1
        token = self.tokens[position]
        if token.kind == RELATION and token.text in ("=", "≈"):
            return self._with_fillers(token.text, True, position + 1)
        if token.kind != WORD:
            return None
        words = self._words(position, 3)
        for phrase in _PHRASES:
            if tuple(words[: len(phrase)]) == phrase:
                relation = self._with_fillers("=", True, position + len(phrase))
                return relation._replace(rewrites=phrase in _REWRITES)
        if words[0] in _EQUALS:
            return self._with_fillers("=", True, position + 1 + (words[1] == "to"))
        return self._be(position + 1) if words[0] in _BE else None

    def _be(self, position: int) -> Relation | None:
        """What follows "is": a value, "equal to", "not", or a comparison."""
        negated = self.tokens[position].text.lower() == "not"
        position += negated
        words = self._words(position, 2)
        if words[0] in ("equal", "equivalent") and words[1] == "to":
            return self._with_fillers("!=" if negated else "=", True, position + 2)
        if words[0] in _COMPARATIVES and words[1] == "than":
            sign = _COMPARATIVES[words[0]]
            if negated:
                sign = "<=" if sign == ">" else ">="
            return Relation(sign, True, False, position + 2)
        if words == ["at", "least"] or words == ["at", "most"]:
            return Relation(">=" if words[1] == "least" else "<=", True, False, position + 2)
        return self._with_fillers("!=" if negated else "=", True, position)


def _computes(left: Node, relation: Relation, right: Node) -> bool:
    """Whether a relation in words joins a calculation to its result: `5, we get x` does not."""
    if not relation.prose or relation.sign in ("<", ">", "<=", ">="):
        return True
    return not isinstance(right, Symbol | Opaque) and not (is_leaf(left) and is_leaf(right))
