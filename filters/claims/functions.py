"""Functions that a problem or a trace defines, `f(x) = x^2 - 3x`, and their values, `f(4) = 4`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import partial

from proofmill.filters.claims.identities import is_identity, unknowns_of
from proofmill.filters.claims.judge import walk
from proofmill.filters.claims.nodes import Call, Node, NotNumericError, Opaque, Symbol, rebuilt
from proofmill.filters.claims.scan import Scanner
from proofmill.filters.claims.tokens import tokenize

CALLED = "()"  # ends the name of a call to a function of the text's own
_DEFINED = re.compile(r"[fghpqFGHPQRST]\s?\(\s?[A-Za-z]\s?\)\s?=")
_PIECEWISE = re.compile(
    r"\\begin\{cases|\bif\b[^.]{0,40}[<>≤≥=]|\botherwise\b|\\text\{\s*if|\bfor all\b|\bsatisf\w+", re.IGNORECASE
)
_MAX_DEPTH = 6
_MAX_PROMPT = 10_000


@dataclass(slots=True)
class Functions:
    """The functions in one variable that are known, by name; None where a name was defined twice.

    A piecewise or functional equation is no definition, so nothing is learnt from a problem that has one.
    """

    known: dict[str, tuple[str, Node] | None] = field(default_factory=dict)
    trusted: bool = True

    def read(self, prompt: str) -> None:
        """Learns what a problem's statement defines."""
        if not _DEFINED.search(prompt, 0, _MAX_PROMPT):
            return
        self.trusted = not _PIECEWISE.search(prompt)
        for chain in Scanner(tokenize(prompt[:_MAX_PROMPT])).scan():
            for index in range(len(chain.relations)):
                if chain.relations[index].sign == "=" and not (index == 0 and chain.joined) and not chain.trailing:
                    self.learn(chain.members[index].node, chain.members[index + 1].node)

    def learn(self, left: Node, right: Node) -> None:
        """Takes `f(x) = …` as the definition of f, unless the right side doesn't depend on x alone."""
        match left:
            case Call(name, (Symbol(name=variable),)) if name.endswith(CALLED) and unknowns_of(right) == {variable}:
                if any(isinstance(part, Opaque) or is_call(part) for part in walk(right)):
                    return
                before = self.known.get(name, (variable, right))
                same = before is not None and is_identity(
                    before[1], _substituted(right, variable, Symbol(before[0])), frozenset({before[0]})
                )
                self.known[name] = before if same else None

    def resolved(self, node: Node, depth: int = 0) -> Node:
        """The tree with every call replaced by what it stands for.

        Raises:
            NotNumericError: a function is not known, or calls are nested too deep.
        """
        if depth > _MAX_DEPTH:
            raise NotNumericError
        change = partial(self.resolved, depth=depth + 1)
        match node:
            case Call(name, (argument,)) if name.endswith(CALLED):
                return self._value(name, change(argument))
        return rebuilt(node, change)

    def _value(self, name: str, argument: Node) -> Node:
        definition = self.known.get(name) if self.trusted else None
        if definition is None:
            raise NotNumericError
        return _substituted(definition[1], definition[0], argument)


def is_call(node: Node) -> bool:
    """Whether a tree is a call to a function of the text's own."""
    return isinstance(node, Call) and node.name.endswith(CALLED)


def has_call(node: Node) -> bool:
    """Whether a tree holds such a call."""
    return any(map(is_call, walk(node)))


def _substituted(node: Node, variable: str, value: Node) -> Node:
    if isinstance(node, Symbol):
        return value if node.name == variable else node
    return rebuilt(node, lambda part: _substituted(part, variable, value))
