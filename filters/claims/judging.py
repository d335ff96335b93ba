"""Judge the chains of one step: which links are claims, and when a false link is really an error.

A link that holds is `verified`. One that does not hold is `refuted` only where the writing leaves no other
meaning; labels, fractions of a whole, unit conversions outside the table, questions and negations make it
`not_checkable`. A run-on chain, `3 + 4 = 7 * 2 = 14`, is judged link by link, the last result carried over.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NamedTuple

from proofmill.filters.claims.algebra import Algebra, EquationContext, is_alike_at_infinity, is_identity
from proofmill.filters.claims.comparison import (
    ABOUT,
    AGREES,
    UNDECIDED,
    AlternativeParses,
    Comparison,
    compare,
    equate,
    is_run_on,
    last_place,
    rounds_an_input,
    within_input_rounding,
)
from proofmill.filters.claims.false_positive_guards import (
    SENTENCE_END,
    FalsePositiveGuards,
    is_near,
    is_running_computation,
)
from proofmill.filters.claims.model import JUMP, NOT_CHECKABLE, REFUTED, VERIFIED, ClaimCandidate, Finding
from proofmill.filters.claims.problem_context import Functions, ProblemContext, has_call
from proofmill.filters.claims.relations import (
    Chain,
    Member,
    Scanner,
    announces_rewriting,
    binds_several,
    is_supposed,
    lists_cases,
    simplifies,
)
from proofmill.filters.symbolic.expressions import (
    Binary,
    Node,
    NoValueError,
    Quantity,
    Symbol,
    UndefinedError,
    Value,
    evaluate,
    has_unit,
    is_leaf,
    is_numeric,
    is_symbolic,
    known_units,
    show,
    unknowns_of,
    walk,
)
from proofmill.filters.symbolic.notation import WORD, Token


class NamedValue(NamedTuple):
    """A calculation that was given a name in words."""

    name: str
    node: Node
    step: int
    rewritten: bool  # its step announces a rewriting


@dataclass(slots=True)
class TraceFacts:
    """What a trace has established so far.

    Attributes:
        rounded: stated values that were rounded.
        algebra: the unknowns and equations.
        named: the named calculation that came last.
        functions: those that the problem and the trace define.
        setting: other meanings that the problem gives to arithmetic.
    """

    rounded: set[Value] = field(default_factory=set)
    algebra: Algebra = field(default_factory=Algebra)
    named: NamedValue | None = None
    functions: Functions = field(default_factory=Functions)
    setting: ProblemContext = field(default_factory=lambda: ProblemContext("", ""))


_REWRITING_WITHIN = 200  # characters behind a link in which an equation would be gone on with
_CJK = re.compile("[\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7af]")
_MAX_TUPLE = 30  # tokens in which a bracket may have opened
# `k = 3: …` and `x = 2 gives 9` try a value.
_TRIED = frozenset({":", "gives", "yields", "makes", "works", "fails", "leads"})


class StepJudge:
    """Judges the chains of one step.

    Args:
        text: the step.
        tokens: its tokens.
        facts: what is known, extended as links are judged.
        step: its index.
        after: the beginning of what follows it.
    """

    def __init__(self, text: str, tokens: list[Token], facts: TraceFacts, step: int, after: str = "") -> None:
        self.text, self.tokens, self.facts, self.step = text, tokens, facts, step
        self.scanner = Scanner(tokens)
        self.guards = FalsePositiveGuards(text, self.scanner.parser, after)
        self.readings = AlternativeParses(self.scanner.parser)
        self._transforms = False  # an earlier link of the chain at hand is an identity

    def chain(self, chain: Chain) -> list[ClaimCandidate]:
        """Return the claims of a chain, in order; links with an unknown or a name in them are left to algebra."""
        links = self._restated(chain)
        self._transforms = False
        for index in range(len(chain.relations)):
            link = self._link(chain, index)
            if link is not None:
                links.append(link)
        return links

    def _restated(self, chain: Chain) -> list[ClaimCandidate]:
        """Return the claims on `Total = 3 + 4` followed by `Total = 7`: the second is compared with the first."""
        # Only the next named calculation is compared; any later one may speak of another quantity.
        before, self.facts.named = self.facts.named, None
        if not chain.name or chain.trailing or chain.modulus is not None:
            return []
        values = [member for member in chain.members if is_symbolic(member.node)]
        if not values:
            return []
        self.facts.named = NamedValue(chain.name, values[-1].node, self.step, simplifies(self.text))
        if before is None or before.name != chain.name or before.step < self.step - 1 or is_leaf(before.node):
            return []
        return self._restatement(before, values[0])

    def _restatement(self, before: NamedValue, member: Member) -> list[ClaimCandidate]:
        unknowns = unknowns_of(before.node)
        if unknowns or unknowns_of(member.node):
            return self._rewriting(before, member, unknowns)
        try:
            about = self.guards.about(member, member)
            comparison = equate(before.node, member.node, about)
        except NoValueError:
            return []
        # No claim at all where the difference has an innocent reason: the same name may be used more loosely.
        if comparison.outcome != AGREES and (
            comparison.outcome == UNDECIDED
            or is_near(before.node, member.node, comparison)
            or is_running_computation(before.node, member.node)
            or _has_strange_unit(before.node)
            or is_run_on(comparison.left, member.node)
            or self.guards.mixes_units(before.node, member.node)
        ):
            return []
        status = VERIFIED if comparison.outcome == AGREES else REFUTED
        shown = f"{before.name} was {show(comparison.left)} by the calculation before"
        link = self._finish(member, member, "restatement", Finding(status, shown))
        link.stated, link.sides = comparison.right, (member.node,)
        return [link]

    def _rewriting(self, before: NamedValue, member: Member, unknowns: frozenset[str]) -> list[ClaimCandidate]:
        """Return the claims on `Total = 3x + x + 5` followed by `Total = 4x + 5`: the same expression written anew."""
        if unknowns != unknowns_of(member.node) or self.readings.is_ambiguous(member):
            return []
        same = is_identity(before.node, member.node, unknowns)
        shown = f"{before.name} {'equals' if same else 'differs from'} what it was before, for all values tried"
        status = VERIFIED if same else REFUTED if before.rewritten or simplifies(self.text) else JUMP
        return [self._finish(member, member, "restatement", Finding(status, shown))]

    def _link(self, chain: Chain, index: int) -> ClaimCandidate | None:
        left, right = chain.members[index], chain.members[index + 1]
        relation = chain.relations[index]
        if self.scanner.parser.has_calls and (has_call(left.node) or has_call(right.node)):
            return self._function_value(chain, index)
        if not is_numeric(left.node) or not is_numeric(right.node):
            # In words, `x is 5` most often names something; a sign states an equation.
            reads = relation.sign == "=" and (relation.rewrites or not relation.prose)
            return self._symbolic(chain, index) if reads else None
        try:
            if relation.sign in ("=", "≈", "≡") and chain.modulus is not None:
                finding = self._congruence(left.node, right.node, chain.modulus)
                return self._finish(left, right, "congruence", self._soften(finding, chain, index))
            if relation.sign == "=" and isinstance(right.node, Binary) and right.node.operator == "mod":
                finding = self._congruence(left.node, right.node.left, right.node.right)
                return self._finish(left, right, "congruence", self._soften(finding, chain, index))
            if relation.sign in ("=", "≈", "≡"):
                return self._equality(chain, index)
            finding = compare(left.node, relation.sign, right.node)
        except NoValueError:
            return None
        return self._finish(left, right, "comparison", self._soften(finding, chain, index))

    def _function_value(self, chain: Chain, index: int) -> ClaimCandidate | None:
        """Return the claim of a value of a function that the text has defined: `f(4) = 16 - 12`."""
        left, right = chain.members[index], chain.members[index + 1]
        if chain.relations[index].sign != "=" or (index == 0 and chain.joined) or chain.modulus is not None:
            return None
        functions = self.facts.functions
        # Words behind the last side may belong to it, so it defines nothing.
        if index < len(chain.relations) - 1 or not chain.trailing:
            functions.learn_from(self.text, left.node, right.node)
        try:
            sides = functions.resolved(left.node), functions.resolved(right.node)
            if not all(map(is_numeric, sides)):
                return None
            comparison = equate(*sides, self.guards.about(left, right))
        except NoValueError:
            return None
        shown = _sides(*sides, comparison)
        if comparison.outcome == AGREES:
            return self._finish(left, right, "function", Finding(VERIFIED, shown))
        if comparison.outcome == UNDECIDED or rounds_an_input(*sides, comparison):
            return None
        if self.readings.is_ambiguous(left) or self.readings.is_ambiguous(right):
            return None
        finding = Finding(REFUTED, f"{self._span(chain, index)}: {shown}")
        return self._finish(left, right, "function", self._soften(finding, chain, index))

    def _symbolic(self, chain: Chain, index: int) -> ClaimCandidate | None:
        """Return the claim of a link with unknowns; one with words in it says nothing that can be checked."""
        left, right = chain.members[index], chain.members[index + 1]
        if not is_symbolic(left.node) or not is_symbolic(right.node) or chain.modulus is not None:
            return None
        if [token.text for token in self.tokens[max(0, left.first - 2) : left.first]] in (["_", "{"], ["^", "{"]):
            return None  # the range of a sum or a limit
        if (index == 0 and chain.joined) or (index == len(chain.relations) - 1 and chain.trailing):
            return None
        start, end = self.tokens[left.first].start, self.tokens[right.last - 1].end
        before = SENTENCE_END.split(self.text[max(0, start - 80) : start])[-1]
        sentence = before + self.text[start : end + 60]
        context = EquationContext(
            text=self._span(chain, index),
            step=self.step,
            supposed=is_supposed(before, value=isinstance(left.node, Symbol))
            or self._is_in_tuple(left, right)
            or (isinstance(left.node, Symbol) and self.tokens[right.last].text in _TRIED),
            cases=lists_cases(sentence),
            binds_several=binds_several(sentence),
            transforms=self._transforms,
            simplifies=simplifies(before),
            before=self.text[:start],
            end=end,
            # Cues are known in English only.
            is_doubted=lambda: bool(
                _CJK.search(self.text) or self.guards.doubted(chain, index) or self.guards.carries(left)
            ),
            is_ambiguous=lambda: (
                self._is_ambiguous(left) or self._is_ambiguous(right) or bool(self.guards.notation(chain, index))
            ),
            is_rewriting=lambda: (
                chain.relations[index].rewrites
                or (index == 0 and _announces(before, f"{self.text[end:]}\n{self.guards.after}", left.node, right.node))
            ),
        )
        judged = self.facts.algebra.judge(left.node, right.node, context)
        if judged is None:
            return None
        kind, finding = judged
        # One verified step makes the chain a rewriting: a later false step is then an error, not an equation.
        self._transforms = self._transforms or (kind == "identity" and finding.status == VERIFIED)
        return self._finish(left, right, kind, finding)

    def _is_ambiguous(self, member: Member) -> bool:
        """Return whether a side may mean something else; letters that were taken for a unit may be unknowns."""
        is_unit = has_unit(member.node) and not known_units(member.node)
        return is_unit or self.readings.is_ambiguous(member)

    def _is_in_tuple(self, left: Member, right: Member) -> bool:
        """Return whether the link is one of several pairs that are tried or listed: `(x = 1, 97 - x = 96)`."""
        for opening in range(left.first - 1, max(-1, left.first - _MAX_TUPLE), -1):
            if self.tokens[opening].text == "(":
                end = self.scanner.parser.closing.get(opening, 0)
                inside = self.tokens[opening:end]
                texts = [token.text for token in inside]
                in_words = any(token.kind == WORD and len(token.text) > 1 for token in inside)
                return end >= right.last and not in_words and texts.count("=") > 1 and "," in texts
        return False

    def _equality(self, chain: Chain, index: int) -> ClaimCandidate:
        left, right = chain.members[index], chain.members[index + 1]
        about = ABOUT if chain.relations[index].about else ""
        comparison = equate(left.node, right.node, about)
        if comparison.outcome != AGREES and not about:  # only now do the words around it matter
            about = self.guards.about(left, right)
            comparison = equate(left.node, right.node, about)
        if comparison.outcome not in (AGREES, UNDECIDED):
            comparison = self._second_thoughts(left, right, about, comparison, goes_on=index > 0)
        finding = self._equality_finding(chain, index, comparison)
        link = self._finish(left, right, "arithmetic", finding)
        link.left, link.stated = comparison.left, comparison.right
        if comparison.left != comparison.right and finding.status == VERIFIED:
            self.facts.rounded.add(comparison.right)
        link.inputs = left.node if index == 0 else None
        link.sides = (left.node, right.node)
        return link

    def _second_thoughts(
        self, left: Member, right: Member, about: str, first: Comparison, *, goes_on: bool
    ) -> Comparison:
        """Return the comparison under other readings of a false link: run-on, loose precedence, rounded inputs."""
        if is_run_on(first.left, right.node) and (goes_on or not is_leaf(left.node)):
            return first._replace(outcome=AGREES, note="run-on chain, the last result is carried over: ")
        other = self.readings.loose(left, right, about) or self.readings.negative(left, right, about)
        if other is not None:
            return other
        place = last_place(right.node)
        if within_input_rounding(left.node, first, place, self.facts.rounded) or rounds_an_input(
            left.node, right.node, first
        ):
            return first._replace(outcome=UNDECIDED, note="within the rounding of its inputs: ")
        return first

    def _equality_finding(self, chain: Chain, index: int, comparison: Comparison) -> Finding:
        left, right = chain.members[index].node, chain.members[index + 1].node
        shown = _sides(left, right, comparison)
        if comparison.outcome == AGREES:
            finding = Finding(VERIFIED, comparison.note + shown)
            return finding if not chain.joined or index else Finding(NOT_CHECKABLE, "part of a larger side")
        if comparison.outcome == UNDECIDED:
            return Finding(NOT_CHECKABLE, comparison.note + "rounded: " * (not comparison.note) + shown)
        reason = self.guards.other_meaning(chain, index, comparison)
        if reason:
            return Finding(NOT_CHECKABLE, f"{reason}: {shown}")
        if chain.relations[index].sign == "≡":
            return Finding(NOT_CHECKABLE, f"a congruence without its modulus: {shown}")
        return self._soften(Finding(REFUTED, f"{self._span(chain, index)}: {shown}"), chain, index)

    def _soften(self, finding: Finding, chain: Chain, index: int) -> Finding:
        """Return `finding`, unless the words around a false link take it back or make it unclear."""
        if finding.status != REFUTED:
            return finding
        reason = self.guards.unclear(chain, index) or self.guards.doubted(chain, index) or self._elsewhere(chain, index)
        return Finding(NOT_CHECKABLE, f"{reason}: {finding.evidence}") if reason else finding

    def _elsewhere(self, chain: Chain, index: int) -> str:
        left, right = chain.members[index].node, chain.members[index + 1].node
        return self.facts.setting.other_meaning(self.text, left, right)

    def _congruence(self, left: Node, right: Node, modulus: Node) -> Finding:
        first, second, base = evaluate(left), evaluate(right), evaluate(modulus)
        if not (isinstance(first, int) and isinstance(second, int) and isinstance(base, int)) or base == 0:
            raise UndefinedError
        holds = (first - second) % base == 0
        shown = f"the sides differ by {show(first - second)}, modulus {show(base)}"
        return Finding(VERIFIED if holds else REFUTED, shown)

    def _span(self, chain: Chain, index: int) -> str:
        return self._text(chain.members[index].first, chain.members[index + 1].last)

    def _text(self, first: int, last: int) -> str:
        text = self.text[self.tokens[first].start : self.tokens[last - 1].end]
        return " ".join(text.split())

    def _finish(self, left: Member, right: Member, kind: str, finding: Finding) -> ClaimCandidate:
        return ClaimCandidate(
            kind,
            finding.status,
            finding.evidence,
            self.tokens[left.first].start,
            self.tokens[right.last - 1].end,
            left_text="".join(token.text for token in self.tokens[left.first : left.last]),
        )


def _sides(left: Node, right: Node, comparison: Comparison) -> str:
    first, second = show(comparison.left), show(comparison.right)
    if is_leaf(right):
        return f"the left side is {first}"
    if is_leaf(left):
        return f"the right side is {second}"
    return f"the left side is {first}, the right side {second}"


def _announces(before: str, after: str, left: Node, right: Node) -> bool:
    """Return whether `left = right`, between the texts given, is announced as one expression written anew.

    An equation may be announced in the same words, so the answer is yes only where no solution and no further
    equation follows and both sides go together where the unknowns are large, as two forms of an expression do.
    """
    after = after[:_REWRITING_WITHIN]
    if not announces_rewriting(before, after):
        return False
    unknowns = unknowns_of(right)
    if isinstance(left, Symbol) or not unknowns or unknowns != unknowns_of(left):
        return False
    has_value = any(re.search(rf"(?<![A-Za-z]){re.escape(name)}\s?=", after) for name in unknowns)
    return not has_value and is_alike_at_infinity(left, right, unknowns)


def _has_strange_unit(node: Node) -> bool:
    """Return whether what was read as a unit is a name: `1/2 BC`."""
    return any(not word.islower() for part in walk(node) if isinstance(part, Quantity) for word in part.unit)
