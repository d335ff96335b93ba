"""A model where rules end: whether two answers are the same that no rule could prove equal or different.

The VibeThinker-3B report (arXiv 2606.16140) judges mathematics by answer equivalence, "plus a model judge where forms
are complex". Here a model is asked about those rows alone whose verdict is `undecided`: an answer was found, and it or
the gold answer has a form that the grammar doesn't know. It sees the question and the two answers, never the trace,
and is asked twice with the answers in either order. Only where both replies agree they make a verdict, and never
against what was proven. Planted pairs say first whether the judge is to be trusted at all.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import Field

from proofmill.data.errors import VerifierError
from proofmill.data.files import digest
from proofmill.data.sections import ModelSection
from proofmill.filters.reasoning import split_think
from proofmill.filters.verdicts import CORRECT, PSEUDO_LABEL, UNPARSED, WRONG

# --- questions to models and their replies, for every filter that asks one -------------------------------------

MALFORMED, CUT = "malformed", "cut"


def quoted(text: str) -> str:
    """Return foreign text as it may stand in a prompt: what could pass for a chat template's own marks is broken up."""
    return re.sub(r"<(?=[|/]|s>)|\[(?=/?INST\])", lambda mark: f"{mark[0]} ", text)


def json_reply(text: str, finish_reason: str) -> dict[str, Any] | str:
    """Return the JSON object of a reply, after a reasoning block if there is one, or why there is none."""
    if finish_reason != "stop":
        return CUT if finish_reason == "length" else finish_reason
    try:
        value = json.loads(split_think(text).rest)
    except (ValueError, RecursionError):
        return MALFORMED
    return value if isinstance(value, dict) else MALFORMED


# --- the judge ----------------------------------------------------------------------------------------------------

DETAIL = "model_judge"  # of a verdict that a model gave
DISAGREES = "model_judge_disagrees"  # with itself, or it did not answer


def proven_by(trace: Mapping[str, Any], problem: Mapping[str, Any]) -> str:
    """Return a row's `verifier`: it says where a pseudo-label or a model's verdict stands in for gold or proof."""
    labels = [PSEUDO_LABEL] * bool(problem.get("pseudo_label"))
    labels += [DETAIL] * (trace["verdict_detail"] == DETAIL)
    return ":".join([str(problem["verifier"]), *labels])


_ASK = """\
Two people answered the question below. Say whether both answers state the same, as answers to this question. Another \
wording, notation or order is the same if a teacher who accepts one must accept the other; another value, another \
set, a missing part or a missing condition is not.

QUESTION
{question}
END OF QUESTION

FIRST ANSWER
{first}
END OF FIRST ANSWER

SECOND ANSWER
{second}
END OF SECOND ANSWER

Answer with a JSON object whose key "same" holds true or false."""

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"same": {"type": "boolean"}},
    "required": ["same"],
    "additionalProperties": False,
}
_MAX_TEXT = 8000  # characters of a question and its answers; of a longer one nothing is asked


class JudgeOptions(ModelSection):
    """A model that is asked about answers which rules neither prove equal nor different.

    Where neither `sampler` nor `model` is given, the first live sampler's model judges.
    """

    temperature: float = Field(0.0, ge=0.0, description="sampling temperature of its answers")
    top_p: float = Field(1.0, gt=0.0, le=1.0, description="nucleus sampling of its answers")
    max_tokens: int = Field(64, ge=8, description="tokens of one answer, at most")
    extra: dict[str, Any] = Field({}, description="passed through to the engine, and recorded")


class Pair(NamedTuple):
    """A question with two answers to compare."""

    question: str
    gold: str
    answer: str

    @property
    def can_be_asked(self) -> bool:
        """Whether it is short enough: of a text that is cut, a model would judge a part."""
        return sum(map(len, self)) <= _MAX_TEXT


CANARIES: Sequence[tuple[Pair, bool]] = (
    (Pair("Which country won the final?", "the Netherlands", "It was the Dutch team."), True),
    (Pair("What do the two lines do?", "they are parallel", "They never meet, being parallel."), True),
    (Pair("Which country won the final?", "the Netherlands", "Belgium"), False),
    (Pair("For which real x does the series converge?", "all x with |x| < 1", "all x with |x| <= 1"), False),
    (Pair("What is the shape of the graph?", "an ellipse", "a hyperbola"), False),
    (Pair("When is f continuous?", "only at rational points", "only at irrational points"), False),
)
"""Planted pairs, and whether they are the same."""


def prompts(pair: Pair) -> tuple[str, str]:
    """Return the two questions about a pair: the answers in either order."""
    question = quoted(pair.question)
    gold, answer = (quoted(" ".join(text.split())) for text in (pair.gold, pair.answer))  # no line of its own
    return (
        _ASK.format(question=question, first=gold, second=answer),
        _ASK.format(question=question, first=answer, second=gold),
    )


def prompts_digest() -> str:
    """Return a digest of what recorded answers depend on in this module."""
    return digest(_ASK, SCHEMA, [list(pair) for pair, _ in CANARIES])


def read(text: str, finish_reason: str) -> bool | None:
    """Return what a reply says; None where it is not the JSON that was asked for."""
    value = json_reply(text, finish_reason)
    same = None if isinstance(value, str) else value.get("same")
    return same if isinstance(same, bool) else None


def verdict_of(replies: Sequence[bool | None]) -> tuple[str, str]:
    """Return (verdict, detail) of the replies about one pair: a verdict only where all of them agree."""
    answers = set(replies)
    if answers == {True}:
        return CORRECT, DETAIL
    return (WRONG, DETAIL) if answers == {False} else (UNPARSED, DISAGREES)


class Planted(NamedTuple):
    """What is planted for a judge.

    Attributes:
        where: the section that names the judge.
        pairs: in words, and whether they are the same.
        wrong, right: what the pairs are called that are not, and those that are.
    """

    where: str
    pairs: Sequence[tuple[str, bool]]
    wrong: str = "a planted wrong answer right"
    right: str = "no planted right answer right"


ANSWERS = Planted("verify.judge", [(f"{pair.answer!r} for {pair.gold!r}", same) for pair, same in CANARIES])


def check_canaries(model: str, replies: Sequence[Sequence[bool | None]], planted: Planted = ANSWERS) -> None:
    """Raise if a judge called a planted different pair the same, or no planted equal pair the same.

    Args:
        model: its name.
        replies: of each planted pair, both.
        planted: the pairs.

    Raises:
        VerifierError: it did, in both orders.
    """
    where = f"recipe key {planted.where}"
    remedy = f"name a stronger model, or leave {planted.where} out; no verdict of this one was used"
    said = [verdict_of(answers)[0] == CORRECT for answers in replies]
    for (pair, same), called in zip(planted.pairs, said, strict=True):
        if called and not same:
            raise VerifierError(f"The judge {model} called {planted.wrong}: {pair}.", where=where, remedy=remedy)
    if not any(called and same for (_, same), called in zip(planted.pairs, said, strict=True)):
        raise VerifierError(f"The judge {model} called {planted.right}.", where=where, remedy=remedy)
