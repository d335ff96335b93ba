"""Logic: procedural tasks of reasoning-gym, judged by their own scorers.

`Problem.info` holds `task`, the name of the reasoning-gym dataset, and `entry`, what it generated
(question, answer, metadata). Policy:

- Correct at full marks only. Partial credit is `wrong`. What judges a task, and with which parameters, is in `scorers`.
- The answer is what stands between `<answer>` tags, else under the answer key of a JSON object, else what the text
  concludes; for a gold of several lines (a grid), between tags or in a code block only. Where nothing states an
  answer, a text that gets full marks as a whole is `correct`; any other is `unparsed`.
- Of several tagged answers that differ, the last counts where the text corrects itself before it or all of them get
  the same verdict; else they are `unparsed`, detail `several_answers`.
- A task whose gold is null is judged by its scorer alone.
- Scorers look for the gold somewhere in the answer, so an answer that hedges is `wrong` before one is
  asked: "or"/"not" that the gold does not have, several lines or numbers for a gold of one; and so is a
  gold's number with another sign, a percent sign, a scale, an operator: some scorers see its digits only.
- An answer of a form that the scorer would have to execute is `wrong`, detail `form`.
- A scorer that raises is `error`, and so is a task that `scorers.usable` refuses. Where there is no gold to tell the
  scorer's fault from the answer's, one that raises has met an answer that it can't follow: `wrong`, detail `form`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from proofmill.filters import scorers
from proofmill.filters.answers.conclusion import conclude
from proofmill.filters.answers.continuation import Concluded, own_part
from proofmill.filters.answers.endings import sentence_start
from proofmill.filters.answers.hedging import hypothetical, negated
from proofmill.filters.answers.reader import Conclusion
from proofmill.filters.symbolic.number_words import in_figures
from proofmill.filters.verdicts import CORRECT, ERROR, UNPARSED, WRONG, Canary, Domain, Problem, Verdict, Voting

_TAG = re.compile(r"<answer>|</answer>", re.IGNORECASE)
_FENCE = re.compile(r"```\w*\n([^`]*)```")
_WRAPPER = re.compile(r"(?:\\text|\\mathrm|\\textbf)\s*\{([^{}]*)\}")
_HEDGES = frozenset(
    {"or", "not", "either", "maybe", "than", "except", "wrong", "incorrect"}
    | {"nan", "inf", "infinity"}  # NaN equals 0 for some scorers
)
_WORD = re.compile(r"[A-Za-z]+")
_NUMBER = re.compile(r"\d+(?:[.,:/]\d+)*(?:[eE][+-]?\d{1,3}(?!\d))?")
_SIGN = re.compile(r"(?:\A\s*[-−]\s*|[-−~√]|\b(?:minus|negative)\s+|sqrt\s*[({])\$?\Z", re.IGNORECASE)
_FACTOR = re.compile(
    r"\s*(?:\\?%|[*^+]|/\s*\d|-\s*\d|(?:per\s?cent|dozen|hundred|thousand|million|billion|trillion)\b)", re.IGNORECASE
)
_MAX_ANSWER = 20_000  # characters
_MAX_EXTRA = 20  # characters that a whole text may have beyond twice its gold


class Logic:
    """The judge of reasoning-gym tasks."""

    def quick(self, problem: Problem, text: str) -> Verdict | None:  # noqa: ARG002 - the protocol's signature
        """Return the verdict on an empty text; every other text needs the scorer."""
        return None if text.strip() else Verdict(UNPARSED, detail="empty")

    def verify(self, problem: Problem, text: str) -> Verdict:
        """Return the scorer's judgement of the answer in `text`; see the module's policy."""
        task, entry = problem.info.get("task"), problem.info.get("entry")
        if not isinstance(task, str) or not isinstance(entry, Mapping):
            return Verdict(ERROR, detail="bad_gold: info needs task and entry")
        if fault := _fault(task, entry):
            return Verdict(ERROR, detail=fault)
        text = own_part(text, problem.prompt or str(entry.get("question", "")), lambda part: _concluded(part, entry))
        tags = list(_tagged(text))
        if len({_squeezed(answer) for answer, _ in tags}) > 1 and not _corrected(text, tags):
            verdicts = {judge(task, entry, answer)[0] for answer, _ in tags}
            if len(verdicts) > 1 or verdicts == {WRONG}:
                return Verdict(UNPARSED, detail="several_answers")
        found = Conclusion(tags[-1][0], "answer_tag", tags[-1][1]) if tags else find(text, entry.get("answer"))
        listed = not tags and "," in (entry.get("answer") or "") and _WORDS.match(text) is not None
        if (listed or found.rule == "no_answer") and _is_answer(task, entry, text):
            return Verdict(CORRECT, text.strip(), "whole", final_start=0)
        if not found.text.strip() and not _empty_gold(entry):
            return Verdict(UNPARSED, detail=found.rule if not found.text else "no_answer")
        verdict, cause = judge(task, entry, found.text)
        return Verdict(verdict, found.text, cause or found.rule, final_start=found.start)


def _concluded(text: str, entry: Mapping[str, Any]) -> Concluded:
    if any(_tagged(text)):
        return "clearly"
    found = find(text, entry.get("answer"))
    return ("weakly" if found.rule in ("final_line", "bold") else "clearly") if found.text else ""


_WORDS = re.compile(r"\s*[A-Za-z'-]{1,30}(?:, ?[A-Za-z'-]{1,30}){1,60}\s*\Z")  # a list of words, which is all of a text


def _fault(task: str, entry: Mapping[str, Any]) -> str | None:
    """Return why an entry can't be judged."""
    if not isinstance(entry.get("answer"), str) and not (entry.get("answer") is None and task in scorers.WITHOUT_GOLD):
        return "bad_gold: the answer in the entry is no text"
    if reason := scorers.usable(task):
        return f"unusable task {task}: {reason}"
    if not scorers.safe_entry(task, entry):
        return f"bad_gold: the scorer of {task} must not be given this entry"
    return None


def _empty_gold(entry: Mapping[str, Any]) -> bool:
    """Return whether nothing is the answer, as the solutions of an equation that has none."""
    gold = entry.get("answer")
    return isinstance(gold, str) and not gold.strip()


def _squeezed(answer: str) -> str:
    return re.sub(r"\s+", "", answer)


_CORRECTION = re.compile(
    r"\b(?:wait|actually|correct(?:ion|ed|ing)?|instead|mistake|error|revised?|final(?:ly)?|re-?check\w*|reconsider\w*)\b",
    re.IGNORECASE,
)


def _corrected(text: str, tags: list[tuple[str, int]]) -> bool:
    """Return whether the text corrects itself between the last two answers that differ."""
    last = _squeezed(tags[-1][0])
    earlier = [(answer, start) for answer, start in tags if _squeezed(answer) != last]
    return _CORRECTION.search(text, earlier[-1][1] + len(earlier[-1][0]), tags[-1][1]) is not None


def find(text: str, gold: str | None) -> Conclusion:
    """Return the answer stated in a text without answer tags; empty where there is none, its rule then says why."""
    if found := _from_json(text):
        return Conclusion(found, "json", 0)
    if gold is not None and "\n" not in gold.strip():
        if _contradicts(text, gold):
            return Conclusion("", "several_answers")
        last = conclude(text)
        if last.rule == "final_line" and gold.strip().isalpha() and not last.text.isalpha():
            return _last_sentence(text, gold)  # a number on the way to a word
        return last if last.rule != "no_answer" else _last_sentence(text, gold)
    blocks = [(match[0], match.start()) for match in _FENCE.finditer(text)]
    if not blocks:
        return Conclusion("", "no_answer") if gold is not None else conclude(text)
    if len({_squeezed(block) for block, _ in blocks}) > 1:
        return Conclusion("", "several_answers")
    return Conclusion(blocks[-1][0], "code_block", blocks[-1][1])


_LAST_BOLD = re.compile(r"\*\*([^*\n]{1,300})\*\*\W*\Z")
_LAST_WORD = re.compile(r"\b(?:is|are|was|were|as)\s(?:(?:the|an?|his|her|their|\w+['’]s)\s)?([A-Za-z]{2,})\Z")
_NUMBER_STATED = re.compile(r"(?<![\w.,/-])-?\d[\d,]*(?:\.\d+)?(?![\w/]|[.,]\d)")


def _last_sentence(text: str, gold: str) -> Conclusion:
    """Return what a last sentence without any mark states: what ends it in bold type, its one number, its last word."""
    body = text.rstrip(" .!\n")
    start = sentence_start(body, len(body) - 1)
    sentence = body[start:]
    if hypothetical(sentence) or negated(sentence) or text.rstrip().endswith("?"):
        return Conclusion("", "no_answer")
    if bold := _LAST_BOLD.search(sentence):
        return Conclusion(bold[1].strip(" ."), "bold", start)
    if _NUMBER.fullmatch(gold.strip().lstrip("-")):
        numbers = _NUMBER_STATED.findall(in_figures(sentence))
        return Conclusion(numbers[0], "final_line", start) if len(numbers) == 1 else Conclusion("", "no_answer")
    word = _LAST_WORD.search(sentence) if gold.strip().isalpha() else None
    return Conclusion("", "no_answer") if word is None else Conclusion(word[1], "final_line", start)


_SAID = re.compile(r"\banswer(?:\sis|\s?:)[\s*:]{0,6}([A-Za-z]{1,20})\b", re.IGNORECASE)
_VERDICT_WORDS = frozenset({"yes", "no", "true", "false", "valid", "invalid", "on", "off", "undetermined"})


def _contradicts(text: str, gold: str) -> bool:
    """Return whether a text answers in one word, then in another, and doesn't correct itself between them."""
    words = _VERDICT_WORDS | {gold.strip().lower()}
    said = [match for match in _SAID.finditer(text) if match[1].lower() in words]
    differing = [match for match in said if match[1].lower() != said[-1][1].lower()]
    return bool(differing) and _CORRECTION.search(text, differing[-1].end(), said[-1].start()) is None


def _from_json(text: str) -> str:
    """Return the answer of a response that is nothing but a JSON object with an answer in it."""
    text = text.strip()
    fence = _FENCE.fullmatch(text)
    try:
        value = json.loads(fence[1] if fence else text) if "{" in text[:12] + (fence[1][:3] if fence else "") else None
    except (ValueError, RecursionError):
        return ""
    if not isinstance(value, dict):
        return ""
    named = [found for key, found in value.items() if key.lower().replace("_", " ") in _ANSWER_KEYS]
    if len(named) != 1 or named[0] is None:
        return ""
    return named[0] if isinstance(named[0], str) else json.dumps(named[0])


_ANSWER_KEYS = frozenset({"answer", "final answer", "finalanswer", "solution", "result"})


def _tagged(text: str) -> Iterator[tuple[str, int]]:
    start: re.Match[str] | None = None
    for tag in _TAG.finditer(text):
        if not tag[0].startswith("</"):
            start = tag
        elif start:
            yield text[start.end() : tag.start()], start.start()
            start = None


def _is_answer(task: str, entry: Mapping[str, Any], text: str) -> bool:
    """Return whether a text that states no answer is one, as a whole."""
    gold = entry.get("answer")
    short = gold is None or len(text.strip()) <= 2 * len(gold) + _MAX_EXTRA
    return short and judge(task, entry, text)[0] == CORRECT


def judge(task: str, entry: Mapping[str, Any], answer: str) -> tuple[str, str | None]:
    """Return the verdict on an answer, and its cause where it is not simply the scorer's mark."""
    gold: str | None = entry.get("answer")
    if len(answer) > max(_MAX_ANSWER, 4 * len(gold or "")):
        return WRONG, "too_long"
    answer = _one_line(answer)
    forms = _forms(answer, gold or "", task)
    if gold is not None and task not in _READ_WHOLE:
        if _hedges(answer, gold):
            return WRONG, "hedged"
        forms = [form for form in forms if not _several_numbers(form, gold)]
        if forms and all(_other_number(form, gold) for form in forms):
            return WRONG, "other_number"
        forms = [form for form in forms if not _other_number(form, gold)]
        if not forms:
            return WRONG, "hedged"
    forms = [form for form in forms if scorers.safe_form(task, form)]
    return _score(task, entry, forms) if forms else (WRONG, "form")


# What judges these tasks reads the whole answer, so that nothing can be hidden beside the gold.
_READ_WHOLE = frozenset(
    {"complex_arithmetic", "countdown", "intermediate_integration", "polynomial_equations", "polynomial_multiplication"}
    | {"puzzle24", "simple_integration", "time_intervals"}
)


def _one_line(answer: str) -> str:
    """Return a JSON value that was written over several lines, on one."""
    stripped = answer.strip()
    fence = _FENCE.fullmatch(stripped)
    inner = (fence[1] if fence else stripped).strip()
    if not inner.startswith(("[", "{")) or "\n" not in inner:
        return answer
    try:
        return json.dumps(json.loads(inner))
    except (ValueError, RecursionError):
        pass
    try:  # a list of Python's, as some tasks ask for
        return json.dumps(json.loads(inner.replace("'", '"'))).replace('"', "'")
    except (ValueError, RecursionError):
        return answer


def _score(task: str, entry: Mapping[str, Any], forms: list[str]) -> tuple[str, str | None]:
    fault, scored = "", False
    for form in forms:
        try:
            passed = scorers.passes(task, entry, form)
        except (MemoryError, RecursionError):
            raise  # the worker's limits: for the pool to judge
        except Exception as error:  # noqa: BLE001 - a third party's scorer: its fault must not become the trace's
            fault = f"scorer of {task} raised {type(error).__name__}: {error}"[:200]
            continue
        scored = True
        if passed:
            return CORRECT, None
    if scored:
        return WRONG, None
    return (WRONG, "form") if entry.get("answer") is None else (ERROR, fault)


def _hedges(answer: str, gold: str) -> bool:
    """Return whether an answer keeps several ways open, in words or lines, where the gold has one."""
    if _HEDGES & _words(answer) - _words(gold):
        return True
    answer, gold = answer.strip(), gold.strip()
    return "\n" in answer and "\n" not in gold and not _FENCE.fullmatch(answer)


def _several_numbers(answer: str, gold: str) -> bool:
    one_number = _NUMBER.fullmatch(gold.strip().lstrip("-+$")) is not None
    return one_number and len(_NUMBER.findall(answer)) > 1


def _other_number(answer: str, gold: str) -> bool:
    """Return whether what stands round the number of an answer makes it another than the gold's."""
    meant, said = _NUMBER.fullmatch(gold.strip().lstrip("-+$")), _NUMBER.search(answer)
    if meant is None or said is None:
        return False
    negative = gold.strip().startswith("-")
    changed = _FACTOR.match(answer, said.end()) is not None or ("/" in said[0]) != ("/" in meant[0])
    return changed or (_SIGN.search(answer[: said.start()]) is not None) != negative


_POWER_OF_TEN = re.compile(r"(\d)\s?(?:×|x|\*|\\times|\\cdot)\s?10\s?(?:\^|\*\*)\s?[({]?([+-]?\d{1,3})[)}]?")
_FRACTION = re.compile(r"\\[dt]?frac\s?\{\s?(\d{1,40})\s?\}\s?\{\s?(\d{1,40})\s?\}")
_COUNTED = re.compile(  # 3 sisters, and no 3 million
    r"(-?\d[\d,]*(?:\.\d+)?)(?!.*\b(?:per\s?cent|percentage|dozens?|hundreds?|thousands?|(?:m|b|tr)illions?|half|hal[fv]es|thirds?|tenths?|\w+ths"
    r"|quarters?|squared|cubed|plus|minus|times(?=\s)|over|not|less|more|than|and|or)\b)\s[a-z]{3,}(?:\s[a-z]{3,})?"
)
_SENTENCE_WORDS = 4  # words that make a gold a sentence


def _forms(answer: str, gold: str, task: str) -> list[str]:
    """Return ways to write the same answer, the plainest last: scorers compare text."""
    fence = _FENCE.fullmatch(answer.strip())
    inner = (fence[1] if fence else answer).strip("\r\n")
    plain = _WRAPPER.sub(r"\1", inner).strip().strip("$").strip('*`"').strip().replace("\\times", "×")
    # A dot behind a sentence is one of its characters; behind a word or a number it ends what the model says.
    sentence = len(gold.split()) >= _SENTENCE_WORDS and "," not in gold
    bare = plain if sentence else plain.removesuffix(".")
    if _NUMBER.fullmatch(gold.strip().lstrip("-+$")) and (counted := _COUNTED.fullmatch(bare)):
        bare = counted[1]
    if "/" in gold:
        bare = _FRACTION.sub(r"\1/\2", bare)
    forms = [answer.strip("\r\n"), inner, inner.strip(), plain, bare]
    forms.append("\n".join(line.rstrip() for line in inner.split("\n")))
    if gold in {"True", "False", "Yes", "No"}:
        forms.append(bare.capitalize())
    if _NUMBER.fullmatch(gold.strip().lstrip("-+$")):
        forms.append(_POWER_OF_TEN.sub(r"\1e\2", bare).replace("−", "-"))
    if "=" not in gold and bare.count("=") == 1 and (task in _EXPRESSIONS or not {",", ";"} & set(bare)):
        left, _, right = bare.partition("=")
        forms.append(left.strip() if task in _EXPRESSIONS else right.strip())  # 6*4 = 24; 5 + 15 = 20
    if task in _EXPRESSIONS:
        forms += [form.translate(_OPERATORS) for form in forms]
    return list(dict.fromkeys(forms))


_EXPRESSIONS = frozenset({"countdown", "puzzle24"})  # what is asked for is the left side of an equation
_OPERATORS = str.maketrans({"×": "*", "÷": "/", "−": "-", "·": "*"})


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
    version=10,
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
