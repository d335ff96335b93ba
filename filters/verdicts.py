"""The verdict on one trace, and the object that holds everything about a domain."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

CORRECT = "correct"
WRONG = "wrong"
UNPARSED = "unparsed"  # no answer found, or the sample was cut before it closed
TIMEOUT = "timeout"
ERROR = "error"  # the verifier's fault, bad gold, unsupported language: never the trace's
NOT_JUDGED = "not_judged"  # detail of an `error` that the sample itself has brought about: it counts as not passed
NO_GOLD = "no_gold"  # detail of an `error`: an answer was found, and there is nothing to compare it with
PSEUDO_LABEL = "pseudo_label"  # detail of a verdict by the answer that most samples agree on
VERDICTS = (CORRECT, WRONG, UNPARSED, TIMEOUT, ERROR)


class Problem(NamedTuple):
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
    info: Mapping[str, Any] = {}


class Verdict(NamedTuple):
    """The judgement on one trace.

    Attributes:
        verdict: one of `VERDICTS`.
        extracted: the answer found in the trace, as it stands there.
        detail: the rule that found the answer, or the cause of the verdict.
        tests_passed: tests passed (code), constraints held (instruction).
        tests_total: tests run, constraints checked.
        final_start: offset in the text given to `verify` at which the final part
            (the statement of the answer) begins; None where no answer was found.
        undecided: an answer was found, and rules proved it neither equal to gold nor different: a model may judge.
    """

    verdict: str
    extracted: str | None = None
    detail: str | None = None
    tests_passed: int | None = None
    tests_total: int | None = None
    final_start: int | None = None
    undecided: bool = False


class Canary(NamedTuple):
    """A planted answer, and the verdict that it must get."""

    problem: Problem
    text: str
    expected: str


def _no_key(_problem: Problem, _answer: str) -> None:
    return None


@dataclass(frozen=True, slots=True)
class Voting:
    """When two answers to one problem are the same vote.

    Attributes:
        key: what two answers share exactly if they are equal; None where the domain knows no such key.
        equal: whether two answers are equal of which one or both have no key; may be costly.
            Without it such answers are compared as text.
    """

    key: Callable[[Problem, str], str | None] = _no_key
    equal: Callable[[str, str], bool] | None = None


def _slow(_problem: Problem, _text: str) -> Verdict | None:
    return None


def _as_it_stands(answer: str) -> str:
    return answer


def is_counted(verdict: str, detail: str | None) -> bool:
    """Return whether a sample counts where passes are counted: every one but an `error` that says nothing of it."""
    return verdict != ERROR or f"{NOT_JUDGED}: " in (detail or "")


def reward_of(verdict: Verdict) -> float | None:
    """Return 1.0 for `correct`; None for an `error` that says nothing of the trace; 0.0 for everything else."""
    return float(verdict.verdict == CORRECT) if is_counted(verdict.verdict, verdict.detail) else None


def answer_line(gold: str | None, extracted: str | None) -> str | None:
    """Return `The answer is X.` with the gold answer, or the one found where there is no gold."""
    answer = gold or extracted
    return None if answer is None else f"The answer is {answer}."


def _ready() -> None:
    return None


@dataclass(frozen=True, kw_only=True, slots=True)
class Domain:
    """A kind of problem: how its answer is asked for, found and judged, and everything else that depends on it.

    A domain is one such object in a file of its own and one line in `filters.domains.DOMAINS`; a user's own is
    named in the recipe as `package.module:NAME`. It holds no state: its functions are pure, and safe in threads
    and processes.

    Attributes:
        name: the name in recipes and in the column `domain`.
        version: raised whenever a verdict may change; part of every key that depends on verdicts.
        verify: the verdict on a text, the trace after its reasoning block. May be slow on hostile input: the
            caller runs it in a worker that can be killed, and turns an exception into `error`.
        quick: the verdict where it costs bounded microseconds, else None. Runs in the caller's process.
        runs_in: `pool`, the caller's worker processes; or `jail`, where `verify` has processes of its own and
            is called from threads of the driving process.
        ready: checks that it can judge on this machine; raises VerifierError where it can't.
        ask: the instruction appended to a prompt so that the answer can be found; may be empty.
        needs: what a problem must have to be judged: `answer`, or fields of its info. Of a tuple, one is enough.
        fields: the fields of its info that may stand in columns of their own.
        gold: the gold answer inside an entry of a data set, which may hold more.
        short_answer: the shortest completion that gives an answer, from the gold answer and the one found in
            the trace; None where there is none.
        voting: which answers are the same vote; None where answers are no short statements, so that none agree.
        reward: what a verdict is worth in reinforcement learning; None leaves the row out.
        canaries: planted answers: right, wrong, none at all, and one to a problem whose gold is bad. They ride
            along with every shard, so a broken library or a jail that no longer runs code stops the run before a
            verdict of it is written.
    """

    name: str
    version: int | str
    verify: Callable[[Problem, str], Verdict]
    quick: Callable[[Problem, str], Verdict | None] = _slow
    runs_in: Literal["pool", "jail"] = "pool"
    ready: Callable[[], None] = _ready
    ask: str = ""
    needs: tuple[str | tuple[str, ...], ...] = ()
    fields: tuple[str, ...] = ()
    gold: Callable[[str], str] = _as_it_stands
    short_answer: Callable[[str | None, str | None], str | None] = answer_line
    voting: Voting | None = None
    reward: Callable[[Verdict], float | None] = reward_of
    canaries: tuple[Canary, ...] = ()

    def lacks(self, answer: str | None, info: Mapping[str, Any]) -> tuple[str, ...]:
        """Return what a problem lacks to be judged; of alternatives, the first."""
        missing = []
        for need in self.needs:
            names = (need,) if isinstance(need, str) else need
            for name in names:
                if not _empty(answer if name == "answer" else info.get(name)):
                    break
            else:
                missing.append(names[0])
        return tuple(missing)

    def can_label(self, answer: str | None, info: Mapping[str, Any]) -> bool:
        """Return whether all that a problem lacks is a gold answer, which samples that agree can stand in for."""
        return self.voting is not None and answer is None and self.lacks(answer, info) == ("answer",)


def _empty(value: object) -> bool:
    return value is None or value == "" or value == [] or value == {}
