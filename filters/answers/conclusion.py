r"""What a text concludes: its last statement of an answer, read whole, and whether the text holds on to it.

Marks name an answer: `\boxed{…}`, answer tags, a JSON answer, `#### …`, "the answer is …", a heading. The last one
counts. An earlier one of another kind gives way to it (a first try in a box, then `<answer>`); one of the same kind
that says something else makes it no answer (`several_answers`, `several_boxes`), unless the text corrects itself
between them. Boxes joined by "and", "or" or a comma are one list. A mark that is denied, supposed or put into
somebody's mouth is none; one that the text takes back right behind it, or that a later conclusion contradicts, is no
answer either, nor is one that holds under a condition only of which the question doesn't speak.

Where the prompt asks for tags or JSON (`Reader.form`), the answer is looked for there, and no words count.

A text without any mark states what its last sentence states, if that can be read whole (`statements`).

What a phrase means is the caller's: `Reader` says what is readable and when two answers are the same, so that
mathematics, choices and logic share the rules above.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator
from itertools import pairwise

from proofmill.filters.answers.assignments import assigned_together
from proofmill.filters.answers.behind import unless_taken_back
from proofmill.filters.answers.candidates import without_rejected
from proofmill.filters.answers.continuation import Concluded, own_part, told_again
from proofmill.filters.answers.endings import (
    TAIL,
    before_aside,
    before_broken_loop,
    breaks_off,
    cut_short,
    sentence_start,
    without_checks,
)
from proofmill.filters.answers.fields import closing_object
from proofmill.filters.answers.hedging import (
    conditional,
    conditional_behind,
    corrects,
    denied,
    denied_mark,
    hypothetical,
    of_another_question,
)
from proofmill.filters.answers.marks import (
    HELD,
    MAX_PHRASE,
    Mark,
    box_name,
    boxes_in,
    hashes_in,
    inside,
    is_part,
    is_placeholder,
    joined,
    json_in,
    phrased,
    sentences_in,
    tags_in,
    wrapped,
)
from proofmill.filters.answers.options import chosen, statements
from proofmill.filters.answers.prose_values import glued_unit, plain
from proofmill.filters.answers.reader import ANY_TEXT, CLOSERS, MATHEMATICAL, NUMBER, Conclusion, Reader, agree
from proofmill.filters.answers.statements import closing_value, listed_answers, stated_value
from proofmill.filters.answers.subjects import asking
from proofmill.filters.answers.worded import closing_weekday, stated_fact, worded_value, yes_or_no

_SIMPLE_BOX = re.compile(r"\\boxed\{((?:[^{}]|\{(?:[^{}]|\{[^{}]{0,100}\}){0,200}\}){1,300})\}")  # the common case
_PLAIN_LEADS = frozenset(
    f"{lead}{colon}{dollar}"
    for lead in (
        "The answer is",
        "The final answer is",
        "The correct answer is",
        "So, the answer is",
        "Thus, the answer is",
    )
    for colon in (" ", ": ")
    for dollar in ("", "$", "\\(")
)
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z$\\\d*(])|\n")
_STRUCK = re.compile(r"~~[^~\n]{1,200}~~")


def conclude(text: str, reader: Reader = ANY_TEXT, *, own: bool = False) -> Conclusion:
    """Return what `text` concludes.

    Args:
        text: a response behind its reasoning block, template tails cut off.
        reader: what its domain knows of answers.
        own: whether exercises of the model's own were cut off before, by `answering`.
    """
    if "~~" in text:
        text = _STRUCK.sub(lambda match: " " * len(match[0]), text)
    text = without_checks(text)
    text = text if own else answering(text, reader)
    found = _found(text, reader)
    if found.text and (again := told_again(text, reader.prompt)):
        first = _found(text[:again], reader)
        between = text[again : found.start] if found.start is not None else ""
        if _stands(first) == "clearly" and not agree(reader.key(first.text), reader.key(found.text)):
            return found if corrects(between) else Conclusion("", "several_answers")
    return found


def answering(text: str, reader: Reader) -> str:
    """Return a response without the exercises that the model invents behind its answer."""
    if reader is ANY_TEXT:
        return text
    text = before_broken_loop(text)
    return own_part(text, reader.prompt, lambda part: _stands(_found(part, reader)))


_IN_LAST_LINE = frozenset({"final_line", "opening_line", "bold"})
_SPOILT = frozenset({"several_answers", "several_boxes", "taken_back", "unreadable"})


def _stands(found: Conclusion) -> Concluded:
    """Return how clearly something is concluded; what contradicts itself is as final as an answer."""
    if not found.text:
        return "clearly" if found.rule in _SPOILT else ""
    return "weakly" if found.rule in _IN_LAST_LINE else "clearly"


def _found(text: str, reader: Reader) -> Conclusion:
    if not reader.form and text.rstrip()[-1:] == ">" and (inner := wrapped(text)) is not None:
        own = _found(text[slice(*inner)], reader)
        if own.text and own.start is not None:
            return own._replace(start=own.start + inner[0])
    return (None if reader.form else closing_box(text)) or _conclude(text, reader)


def _conclude(text: str, reader: Reader) -> Conclusion:
    marks = _marks(text, reader)
    if isinstance(marks, Conclusion):
        return marks
    if reader.options is not None:
        last, why = chosen(text, marks, reader.options, form=reader.form)
        if last is None or why:
            return Conclusion("", why, last and last.start)
        return Conclusion(last.phrase, last.rule, last.start)
    if not marks:
        return _unmarked(text, reader)
    return _held(text, marks, reader)


def closing_box(text: str) -> Conclusion | None:
    """Return what a text concludes if its only box ends it, as most do; None for any other text."""
    at = text.rfind("boxed")
    if at < 1 or (box := _SIMPLE_BOX.match(text, at - 1)) is None:
        return None
    if text[box.end() :].strip(CLOSERS) or text.find("boxed") != at or "\\fbox" in text or "<answer" in text:
        return None
    content = box[1].strip()
    # A content that ends in a digit is no placeholder; an escaped brace may have cut the box short.
    if not content[-1:].isdigit() and (is_placeholder(content) or content.count("\\{") != content.count("\\}")):
        return None
    start = sentence_start(text, at - 1)
    if text[start : at - 1] in _PLAIN_LEADS:  # as most are; nothing before such a sentence denies it
        return Conclusion(content, "boxed", start)
    if denied_mark(text, at - 1):
        return Conclusion("", "taken_back")
    if is_part(text, (at - 1, box.end())):
        return Conclusion("", "unreadable")
    return None if conditional(text[start : at - 1], "") else Conclusion(content, "boxed", start)


def _marks(text: str, reader: Reader) -> list[Mark] | Conclusion:
    """Return the marks that stand, the last one last; a conclusion where a box spoils the text."""
    boxes = boxes_in(text) if "boxed" in text or "\\fbox" in text else []
    if boxes and boxes[-1][1] < 0:
        return Conclusion("", "unclosed_box")
    boxed = list(_box_marks(text, boxes, reader))
    marks = [*tags_in(text, reader.tag, reader.question), *json_in(text, asked=reader.form == "json")]
    denials: list[int] = []
    if reader.options is not None:
        marks += statements(text, list(sentences_in(text)), reader.options, reader.question)
    else:
        marks = [*hashes_in(text), *marks, *_phrases(text, reader.question, denials)]
    filled = [mark for mark in marks if mark.rule != "json" or not is_placeholder(mark.phrase)]
    if marks and not filled and not boxed:
        return Conclusion("", "no_answer")  # a form that was left empty
    marks = _outermost(filled, boxed)
    if not marks and reader.options is None and reader is not ANY_TEXT and (last := closing_object(text)) is not None:
        if not last[1]:
            return Conclusion("", "no_answer")  # a number of another field is none
        marks = [Mark("json", last[1], last[0], len(text), final=True)]
    if reader.form:
        marks = _as_asked(marks, reader.form)
        if not marks:
            return Conclusion("", f"not_{reader.form}")
    if marks or reader.options is not None:
        return marks
    return _nothing(text, boxes, denials, reader) or []


def _nothing(text: str, boxes: list[tuple[int, int]], denials: list[int], reader: Reader) -> Conclusion | None:
    """Return why a text whose marks are all denied or empty concludes nothing; None if its words still may."""
    if denials and "\n" not in text[max(denials) :].strip():
        return _behind_denial(text, max(denials), reader)
    if boxes:
        filled = any(not is_placeholder(inside(text, box)) for box in boxes)
        return Conclusion("", "taken_back" if filled else "empty_box")
    return None


_DENIED_PART = re.compile(r"[,;\"“”]|\sbut\b")
_NEXT_SENTENCE = re.compile(r"[.!?][\"'”’)]{0,3}\s+(?=[A-Z\d$\\*])")


def _behind_denial(text: str, start: int, reader: Reader) -> Conclusion:
    """Return what the sentences behind a denied statement in the last line conclude, if that is another number."""
    end = _NEXT_SENTENCE.search(text, start)
    if end is None or not (later := _unmarked(text[end.end() :], reader)).text:
        return Conclusion("", "taken_back")
    number = NUMBER.search(later.text)
    stated = _DENIED_PART.split(text[start : end.end()], maxsplit=1)[0]
    again = number is None or number[0].rstrip(".,") in re.findall(r"\d(?:[\d.,/]*\d)?", stated)
    return Conclusion("", "taken_back") if again else later._replace(start=end.end() + (later.start or 0))


def _phrases(text: str, question: str, denials: list[int]) -> Iterator[Mark]:
    """Yield statements with what they say; the offsets of those that are denied or conditioned go to `denials`.

    Only words can be: tags and keys say what they hold, and `_box_marks` looks at boxes.
    """
    for mark in sentences_in(text):
        if (
            denied(text, mark.start)
            or _conditional(text, mark, question)
            or of_another_question(text, mark.start, mark.end, question)
        ):
            denials.append(mark.start)
        else:
            yield phrased(text, mark)


def _conditional(text: str, mark: Mark, question: str) -> bool:
    """Return whether words before or behind a mark limit it to a case that the question does not mention."""
    before, behind = text[max(0, mark.start - _NEAR) : mark.start], text[mark.end : mark.end + _NEAR]
    return conditional(before, question) or conditional_behind(behind, question)


_NEAR = 300  # characters around a mark that may limit it


def _as_asked(marks: list[Mark], form: str) -> list[Mark]:
    """Return the marks of the form that was asked for, and boxes beside them; none where words alone answer.

    For JSON, models often give a box in its stead, which is as exact.
    """
    boxed = [mark for mark in marks if mark.rule in (form, "boxed")]
    return boxed if form == "json" or any(mark.rule == form for mark in boxed) else []


def _box_marks(text: str, boxes: list[tuple[int, int]], reader: Reader) -> Iterator[Mark]:
    """Yield boxes that stand, those joined by "and" as one."""
    group: list[tuple[int, int]] = []
    boxes = [
        box
        for box in boxes
        if not is_placeholder(inside(text, box))
        and not denied_mark(text, box[0])
        and not _conditional(text, Mark("boxed", "", *box), reader.question)
    ]
    for box in boxes:
        if group and not joined(text, group[-1][1], box[0]):
            yield _box_group(text, group, reader)
            group = []
        group.append(box)
    if group:
        yield _box_group(text, group, reader)


def _box_group(text: str, group: list[tuple[int, int]], reader: Reader) -> Mark:
    # The same answer boxed twice is one answer, not a list of two.
    distinct: dict[Hashable, str] = {}
    names = [box_name(text, box[0]) for box in group]
    named = len(set(names)) > 1
    for box, name in zip(group, names, strict=True):
        content = f"{name} = {inside(text, box)}" if named and name else inside(text, box)
        distinct.setdefault(reader.key(content), content)
    between = [text[left[1] : right[0]] for left, right in pairwise(group)]
    joint = " or " if reader.options is None and any("or" in words for words in between) else " , "
    return Mark("boxed", joint.join(distinct.values()), group[0][0], group[-1][1])


def _outermost(marks: list[Mark], boxes: list[Mark]) -> list[Mark]:
    """Return the marks in order, of two that overlap the one that says more exactly what the answer is."""
    kept: list[Mark] = []
    for mark in marks:
        within = [box for box in boxes if mark.start <= box.start and box.end <= mark.end]
        # A box inside a tag: the tag says that this is the answer, the box where exactly it stands.
        if within and mark.rule in HELD:
            inner = boxes_in(mark.phrase)
            part = bool(inner) and is_part(mark.phrase, inner[-1])
            kept.append(mark if part else mark._replace(phrase=within[-1].phrase, exact=True))
            boxes = [box for box in boxes if box not in within]
        elif not within:
            kept.append(mark)
    ordered = sorted([*kept, *boxes], key=lambda mark: (mark.end, mark.start))
    return [
        mark
        for index, mark in enumerate(ordered)
        if not any(_covers(other, mark) for other in ordered[index + 1 :] + ordered[:index])
    ]


def _covers(other: Mark, mark: Mark) -> bool:
    """Return whether one mark lies in another that counts for both: a sentence in a tag, "Answer: the answer is"."""
    if other is mark:
        return False
    if other.rule in HELD and mark.rule in ("answer_is", "hashes"):
        return (
            other.start <= mark.start and mark.end <= other.end
        ) or mark.start <= other.start < other.end <= mark.end
    if other.rule == mark.rule == "answer_is":
        return mark.start <= other.start < mark.end and other.end >= mark.end and other.start > mark.start
    return False


_NO_VALUE = re.compile(
    r"\b(?:undefined|unknown|none|no|not|impossible|cannot|doesn't|nothing|infinite\w*)\b", re.IGNORECASE
)


def _held(text: str, marks: list[Mark], reader: Reader) -> Conclusion:
    """Return the last mark's answer, unless other marks or what follows contradict it."""
    while len(marks) > 1 and marks[-1].rule == "hashes" and not _read(text, marks[-1], reader):
        marks = marks[:-1]  # a heading
    words = marks[-1].phrase.strip() if marks[-1].rule == "answer_is" else ""
    if words and not MATHEMATICAL.search(words) and not _NO_VALUE.search(words):
        later = _unmarked(text, reader)  # "the answer is required in feet" announces one
        if later.start is not None and later.start > marks[-1].end and MATHEMATICAL.search(later.text):
            return later
    last = marks[-1]
    answer = _read(text, last, reader)
    if not answer:
        return Conclusion("", "unreadable" if last.phrase.strip() else "no_answer")
    key = reader.key(answer)
    for other in reversed(marks[:-1]):
        if _gives_way(text, other, last, reader.question):
            continue
        if other.rule == "hashes" and other.phrase[:1].isalpha():
            continue  # a heading
        said = _read(text, other, reader)
        if not said or (other.rule != "boxed" and not MATHEMATICAL.search(said) and not _both_words(said, answer)):
            continue
        if not agree(reader.key(said), key):
            return Conclusion("", "several_boxes" if last.rule == "boxed" else "several_answers")
    start = sentence_start(text, last.start) if last.rule == "boxed" else last.start
    found = Conclusion(answer, last.rule, start)
    return unless_taken_back(text, last, found, key, reader)


def _alone_answers(text: str, other: Mark, last: Mark, question: str) -> bool:
    """Return whether the words before the last box call it the answer, or name what is asked, and another's do not."""
    lead, earlier = _words_before(text, last), _words_before(text, other)
    asked = {"answer", *_CONTENT_WORD.findall(asking(question).lower())}
    return not asked.isdisjoint(lead - earlier)


def _words_before(text: str, mark: Mark) -> set[str]:
    """Return the words of a mark's sentence before it; where there are none, those of its paragraph, as a heading."""
    start = sentence_start(text, mark.start)
    words = set(_CONTENT_WORD.findall(text[start : mark.start].lower()))
    return words or set(_CONTENT_WORD.findall(text[text.rfind("\n\n", 0, start) + 1 : start].lower()))


_CONTENT_WORD = re.compile(r"(?<![\\A-Za-z])[a-z]{5,}(?![A-Za-z{])")


_VERDICT_WORDS = frozenset(
    {"yes", "no", "true", "false", "valid", "invalid", "correct", "incorrect", "possible", "impossible", "even", "odd"}
    | {"ja", "nein", "oui", "non", "sí", "sì", "sim", "não", "да", "нет", "是", "不是"}
)


def _both_words(said: str, answer: str) -> bool:
    """Return whether two phrases are answers in one word each: yes and no, two names."""
    one, other = (text.strip(" .*_\"'") for text in (said, answer))
    if one.lower() in _VERDICT_WORDS:
        return other.lower() in _VERDICT_WORDS
    return one.isalpha() and other.isalpha() and one.istitle() and other.istitle()


def _gives_way(text: str, other: Mark, last: Mark, question: str) -> bool:
    """Return whether the last mark replaces another, whatever that one says."""
    if other.rule != last.rule:
        return True
    if last.final and not other.final and last.rule == "answer_is":
        return True
    if last.rule == "boxed" and _alone_answers(text, other, last, question):
        return True
    return last.rule != "hashes" and corrects(text[max(other.end, last.start - 300) : last.start])


def _read(text: str, mark: Mark, reader: Reader) -> str:
    """Return what a mark names, "" where that can't be read whole."""
    if mark.exact:
        return mark.phrase
    if mark.rule == "boxed":
        return "" if is_part(text, (mark.start, mark.end)) else mark.phrase
    phrase = mark.phrase
    if mark.rule in HELD and "boxed" in phrase and (boxes := boxes_in(phrase)) and boxes[-1][1] > 0:
        return "" if is_part(phrase, boxes[-1]) else inside(phrase, boxes[-1])
    if is_placeholder(phrase) and mark.rule in HELD:
        return ""
    if len(phrase) > MAX_PHRASE:
        return phrase if reader is ANY_TEXT else ""
    if mark.rule not in HELD and (said := yes_or_no(phrase, reader.question or "?")) and reader.readable(said):
        return said
    value = stated_value(phrase, reader.readable, reader.question) if phrase.strip() else ""
    if not value and (mark.open or mark.rule in HELD):
        region = phrase if mark.rule in HELD else text[mark.end - len(phrase) :][:MAX_PHRASE]
        value = closing_value(region, reader.readable, reader.question)[0]
    return _with_colon(value)


def _with_colon(value: str) -> str:
    """Return a time of day as it is written in English: 19:30 for "19.30 Uhr"."""
    dotted = _DOTTED_CLOCK.match(value)
    return f"{dotted[1]}:{dotted[2]}" if dotted else value


def _listed(text: str, reader: Reader) -> Conclusion | None:
    """Return what a text concludes that ends in a list of values, or in the weekday that is asked for."""
    if (items := listed_answers(text, reader.readable, reader.question)) is not None:
        return Conclusion(items[0], "final_line" if items[0] else "no_answer", items[1])
    start = sentence_start(text.rstrip(), len(text.rstrip()) - 1)
    day = closing_weekday(text[start:], reader.question)
    return Conclusion(day, "final_line", start) if day and not hypothetical(text[start:]) else None


def _unmarked(text: str, reader: Reader) -> Conclusion:
    text = before_aside(text)
    if text.strip(" .*\n").lower() in _VERDICT_WORDS and reader.readable(text.strip(" .*\n")):
        return Conclusion(text.strip(" .*\n"), "final_line", 0)
    line = text.rstrip().rpartition("\n")[2]
    if (said := yes_or_no(line, reader.question) or stated_fact(line, reader.question)) and reader.readable(said):
        return Conclusion(said, "final_line", len(text.rstrip()) - len(line))
    if reader.closing is None and (listed := _listed(text, reader)) is not None:
        return listed
    bold = _bold(text, reader)
    if bold is not None:
        return bold
    value, start = closing_value(text, reader.closing or reader.readable, reader.question)
    if reader.closing is None and (not value or _ENDS_IN_NONE.search(text)):
        value = worded_value(text[start:], reader.question)
        value = value if value and reader.readable(value) else ""
    elif reader.closing is None:
        value = _with_colon(value)
    if (
        "would" in text[start:]
        and _COUNTERFACTUAL.search(text[start:])
        and not re.search(r"\b(?:if|would)\b", reader.question)
    ):
        value = ""
    sentence = text[start:]
    if (
        not value
        or breaks_off(text)
        or hypothetical(without_rejected(sentence))
        or of_another_question(sentence, 0, 0, reader.question)
    ):
        return Conclusion("", "no_answer")
    number = NUMBER.search(value)
    if number and (
        cut_short(text, start, number[0], reader.question)
        or conditional_behind(sentence[sentence.rfind(number[0]) + len(number[0]) :], reader.question)
    ):
        return Conclusion("", "no_answer")
    return Conclusion(value, "final_line", start)


_COUNTERFACTUAL = re.compile(
    r"\bwould\s(?:have|be|need|cost|get|take)\b[^.\n]*\bif\b|\A\W{0,3}(?:Had|Were)\s[^.\n]*\bwould\s(?:still\s)?(?:have|be)\b",
    re.IGNORECASE,
)
_ENDS_IN_NONE = re.compile(r"\bno (?:real )?(?:solutions?|roots?)\W*\Z", re.IGNORECASE)  # x² = -4 has no real solutions
_DOTTED_CLOCK = re.compile(r"([01]?\d|2[0-3])\.([0-5]\d) uhr\Z", re.IGNORECASE)  # 21.45 Uhr
_TOTAL_ROW = re.compile(
    r"\s*\|[\s*_]*(?:(?:grand|overall)\s)?(?:total|sum|gesamt|summe|somme|suma|总计|合计)\b[^|]*\|.*?(?P<last>[^|]*\d[^|]*\|?)\s*\Z",
    re.IGNORECASE,
)
_NO_BOLD = str.maketrans("*_", "  ")
_BOLD = re.compile(r"\*\*([^*\n]{1,200})\*\*|__([^_\n]{1,200})__")
_HEADING = re.compile(
    r"(?:step|part|problem|question|case|equation|exercise|option|note|figure|page|rule)\s{0,9}#?\s{0,9}\d",
    re.IGNORECASE,
)


def _bold(text: str, reader: Reader) -> Conclusion | None:
    """Return the one answer in bold type in the last line."""
    body = text.rstrip()
    start = max(body.rfind("\n") + 1, len(body) - TAIL)
    line = body[start:]
    if "**" not in line and "__" not in line:
        return None
    if total := _TOTAL_ROW.match(line):  # | **Total** | **6** | | **$71** |
        line = line[: total.start("last")].translate(_NO_BOLD) + total["last"]
    answers: dict[Hashable, str] = {}
    for match in _BOLD.finditer(line):
        span = (match[1] or match[2]).strip()
        if span.endswith(":") or line.startswith(":", match.end()) or _HEADING.match(span):
            continue
        span = span.strip(" .")
        if (
            MATHEMATICAL.search(span)
            and not re.match(r"\d+[.)]\s", span)
            and (reader.closing or reader.readable)(plain(span))
        ):
            answers[reader.key(span)] = glued_unit(plain(span), reader.question) or span
    if not answers:
        return None
    if len(answers) > 1:
        together = assigned_together(", ".join(map(plain, answers.values())), reader.question)
        return Conclusion(together, "bold", start) if together else Conclusion("", "several_answers")
    return Conclusion(plain(next(iter(answers.values()))), "bold", start)
