"""Check every claim of a trace: the driver that the rest of the package hangs on.

Steps are read in order, since what one establishes (values, equations, functions) judges the next. What may span
steps, the puzzles' assignments and stated outputs of code, is added; last, false claims that the trace itself takes
back are marked as retracted.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from typing import NamedTuple

from proofmill.filters.claims.judging import StepJudge, TraceFacts
from proofmill.filters.claims.model import (
    JUMP,
    REFUTED,
    RETRACTED,
    UNSUPPORTED,
    VERIFIED,
    Claim,
    ClaimCandidate,
    ClaimSummary,
    summarise,
)
from proofmill.filters.claims.problem_context import (
    KnownValues,
    ProblemContext,
    conclusions,
    explain,
    known_values_of,
    tied_unknowns,
)
from proofmill.filters.claims.relations import CORRECTION, SIGN_WORDS
from proofmill.filters.claims.whole_trace import (
    Evaluator,
    StatedOutput,
    judge_output,
    puzzle_links,
    puzzle_of,
    stated_outputs,
    unrun_output,
)
from proofmill.filters.symbolic.expressions import Number, Value, is_leaf, walk
from proofmill.filters.symbolic.notation import FRACTION_WORDS, MULTIPLE_WORDS, NUMBER_WORDS, VULGAR, tokenize
from proofmill.filters.verdicts import Problem

_WINDOW = 240  # characters behind a claim in which its correction begins
_PLAIN = re.compile(
    r"wrong|incorrect|mistake|error|not (?:right|correct)|oops|scratch|correction|no,? wait|wait,? no", re.IGNORECASE
)
_MARK = re.compile(r"<<([^<>\n]{0,200})>>")
# Most steps hold no relation that could be judged: one in words needs a number on either side, unless the words say
# that an expression is rewritten. To find that out is cheap, to read a step is not.
_SIGN = re.compile("[=≈≃≅≐<>≤≥⩽⩾≠≡]")
_SIGN_COMMAND = re.compile(r"\\(?:approx|simeq|l(?:e|t)|g(?:e|t)|ne|equiv)")
_REWRITING_WORDS = frozenset({"simplifies", "expands", "factors"})
_NUMBER_WORDS = "|".join([*NUMBER_WORDS, *FRACTION_WORDS, *MULTIPLE_WORDS])
_NUMBER = re.compile(
    rf"\d+|[{''.join(VULGAR)}]|\\?π|\\pi|\b(?:{_NUMBER_WORDS})\b",
    re.IGNORECASE,
)
_TABLE_ROW = re.compile(r"^[ \t]*\|[^\n]*\|[ \t]*$", re.MULTILINE)  # cells are as apart as sentences
_FENCED = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)  # code: its signs are no claims
_MAX_CLAIMS = 2000
_MAX_AFTER = 240  # characters behind a step in which it may be called impossible
_MARGIN = 60
_MAX_STEP = 20_000  # characters of one step that are read; a longer one is a table or an attack


_BLOCK = re.compile(
    r"```|\\\[|\\\]|\$\$|\\begin\{(?:align|equation|gather|aligned|cases|array|[bpv]?matrix|split|multline)\*?\}"
    r"|\\end\{(?:align|equation|gather|aligned|cases|array|[bpv]?matrix|split|multline)\*?\}"
)
_CLOSERS = {"```": "```", "\\[": "\\]", "$$": "$$"}
# A line that ends in an operator goes on in the next one, and so does one before a line that opens with a sign.
# A sentence ends at a stop before a blank and a capital, a figure or an opening sign, but not behind a
# single letter ("a.m. Then" stays one, "5 m. Then" too) nor behind a number that begins a line ("1. First").
_BREAK = re.compile(  # begins with the few signs that it may, which the search then skips to
    r"[\n.!?](?:(?<=\n)(?<! [-+/]\n)(?<! [-+/] \n)\n*(?!\s{0,20}&?\s{0,3}(?:=|≈|\\approx))"
    r"|(?<!\n)(?=[ \t])(?:(?<=[a-z\d)}%\]$\"”*][a-z\d)}%\]$\"”*\\].)[ \t]{1,8}(?=[A-Z\d$\\(\"“*])"
    r"|(?<=[\s=]\d.)[ \t]{1,8}(?=[A-Z\"“*])))"
)
_JSON = re.compile(r"\s{0,9}(?:```(?:json)?\s{0,9})?\{\s{0,9}\"\w{1,40}\"\s{0,3}:")
# Four backslashes are two, two are one; `\n` is a line break unless it begins a command such as `\neq`.
_ESCAPE = re.compile(r"\\\\\\\\|\\\\|\\\"|\\n(?!e(?:q|g)?(?![a-z])|u(?![a-z])|ot(?![a-z])|abla|mid)")
_NUMBERED = re.compile(r"(?:^|\n)\s{0,8}\(?\d{1,3}[.)]\Z")


def without_json_escapes(text: str) -> str:
    """Return a JSON answer with its escapes as what they stand for, every offset kept; other texts as they are.

    Models often leave LaTeX unescaped in JSON, so a lone backslash before a letter stays, but for line breaks.
    """
    if _JSON.match(text) is None:
        return text
    return _ESCAPE.sub(lambda match: _unescaped(match[0]), text)


def _unescaped(escape: str) -> str:
    if escape == "\\n":
        return " \n"
    if escape == '\\"':
        return ' "'
    return " \\" if len(escape) == 2 else "  \\\\"


def split_steps(text: str) -> list[tuple[int, int]]:
    """Return the steps of a trace as (start, end) offsets, in order, blank ones left out."""
    protected = _blocks(text)
    cuts = [0]
    index = 0
    for match in _BREAK.finditer(text):
        at = match.start() + (text[match.start()] != "\n")  # a stop belongs to the sentence that it ends
        while index < len(protected) and protected[index][1] <= at:
            index += 1
        inside = index < len(protected) and protected[index][0] < at
        if not inside and not _NUMBERED.search(text, max(cuts[-1] - 1, at - 12), at):
            cuts.append(match.end())
    cuts.append(len(text))
    spans = [(start, end) for start, end in pairwise(cuts)]
    return [(start, end) for start, end in spans if text[start:end].strip()]


def _blocks(text: str) -> list[tuple[int, int]]:
    """Return displayed formulas and fenced code, which are never cut in the middle."""
    found: list[tuple[int, int]] = []
    opening: tuple[str, int] | None = None
    for match in _BLOCK.finditer(text):
        sign = match.group()
        if opening is None:
            if sign in _CLOSERS or sign.startswith("\\begin"):
                opening = (_CLOSERS.get(sign) or sign.replace("\\begin", "\\end"), match.start())
        elif sign == opening[0]:
            found.append((opening[1], match.end()))
            opening = None
    return found


class OutputToRun(NamedTuple):
    """A stated output of code that only a jail can decide.

    Attributes:
        claim: its index among the trace's claims.
        stated: the code, the call and the value stated for it.
        taken_back: the words by which the trace calls it wrong itself, empty if there are none.
    """

    claim: int
    stated: StatedOutput
    taken_back: str


@dataclass(frozen=True, slots=True)
class TraceCheck:
    """What the exact checks say of one trace; it can be pickled.

    Attributes:
        claims: every claim, in order.
        steps: number of steps of the trace.
        outputs_to_run: the claims that are still open because they need code to be run.
    """

    claims: tuple[Claim, ...]
    steps: int
    outputs_to_run: tuple[OutputToRun, ...] = ()

    @property
    def summary(self) -> ClaimSummary:
        """The trace's claim columns."""
        return summarise(self.claims, self.steps)

    @property
    def refuted_in_final(self) -> bool:
        """Whether the statement of the answer itself holds a false claim."""
        return any(claim.in_final and claim.status == REFUTED for claim in self.claims)

    def with_outputs(self, evaluate: Evaluator) -> TraceCheck:
        """Return the same with the stated outputs decided by `evaluate`, as far as it can tell.

        Whatever `evaluate` raises goes through: `jail_evaluator` raises VerifierError where a layer of the jail is
        missing, and then this result, the outputs left unchecked, still stands.
        """
        claims = list(self.claims)
        for output in self.outputs_to_run:
            candidate = judge_output(output.stated, evaluate)
            status, evidence = candidate.status, candidate.evidence
            if status == REFUTED and output.taken_back:
                status, evidence = RETRACTED, f"{evidence}; {output.taken_back}"
            claims[output.claim] = replace(claims[output.claim], status=status, evidence=evidence)
        return TraceCheck(tuple(claims), self.steps)


def retract(text: str, placed: Sequence[tuple[int, ClaimCandidate]]) -> list[ClaimCandidate]:
    """Return the links, with those marked as retracted that are false and corrected later.

    A claim is taken back where the same left side is computed again with a true result and nothing uses the false
    one, where words that call it wrong follow, or where the trace stops ("wait", "actually") and then reaches the
    true value.

    Args:
        text: the whole trace.
        placed: each link with its offset in the trace.
    """
    again = {(link.kind, link.left_text): index for index, (_, link) in enumerate(placed) if link.status == VERIFIED}
    marked = []
    for index, (start, link) in enumerate(placed):
        reason = ""
        if link.status == REFUTED:
            is_again = bool(link.left_text) and again.get((link.kind, link.left_text), -1) > index
            reason = _reason(text, start, link, islice(placed, index + 1, None), is_again)
        marked.append(replace(link, status=RETRACTED, evidence=f"{link.evidence}; {reason}") if reason else link)
    return marked


def _uses(link: ClaimCandidate, value: Value | None) -> bool:
    """Return whether a later calculation uses a value."""
    inputs = walk(link.inputs) if link.inputs is not None else ()
    return any(isinstance(part, Number) and part.value == value for part in inputs)


def _reason(
    text: str, start: int, link: ClaimCandidate, later: Iterable[tuple[int, ClaimCandidate]], is_again: bool
) -> str:
    """Return why a false link counts as taken back; empty where it stands. `is_again`: computed rightly later."""
    if is_again:
        later = list(later)
        if not any(_uses(other, link.stated) for _, other in later):
            return "computed again later"
    cue = _correction(text, start, link)
    if not cue or _PLAIN.search(cue):
        return taken_back(text, start, link)
    reached = link.left is not None and any(other.stated == link.left for _, other in later if other.status == VERIFIED)
    return f"taken back: “{cue}”, then computed again" if reached else ""


def taken_back(text: str, start: int, link: ClaimCandidate) -> str:
    """Return the words behind a claim that call it plainly wrong, empty where there are none."""
    cue = _correction(text, start, link)
    return f"taken back: “{cue}”" if _PLAIN.search(cue) else ""


def _correction(text: str, start: int, link: ClaimCandidate) -> str:
    """Return the first words of correction behind a claim, near enough to speak of it."""
    end = start + link.end - link.start
    cue = CORRECTION.search(text, end, min(len(text), end + _WINDOW))
    return cue.group().strip() if cue else ""


def check_trace(
    problem: Problem,
    text: str | None = None,
    *,
    steps: Sequence[str] | None = None,
    final_start: int | None = None,
) -> TraceCheck:
    """Return every claim of a trace that the exact checks recognise, and what only a jail could still decide.

    This runs nothing, so any process may do it. Where `outputs_to_run` of the result is not empty, the trace states
    outputs of code; `with_outputs` of the result decides them where a jail is at hand. A command and a run that both
    make these two passes can't differ.

    Args:
        problem: the problem that the trace answers.
        text: the trace; split into steps here.
        steps: the steps, where they are already known; then `text` is not needed.
        final_start: offset at which the statement of the answer begins, in `text` or in the steps joined
            by newlines; None if unknown.

    Raises:
        ValueError: neither `text` nor `steps` is given.
    """
    written = text if steps is None and text is not None else "\n".join(steps or ())
    whole = without_json_escapes(written) if steps is None else written  # offsets are the same in both
    parts = list(_steps(None if text is None else whole, steps))
    known_values = known_values_of(problem.prompt)
    facts = TraceFacts(setting=ProblemContext(problem.prompt, whole))
    facts.functions.read(problem.prompt)
    facts.algebra.constrained |= tied_unknowns(problem.prompt)
    placed: list[_Placed] = []
    for number, (offset, step) in enumerate(parts):
        end = offset + len(step)
        candidates = check_step(step, facts, number, whole[end : end + _MAX_AFTER])
        candidates = [*candidates, *_ungrounded(step, candidates, known_values)]
        placed.extend(_Placed(number, offset + candidate.start, candidate) for candidate in candidates)
        if len(placed) > _MAX_CLAIMS:
            break
    placed.extend(_of_the_whole(problem, whole, parts, final_start))
    placed.sort(key=lambda item: item[:2])
    judged = retract(whole, [(item.start, item.candidate) for item in placed])
    claims = tuple(
        _claim(item.step, item.start, written, candidate, final_start)
        for item, candidate in zip(placed[:_MAX_CLAIMS], judged, strict=False)
    )
    outputs = tuple(
        OutputToRun(index, item.output, taken_back(whole, item.start, item.candidate))
        for index, item in enumerate(placed[:_MAX_CLAIMS])
        if item.output is not None
    )
    return TraceCheck(claims, len(steps) if steps is not None else len(parts), outputs)


class _Placed(NamedTuple):
    """A candidate, its step, its offset in the trace, and the stated output that it is, if it is one."""

    step: int
    start: int
    candidate: ClaimCandidate
    output: StatedOutput | None = None


def check(
    problem: Problem,
    text: str | None = None,
    *,
    steps: Sequence[str] | None = None,
    final_start: int | None = None,
    evaluate: Evaluator | None = None,
) -> list[Claim]:
    """Return every claim of a trace that the exact checks recognise, in order.

    Both passes of `check_trace` in one: `evaluate` runs code in a jail for stated outputs, and without it these are
    not checked.

    Raises:
        ValueError: neither `text` nor `steps` is given.
    """
    result = check_trace(problem, text, steps=steps, final_start=final_start)
    return list(result.with_outputs(evaluate).claims if evaluate is not None else result.claims)


def _of_the_whole(
    problem: Problem, whole: str, parts: Sequence[tuple[int, str]], final_start: int | None
) -> Iterator[_Placed]:
    """Yield claims that may span steps: those about a puzzle, and stated outputs of code."""
    offsets = [offset for offset, _ in parts]

    def step_at(start: int) -> int:
        return max(bisect_right(offsets, start) - 1, 0)

    for stated in stated_outputs(whole):
        yield _Placed(step_at(stated.start), stated.start, unrun_output(stated), stated)
    puzzle = puzzle_of(problem)
    if puzzle is not None:
        for start, candidate in puzzle_links(puzzle, whole, parts, final_start):
            yield _Placed(step_at(start), start, candidate)


def _steps(text: str | None, steps: Sequence[str] | None) -> Iterator[tuple[int, str]]:
    if steps is not None:
        offset = 0
        for step in steps:
            yield offset, step
            offset += len(step) + 1
    elif text is not None:
        yield from ((start, text[start:end]) for start, end in split_steps(text))
    else:
        raise ValueError("check needs a text or its steps")


def check_step(step: str, facts: TraceFacts, number: int, after: str = "") -> list[ClaimCandidate]:
    """Return the judged links of one step; `after` is the beginning of what follows it."""
    step = step[:_MAX_STEP]
    if not _may_hold_a_claim(step):
        facts.algebra.begin_step(step)
        return []
    if "```" in step:
        step = _FENCED.sub(lambda code: " " * len(code.group()), step)
    if "|" in step:
        step = _TABLE_ROW.sub(lambda row: row[0].replace("|", ";"), step)
    links, step = _calculator_marks(step, facts, number) if "<<" in step else ([], step)
    facts.algebra.begin_step(step)
    tokens = tokenize(step)
    judge = StepJudge(step, tokens, facts, number, after)
    for chain in judge.scanner.scan():
        links.extend(judge.chain(chain))
    if len(step) == _MAX_STEP:  # what reaches the end may be cut in the middle of a number
        links = [link for link in links if link.end < _MAX_STEP - _MARGIN]
    return sorted(links, key=lambda link: link.start)


def _may_hold_a_claim(step: str) -> bool:
    if _SIGN.search(step) or ("\\" in step and _SIGN_COMMAND.search(step)):
        return True
    words = step.lower().split()
    if SIGN_WORDS.isdisjoint(words):
        return False
    numbers = _NUMBER.finditer(step)
    return not _REWRITING_WORDS.isdisjoint(words) or (
        next(numbers, None) is not None and next(numbers, None) is not None
    )


def _calculator_marks(step: str, facts: TraceFacts, number: int) -> tuple[list[ClaimCandidate], str]:
    """Return the claims of `<<16-3=13>>` marks, and the step with the marks blanked out."""
    links: list[ClaimCandidate] = []
    for mark in _MARK.finditer(step):
        inside = mark.group(1)
        judge = StepJudge(inside, tokenize(inside), facts, number)
        for chain in judge.scanner.scan():
            for link in judge.chain(chain):
                link.kind = "calculator"
                link.start += mark.start(1)
                link.end += mark.start(1)
                links.append(link)
    return links, _MARK.sub(lambda mark: " " * len(mark.group()), step) if links else step


def _ungrounded(step: str, links: list[ClaimCandidate], sources: KnownValues) -> list[ClaimCandidate]:
    """Return values of the step's calculations that come from nowhere, and answers that follow from nothing."""
    found: list[ClaimCandidate] = []
    for link in links:
        if link.inputs is not None and not is_leaf(link.inputs):
            for number in sources.unsupported(link.inputs):
                found.append(ClaimCandidate("value", UNSUPPORTED, explain(number.value), link.start, link.end))
                sources.add(number.value)
        for side in link.sides:
            sources.learn(side)
        for value in (link.left, link.stated):
            if value is not None:
                sources.add(value)
    for start, end, value in conclusions(step[:_MAX_STEP]):
        if sources.derived and not sources.is_supported(value):
            found.append(ClaimCandidate("conclusion", JUMP, explain(value), start, end))
    return found


def _claim(number: int, start: int, whole: str, link: ClaimCandidate, final_start: int | None) -> Claim:
    text = whole[start : start + link.end - link.start]
    in_final = final_start is not None and start >= final_start
    return Claim(number, link.kind, text, link.status, link.evidence, start, in_final)
