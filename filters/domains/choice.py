"""STEM multiple choice: the option that a trace concludes with, by letter, by text, or by both.

`Problem.info["options"]` is a list of texts or a mapping of label to text; the gold is a label, an option's
text, or a 0-based index, tried in this order. Without options the gold must be a letter or a digit. Policy:

- An option is named between answer tags, in `\\boxed{}`, under the answer key of a JSON object, behind `【答案】`, in a
  statement ("the answer is …", "option B is correct", in a dozen languages), or by a final line that is nothing but an
  answer. Several marks that agree are one.
- What the text says last is what it concludes. A statement gives way to a tag, box, or key behind it; otherwise marks
  that differ are `unparsed`, detail `several_answers`, unless the text corrects itself between them ("wait",
  "actually", …). A contradiction without a correction is never `correct`.
- Letter and text that disagree are `wrong`, detail `contradiction`.
- One statement that names several options is `wrong`, detail `several_options`.
- A last box or tag that names no option is `wrong`, detail `no_option`.
- A statement that is taken back right behind it ("no, wait") is `unparsed`, detail `taken_back`.
- "The wrong option is A" names A only where the question asks for what is wrong.
- Where the prompt asks for tags or JSON, nothing said in words counts: `unparsed`, detail `not_tagged` or `not_json`.
- What holds under a condition only of which the question doesn't speak is no statement.
- A value written in another way than the option's text is compared as mathematics: `0.5` names `\\frac12`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from proofmill.filters.answers.hedging import conditional, denied, denied_mark, retracted
from proofmill.filters.answers.marks import asked_form
from proofmill.filters.multiple_choice import Choices, Reading, parse_options
from proofmill.filters.verdicts import (
    CORRECT,
    ERROR,
    NO_GOLD,
    UNPARSED,
    WRONG,
    Canary,
    Domain,
    Problem,
    Verdict,
    Voting,
)

_TAGGED = re.compile(
    r"<(?:final_?)?answer>([^<]{1,500})(?:</(?:final_?)?answer>|\Z)|\[ANSWER\]([^\[]{1,500})\[/ANSWER\]", re.IGNORECASE
)
_BOXED = re.compile(r"\\(?:boxed|fbox)\s{0,3}\{((?:[^{}]|\{(?:[^{}]|\{[^{}]{0,100}\}){0,200}\}){1,300})\}")
_KEYED = re.compile(
    r"""["'](?:final|correct)?[_ ]?(?:answer|option|choice)(?:_letter)?["']\s{0,3}:\s{0,3}"""
    r"""(?:"([^"\n]{1,300})"|'([^'\n]{1,300})'|([A-Z]|\d{1,4}(?:\.\d{1,9})?)(?=\s{0,3}[,}\n]))""",
    re.IGNORECASE,
)
_BRACKETED = re.compile(r"【(?:最终|正确|参考|标准)?(?:答案|解答结果)】[:：\s*]{0,6}([^\n【]{1,300})")
_FOREIGN = (
    r"(?:(?:respuesta|réponse|antwort|lösung|risposta|resposta|odpowiedź|odpowiedz|opción|opção|opzione|alternativa|cevap|yanıt|đáp\sán|jawaban|antwoord"
    r"|svaret|svar|vastaus|răspunsul|ответ|відповідь|απάντηση)(?:[\s*]{1,3}(?!es\b|est\b|ist\b)[^\W\d]{3,12}){0,2}[\s*]{0,3}"
    r"(?:(?:es|est|ist|è|é|to|jest|là|adalah|is|är|er|on|este)(?:\s|(?=:))(?:(?:la|el|le|l'|die|der|das|a|o)\s)?"
    r"(?:(?:opción|option|opção|opzione|letra|lettre|lettera|buchstabe)\s)?|[:：=]|[—–-]\s)"
    r"|(?:答え|正解|解答|正答)(?:は|[:：])、?|(?:정답|답)(?:은|:|：)|(?:सही\s)?उत्तर\s?(?:है\s?)?[:：]?|(?:الإجابة|الجواب)(?:\sالصحيحة|\sالصحيح)?\s?(?:هي|هو|:))"
)
_STATED = re.compile(
    r"(?:\b(?:answer|option|choice|solution|(?:the|correct|right|best|my)\sletter|the\sone|my\s(?:pick|guess|selection))\b"
    r"(?:\s(?:choice|option|letter|here|to\s(?:(?:the|this)\s)?\w{1,20}(?:\s\d{1,3})?"
    r"|(?:that|which|I)\s\w{1,15}(?:\s\w{1,15})?))?[*\s]{0,3}"
    r"(?:(?:is|would\sbe|must\sbe|should\sbe)(?:\s(?:therefore|clearly|indeed|then|thus|simply|just|definitely|hence)\b)?"
    r"|:|=|[-–—](?=\s))|\bans\s?[.:]|\b(?:I(?:['’](?:ll|d|m)|\swill|\swould|\sam)?|let['’]s)\s(?:choose|pick|select|go(?:ing)?\swith)\b"
    r"|(?:^|(?<=[.!?]\s))[*\s]{0,4}(?:select|choose|pick|mark|correct\s?:)(?=\s)"
    r"|\b(?:so|thus|therefore|hence),?\sit(?:['’]s|\sis|\smust\sbe)"
    r"(?=\s[*(]{0,3}[A-Z][*)]{0,3}(?:[.,;]?\s{0,3}$|[.,;]\s|\s(?:because|since|as)\b))"
    r"|(?:答案|正确的?(?:选项|答案)?|符合(?:题意|要求)的(?:选项)?|选项)(?:选项|选择)?\s?(?:应该?|应当)?(?:是|为|选|[:：])|答\s?[:：]"
    r"|(?:^|(?<=[\s,，.。;；:：*（(])|(?<![不非别勿没])(?:故|所以|因此|应该?|本题|此题|我))选择?(?![项择])"
    r"|(?:^|\bQ:[^\n]{0,300}\s)A:(?=\s?[(*]{0,3}[A-Z][)*]{0,3}\.?\s{0,3}$)"
    rf"|{_FOREIGN})"
    r"[*:：\s}]{0,6}(?=([^\n]{1,300}))",
    re.IGNORECASE | re.MULTILINE,
)
_CALLED = re.compile(
    r"(?<![A-Za-z])([A-Z]|\d(?=\s(?:is|as)\b))[)*\]]{0,3}\s(?:is|as)\s(?:(?:the|our|my)\s)?(?:only\s)?(?:correct|right|best|answer)\b"
    r"(?:\s(?:answer|option|choice|one|letter)\b)?(?!\s(?:only|if|when|unless|except|but|side|hand|angle)\b|,?\sor\s)"
    r"|(?<![A-Za-z])([A-Z])\s(?:est\sla\s(?:bonne\s)?réponse|es\sla\s(?:respuesta|opción)|ist\s(?:richtig|die\srichtige)"
    r"|è\sla\srisposta|é\sa\sresposta)\b"
    r"|(?:只有|唯有)?(?:选项|答案)?\s?(?<![A-Za-z])([A-Z])\s?(?:选项|项)?\s?(?:是|为|才是)?(?:唯一)?"
    r"(?:正确(?:的|答案|选项)?|对的|最合适的?|最佳答案|符合题意)"
)
_FITS = re.compile(
    r"\b(?:(?:is|matches|corresponds\s(?:to|with)|fits|agrees\swith|points\sto|only)\s(?:option|choice|answer)"
    r"|(?:leaves|left\swith)(?:\s(?:us\swith|only|option|choice)){0,2})\s[(\[*]{0,3}([A-Z])\b"
    r"(?!['’^=+/])",
    re.IGNORECASE,
)
_NAMED = re.compile(r"\b(?:is|are|as|of|be|was|to|would)[\s:*]{1,4}\(?([A-Z])[).:]{1,2}\*{0,2}\s(?=([^\n]{1,300}))")
_IT_IS = re.compile(
    r"(?:(?:so|thus|therefore|hence|and)\b,?\s)?(?:I\s(?:think|believe|guess|say)\s(?:that\s)?)?(?:it|this|that)"
    r"(?:['’]s|\s(?:is|(?:must|should|would|has\sto|can\sonly)\sbe|describes|means))\s(?:the\s)?",
    re.IGNORECASE,
)
_LEAD = re.compile(
    r"[*#\s]{0,6}(?:(?:so|therefore|thus|hence|final|result|select(?:ed)?(?:\soption)?|letter|q(?:uestion)?\s?\d{1,3})\b\s?[:,]?"
    r"|=>|->|→|⇒)[*\s]{0,4}",
    re.IGNORECASE,
)
_SUBJECT_IS = re.compile(r"[^.:;!?\n]{1,80}?\b(?:is|are|was)\s(?:called\s)?(?:the\s|an?\s)?(?=\w{3})", re.IGNORECASE)
_NEGATED = re.compile(r"\b(?:not|no|never|n't|neither|nor|except|if|unless|without)\b|n't", re.IGNORECASE)
_JOINED = re.compile(
    r"(?:\b(?:and|or|nor|neither|not|than|both|except|besides|without|(?:all|any\w{0,5}|every\w{0,5})\s(?:options?\s)?but)\s(?:option\s)?|[和与及或、]|\b[A-Z]\s?[,，]\s?)[(\[*]{0,3}\Z",
    re.IGNORECASE,
)
_FAULTY = re.compile(
    r"\b(?:unless\b[^.\n]{0,60}|wrong|incorrect|false|worst|least|bad|untrue|mistaken|eliminated|excluded|rejected|impossible|unlikely|weakest|not\sa?)"
    r"\s(?:\w{1,12}\s)?\Z|(?:错误|不正确|不对|排除|不选)的?\Z",
    re.IGNORECASE,
)
_FAULTY_NOUN = re.compile(r"\b(?:wrong|incorrect|false|not|never|fails?|least)\b", re.IGNORECASE)
_ASKS_FAULTY = re.compile(
    r"\b(?:wrong|incorrect|false|not|n't|except|least|untrue|worst|never|cannot|impossible|unlikely|inconsistent|invalid)\b"
    r"|错误|不正确|不属于|不符合|不是|不能|不会|不可|有误|不恰当|不合|不对",
    re.IGNORECASE,
)
_CORRECTS = re.compile(
    r"\b(?:wait|actually|however|instead|rather|mistake\w*|error|correction|corrected|sorry|oops|then\sagain|second\sthought"
    r"|upon\s\w+|re-?\s?(?:check|examin|evaluat|consider|think|calculat|assess|read|visit|do)\w*|revis\w+|not\saccurate"
    r"|double-check\w*|no|not|but)\b|更正|修正|重新|不对|然而|不过|但|实际上",
    re.IGNORECASE,
)
_CONCLUDES = re.compile(
    r"\b(?:final(?:ly)?|therefore|thus|hence|so|in\s(?:conclusion|summary)|conclud\w+|overall)\b|综上|所以|因此|最终|最后|故",
    re.IGNORECASE,
)
_BUT_IS = re.compile(
    r"\b(?:but|however|although|though)\b[^\n]{0,300}?\b(?:is|be|are)\s(?:actually\s|really\s)?(?:option\s)?[(\[]?([A-Z])[)\]]?"
    r"(?=[,.;:]|\s(?:as|because|since|for)\b|\s?$|\s[\"“])"
)
_PLACEHOLDER = re.compile(r"(?:[g-z]|[Xx?_.…]{0,5}|letter|answer|your\s(?:final\s)?answer|option)")
_LISTED = re.compile(r"[ \t>*-]{0,6}[(\[]?(\w{1,2})[).:\]](?=\s|\*)")
_SENTENCE_END = re.compile(r"[.!?](?=\s[A-Z]|\s?$)|$")
_LETTERS = parse_options([""] * 26)  # for questions whose options stand in the prompt only
_DIGITS = parse_options({str(number): "" for number in range(1, 10)})
_TAIL = 4000  # characters: a statement further from the end than this is not the conclusion
_APART = 30  # characters between two marks, from which on there is room for a second thought
_STRONG = frozenset({"tagged", "boxed", "json", "bracketed"})


class _ChoiceMark(NamedTuple):
    """A place in a text that names an option, or should name one."""

    rule: str
    content: str
    start: int
    end: int
    reading: Reading


class Choice:
    """The judge of multiple-choice answers. All of it is cheap but comparing mathematics that is no rational number."""

    def quick(self, problem: Problem, text: str) -> Verdict | None:
        """Return the verdict, or None where costly mathematics must be compared; see the module's policy."""
        found = _judge(problem, text, slow=False)
        choices = None if found.verdict == ERROR and found.detail != NO_GOLD else _choices(problem)
        costly = choices is not None and choices.symbolic and not choices.is_label(found.extracted or "")
        return None if costly else found

    def verify(self, problem: Problem, text: str) -> Verdict:
        """Return the verdict; its cost is for the caller's worker pool to bound."""
        return _judge(problem, text, slow=True)


def _choices(problem: Problem, *, slow: bool = False) -> Choices:
    if problem.info.get("options") is not None or "options" in problem.info:
        return parse_options(problem.info["options"], slow=slow)
    return _DIGITS if (problem.answer or "").strip("() .").isdecimal() else _LETTERS


def _judge(problem: Problem, text: str, *, slow: bool) -> Verdict:
    try:
        choices = _choices(problem, slow=slow)
    except ValueError as error:
        return Verdict(ERROR, detail=f"bad_gold: {error}")
    if problem.answer is None:
        return _without_gold(_decide(choices, "", text, problem.prompt))
    gold = choices.gold(problem.answer)
    if gold is None:
        return Verdict(ERROR, detail="bad_gold: neither a label, nor one option's text, nor an index")
    return _decide(choices, gold, text, problem.prompt)


def _without_gold(found: Verdict) -> Verdict:
    """Return the verdict on an answer that can be read, but that nothing can be compared with."""
    faulty = found.detail in ("contradiction", "several_options", "no_option")
    return found if found.verdict != WRONG or faulty else replace(found, verdict=ERROR, detail=NO_GOLD)


def _decide(choices: Choices, gold: str, text: str, prompt: str) -> Verdict:
    marks = sorted((*_strong(choices, text, prompt), *_stated(choices, text, prompt)), key=lambda mark: mark.start)
    if form := asked_form(prompt):
        asked = [mark for mark in marks if mark.rule in (form, "boxed")]
        marks = asked if form == "json" or any(mark.rule == form for mark in asked) else []
        if not marks:
            return Verdict(UNPARSED, detail=f"not_{form}")
    # Marks that name no option say nothing against one that does; only the last is kept whatever it says.
    if len(marks) > 1 and any(mark.reading.labels for mark in marks[:-1]):
        marks = [mark for mark in marks[:-1] if mark.reading.labels] + marks[-1:]
    elif len(marks) > 1 and marks[-1].reading.labels:
        marks = marks[-1:]  # boxes before it hold what was calculated
    marks += [] if form else _afterthoughts(choices, text, marks[-1].end if marks else None)
    if not marks:
        return Verdict(UNPARSED, detail="no_answer")
    last = marks[-1]
    if _taken_back(choices, last, text):
        return Verdict(UNPARSED, detail="taken_back")
    said = last.content.strip()[:200]
    if _undecided(choices, marks, text):
        return Verdict(UNPARSED, said, "several_answers", final_start=last.start)
    labels, contradiction = last.reading.labels, last.reading.contradiction
    if contradiction or len(labels) > 1:
        cause = "contradiction" if contradiction else "several_options"
        return Verdict(WRONG, said, cause, final_start=last.start)
    if not labels:
        return Verdict(WRONG, said, "no_option", final_start=last.start)
    return Verdict(CORRECT if labels[0] == gold else WRONG, said, last.rule, final_start=last.start)


def _taken_back(choices: Choices, last: _ChoiceMark, text: str) -> bool:
    """Return whether the text takes back its last statement and does not go on with the option's own text ("No, …")."""
    own = any(choices.owns(label, text[last.end : last.end + 500]) for label in last.reading.labels)
    return retracted(text, last.end) and not own


def _undecided(choices: Choices, marks: list[_ChoiceMark], text: str) -> bool:
    """Return whether marks differ and the last one does not replace the others."""
    last = marks[-1]
    if _goes_on_to_another(choices, last, text):
        return True
    differing = [mark for mark in marks if mark.reading.labels != last.reading.labels]
    if not differing:
        return False
    earlier = differing[-1]
    between = text[earlier.end : last.start]
    if last.rule in _STRONG:
        # A box or tag outweighs words before it.
        if earlier.rule not in _STRONG:
            return False
        return len(between) < _APART or not _CORRECTS.search(between)
    # Two statements in words: the second replaces the first after a correction, or as a conclusion further on.
    apart = len(between) >= _APART and _CONCLUDES.search(between) is not None
    return not (_CORRECTS.search(between) or (apart and earlier.rule not in _STRONG))


def _goes_on_to_another(choices: Choices, last: _ChoiceMark, text: str) -> bool:
    """Return whether the sentence goes on to another option: "The answer is (B), but the correct one is (H)"."""
    rest = text[last.start : last.start + 500].partition("\n")[0].partition(",")[2].strip()
    other = None if last.rule in _STRONG else _BUT_IS.search(rest)
    return other is not None and other[1] in choices.labels and (other[1],) != last.reading.labels


def _strong(choices: Choices, text: str, prompt: str) -> Iterator[_ChoiceMark]:
    """Yield tags, boxes, keys and brackets, whose content is nothing but an answer."""
    for rule, pattern in (("tagged", _TAGGED), ("boxed", _BOXED), ("json", _KEYED), ("bracketed", _BRACKETED)):
        for match in pattern.finditer(text):
            content = next((group for group in match.groups() if group is not None), "")
            if _PLACEHOLDER.fullmatch(content.strip()) or denied_mark(text, match.start()):
                continue
            if rule == "boxed" and conditional(text[max(0, match.start() - 300) : match.start()], prompt):
                continue
            yield _ChoiceMark(rule, content, match.start(), match.end(), choices.read(content, whole=False))


def _stated(choices: Choices, text: str, prompt: str) -> Iterator[_ChoiceMark]:
    for match in _STATED.finditer(text, max(0, len(text) - _TAIL)):
        reading = choices.read(match[1], whole=False)
        if not reading.labels or denied(text, match.start()):
            continue
        before = text[max(0, match.start() - 80) : match.start()]
        if conditional(_until_mark(text, match.start()), prompt):
            continue
        faulty = _FAULTY.search(before) or _FAULTY_NOUN.search(match[0])
        if faulty and not _ASKS_FAULTY.search(prompt):
            continue
        end = _SENTENCE_END.search(match[1])
        content = match[1][: end.start()] if end else match[1]
        if not match[1][len(content) :].startswith("?"):
            yield _ChoiceMark("stated", content, match.start(), match.start(1) + len(content), reading)


def _until_mark(text: str, start: int) -> str:
    """Return the text before a statement, without its own first words: "the correct" of "the correct answer is"."""
    return _OWN_WORDS.sub("", text[max(0, start - 300) : start])


_OWN_WORDS = re.compile(r"(?:(?:the|my|our|final|correct|right|best)\s){1,3}\Z", re.IGNORECASE)


def _afterthoughts(choices: Choices, text: str, behind: int | None) -> list[_ChoiceMark]:
    """Return what a text says behind its last mark, or all that it says where it has none.

    Behind a mark, that something is correct may be part of the explanation: it must be called an option, or follow a
    word that corrects.
    """
    found = list(_called(choices, text, behind))
    if found:
        return found
    if behind is None:
        rules = (_named, _fits, _final_line, _opening_line)
        return next((marks for rule in rules if (marks := list(rule(choices, text)))), [])
    return list(_final_line(choices, text, behind))


def _called(choices: Choices, text: str, behind: int | None) -> Iterator[_ChoiceMark]:
    for match in _CALLED.finditer(text, max(0, len(text) - _TAIL, behind or 0)):
        label = match[1] or match[2] or match[3]
        before = text[max(0, match.start() - 30) : match.start()]
        if label not in choices.labels or _JOINED.search(before) or denied(text, match.start()):  # "neither C is"
            continue
        option = re.search(r"(?:\b(?:option|choice|answer)\s|选项\s?)[(\[*]{0,3}\Z", before, re.IGNORECASE)
        if behind is None or option or match[0].startswith("选项") or _CORRECTS.search(text, behind, match.start()):
            yield _ChoiceMark("called", label, match.start(), match.end(), Reading((label,)))


def _fits(choices: Choices, text: str) -> Iterator[_ChoiceMark]:
    """Yield marks in the last paragraph: "… which is option C", "only option C fits"."""
    start = text.rstrip().rfind("\n") + 1
    for match in _FITS.finditer(text, max(start, len(text) - _TAIL)):
        negated = _NEGATED.search(text, max(start, match.start() - 30), match.end() + 15)
        if match[1] in choices.labels and not negated and not denied(text, match.start()):
            yield _ChoiceMark("named", match[1], match.start(), match.end(), Reading((match[1],)))


def _named(choices: Choices, text: str) -> Iterator[_ChoiceMark]:
    """A last paragraph that names one option with its own text: "… is known as D. Reconstruction."."""
    start = text.rstrip().rfind("\n") + 1
    marks = [
        _ChoiceMark("named", f"{match[1]}. {match[2]}"[:200], match.start(1), match.end(), Reading((match[1],)))
        for match in _NAMED.finditer(text, max(start, len(text) - _TAIL))
        if match[1] in choices.labels and choices.owns(match[1], match[2]) and not denied(text, match.start())
    ]
    yield from marks if len({mark.reading for mark in marks}) == 1 else ()


def _final_line(choices: Choices, text: str, behind: int = 0) -> Iterator[_ChoiceMark]:
    stripped = text.rstrip()
    start = stripped.rfind("\n") + 1
    line = stripped[start:]
    before = stripped[:start].rstrip()
    listed = _LISTED.match(before, before.rfind("\n") + 1)
    if start < behind or len(line) > 300 or (listed and listed[1].upper() in choices.labels):
        return  # the last of a list of options is no answer
    line = _bare_line(choices, line)
    reading = choices.read(line, whole=True)
    if not reading.labels and (lead := _LEAD.match(line)):
        reading = choices.read(line[lead.end() :], whole=True)
    if not reading.labels and (lead := _IT_IS.match(line)):
        content = line[lead.end() :]
        reading = choices.read(
            content, whole=len(content.split()[0].strip("()[].,:*")) < 2 if content.split() else True
        )
    if not reading.labels and (lead := _SUBJECT_IS.match(line)) and not _NEGATED.search(line):
        reading = choices.read(line[lead.end() :], whole=True)
    if reading.labels:
        yield _ChoiceMark("final_line", line, start, len(stripped), reading)


def _bare_line(choices: Choices, line: str) -> str:
    """Return a line without marks and numbers before an answer: "#### C", "3. C"."""
    line = _DECORATION.sub("", line)
    numbered = _NUMBERED.match(line)
    return line[numbered.end() :] if numbered and numbered[1] not in choices.labels else line


_DECORATION = re.compile("\\A[\\s#>✅☑✔✓→⇒•]+")
_NUMBERED = re.compile(r"(\d{1,3})[.)]\s(?=[(*]{0,3}[A-Z][)*.]{0,3}\s*\Z)")


def _opening_line(choices: Choices, text: str) -> Iterator[_ChoiceMark]:
    """Yield a first line that is nothing but a label, with the explanation behind it."""
    line, _, rest = text.strip().partition("\n")
    if rest.strip() and choices.is_label(line.strip(" *")) and not _LISTED.match(rest.lstrip()):
        yield _ChoiceMark("opening_line", line, 0, len(line), choices.read(line, whole=True))


def _vote_key(problem: Problem, answer: str) -> str | None:
    try:
        labels = _choices(problem).read(answer, whole=False).labels
    except ValueError:
        return None
    return labels[0] if len(labels) == 1 else None


_METAL = Problem("choice", "Which one is a metal?", "B", {"options": ["oxygen", "iron", "helium", "neon"]})

VERIFIER = Choice()
DOMAIN = Domain(
    name="choice",
    version=3,
    quick=VERIFIER.quick,
    verify=VERIFIER.verify,
    ask="Think step by step, then end with: The answer is (X), where X is the letter of the correct option.",
    needs=("answer",),
    fields=("options",),
    voting=Voting(key=_vote_key),
    canaries=(
        Canary(_METAL, "The answer is B.", CORRECT),
        Canary(_METAL, "The answer is C.", WRONG),
        Canary(_METAL, "I would rather not say.", UNPARSED),
        Canary(
            Problem("choice", "Which one is a metal?", "Z", {"options": ["iron", "neon"]}), "The answer is A.", ERROR
        ),
    ),
)
