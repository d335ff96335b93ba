"""Words before a statement that take it back: "I don't think", "suppose that", "one might guess that"."""

from __future__ import annotations

import re

_THAT = r"(?:\s(?:that|whether|if))?"
_WHO = r"(?:one|someone|somebody|anyone|you|they|we|people|many|some|most|students?|readers?|solvers?|beginners?)"
_DENIAL = re.compile(
    r"(?:"
    r"(?:n't|\bnot|\bnever|\bcannot|\bhardly)\s(?:\w+\s)?(?:think|believe|say|claim|agree|conclude|mean|suggest|follow)"
    rf"{_THAT}"
    r"|(?:n't|\bnot|\bnever|\bhardly)\s(?:true|right|correct|clear|certain|the\scase|possible|sure)\s(?:that|whether|if)"
    r"|\b(?:false|untrue|incorrect|wrong|impossible|unlikely|doubtful|a\smistake\sto\s\w+)\s(?:that|if)"
    rf"|\b(?:doubt|doubts|deny|denies|wonder|wonders){_THAT}"
    rf"|\b(?:nobody|no\sone|none)\s(?:\w+\s)?\w+{_THAT}"
    rf"|\b{_WHO}\s(?:might|may|could|would|will)\s(?:\w+\s)?(?:say|guess|think|claim|believe|answer|conclude|assume)"
    rf"{_THAT}"
    r"|\b(?:suppose|assume|assuming|supposing|imagine|pretend|whether|unless)(?:\s(?:now|first|instead))?(?:\sthat)?"
    r"|\bif"
    r")",
    re.IGNORECASE,
)
_OPENING = r"(?:\b(?:the|my|our|your|this)\s(?:(?:final|correct|right|best)\s)?)?"  # of "the correct answer is"
_ADJACENT = re.compile(rf"{_DENIAL.pattern}[\s,:*_]*{_OPENING}\Z", re.IGNORECASE)
_REACH = 80  # characters


def denied(text: str, start: int) -> bool:
    """Whether what begins at `start` is denied, doubted, supposed or put into somebody's mouth right before it."""
    return _ADJACENT.search(text[max(0, start - _REACH) : start].replace("\u2019", "'")) is not None


def doubtful(sentence: str) -> bool:
    """Whether a sentence holds such words at all."""
    return _DENIAL.search(sentence.replace("\u2019", "'")) is not None
