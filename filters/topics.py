"""Topics of problems, named by a model: one label of a list that the recipe gives, to balance by and to look at.

A model's label is no proof of anything, so nothing is dropped by it; a reply that is none of the labels names no topic.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field, field_validator

from proofmill.data.files import digest
from proofmill.data.sections import ModelSection
from proofmill.filters.model_judge import json_reply, quoted

NO_TOPIC = "other"  # in `select.mix`: problems without a label
_MOST_ASKED = 8000  # characters of a problem; of a longer one its beginning is shown
_ASK = """\
Read the problem below. Do not solve it. Say which one of these topics it belongs to: {labels}.

PROBLEM
{problem}
END OF PROBLEM

Answer with a JSON object whose key "topic" holds the topic, written as above."""

Label = Annotated[str, Field(min_length=1, max_length=60)]


class TopicOptions(ModelSection):
    """A model names the topic of each problem that was solved; `select.mix_by: topic` balances by it.

    Where neither `sampler` nor `model` is given, the first live sampler's model is asked.
    """

    labels: tuple[Label, ...] = Field(min_length=2, description="the topics to choose from, each in a few plain words")
    temperature: float = Field(0.0, ge=0.0, description="sampling temperature of its answers")
    top_p: float = Field(1.0, gt=0.0, le=1.0, description="nucleus sampling of its answers")
    max_tokens: int = Field(48, ge=8, description="tokens of one answer, at most")
    extra: dict[str, Any] = Field({}, description="passed through to the engine, and recorded")

    @field_validator("labels")
    @classmethod
    def _different(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        if len({label.casefold() for label in (*labels, NO_TOPIC)}) <= len(labels):
            raise ValueError(f"labels: two are the same, or one is '{NO_TOPIC}', which stands for none of them")
        return labels


def schema(labels: Sequence[str]) -> dict[str, Any]:
    """Return the JSON schema of an answer."""
    return {
        "type": "object",
        "properties": {"topic": {"enum": list(labels)}},
        "required": ["topic"],
        "additionalProperties": False,
    }


def prompt(problem: str, labels: Sequence[str]) -> str:
    """Return what the model is asked."""
    return _ASK.format(labels="; ".join(labels), problem=quoted(problem[:_MOST_ASKED]))


def prompts_digest() -> str:
    """Return a digest of what recorded answers depend on in this module."""
    return digest(_ASK, _MOST_ASKED)


def read(text: str, finish_reason: str, labels: Sequence[str]) -> str | None:
    """Return the label that a reply names; None where it is none of them."""
    value = json_reply(text, finish_reason)
    topic = None if isinstance(value, str) else value.get("topic")
    return topic if topic in labels else None
