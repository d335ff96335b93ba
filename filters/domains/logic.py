"""Logic: procedural tasks of reasoning-gym, judged by their own scorers.

`Problem.info` holds `task`, the name of the reasoning-gym dataset, and `entry`, what it generated
(question, answer, metadata). Policy:

- Correct at full marks only. Partial credit is `wrong`.
- The answer is what stands between `<answer>` tags, else what `answers.conclude` finds; for a gold of several
  lines (a grid), between tags or in a code block only. Where nothing states an answer, a text that gets full
  marks as a whole is `correct`; any other is `unparsed`.
- Several different tagged answers are `unparsed`, detail `several_answers`.
- Scorers look for the gold somewhere in the answer, so an answer that hedges is `wrong` before one is
  asked: "or"/"not" that the gold does not have, several lines or numbers for a gold of one; and so is a
  gold's number with another sign, a percent sign, a scale, an operator: some scorers see its digits only.
- An answer of a form that the scorer would have to execute is `wrong`, detail `form`.
- A scorer that raises is `error`, and so is a task that `scorers.usable` refuses.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from proofmill.filters import scorers
from proofmill.filters.answers.conclusion import Conclusion, conclude
from proofmill.filters.verdicts import CORRECT, ERROR, UNPARSED, WRONG, Canary, Domain, Problem, Verdict, Voting

_TAG = re.compile(r"<answer>|</answer>", re.IGNORECASE)
_FENCE = re.compile(r"```\w*\n([^`]*)```")
_WRAPPER = re.compile(r"(?:\\text|\\mathrm|\\textbf)\s*\{([^{}]*)\}")
_HEDGES = frozenset(
    {"or", "not", "either", "maybe", "than", "except", "wrong", "incorrect"}
    | {"nan", "inf", "infinity"}  # NaN equals 0 for some scorers
)
_WORD = re.compile(r"[A-Za-z]+")
_NUMBER = re.compile(r"\d+(?:[.,:/]\d+)*")
_SIGN = re.compile(r"(?:\A\s*[-−]\s*|[-−~√]|\b(?:minus|negative)\s+|sqrt\s*[({])\$?\Z", re.IGNORECASE)
_FACTOR = re.compile(
    r"\s*(?:\\?%|[*^+]|/\s*\d|-\s*\d|(?:per\s?cent|dozen|hundred|thousand|million|billion|trillion)\b)", re.IGNORECASE
)
_MAX_ANSWER = 20_000  # characters
_MAX_EXTRA = 20  # characters that a whole text may have beyond twice its gold


class Logic:
    """The judge of reasoning-gym tasks."""

    def quick(self, problem: Problem, text: str) -> Verdict | None:  # noqa: ARG002 - the protocol's signature
        """Only a text with nothing in it; everything else is up to the scorer."""
        return None if text.strip() else Verdict(UNPARSED, detail="empty")

    def verify(self, problem: Problem, text: str) -> Verdict:
        """The scorer's judgement of the answer in `text`; see the module's policy."""
        task, entry = problem.info.get("task"), problem.info.get("entry")
        if not isinstance(task, str) or not isinstance(entry, Mapping) or not isinstance(entry.get("answer"), str):
            return Verdict(ERROR, detail="bad_gold: info needs task and entry with a textual answer")
        if reason := scorers.usable(task):
            return Verdict(ERROR, detail=f"unusable task {task}: {reason}")
        if not scorers.safe_form(task, entry, entry["answer"]):
            return Verdict(ERROR, detail=f"bad_gold: the scorer of {task} must not be given this gold")
        found = find(text, entry["answer"])
        if found.rule == "no_answer" and _is_answer(task, entry, text):
            return Verdict(CORRECT, text.strip(), "whole", final_start=0)
        if not found.text:
            return Verdict(UNPARSED, detail=found.rule)
        verdict, cause = judge(task, entry, found.text)
        return Verdict(verdict, found.text, cause or found.rule, final_start=found.start)


def find(text: str, gold: str) -> Conclusion:
    """The answer stated in a text; empty where there is none, its rule then says why."""
    tagged = _agreed(list(_tagged(text)), "answer_tag")
    if tagged or "\n" not in gold.strip():
        return tagged or conclude(text)
    blocks = [(match[0], match.start()) for match in _FENCE.finditer(text)]
    return _agreed(blocks, "code_block") or Conclusion("", "no_answer")


def _agreed(statements: list[tuple[str, int]], rule: str) -> Conclusion | None:
    if not statements:
        return None
    if len({answer.strip() for answer, _ in statements}) > 1:
        return Conclusion("", "several_answers")
    return Conclusion(statements[-1][0], rule, statements[-1][1])


def _tagged(text: str) -> Iterator[tuple[str, int]]:
    start: re.Match[str] | None = None
    for tag in _TAG.finditer(text):
        if not tag[0].startswith("</"):
            start = tag
        elif start:
            yield text[start.end() : tag.start()], start.start()
            start = None


def _is_answer(task: str, entry: Mapping[str, Any], text: str) -> bool:
    """Whether a text that states no answer is one, as a whole."""
    short = len(text.strip()) <= 2 * len(entry["answer"]) + _MAX_EXTRA
    return short and judge(task, entry, text)[0] == CORRECT


def judge(task: str, entry: Mapping[str, Any], answer: str) -> tuple[str, str | None]:
    """The verdict on an answer, and its cause where it is not simply the scorer's mark."""
    gold: str = entry["answer"]
    if len(answer) > max(_MAX_ANSWER, 4 * len(gold)):
        return WRONG, "too_long"
    if _hedges(answer, gold):
        return WRONG, "hedged"
    forms = [form for form in _forms(answer, gold) if not _several_numbers(form, gold)]
    if forms and all(_other_number(form, gold) for form in forms):
        return WRONG, "other_number"
    forms = [form for form in forms if not _other_number(form, gold)]
    if not forms:
        return WRONG, "hedged"
    forms = [form for form in forms if scorers.safe_form(task, entry, form)]
    return _score(task, entry, forms) if forms else (WRONG, "form")


def _score(task: str, entry: Mapping[str, Any], forms: list[str]) -> tuple[str, str | None]:
    fault, scored = "", False
    for form in forms:
        try:
            mark = scorers.scorer(task)(form, entry)
        except (MemoryError, RecursionError):
            raise  # the worker's limits: for the pool to judge
        except Exception as error:  # noqa: BLE001 - a third party's scorer: its fault must not become the trace's
            fault = f"scorer of {task} raised {type(error).__name__}: {error}"[:200]
            continue
        scored = True
        if mark == scorers.FULL_MARKS:
            return CORRECT, None
    return (WRONG, None) if scored else (ERROR, fault)


def _hedges(answer: str, gold: str) -> bool:
    """Whether an answer keeps several ways open, in words or lines, where the gold has one."""
    if _HEDGES & _words(answer) - _words(gold):
        return True
    answer, gold = answer.strip(), gold.strip()
    return "\n" in answer and "\n" not in gold and not _FENCE.fullmatch(answer)


def _several_numbers(answer: str, gold: str) -> bool:
    one_number = _NUMBER.fullmatch(gold.strip().lstrip("-+$")) is not None
    return one_number and len(_NUMBER.findall(answer)) > 1


def _other_number(answer: str, gold: str) -> bool:
    """Whether what stands round the number of an answer makes it another than the gold's."""
    meant, said = _NUMBER.fullmatch(gold.strip().lstrip("-+$")), _NUMBER.search(answer)
    if meant is None or said is None:
        return False
    negative = gold.strip().startswith("-")
    changed = _FACTOR.match(answer, said.end()) is not None or ("/" in said[0]) != ("/" in meant[0])
    return changed or (_SIGN.search(answer[: said.start()]) is not None) != negative


def _forms(answer: str, gold: str) -> list[str]:
    """Ways to write the same answer, the plainest last: scorers compare text."""
    fence = _FENCE.fullmatch(answer.strip())
    inner = (fence[1] if fence else answer).strip("\r\n")
    plain = _WRAPPER.sub(r"\1", inner).strip().strip("$").strip('*`"').strip().replace("\\times", "×")
    bare = plain.removesuffix(".")
    forms = [answer.strip("\r\n"), inner, inner.strip(), plain, bare]
    forms.append("\n".join(line.rstrip() for line in inner.split("\n")))
    if gold in {"True", "False", "Yes", "No"}:
        forms.append(bare.capitalize())
    if "=" not in gold and bare.count("=") == 1 and not {",", ";"} & set(bare):
        forms.append(bare.partition("=")[2].strip())  # 5 + 15 = 20
    return list(dict.fromkeys(forms))


def _words(text: str) -> set[str]:
    return {word.lower() for word in _WORD.findall(text)}


_QUESTION = "Does it logically follow that all cats are animals? (Answer Yes or No)"
_ENTRY = {
    "question": _QUESTION,
    "answer": "Yes",
    "metadata": {"source_dataset": "syllogism", "source_index": 0, "is_valid": True},
}
_SYLLOGISM = Problem("logic", _QUESTION, "Yes", {"task": "syllogism", "entry": _ENTRY})

VERIFIER = Logic()
DOMAIN = Domain(
    name="logic",
    version=1,
    quick=VERIFIER.quick,
    verify=VERIFIER.verify,
    ask="Think step by step. Then give only the final answer, in the format that was asked for, "
    "between <answer> and </answer>.",
    needs=("task", "entry"),
    fields=("task", "entry"),
    voting=Voting(),
    canaries=(
        Canary(_SYLLOGISM, "The answer is Yes.", CORRECT),
        Canary(_SYLLOGISM, "The answer is No.", WRONG),
        Canary(_SYLLOGISM, "I would rather not say.", UNPARSED),
        Canary(
            Problem("logic", _QUESTION, "Yes", {"task": "no_such_task", "entry": _ENTRY}), "The answer is Yes.", ERROR
        ),
    ),
)
