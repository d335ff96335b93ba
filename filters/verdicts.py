"""The verdict on one trace, and what a domain must offer to give one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

CORRECT = "correct"
WRONG = "wrong"
UNPARSED = "unparsed"  # no answer found, or the sample was cut before it closed
TIMEOUT = "timeout"
ERROR = "error"  # the verifier's fault, bad gold, unsupported language: never the trace's
NO_GOLD = "no_gold"  # detail of an `error`: an answer was found, and there is nothing to compare it with
PSEUDO_LABEL = "pseudo_label"  # detail of a verdict by the answer that most samples agree on
DOMAINS = ("math", "code", "logic", "choice", "instruction")
VERDICTS = (CORRECT, WRONG, UNPARSED, TIMEOUT, ERROR)


@dataclass(frozen=True, slots=True)
class Problem:
    """What a domain needs of a problem to judge an answer to it.

    Attributes:
        domain: name of the domain.
        prompt: the problem as text.
        answer: the gold answer, or None where the domain judges by `info` alone.
        info: what else the domain needs: tests, options, constraints, the scorer's entry.
    """

    domain: str
    prompt: str
    answer: str | None = None
    info: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The judgement on one trace.

    Attributes:
        verdict: one of `VERDICTS`.
        extracted: the answer found in the trace, as it stands there.
        detail: the rule that found the answer, or the cause of the verdict.
        tests_passed: tests passed (code), constraints held (instruction).
        tests_total: tests run, constraints checked.
        final_start: offset in the text given to `verify` at which the final part
            (the statement of the answer) begins; None where no answer was found.
    """

    verdict: str
    extracted: str | None = None
    detail: str | None = None
    tests_passed: int | None = None
    tests_total: int | None = None
    final_start: int | None = None


class Verifier(Protocol):
    """One domain's judge. Instances hold no state and are safe in threads and processes."""

    version: str
    """Raised whenever a verdict may change; part of every key that depends on verdicts."""

    ask: str
    """The instruction appended to a prompt so that the answer can be found; may be empty."""

    def quick(self, problem: Problem, text: str) -> Verdict | None:
        """The verdict where it costs bounded microseconds, else None. Runs in the caller's process."""

    def verify(self, problem: Problem, text: str) -> Verdict:
        """The verdict on `text`, the trace after its reasoning block.

        May be slow on hostile input: the caller runs it in a worker that can be killed,
        and turns an exception into `error`.
        """
