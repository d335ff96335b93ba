"""Functions that a problem or a trace defines, `f(x) = x^2 - 3x`, and their values, `f(4) = 4`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache, partial

from proofmill.filters.claims.identities import is_identity, unknowns_of
from proofmill.filters.claims.judge import walk
from proofmill.filters.claims.nodes import Call, Node, NotNumericError, Opaque, Symbol, rebuilt
from proofmill.filters.claims.scan import Scanner
from proofmill.filters.claims.tokens import tokenize

CALLED = "()"  # ends the name of a call to a function of the text's own
_CALL = re.compile(r"(?<![A-Za-z\\])([fghPQRSTFGH])\s?(?:\\left)?\(")
_PIECEWISE = re.compile(
    r"\\begin\{cases|\bif\b[^.]{0,40}[<>≤≥=]|\botherwise\b|\\text\{\s*if|\bfor all\b|\bsatisf\w+", re.IGNORECASE
)
_MAX_DEPTH = 6
_MAX_PROMPT = 10_000


@dataclass(slots=True)
class Functions:
    """The functions in one variable that are known, by name; None where a name was defined twice.

    A piecewise or functional equation is no definition, so nothing is learnt from a problem that has one. What a
    trace says of a function that its problem speaks of without defining it (`undefined`) is a part of its answer, a
    trial or a case, and no definition.
    """

    known: dict[str, tuple[str, Node] | None] = field(default_factory=dict)
    trusted: bool = True
    undefined: frozenset[str] = frozenset()

    def read(self, prompt: str) -> None:
        """Learns what a problem's statement defines."""
        called = {f"{name}{CALLED}" for name in _CALL.findall(prompt, 0, _MAX_PROMPT)}
        if not called:
            return
        self.trusted = not _PIECEWISE.search(prompt)
        for left, right in equalities(prompt):
            self.learn(left, right)
        self.undefined = frozenset(called - self.known.keys())

    def learn_from(self, text: str, left: Node, right: Node) -> None:
        """Takes a definition from a step of the trace, unless that is for a case only."""
        if not _is_piecewise(text):
            self.learn(left, right)

    def learn(self, left: Node, right: Node) -> None:
        """Takes `f(x) = …` as the definition of f, unless the right side doesn't depend on x alone."""
        match left:
            case Call(name, (Symbol(name=variable),)) if name.endswith(CALLED) and unknowns_of(right) == {variable}:
                if name in self.undefined or any(isinstance(part, Opaque) or is_call(part) for part in walk(right)):
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


@lru_cache(maxsize=256)  # the samples of one problem come one after the other
def equalities(prompt: str) -> tuple[tuple[Node, Node], ...]:
    """The two sides of every equality that a problem states and that the grammar reads whole."""
    return tuple(
        (chain.members[index].node, chain.members[index + 1].node)
        for chain in Scanner(tokenize(prompt[:_MAX_PROMPT])).scan()
        if not chain.trailing
        for index, relation in enumerate(chain.relations)
        if relation.sign in ("=", "≡") and not (index == 0 and chain.joined)
    )


def tied_unknowns(prompt: str) -> set[frozenset[str]]:
    """The sets of unknowns that an equation of the problem ties, definitions of functions left out."""
    pairs = ((left, right) for left, right in equalities(prompt) if not (has_call(left) or has_call(right)))
    return {names for left, right in pairs if (names := unknowns_of(left) | unknowns_of(right))}


@lru_cache(maxsize=2)  # asked for each function value of a step, one step after the other
def _is_piecewise(text: str) -> bool:
    return _PIECEWISE.search(text) is not None


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
