"""Find the relations of a step: expressions joined by `=`, `<`, `≈`, "is", "which gives" and the like.

First comes where an expression begins and ends. A relation is only called false where both of its sides are whole, so
whatever the grammar doesn't read and that may belong to a side is told from what surely doesn't: punctuation, words,
the border of a formula.

Last come the cues of the words around a relation: whether they make it a supposition, a case, a conclusion, a
rewriting, a correction.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from proofmill.filters.symbolic.expressions import Constant, Node, Opaque, Symbol, is_leaf, is_percent
from proofmill.filters.symbolic.notation import (
    APPROXIMATE_WORDS,
    CLEAN_WORDS,
    CLOSING,
    COMMAND,
    END,
    FENCED,
    FILLERS,
    GREEK,
    LOWERED,
    NAMED_FUNCTIONS,
    NEWLINE,
    NUMBER,
    NUMBER_WORDS,
    OPERATOR,
    PUNCTUATION,
    RELATION,
    SPACED,
    TIGHT,
    WORD,
    Token,
    words,
)
from proofmill.filters.symbolic.prose_grammar import Parser
from proofmill.filters.symbolic.prose_operands import AGGREGATES, OPENING_WORDS
from proofmill.filters.symbolic.units import EVERYDAY_UNITS

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
_INFIX_SIGNS = frozenset("+-*/^")
_MODULO = frozenset({"\\pmod", "\\bmod", "\\mod"})
_OPENING = frozenset("([{") | {"\\{"}
_ARTICLES = frozenset({"the", "their", "these", "a"})
_STARTS = words(
    r""". ; : , ( [ { } ) | ! — " “ → ⇒ => -> --> ∴ \{ \therefore \item \begin \to \rightarrow \Rightarrow
    \Longrightarrow \implies \iff"""
)


def goes_on(tokens: list[Token], position: int, *, after_percent: bool) -> bool:
    """Return whether what follows an expression may belong to it: `4ab`, `2 \\sin x`, `3 + …`, `5 remainder 2`."""
    token, following = tokens[position], tokens[position + 1]
    if token.kind == WORD:
        return _word_goes_on(token, following, after_percent)
    if token.kind == COMMAND:
        return token.text in _UNREAD or token.text in _STRANGE_SIGNS or token.text == "\\begin"
    # A bracket behind the border of a formula begins something new.
    if token.text in _OPENING and token.gap != FENCED:
        return _bracket_goes_on(tokens, position)
    if token.text == "|":
        return token.gap == TIGHT
    if token.kind == NUMBER:
        return token.gap != FENCED
    if token.text == ":" and token.gap == following.gap == SPACED:
        return following.kind == NUMBER  # 96/48 : 216/48 = 2 : 4.5
    # `3:4` and `3.4`, without blanks, are one number or ratio.
    if token.text in (":", "."):
        return token.gap == TIGHT == following.gap and following.kind == NUMBER
    return token.text in _TRAILING_SIGNS or token.text in _STRANGE_SIGNS or _is_unread_sign(token)


def _bracket_goes_on(tokens: list[Token], position: int) -> bool:
    """Return whether an unread bracket is a factor, as in `\\pi (r_{new})^2`; a remark in words is not."""
    token, inside = tokens[position], tokens[position + 1]
    if inside.kind == WORD and len(inside.text) > 1 and inside.text not in NAMED_FUNCTIONS:
        return False
    return token.text != "(" or token.gap == TIGHT or inside.kind in (WORD, COMMAND)


def _word_goes_on(token: Token, following: Token, after_percent: bool) -> bool:
    word = token.text.lower()
    return (
        token.gap == TIGHT
        or word in _REMAINDERS
        or word == "choose"
        # `3 to 5`, `3 or 5`: a range or a choice, so the number alone is not the side.
        or (word in _RANGES and following.kind == NUMBER)
        or (word == "of" and after_percent)
        or (word == "and" and following.text in ("a", "half", "one"))
        or (token.text in NAMED_FUNCTIONS and following.text == "(")
    )


def is_joined(tokens: list[Token], position: int) -> bool:
    """Return whether the expression is the right part of a larger one that the grammar can't read."""
    if position == 0:
        return False
    token, before = tokens[position], tokens[position - 1]
    if before.kind == WORD:
        return _is_joined_to_word(token, before) or _is_second_unit(tokens, position)
    if before.text in _STRANGE_SIGNS or before.text in _UNREAD or before.text in _MODULO:
        return True
    if token.gap == FENCED:
        return _goes_on_from_the_last_line(tokens, position) or (
            before.text in _SIGNS_OF_ONE and not is_bullet(tokens, position - 1)
        )
    # A side does not begin with a plus; something unread stands before it.
    if token.text == "+" or before.text in _PARTS or before.kind == NUMBER or before.text[:1].isdecimal():
        return True
    if before.text == "," and token.gap == TIGHT == before.gap and tokens[position - 2].kind == NUMBER:
        return True  # 160,0000: a number written wrongly
    if before.text in _SIGNS_OF_ONE:
        return not is_bullet(tokens, position - 1)
    if before.text in CLOSING.values():  # `(boxes) - 2 = 5`, `\\text{Å} (1 + 2)`
        is_part = token.text in CLOSING or token.kind == OPERATOR or token.gap == TIGHT
        return is_part or _closes_an_index(tokens, position - 1)
    return _is_unread_sign(before)


def _goes_on_from_the_last_line(tokens: list[Token], position: int) -> bool:
    """Return whether an operator that ends a line asks for what the next one begins with."""
    ended = tokens[position - 2] if position > 1 and tokens[position - 1].kind == NEWLINE else None
    return ended is not None and ended.kind == OPERATOR and ended.text in _INFIX_SIGNS


def _closes_an_index(tokens: list[Token], position: int) -> bool:
    """Return whether the bracket closes what stands above or below a sign, as in `\\sum_{k=1}^{5} k`."""
    # Looked back a few tokens only, so that a long step takes linear time.
    for opening in range(position, max(0, position - _MAX_INDEX), -1):
        if tokens[opening].text == "{":
            return tokens[opening - 1].text in ("^", "_")
    return False


def _is_second_unit(tokens: list[Token], position: int) -> bool:
    """Return whether a unit is the smaller of two that are one quantity together: `2 hr 15 min × 4`."""
    if position < 2 or [token.kind for token in tokens[position - 2 : position + 2]] != [NUMBER, WORD, NUMBER, WORD]:
        return False
    units = [EVERYDAY_UNITS.get(tokens[place].text) for place in (position - 1, position + 1)]
    return units[0] is not None and units[1] is not None and units[0][0] == units[1][0] and units[0][1] > units[1][1]


def _is_joined_to_word(token: Token, before: Token) -> bool:
    """Return whether a word is joined to the expression: `boxes + 3 = 5`, `x2 = 4`, `area(3) = 9`, `n mod 5 = 2`."""
    if token.gap == FENCED:
        return False
    if token.text in ("+", "-"):
        return before.text.lower() not in CLEAN_WORDS
    if before.text.lower() in _BINDING:
        return True
    return token.gap == TIGHT and (token.kind == NUMBER or token.text in CLOSING)


def is_clean(tokens: list[Token], position: int) -> bool:
    """Return whether the words in front of an expression leave its value alone."""
    token = tokens[position]
    if position == 0 or token.gap == FENCED:
        return True
    before = tokens[position - 1]
    if before.kind == WORD:
        word = before.text.lower()
        return word in CLEAN_WORDS or (token.text.lower() in AGGREGATES and word in _ARTICLES)
    return before.kind in (NEWLINE, RELATION) or before.text in _STARTS or is_bullet(tokens, position - 1)


def is_bullet(tokens: list[Token], position: int) -> bool:
    """Return whether a dash marks an item: it opens a line of text and stands apart, so it is no minus."""
    token, following, before = tokens[position], tokens[position + 1], tokens[position - 1]
    # A real line break; the border of a formula is a NEWLINE token too, of more characters.
    opens = position == 0 or (before.kind == NEWLINE and before.end - before.start == 1)
    return token.text in ("-", "*", "+") and opens and following.gap != TIGHT


def _is_unread_sign(token: Token) -> bool:
    """Return whether a token is a letter or sign outside ASCII that nothing here reads: ∑, or an Ω on a number."""
    sign = token.text[:1]
    if token.kind != PUNCTUATION or sign < "\x80" or sign in _STARTS:
        return False
    # Sm: mathematical signs; Lm, No: raised letters and digits; Ll, Lu: letters, which count only on a number.
    category = unicodedata.category(sign)
    return category in ("Sm", "Lm", "No") or (category in ("Ll", "Lu") and token.gap == TIGHT)


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


def _as_written(words: Iterable[str]) -> frozenset[str]:
    """Return the words in small letters, capitalised and in capitals, so that looking one up needs no call."""
    return frozenset(form for word in words for form in (word, word.capitalize(), word.upper()))


_OPENERS_AS_WRITTEN = _as_written(OPENING_WORDS)
SIGN_WORDS = _BE | _EQUALS | {phrase[0] for phrase in _PHRASES}
_SIGN_WORDS_AS_WRITTEN = _as_written(SIGN_WORDS)
_COMPARATIVES = {
    "greater": ">", "more": ">", "larger": ">", "bigger": ">", "higher": ">", "less": "<", "fewer": "<",
    "smaller": "<", "lower": "<",
}  # fmt: skip
_OPEN_NOTHING = frozenset({RELATION, NEWLINE})
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
        """Return all chains of the step, in order, and single expressions that are given a name."""
        found: list[Chain] = []
        position, expression_end, next_sign = 0, -1, -2
        while self.tokens[position].kind != END:
            # Nothing is read on the way to the line of the next relation, but for what stands behind one.
            if position > next_sign + 1:
                next_sign = self._next_sign(position)
                if next_sign < 0:
                    break
                position = self._line_start(next_sign, position)
            token = self.tokens[position]
            # By far the most common cases, so no call is spent on them.
            if token.kind == WORD:
                opens = len(token.text) == 1 or token.text in _OPENERS_AS_WRITTEN
            else:
                opens = token.kind not in _OPEN_NOTHING and (token.kind != PUNCTUATION or token.text in "([{|")
            if not opens:
                position += 1
                continue
            # The most expensive call of a step, so everything cheap is asked first.
            parsed = None if is_bullet(self.tokens, position) else self.parser.parse(position)
            if parsed is None:
                position += 1
                continue
            member = Member(parsed[0], position, parsed[1])
            named = position > 0 and self.tokens[position - 1].text == "="
            # No relation behind it: the expression is passed over whole, and no part of it is read again.
            if not named and self.relation(member.last) is None:
                position = expression_end = max(member.last, position + 1)
                continue
            chain = self._chain(member)
            # The last expression ends one word before this one.
            chain.behind = 0 < expression_end == position - 1 and self.tokens[position - 1].kind == WORD
            chain.name = self._name(chain)
            if len(chain.members) > 1 or chain.name:
                found.append(chain)
            position = expression_end = max(chain.members[-1].last, position + 1)
        return found

    def _next_sign(self, position: int) -> int:
        """Return the position of the next token that may be, or end, the words of a relation; -1 if there is none."""
        for index in range(position, len(self.tokens)):
            token = self.tokens[index]
            if token.kind == RELATION or (token.kind == WORD and token.text in _SIGN_WORDS_AS_WRITTEN):
                return index
        return -1

    def _line_start(self, sign: int, lowest: int) -> int:
        """Return the first token of the line that a relation's left side stands in; a sign may open the next one."""
        index = sign
        # First over the line breaks right before the sign, then over the line before them.
        while index > lowest and self.tokens[index - 1].kind == NEWLINE:
            index -= 1
        while index > lowest and self.tokens[index - 1].kind != NEWLINE:
            index -= 1
        return index

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
        """Return whether the words name the value of something else than the last side.

        So in `x = 5^2, we get …`, `the maximum for 0 < x < 2 is 4` and `factor out 2^8 to get 2^8(5 + 4)`.
        """
        said = [token.text for token in self.tokens[chain.members[-1].last : relation.after]]
        if relation.rewrites and chain.relations:
            return True  # an equation that simplifies to another
        if chain.relations and isinstance(chain.members[-2].node, Symbol) and "we" in said:
            return True
        # `0 < x < 2 is 4`: words behind an inequality give the value of what the sentence is about.
        if chain.relations and chain.relations[-1].sign not in ("=", "≈") and relation.sign == "=":
            return True
        return said[:2] == ["to", "get"] and not is_leaf(right)

    def _close(self, chain: Chain) -> None:
        chain.modulus = self._modulus(chain.members[-1].last)
        chain.trailing = goes_on(self.tokens, chain.members[-1].last, after_percent=is_percent(chain.members[-1].node))

    def _name(self, chain: Chain) -> str:
        """Return the words before the sign, back to the last border: `total cost` of `Total cost = 3 + 4`."""
        in_words = isinstance(chain.members[0].node, Opaque) and chain.relations
        position = chain.members[0].last if in_words else chain.members[0].first - 1
        if position < 1 or self.tokens[position].text != "=":
            return ""
        words: list[str] = []
        for token in reversed(self.tokens[max(0, position - _NAME_TOKENS) : position]):
            if token.kind in (NUMBER, OPERATOR, RELATION):
                return ""
            if token.text[:1] in LOWERED:
                return ""  # two unknowns may differ in their index alone
            if token.kind == WORD:
                words.append(token.text.lower())
            if token.gap == FENCED or token.text in (".", ":", ";", ","):
                break
        return " ".join(reversed(words)) if max(map(len, words), default=0) > 2 else ""  # `ab` is a product

    def _modulus(self, position: int) -> Node | None:
        """Return the modulus behind a chain: `(mod 5)` or `\\pmod{5}`."""
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
        """Return the relation that starts at `position`."""
        begin = position
        while self.tokens[position].kind == NEWLINE and position < begin + 3:
            position += 1
        token = self.tokens[position]
        if token.kind == RELATION:
            return self._with_fillers(token.text, False, position + 1)
        # Only a sign may stand on the next line; words there begin a new sentence.
        if position > begin or not (token.kind == WORD or token.text == ","):
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
        # `which gives`, `this will give`: up to two words lead to the verb.
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
        """Return what follows "is": a value, "equal to", "not", or a comparison."""
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
    """Return whether a relation in words joins a calculation to its result: `5, we get x` does not."""
    if not relation.prose or relation.sign in ("<", ">", "<=", ">="):
        return True
    # `5 is 6` between two plain numbers most often names or lists; it computes nothing.
    return not isinstance(right, Symbol | Constant | Opaque) and not (is_leaf(left) and is_leaf(right))


ABOUT_WORDS = re.compile(r"\b(?:approx\w*|about|roughly|around|nearly|almost|estimat\w+)\b", re.IGNORECASE)
ROUNDING_WORDS = re.compile(
    r"\b(?:round(?:s|ed|ing)?|whole|nearest|truncat\w+|integer part|ceiling|floor|ceil|up to)\b",
    re.IGNORECASE,
)
CORRECTION = re.compile(
    r"\b(?:no,? wait|wait,? no\b|wait|oops|scratch that|correction|on second thought|my mistake|"
    r"made an? (?:\w+ )?(?:mistake|error)|"
    r"th(?:at|is)(?:['’]s| is| was) (?:not (?:right|correct)|wrong|incorrect|a mistake|an error)|"
    r"not correct|incorrect|let me (?:re\w+|correct|fix|check|try)|"
    r"let['’]s (?:re-?\w*(?:check|do|compute|calculate|evaluate|consider)|correct|fix))\b|"
    r"(?:^|[.!?\n]\s{0,3})(?:actually|no|hmm)\b",
    re.IGNORECASE,
)
_DEFINES = re.compile(
    r"\b(?:let|set|sets|setting|suppose|supposing|assum\w+|if|when|where|for|at|with|given|denote|define|case|cases|try|"
    r"trying|check\w*|verif\w+|substitut\w+|plug\w*|put|putting|say|take|taking|choose|choosing|consider|using|test|testing|example|"
    r"either|possible|possibly|maximum|minimum|max|min|initial\w*|start\w*|lines?|axis|axes|asymptot\w+|vert\w+|"
    r"cent(?:er|re)\w*|symmetr\w+|undefined|domain|holes?|endpoints?|boundar\w+|between|excluding|except|unless|"
    r"tangent|horizontal\w*|intersect\w*|critical|extrem\w+)\b[^.;\n]{0,60}\Z",
    re.IGNORECASE,
)
_SUPPOSES = re.compile(
    r"\b(?:(?:let|suppose|supposing|assum\w+|if|case|cases|try|trying|test|testing|imagine)\b"
    r"|(?:for|at|when|with|where|setting|substituting|using)\s[\\($ ]{0,4}[A-Za-z]\s?=)[^.;\n]{0,60}\Z",
    re.IGNORECASE,
)
_CASES = re.compile(r"\bor\b|\\text\{\s*or\s*\}|\bcases?\b|\beither\b|±|\\pm", re.IGNORECASE)
_BINDS_A_NAME = re.compile(r"(?<![A-Za-z\\])(?<![-+*/=^]\s)(?<![-+*/=^])([A-Za-z])\s?=\s?-?\d")
_SIMPLIFIES = re.compile(r"\b(?:combin\w+|simplif\w+|like terms|expand\w*|distribut\w+)\b", re.IGNORECASE)
_REDUCES = r"(?:[Tt]h(?:is|at)|which|[Ii]t) (?:simplifies|reduces|amounts) to"
_OPENS_WITH_THAT = re.compile(rf"\s{{0,3}}{_REDUCES}[\s$:(\[\\]{{0,6}}")
_IMPLIES = re.compile(
    r"[\s$&,.;)\]]{0,6}(?:⇒|⟹|→|=+>|-+>|\\(?:Long)?[Rr]ightarrow|\\implies|\\iff|\\to|\\\\|so|thus|hence|therefore|"
    r"which (?:gives|means|yields)|giv(?:es|ing)|yields|that is|i\.e\.|"
    rf"{_REDUCES}"
    r")[\s$&,:(\[\\]{0,6}"
)
_ANNOUNCES = re.compile(
    r"\b(?:expand(?:ing)?|factor(?:ing)?|simplify(?:ing)?|distribut(?:e|ing)|multiply(?:ing)? out|foil(?:ing)?)\b"
    r"(?:\s(?:the|this|out|it|expression|product|square|brackets|parentheses|quadratic|polynomial|trinomial|binomial)){0,4}"
    r"[\s,:]{0,3}(?:we (?:get|have|obtain|find)|gives)?[\s,:$\\(\[]{0,6}\Z",
    re.IGNORECASE,
)
_ENDS = re.compile(r"[\s$)\]\\*]{0,6}(?:[.;\n=]|\Z)")
_SOLVES = re.compile(r"\b(?:solv\w+|equations?|both sides|roots?|solutions?)\b", re.IGNORECASE)


def is_supposed(before: str, *, value: bool) -> bool:
    """Return whether the words before a link, in its sentence, make it a supposition or, for `value`, a definition."""
    return bool((_DEFINES if value else _SUPPOSES).search(before))


def simplifies(before: str) -> bool:
    """Return whether the words before a link announce a rewriting of the same expression."""
    return bool(_SIMPLIFIES.search(before))


def lists_cases(sentence: str) -> bool:
    """Return whether a sentence names alternatives."""
    return bool(_CASES.search(sentence))


def binds_several(sentence: str) -> bool:
    """Return whether a sentence gives values to several names: `here a = 2, b = -1` may mean other letters."""
    return len(set(_BINDS_A_NAME.findall(sentence))) > 1


def implies(between: str) -> bool:
    """Return whether the words between two equations say that the second follows from the first."""
    return _IMPLIES.fullmatch(between) is not None


def refers_back(before: str) -> bool:
    """Return whether a step opens with words that take up the equation before it."""
    return _OPENS_WITH_THAT.fullmatch(before) is not None


def announces_rewriting(before: str, after: str) -> bool:
    """Return whether the words around an equality announce that one expression is written anew."""
    return bool(_ANNOUNCES.search(before) and _ENDS.match(after)) and not _SOLVES.search(before + after)
