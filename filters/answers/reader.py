"""What a domain knows of its answers, and what a text concludes."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable
from typing import NamedTuple

from proofmill.filters.answers.options import Options

MATHEMATICAL = re.compile(r"[\d\\$]")
NUMBER = re.compile(r"\d[\d,./]*")
CLOSERS = " \t\r\n.!$)]}*_\\。"


class Conclusion(NamedTuple):
    """What a text concludes.

    Attributes:
        text: the answer as it stands there; empty where the text concludes nothing.
        rule: the rule that found it, or why there is none: `no_answer`, `several_answers`, `several_boxes`,
            `taken_back`, `unreadable`, `unclosed_box`, `empty_box`, `not_tagged`, `not_json`.
        start: offset of the sentence or line that states it; None where there is none.
    """

    text: str
    rule: str
    start: int | None = None


class Reader(NamedTuple):
    """What a domain knows of its answers.

    Attributes:
        readable: whether a text is an answer as it stands.
        key: what two texts of one answer share.
        question: the prompt, which tells numbers in a sentence apart; may be empty.
    """

    readable: Callable[[str], bool]
    key: Callable[[str], Hashable]
    question: str = ""
    form: str = ""
    """The mark in which the prompt asks for the answer, `tagged` or `json`; nothing in words counts then."""
    tag: str = ""
    """The name of the tag that it asks for, where that is another than `answer`."""
    closing: Callable[[str], bool] | None = None
    """The same for a text without any mark, where it is stricter."""
    prompt: str = ""
    """The whole prompt, which tells what the model asks itself from an exercise that it invents."""
    options: Options | None = None
    """The few answers that there are, where they are known: `options` then says what counts."""


def _any_text(text: str) -> bool:
    return bool(text)


def _same_text(text: str) -> Hashable:
    return " ".join(text.split())


_BARE = re.compile(
    r"(?:[A-Za-z]\s?=\s?)?(?:[-−+]?[$€£]?\d[\d,]*(?:\.\d+)?(?: ?/ ?\d+)?%?(?:\s?[A-Za-z²³°/]{1,15}){0,2}"
    r"|\$[^$\n]{1,300}\$"
    r"|[-(\[{\d\\][\d\s.,+\-*/^()\[\]{}\\a-z×·÷−]{0,100})\Z"
)


def _is_bare(text: str) -> bool:
    return _BARE.match(text) is not None


ANY_TEXT = Reader(_any_text, _same_text, closing=_is_bare)
"""Every phrase is an answer as it stands; two are the same where their words are."""


def agree(one: Hashable, other: Hashable) -> bool:
    """Return whether two keys are of one answer; one of them may leave out the name that the other gives it."""
    if one == other:
        return True
    if not (isinstance(one, tuple) and isinstance(other, tuple) and len(one) == len(other) == 2):
        return False
    return one[1] == other[1] and "" in (one[0], other[0])
