"""Why a relation that does not hold may still not be an error: what the writing around it allows.

A false alarm costs a good trace, a missed error only a chance; so each guard turns `refuted` into `not_checkable`
as soon as the writing allows another meaning, and gives it as a reason in words.
"""

from __future__ import annotations

import math
import re
from itertools import combinations

from proofmill.filters.claims.comparison import ABOUT, ROUNDED, Comparison, is_share_of_whole, last_place
from proofmill.filters.claims.relations import ABOUT_WORDS, ROUNDING_WORDS, Chain, Member
from proofmill.filters.symbolic.expressions import (
    Binary,
    Call,
    Constant,
    Node,
    NoValueError,
    Number,
    Quantity,
    Unary,
    Value,
    evaluate,
    has_unit,
    is_leaf,
    is_percent,
    known_units,
    leading,
    walk,
)
from proofmill.filters.symbolic.notation import (
    CLEAN_WORDS,
    FRACTION_WORDS,
    LABEL_WORDS,
    NAMED_FUNCTIONS,
    NUMBER,
    NUMBER_WORDS,
    OPERATOR,
    RELATION,
    TIGHT,
    WORD,
    Token,
    words,
)
from proofmill.filters.symbolic.prose_grammar import Parser
from proofmill.filters.symbolic.prose_operands import AGGREGATES, literal
from proofmill.filters.symbolic.units import EVERYDAY_UNITS, is_other_unit

_DOUBT_BEFORE = re.compile(
    r"(?:\b(?:if|(?:not|n['’]t)\s(?:match|equal|satisf|give|yield)\w*|"
    r"suppose|assum\w+|not|whether|claim\w*|guess\w*|instead of|rather than|wrong\w*|incorrect\w*|"
    r"mistak\w+|wrote|imagine|say|pretend|unless|never|doesn['’]t|isn['’]t|contradict\w*,?|impossible|is|does|was)\s{1,3}"
    r"(?:that\s{1,3}|we\s{1,3}|the\s{1,3})?|\b(?:check|verify|test)\s(?:if|whether)\s[^.]{0,20})[\\(\[$\s]{0,4}\Z",
    re.IGNORECASE,
)
_DOUBT_SENTENCE = re.compile(
    r"\bat first (?:glance|sight)|\bmight (?:think|say|guess|expect|be tempted)|\btempt\w+|\bnaive\w*|\bmistak\w+|"
    r"\berroneous\w*|\b(?:common|usual) (?:mistake|error|slip)|\bwould be wrong|\bnot the same as|\bcontradiction\b|"
    r"\botherwise\b|\bwould (?:have|be|get|give|need|mean|imply|require|become|force|lead|yield)\b|"
    r"\bif and only if\b|\biff\b|\\iff\b|⟺|⇔",
    re.IGNORECASE,
)
# A sentence or two later: what was derived is called impossible, so it refutes what was supposed.
_ABSURD = re.compile(
    r"\bcontradict\w*|\bimpossib\w+|\babsurd|\bno such\b|\bis empty\b|\bempty set|"
    r"\bassumption (?:fails|is)|\binconsisten\w+|\bno (?:\w+ ){0,2}solutions?\b|"
    r"\bnot a (?:\w+ ){0,2}solution\b|\bextraneous|\bnever (?:true|equal|happen\w*|hold\w*)|[✗✘❌]|"
    r"\b(?:which|this|that|it|but|equation|statement|inequality|congruence|clearly|obviously)\s(?:\w+\s){0,3}?"
    r"(?:false|untrue|invalid|not (?:true|possible|valid|hold|satisf\w+|work)|"
    r"(?:does|is|ca)(?:n['’]t| ?not) (?:be )?(?:true|possible|valid|hold|work|satisf\w+|happen|the case))",
    re.IGNORECASE,
)
_ABSURD_STEMS = (
    "contradict", "impossib", "absurd", "no such", "empty", "assumption", "inconsist", "solution", "extraneous",
    "never", "✗", "✘", "❌", "false", "untrue", "invalid", "not", "n't", "n’t",
)  # fmt: skip
_ABSURD_WITHIN = 220  # characters behind a link
_TEN = 10
_OPTION = re.compile(
    r"(?:(?<![A-Za-z0-9])\(?[A-Ea-e][).:]|\b(?:option|choice) \(?[A-Ea-e]\)?[:.]?)[\s$\\(]{0,4}\Z", re.IGNORECASE
)
_TIES = frozenset({"of", "by", "times", "in", "per", "at"})
_QUESTION_LEAD = frozenset({"is", "does", "was"})
_DOUBT_AFTER = re.compile(
    r"\?|\bif and only if\b|\biff\b|⟺|⇔|"
    r"≠|\\neq?\b|\b(?:false|not (?:true|correct|right|equal|possible|valid|hold|satisf\w+|consistent|"
    r"the same|match|work)|incorrect|wrong|contradict\w*|impossible|invalid|(?:does|is)(?:n['’]t| not)\b|"
    r"not \d|cannot|can['’]t|fails|no solution|mistake|absurd)",
    re.IGNORECASE,
)
SENTENCE_END = re.compile(r"[.!?](?=\s|\Z)|\n")
_RAISED_UNITS = frozenset({"sq", "square", "cu", "cubic"})  # their ratios are not those of the lengths
_PLURAL = frozenset({"are", "were"})
_PREPOSITIONS = words("of for in to on from than between by at with into under over")
_ARTICLES = frozenset({"the", "their", "these", "a"})
_TOTALS = words("total sum product average mean")
_COMPARED = words("more less fewer greater smaller larger higher lower times raised followed percent percentage")
# Things that hold or consist of others, so that they are no things of one kind with these.
_HOLD_OTHERS = words(
    "boxe box bag pack packet package carton case crate jar pair set bundle roll tray basket bucket bottle can dozen "
    "row shelve shelf page chapter team group clas class year month week day hour minute dollar"
)
_BRACKETS = frozenset("()[]{}")
_NEAR = 5e-4  # of the larger side
_CLOCK = re.compile(r"[\d\s][ap]\.?m\b|\bo['’]clock|\bnoon|\bmidnight", re.IGNORECASE)


_CARRIES = re.compile(
    r"\bcarr(?:y|ies|ied|ying|y-?over)\b[\w\s,-]{0,24}?(?:\b(?:\d|one|two|three|over|digits?|column)\b|[,.;]|\Z)"
    r"|\bborrow\w*\s(?:a\s|the\s)?(?:1|one|ten)\b|\bwith\s(?:a|the)\scarry\b",
    re.IGNORECASE,
)


def is_called_impossible(after: str) -> bool:
    """Return whether what follows a link calls it impossible."""
    lowered = after.lower()  # the stems first: few texts hold one, and the expression is slow
    return any(stem in lowered for stem in _ABSURD_STEMS) and _ABSURD.search(after) is not None


class FalsePositiveGuards:
    """What speaks for another meaning of a link, each as a reason in words, empty where nothing does.

    Args:
        text: the step.
        parser: of its tokens.
        after: the beginning of what follows the step.
    """

    def __init__(self, text: str, parser: Parser, after: str = "") -> None:
        self.text, self.tokens, self.after = text, parser.tokens, after
        self._closing = parser.closing
        self._closers = frozenset(parser.closing.values())

    def other_meaning(self, chain: Chain, index: int, comparison: Comparison) -> str:
        """Return why a link that does not hold may still not be an error; empty where nothing speaks for it."""
        left, right = chain.members[index].node, chain.members[index + 1].node
        if is_leaf(left):
            reason = self._leaf_doubt(chain, index)
            if reason:
                return reason
        if (index == 0 or isinstance(left, Quantity)) and _is_share_of_something(left, comparison.right):
            return "a share of a whole"
        if is_running_computation(left, right):
            return "a computation in progress"
        if sums_whole_parts(left, comparison) or is_near(left, right, comparison):
            return "within the rounding of its parts"
        if reason := self._units_doubt(left, right, comparison):
            return reason
        if 0 <= comparison.right < _TEN and comparison.left > comparison.right and self.carries(chain.members[index]):
            return "a digit, the rest is carried"
        return ""

    def _units_doubt(self, left: Node, right: Node, comparison: Comparison) -> str:
        if _is_fraction_of_another_unit(left, right):
            return "a quantity, not a calculation"
        if _adds_different_things(left) or _adds_different_things(right):
            return "units of different kinds"
        if self.mixes_units(left, right):
            return "units outside the table"
        return "a unit of another size" if _changes_scale(left, right, comparison) else ""

    def carries(self, member: Member) -> bool:
        """Return whether the sentence speaks of carried digits: `7 + 8 = 5, carry 1`."""
        start = self.tokens[member.first].start
        return _CARRIES.search(self._sentence_from(max(0, start - 60), start)) is not None

    def _leaf_doubt(self, chain: Chain, index: int) -> str:
        left, right = chain.members[index], chain.members[index + 1]
        if self._converts(left.node, right.node):
            return ""
        if index == 0 and self._ends_a_list(left):
            return "the last of a list"
        goes_on = index + 1 < len(chain.relations) and isinstance(right.node, Binary)
        if goes_on and leading(left.node) == leading(right.node):
            return "goes on from the number itself"  # 1375 = 1375 ÷ 5 = 275
        if has_unit(left.node):
            return "a number with its unit, not a calculation"
        if index == 0 and (not chain.clean or is_leaf(right.node)):
            return "a label, not a calculation"
        return "a number and a quantity" if is_leaf(right.node) and has_unit(right.node) else ""

    def _ends_a_list(self, member: Member) -> bool:
        """Return whether the sides are lists: `2, 6, 12 = 1·2, 2·3, 3·4`."""
        before = self.tokens[max(0, member.first - 3) : member.first]
        kinds = [token.kind for token in before]
        if kinds[-2:] == [NUMBER, WORD] and before[-1].text in ("and", "or", "to"):
            return True  # years 1 and 2 = 12 + 36
        return [token.text for token in before[-1:]] == [","] and (
            kinds[-2:-1] == [NUMBER] and kinds[:-2] not in ([RELATION], [OPERATOR])
        )

    def _converts(self, left: Node, right: Node) -> bool:
        """Return whether both sides are one quantity in units of the same exact kind: `2 hours = 110 minutes`."""
        units = [known_units(node)[:1] for node in (left, right)]
        rates = [part for node in (left, right) for part in walk(node) if isinstance(part, Quantity) and part.per]
        return (
            is_leaf(right)
            and not rates
            and not (_unit_words(left) | _unit_words(right)) & _RAISED_UNITS
            and all(units)
            and EVERYDAY_UNITS[units[0][0]][0] == EVERYDAY_UNITS[units[1][0]][0]
            and EVERYDAY_UNITS[units[0][0]] != EVERYDAY_UNITS[units[1][0]]
        )

    def mixes_units(self, left: Node, right: Node) -> bool:
        """Return whether units of one kind are added up or counted: 3 dozen + 2, 3 feet + 4 inches."""
        units = {EVERYDAY_UNITS[word] for node in (left, right) for word in known_units(node)}
        words = [_unit_words(node) for node in (left, right)]
        if all(words) and not words[0] & words[1] and any(map(is_other_unit, words[0] | words[1])):
            return True
        multiplies = any(isinstance(part, Binary) and part.operator in "*/" for part in walk(left))
        counts = any(dimension == "count" for dimension, _ in units)
        same_kind = len({dimension for dimension, _ in units}) < len(units)
        is_conversion = is_leaf(left) and is_leaf(right)
        return (counts or same_kind) and not multiplies and not is_conversion

    def unclear(self, chain: Chain, index: int) -> str:
        """Return why the link may be part of something larger; empty where nothing speaks for it."""
        if index == 0 and (chain.joined or self._is_label(chain.members[0].first)):
            return "part of a larger side"
        if index == 0 and not chain.clean and chain.relations[0].prose:
            return "the words before it may change its value"
        if index == len(chain.relations) - 1 and chain.trailing:
            return "the words after it may change its value"
        if self._preceded_by_quantity(chain, index) or self._names_quantity(chain, index):
            return "the words before it may change its value"
        if chain.relations[index].prose and (reason := self._prose(chain, index)):
            return reason
        return self.notation(chain, index)

    def _prose(self, chain: Chain, index: int) -> str:
        """Return why a relation in words may not mean what a sign would: most often it speaks of something else."""
        left, right = chain.members[index], chain.members[index + 1]
        if index == 0 and not self._is_introduced(left.first):
            return "the words before it may change its value"  # the inverse of \\(7\\) is \\(8\\)
        if not is_leaf(right.node) and not is_leaf(left.node):
            return "two calculations that words join"  # 6 divided by 1/3, which is 6 * 3
        said = {token.text.lower() for token in self.tokens[left.last : chain.relations[index].after]}
        after = self.tokens[right.last]
        if (after.text in (",", "and") and self.tokens[right.last + 1].kind == NUMBER) or (
            said & _PLURAL and self.tokens[left.first - 1].text in (",", "…") and left.first
        ):
            return "one of a list"
        behind = {after.text.lower()} | {word.lower() for word in _unit_words(right.node)}
        if behind & _COMPARED:
            return "the words after it may change its value"
        spelled = self.tokens[right.first]
        if spelled.kind == WORD and spelled.text.lower() in NUMBER_WORDS and self._has_digits(left):
            return "a number in words may count something else"
        return ""

    def _is_introduced(self, position: int) -> bool:
        """Return whether the words before an expression let it stand for itself, formula border or not."""
        before = self.tokens[position - 1] if position else None
        if before is None or before.kind != WORD:
            return True
        word = before.text.lower()
        if word in ("and", "or"):  # the lcm of \\(6!\\) and \\((4!)^2\\) is …
            return position < 2 or self.tokens[position - 2].text in (",", ".", ";")
        if word in CLEAN_WORDS:
            return True
        if self.tokens[position].text.lower() not in AGGREGATES or word not in _ARTICLES:
            return False
        return position < 2 or self.tokens[position - 2].text.lower() not in _PREPOSITIONS

    def _has_digits(self, member: Member) -> bool:
        return any(token.kind == NUMBER for token in self.tokens[member.first : member.last])

    def _explains_its_end(self, left: Member, right: Member) -> bool:
        """Return whether the sign explains the last part of the words alone: `the gcd of 24 and 11^2 = 121`."""
        in_words = self.tokens[left.first].kind == WORD and self.tokens[left.first].text.lower() in AGGREGATES
        return in_words and _ends_in(left.node, right.node)

    def notation(self, chain: Chain, index: int) -> str:
        """Return why the sides may not be what the grammar read: compound words, notes in brackets, bare angles."""
        left, right = chain.members[index], chain.members[index + 1]
        for position in range(left.first, right.last + 1):
            token = self.tokens[position]
            if token.kind == NUMBER:
                continue
            reason = self._sign_doubt(position, position < right.last)
            if reason:
                return reason
        if self._explains_its_end(left, right):
            return "the words before it may change its value"
        for node in (left.node, right.node):
            if any(_is_bare_angle(part) for part in walk(node)):
                return "an angle without its unit"
        if _mixes_letters(left.node, right.node):
            return "a letter that may be an unknown or a unit"
        return ""

    def _sign_doubt(self, position: int, inside: bool) -> str:
        token, following = self.tokens[position], self.tokens[position + 1]
        before = self.tokens[position - 1] if position else None
        if token.text == "-":
            is_tight = token.gap == following.gap == TIGHT and before is not None
            return "a compound word" if is_tight and before and _is_compound(before, following) else ""
        if not inside:
            return ""
        if token.text == "(" and before is not None and token.gap != TIGHT and before.kind in (NUMBER, WORD):
            return "a note in brackets" if self._is_note(position) else ""
        if token.text == "/" and token.gap == TIGHT and following.kind == NUMBER and before and before.kind == WORD:
            return "a rate"  # 200 calories/100 ml
        if token.text == "choose" or (token.text == "!=" and token.gap == TIGHT):
            return "a sign with two meanings"
        if token.text in _BRACKETS and not self._is_matched(position):
            return "a bracket without its other half"
        return ""

    def _is_note(self, position: int) -> bool:
        """Return whether a bracket only explains what precedes it: `5 (0 hurricanes)`, `2010 (7)`."""
        end = self._closing.get(position)
        inside = self.tokens[position + 1 : end] if end is not None else []
        if self.tokens[position - 1].kind == NUMBER and len(inside) == 1 and inside[0].kind == NUMBER:
            following = self.tokens[position + 3 : position + 6]  # two in a row are values behind their labels
            return [token.text for token in following[:1]] == ["+"] and self.tokens[position + 5].text == "("
        if not any(token.kind == NUMBER for token in inside):
            return False  # words alone, as in `5 (boxes)`, were read as a unit
        if any(_is_long_word(token) and token.text not in NAMED_FUNCTIONS for token in inside):
            return True
        return self._repeats_its_number(position)

    def _repeats_its_number(self, position: int) -> bool:
        """Return whether a bracket only repeats the number before it: `8 (2^3)`."""
        parsed = (
            Parser(self.tokens, closing=self._closing).parse(position)
            if self.tokens[position - 1].kind == NUMBER
            else None
        )
        try:
            return parsed is not None and evaluate(parsed[0]) == literal(self.tokens[position - 1].text).value
        except NoValueError:
            return False

    def _is_matched(self, position: int) -> bool:
        return position in self._closing or position in self._closers

    def _names_quantity(self, chain: Chain, index: int) -> bool:
        """Return whether a number in words names what is computed from it: `20% is $14 + $42`, `20 is 2 * 20`."""
        left, right = chain.members[index], chain.members[index + 1]
        if not chain.relations[index].prose:
            return False
        if self.tokens[left.last].text == "," and _ends_in(left.node, right.node):
            return True
        if is_percent(left.node) or _is_share(left.node):
            return True
        if not is_leaf(left.node):
            return False
        lead = self.tokens[left.last].text == ","
        used = [part.value for part in walk(right.node) if isinstance(part, Number)]
        return not lead or any(part.value in used for part in walk(left.node) if isinstance(part, Number))

    def _preceded_by_quantity(self, chain: Chain, index: int) -> bool:
        """Return whether a quantity in words precedes the sum: `5 bags of 3 + 2 = 17`, `more than 3 + 2 = 10`."""
        first = chain.members[0].first
        word = self.tokens[first - 1].text.lower() if first else ""
        inside = self.tokens[chain.members[index].first : chain.members[index].last]
        if index == 0 and (word in ("with", "having") or (word == "of" and self._is_part_of_a_name(chain))):
            return True
        if not chain.relations[index].prose and any(token.text == "than" for token in inside):
            return True  # "4 less than 12 * 2 = 24"
        return index == 0 and (
            word in ("than", "over", "mod", "base")
            or (chain.behind and word in _TIES and self.tokens[first - 2].text.lower() != "total")
        )

    def _is_part_of_a_name(self, chain: Chain) -> bool:
        """Return whether the noun before has the value: `the cost of 2 monitors ÷ 2`, `the inverse of 7 modulo 13`."""
        if _has_modulus(chain.members[0].node):
            return True
        noun = self.tokens[chain.members[0].first - 2].text.lower() if chain.members[0].first > 1 else ""
        units = [_unit_words(member.node) for member in chain.members[:2]]
        return noun not in _TOTALS and bool(units[0]) and not units[0] & units[1]

    def doubted(self, chain: Chain, index: int) -> str:
        """Return how the words around the link suppose or deny it; empty where they do not."""
        start = self.tokens[chain.members[index].first].start
        end = self.tokens[chain.members[index + 1].last - 1].end
        before = self.text[max(0, start - 40) : start]
        match = _DOUBT_BEFORE.search(before)
        if match and match.group().split()[0].lower() not in _QUESTION_LEAD:
            return "a supposition or negation"
        if _OPTION.search(before):
            return "one of the options"
        unit_start = self.tokens[chain.members[index + 1].first].end
        if _DOUBT_AFTER.search(self._sentence_from(unit_start, end)) or self._supposed_before(start):
            return "doubted by the trace itself"
        if is_called_impossible((self.text[end : end + _ABSURD_WITHIN] + "\n" + self.after)[:_ABSURD_WITHIN]):
            return "called impossible by the trace itself"
        if _CLOCK.search(self.text[start : end + 4]):
            return "a time of day"
        return ""

    def _sentence_from(self, start: int, end: int) -> str:
        """Return the text from `start` to the end of the sentence that holds `end`."""
        after = self.text[end : end + 120]
        stop = SENTENCE_END.search(after)
        return self.text[start:end] + (after[: stop.end()] if stop else after)

    def _supposed_before(self, start: int) -> bool:
        lead = SENTENCE_END.split(self.text[max(0, start - 200) : start])[-1]
        return _DOUBT_SENTENCE.search(lead) is not None

    def about(self, left: Member, right: Member) -> str:
        """Return `ABOUT` or `ROUNDED` where the words around a link call it so, else an empty text."""
        start = max(0, self.tokens[left.first].start - 60)
        end = min(len(self.text), self.tokens[right.last - 1].end + 80)
        if ABOUT_WORDS.search(self.text, start, end):
            return ABOUT
        return ROUNDED if ROUNDING_WORDS.search(self.text, start, end) else ""

    def _is_label(self, position: int) -> bool:
        """Return whether the number at `position` is a name: `day 2`, `step 4`."""
        return position > 0 and self.tokens[position - 1].text.lower() in LABEL_WORDS


def _ends_in(left: Node, right: Node) -> bool:
    """Return whether the words speak of the last part alone: `the gcd of 3 and 4^2, which is 16`."""
    while not is_leaf(left):
        match left:
            case Binary(right=part) | Call(arguments=(*_, part)) | Quantity(body=part) | Unary(body=part):
                left = part
            case _:
                return False
        try:
            if evaluate(left) == evaluate(right):
                return leading(left) != leading(right)
        except NoValueError:
            return False
    return False


def _is_share(node: Node) -> bool:
    """Return whether a tree is a share: `3/4` with or without a unit."""
    if not (isinstance(node, Binary) and node.operator == "/" and is_leaf(node.left) and is_leaf(node.right)):
        return False
    return is_share_of_whole(Binary("/", leading(node.left), leading(node.right)), 1)


def _unit_words(node: Node) -> set[str]:
    return {word for part in walk(node) if isinstance(part, Quantity) for word in part.unit}


def _has_modulus(node: Node) -> bool:
    """Return whether a side names its modulus: `the inverse of 7 modulo 13`."""
    return any(isinstance(part, Binary) and part.operator == "mod" for part in walk(node))


def _is_compound(before: Token, following: Token) -> bool:
    """Return whether a number is part of a compound word, or beside one: `4-door`, `base-10`, `54 year-old`."""
    if before.kind == WORD and following.text == "old":
        return True
    if before.text.lower() in NUMBER_WORDS:  # one-way, but not twenty-five
        return following.text.lower() not in NUMBER_WORDS and following.text.lower() not in FRACTION_WORDS
    return (before.kind == NUMBER and _is_long_word(following)) or (_is_long_word(before) and following.kind == NUMBER)


def _is_long_word(token: Token | None) -> bool:
    return token is not None and token.kind == WORD and len(token.text) > 1


def _is_share_of_something(left: Node, stated: Value) -> bool:
    """Return whether a side is a share with or without what it is a share of: `1/2 inch = 20 miles`."""
    return is_share_of_whole(left.body if isinstance(left, Quantity) else left, stated)


def _is_fraction_of_another_unit(left: Node, right: Node) -> bool:
    """Return whether a fraction is a quantity, not a calculation: `100/3 revolutions per minute = (100/3) / 60`."""
    if not isinstance(left, Quantity) or (_unit_words(left) & _unit_words(right) and _rates(left) == _rates(right)):
        return False
    body = left.body
    return isinstance(body, Binary) and body.operator == "/" and is_leaf(body.left) and is_leaf(body.right)


def _rates(node: Node) -> set[tuple[str, ...]]:
    return {part.per for part in walk(node) if isinstance(part, Quantity) and part.per}


def _terms(node: Node) -> list[tuple[str, Node]]:
    """Return the signed terms of a sum, or the factors of a product."""
    found: list[tuple[str, Node]] = []
    signs = "+-" if isinstance(node, Binary) and node.operator in "+-" else "*"
    while isinstance(node, Binary) and node.operator in signs:
        found.append((node.operator, node.right))
        node = node.left
    found.append((signs[0], node))
    return found[::-1]


def is_running_computation(left: Node, right: Node) -> bool:
    """Return whether the right side repeats only the first terms: `3200 + 560 + 64 = 3200 + 560 = 3760`."""
    terms = [_terms(node) for node in (left, right)]
    return 1 < len(terms[1]) < len(terms[0]) and terms[0][: len(terms[1])] == terms[1]


def sums_whole_parts(left: Node, comparison: Comparison) -> bool:
    """Return whether only the whole part of each quotient is added: `942/5 + 942/25 = 188 + 37`."""
    if not isinstance(comparison.right, int) or isinstance(comparison.left, float):
        return False
    quotients = [term for _, term in _terms(left) if isinstance(term, Binary) and term.operator == "/"]
    return len(quotients) > 1 and 0 < comparison.left - comparison.right < len(quotients)


def is_near(left: Node, right: Node, comparison: Comparison) -> bool:
    """Return whether the sides differ by less than rounded inputs would make them: `24.4949^2 = 599.999`."""
    parts = walk(left) if is_leaf(right) else [*walk(left), *walk(right)]
    has_decimals = any(isinstance(part, Number) and part.places > 2 for part in parts)
    if is_leaf(left) or not (has_decimals or _is_off_by_a_digit(left, right, comparison)):
        return False
    try:
        sides = float(comparison.left), float(comparison.right)
    except OverflowError:
        return False
    return abs(sides[0] - sides[1]) <= _NEAR * max(map(abs, sides))


def _is_off_by_a_digit(left: Node, right: Node, comparison: Comparison) -> bool:
    """Return whether a quotient or power came from rounded steps: `3,000 / 1.06^5 = 2,241.78` for 2,241.774…."""
    place = last_place(right)
    if place is None or place >= 1 or isinstance(comparison.left, int):
        return False
    is_inexact = any(isinstance(part, Binary) and part.operator in "/^" for part in walk(left))
    return is_inexact and abs(float(comparison.left) - float(comparison.right)) <= 2 * float(place)


def _changes_scale(left: Node, right: Node, comparison: Comparison) -> bool:
    """Return whether the sides are a power of ten apart, in other units: `2 * 10^-4 s = 0.2 msec`."""
    units = _unit_words(left), _unit_words(right)
    if not units[1] or units[0] & units[1] or not (units[0] or _is_power_of_ten_times(left)):
        return False
    try:
        ratio = math.log10(abs(float(comparison.left) / float(comparison.right)))
    except (ValueError, ZeroDivisionError, OverflowError):
        return False
    return abs(ratio) > 0.5 and abs(ratio - round(ratio)) < 1e-6


def _is_power_of_ten_times(node: Node) -> bool:
    return any(
        isinstance(part, Binary) and part.operator == "^" and leading(part.left) == Number(10) for part in walk(node)
    )


def _adds_different_things(node: Node) -> bool:
    """Return whether a sum adds different things: `3 boxes + 2 loose pencils`."""
    if not isinstance(node, Binary) or node.operator not in "+-":
        return False
    units = [
        {word.lower().rstrip("s") for word in part.unit}
        for _, part in _terms(node)
        if isinstance(part, Quantity) and part.unit
    ]
    return any(not first & second and (first | second) & _HOLD_OTHERS for first, second in combinations(units, 2))


def _is_bare_angle(node: Node) -> bool:
    """Return whether an angle is a bare whole number, more likely degrees than radians: `\\sin 30`."""
    if not (isinstance(node, Call) and node.name in ("sin", "cos", "tan") and node.arguments):
        return False
    parts = walk(node.arguments[0])
    has_unit_of_angle = any(
        (isinstance(part, Unary) and part.operator == "°") or isinstance(part, Constant) for part in parts
    )
    return not has_unit_of_angle and any(isinstance(part, Number) and part.value != 0 for part in parts)


def _mixes_letters(left: Node, right: Node) -> bool:
    """Return whether a letter taken for a unit stands beside bare numbers, so that it is an unknown: `2 m + 5 = 1`."""
    quantities = [part for node in (left, right) for part in walk(node) if isinstance(part, Quantity) and part.unit]
    if not any(len(part.unit) == 1 and len(part.unit[0]) == 1 for part in quantities):
        return False
    parts = [*walk(left), *walk(right)]
    sums = [part for part in parts if isinstance(part, Binary) and part.operator in "+-"]
    return any(not has_unit(term) for part in sums for term in (part.left, part.right))
