"""Why a relation that does not hold may still not be an error: what the writing around it allows.

A false alarm costs a good trace, a missed error only a chance; so each guard turns `refuted` into `not_checkable`
as soon as the writing allows another meaning, and gives it as a reason in words.
"""

from __future__ import annotations

import re

from proofmill.filters.claims.comparison import ABOUT, ROUNDED, Comparison, is_share_of_whole
from proofmill.filters.claims.discourse_cues import ABOUT_WORDS, ROUNDING_WORDS
from proofmill.filters.claims.expressions import (
    Binary,
    Call,
    Node,
    NotNumericError,
    Number,
    Quantity,
    Unary,
    evaluate,
    has_unit,
    is_leaf,
    is_percent,
    known_units,
    leading,
    walk,
)
from proofmill.filters.claims.lexicon import LABEL_WORDS, OTHER_UNITS, UNITS
from proofmill.filters.claims.relations import Chain, Member
from proofmill.filters.claims.tokens import NUMBER, OPERATOR, RELATION, Token

_DOUBT_BEFORE = re.compile(
    r"(?:\b(?:if|suppose|assum\w+|not|whether|claim\w*|guess\w*|instead of|rather than|wrong\w*|incorrect\w*|"
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
_CLOCK = re.compile(r"[\d\s][ap]\.?m\b|\bo['’]clock|\bnoon|\bmidnight", re.IGNORECASE)


_CARRIES = re.compile(
    r"\bcarr(?:y|ies|ied|ying)\b[\w\s,-]{0,24}?(?:\b(?:\d|one|two|three|over|digits?|column)\b|[,.;]|\Z)"
    r"|\bborrow\w*\s(?:a\s|the\s)?(?:1|one|ten)\b|\bwith\s(?:a|the)\scarry\b",
    re.IGNORECASE,
)


class FalsePositiveGuards:
    """What speaks for another meaning of a link, each as a reason in words, empty where nothing does.

    Args:
        text: the step.
        tokens: its tokens.
        after: the beginning of what follows the step.
    """

    def __init__(self, text: str, tokens: list[Token], after: str = "") -> None:
        self.text, self.tokens, self.after = text, tokens, after

    def other_meaning(self, chain: Chain, index: int, comparison: Comparison) -> str:
        """Why a link that does not hold may still not be an error; empty where nothing speaks for it."""
        left, right = chain.members[index].node, chain.members[index + 1].node
        if is_leaf(left):
            reason = self._leaf_doubt(chain, index)
            if reason:
                return reason
        if is_share_of_whole(left, comparison.right) and index == 0:
            return "a share of a whole"
        if self.mixes_units(left, right):
            return "units outside the table"
        difference = comparison.left - comparison.right
        if 0 <= comparison.right < _TEN and difference % _TEN == 0 and self.carries(chain.members[index]):
            return "a digit, the rest is carried"
        return ""

    def carries(self, member: Member) -> bool:
        """Whether the sentence speaks of carried digits: `7 + 8 = 5, carry 1`."""
        start = self.tokens[member.first].start
        return _CARRIES.search(self._sentence_from(max(0, start - 60), start)) is not None

    def _leaf_doubt(self, chain: Chain, index: int) -> str:
        left, right = chain.members[index], chain.members[index + 1]
        if self._converts(left.node, right.node):
            return ""
        if index == 0 and self._ends_a_list(left):
            return "the last of a list"
        if has_unit(left.node):
            return "a number with its unit, not a calculation"
        if index == 0 and (not chain.clean or is_leaf(right.node)):
            return "a label, not a calculation"
        return "a number and a quantity" if is_leaf(right.node) and has_unit(right.node) else ""

    def _ends_a_list(self, member: Member) -> bool:
        """`2, 6, 12 = 1·2, 2·3, 3·4`: the sides are lists."""
        before = self.tokens[max(0, member.first - 3) : member.first]
        kinds = [token.kind for token in before]
        return [token.text for token in before[-1:]] == [","] and (
            kinds[-2:-1] == [NUMBER] and kinds[:-2] not in ([RELATION], [OPERATOR])
        )

    def _converts(self, left: Node, right: Node) -> bool:
        """`2 hours = 110 minutes`: both sides are one quantity in units of the same exact kind."""
        units = [known_units(node)[:1] for node in (left, right)]
        rates = [part for node in (left, right) for part in walk(node) if isinstance(part, Quantity) and part.per]
        return (
            is_leaf(right)
            and not rates
            and not (_unit_words(left) | _unit_words(right)) & _RAISED_UNITS
            and all(units)
            and UNITS[units[0][0]][0] == UNITS[units[1][0]][0]
            and UNITS[units[0][0]] != UNITS[units[1][0]]
        )

    def mixes_units(self, left: Node, right: Node) -> bool:
        """Units of one kind added up or counted: 3 dozen + 2, 3 feet + 4 inches."""
        units = {UNITS[word] for node in (left, right) for word in known_units(node)}
        words = [_unit_words(node) for node in (left, right)]
        if all(words) and not words[0] & words[1] and (words[0] | words[1]) & OTHER_UNITS:
            return True
        multiplies = any(isinstance(part, Binary) and part.operator in "*/" for part in walk(left))
        counts = any(dimension == "count" for dimension, _ in units)
        same_kind = len({dimension for dimension, _ in units}) < len(units)
        is_conversion = is_leaf(left) and is_leaf(right)
        return (counts or same_kind) and not multiplies and not is_conversion

    def unclear(self, chain: Chain, index: int) -> str:
        """The link may be part of something larger."""
        if index == 0 and (chain.joined or self._is_label(chain.members[0].first)):
            return "part of a larger side"
        if index == 0 and not chain.clean and chain.relations[0].prose:
            return "the words before it may change its value"
        if index == len(chain.relations) - 1 and chain.trailing:
            return "the words after it may change its value"
        if self._preceded_by_quantity(chain, index) or self._names_quantity(chain, index):
            return "the words before it may change its value"
        return ""

    def _names_quantity(self, chain: Chain, index: int) -> bool:
        """`20% is $14 + $42`, `20 is 2 * 20`: in words, a number may name what is computed from it."""
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
        """`5 bags of 3 + 2 = 17`, `more than 3 + 2 = 10`."""
        first = chain.members[0].first
        word = self.tokens[first - 1].text.lower() if first else ""
        inside = self.tokens[chain.members[index].first : chain.members[index].last]
        if not chain.relations[index].prose and any(token.text == "than" for token in inside):
            return True  # "4 less than 12 * 2 = 24"
        return index == 0 and (
            word in ("than", "over", "mod", "base")
            or (chain.behind and word in _TIES and self.tokens[first - 2].text.lower() != "total")
        )

    def doubted(self, chain: Chain, index: int) -> str:
        """The words around the link suppose or deny it."""
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
        if _ABSURD.search((self.text[end : end + _ABSURD_WITHIN] + "\n" + self.after)[:_ABSURD_WITHIN]):
            return "called impossible by the trace itself"
        if _CLOCK.search(self.text[start : end + 4]):
            return "a time of day"
        return ""

    def _sentence_from(self, start: int, end: int) -> str:
        """The text from `start` to the end of the sentence that holds `end`."""
        after = self.text[end : end + 120]
        stop = SENTENCE_END.search(after)
        return self.text[start:end] + (after[: stop.end()] if stop else after)

    def _supposed_before(self, start: int) -> bool:
        lead = SENTENCE_END.split(self.text[max(0, start - 200) : start])[-1]
        return _DOUBT_SENTENCE.search(lead) is not None

    def about(self, left: Member, right: Member) -> str:
        """Whether the words around a link call it approximate or rounded."""
        start = max(0, self.tokens[left.first].start - 60)
        end = min(len(self.text), self.tokens[right.last - 1].end + 80)
        if ABOUT_WORDS.search(self.text, start, end):
            return ABOUT
        return ROUNDED if ROUNDING_WORDS.search(self.text, start, end) else ""

    def _is_label(self, position: int) -> bool:
        """Whether the number at `position` is a name: `day 2`, `step 4`."""
        return position > 0 and self.tokens[position - 1].text.lower() in LABEL_WORDS


def _ends_in(left: Node, right: Node) -> bool:
    """`the gcd of 3 and 4^2, which is 16`: the words speak of the last part alone, unless that is `16` as it stands."""
    while not is_leaf(left):
        match left:
            case Binary(right=part) | Call(arguments=(*_, part)) | Quantity(body=part) | Unary(body=part):
                left = part
            case _:
                return False
        try:
            if evaluate(left) == evaluate(right):
                return leading(left) != leading(right)
        except NotNumericError:
            return False
    return False


def _is_share(node: Node) -> bool:
    """`3/4` with or without a unit."""
    if not (isinstance(node, Binary) and node.operator == "/" and is_leaf(node.left) and is_leaf(node.right)):
        return False
    return is_share_of_whole(Binary("/", leading(node.left), leading(node.right)), 1)


def _unit_words(node: Node) -> set[str]:
    return {word for part in walk(node) if isinstance(part, Quantity) for word in part.unit}
