"""Short solutions: a model condenses a trace that is proven, and what it writes is proven once more.

A trace cut at its end teaches to state an answer, not to reason shortly. So the model is shown the problem and its own
proven trace, and writes the solution again, several times; a try counts only if its answer is right by the same
verifier, if it is short enough beside the trace, and if no exact check refutes a step of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from proofmill.data.files import digest
from proofmill.data.sections import ModelSection
from proofmill.filters.model_judge import CUT, quoted
from proofmill.filters.reasoning import split_think
from proofmill.filters.verdicts import CORRECT

_ASK = """\
Below are a problem and a right solution of it. Write the solution again, as briefly as you can: keep each step that \
the answer hangs on, and leave out detours, repetitions, checks, and everything that the solution takes back. It \
should be less than half as long. End it with the answer, in the very form in which the problem asks for it. Write \
nothing but the solution.

PROBLEM
{problem}
END OF PROBLEM

SOLUTION
{response}
END OF SOLUTION"""

TOO_LONG, REFUTED, DEGENERATE = "too_long", "refuted_claim", "degenerate"


class Rewriting(ModelSection):
    """How a model condenses proven traces, where `short_forms` has `rewritten`.

    What it writes is verified like a sample. Where neither `sampler` nor `model` is given, the first live sampler's
    model is asked.
    """

    tries: int = Field(4, ge=1, description="short solutions written of a trace; the shortest sound one is used")
    temperature: float = Field(1.0, ge=0.0, description="sampling temperature")
    top_p: float = Field(0.95, gt=0.0, le=1.0, description="nucleus sampling")
    max_tokens: int = Field(512, ge=16, description="tokens of one short solution, at most; a longer one is `cut`")
    extra: dict[str, Any] = Field({}, description="passed through to the engine, and recorded")


def prompt(problem: str, response: str) -> str:
    """Return what the model is asked; `problem` as the sampler was asked it, since it names the answer's form."""
    return _ASK.format(problem=quoted(problem), response=quoted(response))


def prompts_digest() -> str:
    """Return a digest of what recorded answers depend on in this module."""
    return digest(_ASK)


def solution(text: str, finish_reason: str, tags: Sequence[str] = ()) -> tuple[str, str | None]:
    """Return the short solution in a reply, after its own reasoning block, and why there is none (None: there is)."""
    if finish_reason != "stop":
        return "", CUT if finish_reason == "length" else finish_reason
    think = split_think(text, tags=tags)
    return (think.rest.strip(), None) if think.closed else ("", CUT)


@dataclass(frozen=True, slots=True)
class CheckedTry:
    """What is known of one try.

    Attributes:
        verdict: of the verifier.
        tokens: its length.
        claims: columns of the claims filter.
        quality: columns of the quality filter.
    """

    verdict: str
    tokens: int
    claims: Mapping[str, Any]
    quality: Mapping[str, Any]

    def fault(self, most_tokens: float) -> str | None:
        """Return why the try is not used, the plainest reason first; None: it may be."""
        if self.verdict != CORRECT:
            return self.verdict
        if self.tokens > most_tokens:
            return TOO_LONG
        if self.claims["claims_checked"] is None or self.quality["repetition"] is None:
            return "error"  # a check died of it
        if self.claims["claims_refuted"]:
            return REFUTED
        return DEGENERATE if self.quality["quality_detail"] else None
