r"""What a phrase or sentence states: a value read whole, with words around it that cannot change it.

A phrase that is nothing but an answer is that answer. Of a sentence, what stands behind its last verb of being ("is",
"are", "equals", `=`) counts, with the words that go on behind it: they may not hold anything that makes another value
of it ("less than 20", "million", "squared", "or 7"). Where a sentence has no such verb it must hold exactly one
number, or exactly one that stands before the noun that the question asks for ("How many trips …": "needs 7 trips for
80 stones"). What can't be read in one of these ways states nothing: a number is never cut out of an expression.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

from proofmill.filters.answers.assignments import (
    asks_list,
    assigned_apart,
    assigned_lines,
    assigned_together,
    bulleted,
    counted_together,
    introduces_answers,
    named_lines,
    over_integers,
)
from proofmill.filters.answers.candidates import without_rejected
from proofmill.filters.answers.endings import COURTESY, COURTESY_ABROAD, before_check, is_remark
from proofmill.filters.answers.lone_numbers import (
    METHOD,
    PARTICIPLE,
    SUBORDINATE,
    THEN,
    UNSURE,
    asked_value,
    compared_value,
    lonely_value,
)
from proofmill.filters.answers.marks import JAPANESE_END
from proofmill.filters.answers.prose_values import (
    ANY_NUMBER,
    DENIES,
    MATH_SPAN,
    NUMBER,
    NUMERAL,
    Readable,
    glued_unit,
    in_plain_fractions,
    is_prose,
    is_unit,
    number_of,
    plain,
    share_of,
    value_of,
    with_points,
    without_gloss,
)
from proofmill.filters.answers.subjects import asked_names, other_letter, other_role
from proofmill.filters.symbolic.dates import date_in
from proofmill.filters.symbolic.number_words import in_figures
from proofmill.filters.symbolic.number_words_abroad import in_figures_abroad

MAX_SENTENCE = 600  # characters; a longer one is read from its end
_OPENING = re.compile(
    r"(?:(?:=>|->|→|⇒|∴)\s*|(?:thus|therefore|hence|so|then|finally|and|also|now|clearly"
    r"|(?:we|i) (?:get|got|have|find|found|obtain|conclude)"
    r"|this (?:gives|yields)|it follows|(?:it|that)(?:['\u2019]s| is)(?=\s[-\d$])|not [\d.,$]+,? but)"
    r"(?: that)?[,:]?\s+)+",
    re.IGNORECASE,
)
_PLEASANTRY = re.compile(
    r"(?:i hope|hope (?:this|that|it)|let me know|please let|feel free|if you (?:have|need|would)|thank|happy to"
    r"|good luck"
    r"|this (?:is|was) (?:the|our|my) (?:final |correct |required |desired )?(?:answer|result|solution)"
    r"|q\.?e\.?d|done\b|great|hooray"
    r"|i am (?:sure|confident)|which is (?:the|our) (?:final )?answer|by following these steps"
    r"|(?:this|these|that)(?: \w+){0,2} (?:is|are|was|were|represents?|ensures? that)"
    r" (?:the|her|his|their|our|each|[A-Z]\w+'s)"
    r"(?![^.]*\b(?:not|no|wrong|incorrect|if|but|before|without|per|twice|half|doubled?|tripled?|multipl\w+"
    r"|divid\w+|add\w*|subtract\w*|minus|plus|first|next)\b)"
    r"|since (?:this|these|that)\b[^.\d]*\bwe have (?:our|the))\b[^\n\d]*\Z",
    re.IGNORECASE,
)
_OFFER = re.compile(  # whatever it speaks of, it is no answer
    r"(?:please\s)?(?:(?:let me know|feel free|would you like|do you want|if you(?:['’]d| would) like|shall i)\b"
    rf"|{COURTESY_ABROAD})",
    re.IGNORECASE,
)
_LEAD = re.compile(
    r"(?:[\s:：*,]|(?:therefore|thus|hence|so|indeed|simply|just|exactly|then|now|approximately|about|around"
    r"|roughly|nearly|almost"
    r"|given by|equal to|found to be|going to be|clearly|actually|obviously|precisely|only|also|still|again"
    r"|finally|indeed"
    r"|an?\s(?:[a-z]+\s){0,3}of|an (?:additional|extra)|equivalent to|each (?:of them|[a-z]+)"
    r"|(?:us|him|her|them|you|me)(?:\swith)?|with|off by|the number|the value|that"
    r"|(?:all )?(?:the )?(?:integers|numbers|values)(?=\s\$)"
    r"|all (?:real )?(?:numbers |values (?:of )?)?\$?[a-z]\$? (?:with|such that|for which|satisfying|where)"
    r"(?=\s\$?\\?[-−\da-z(|])"
    r"|in(?: the (?:open |closed )?(?:interval|range|set))?(?=\s[$\\]{0,2}(?:left)?\s?[(\[\]])"
    r"|(?:(?:located )?at|the point)(?=\s?[$\\]{0,2}(?:left)?\s?\()|:"
    r"|毎(?:分|時|秒|日|週|月|年)|approx\.?|≈|~|\\approx|约|大约|共)(?=[\s\d$\\:：,.(-])[ ,:：]*)+",
    re.IGNORECASE,
)
_COPULA = re.compile(
    r"(?<=\d)\s?,?\s?\bor(?=\s[\d.]+\s?(?:\\?%|percent))|(?<![<>!=:\\])(?:=|≈|\\approx\b|\\Rightarrow\b|⇒|→"
    r"|=>)(?![=>])|(?<!\d )[:：]\s"
    r"|(?<!\bthat )(?<!\bwho )\b(?:is|are|was|were|be|been|equals?|equal to|equalled|equaled|gives?|gave|gets?"
    r"|got|becomes?|makes?|totals"
    r"|totall?ing|yields?|leaves?|leaving|obtains?|remains?|means|an? (?:total|average|sum|maximum|minimum) of"
    r"|lies(?= in the (?:open |closed )?interval)|being|consists? of"
    r"|holds? (?:exactly |precisely |only )?(?:when|for|if)(?=\s\$?[a-z]\s?(?:[<>≤≥∈]|\\(?:le|ge|lt|gt|in)))"
    r"|rounds? (?:up |down |off )?to|rounded (?:up |down |off )?to(?= \d)"
    r"|(?:simplif(?:y|ies|ied)|reduces?|evaluates?|expands?) to|factors? (?:as|into|to)|in other words"
    r"|(?<=,\s)that is,?"
    r"|off by|results? in|resulting in|amounts? to|adds? up to|comes? to|beträgt|betragen|ergibt|vaut"
    r"|wynosi|равн[аоы]|составляет)\b"
    r"|(?<=[ぁ-んァ-ヶ一-龠])は(?=\D{0,8}\d[^は]*です\W*\Z)|为|等于|得到?|(?<![不就还只])是|(?<=也就)是|剩[下余]?了?|共(?:有)?|(?<!没)有|需要?"
)
_OPEN = re.compile(r"\b(?:unknown|unclear|undetermined|undefined|maybe|perhaps)\b", re.IGNORECASE)
_STOP = re.compile(r"[.!?](?=[\"')\]*]*\s+[A-Z¿¡$\\\d*(\[\"-])|[。！？]")
_AFTER_STOP = re.compile(r"[\"')\]*]*\s+")
_ABBREVIATED = re.compile(  # what a full stop belongs to, no sentence
    r"(?:\b(?:[MDS][rst]|Mrs|Prof|e\.g)|(?P<month>\b(?:Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sep|Oct|Nov|Dec)))\Z"
)
_GUESSED = re.compile(r"\b(?:maybe|perhaps|possibly|probably|(?:might|could|may)(?: well)? be)\b", re.IGNORECASE)
_ITSELF = re.compile(
    r"(?P<value>.{1,200}?)\s+(?:is|are|must be|would be)\s+(?:the|our|my)\s+(?:(?:final|correct|right"
    r"|required)\s+)?(?:answer|solution|result)s?\s*[.!]*\Z",
    re.IGNORECASE | re.DOTALL,
)


_NUMBER_FIRST = re.compile(r"[-−]?(?:\\?[$€£])?\d[\d,.]*\$?[\s,]")


def stated_value(phrase: str, readable: Readable, question: str = "") -> str:
    """Return what a phrase behind a mark states, "" where it can't be read whole.

    Args:
        phrase: the words behind the mark.
        readable: whether a text is an answer as it stands.
        question: the end of the prompt; what it asks for tells numbers apart.
    """
    text = with_points(plain(phrase), question).lstrip()
    if not text.isascii() or text[-1:] == ")":
        text = without_gloss(in_plain_fractions(text))
    if not text or text.endswith("?"):
        return ""
    if NUMERAL.match(text):
        return text
    if glued := glued_unit(text, question):
        return glued
    if readable(text):
        return text
    if _NUMBER_FIRST.match(text) and (value := value_of(text, readable, question, marked=True)):
        return value
    if value := _sentence_value(text, readable, question, marked=True):
        return value
    spelled = in_figures(text)
    spelled = in_figures_abroad(text, question) if spelled == text else spelled
    return "" if spelled == text else stated_value(spelled, readable, question)


def closing_value(text: str, readable: Readable, question: str = "") -> tuple[str, int]:
    """Return what the last statement of a text without any mark states, and where that sentence begins."""
    body = with_points(before_check(text.rstrip().removesuffix("```").rstrip()), question)
    base = max(0, len(body) - 4_000)
    display = _closing_display(body)
    if display is not None:
        content, start = display
        if readable(content):
            return content, start
        return _sentence_value(content, readable, question, marked=True) if "=" in content else "", start
    line_start = max(body.rfind("\n") + 1, base)
    line = body[line_start:]
    if line_start > base and (
        COURTESY.match(line) or is_remark(line, question)
    ):  # nothing but a courtesy: the line before it concludes
        body = body[:line_start].rstrip()
        line_start = max(body.rfind("\n") + 1, base)
        line = body[line_start:]
    if _broken(line):
        return "", line_start
    if ("=" in line or ":" in line) and (named := _with_names(body, line, question)) and readable(named[0]):
        return named
    if _listed_behind(body, line_start):
        line, line_start = line[2:], line_start + 2
    elif titled := _TITLED.match(line):  # 5. **Calculate the change:** Michael has $6 left
        line, line_start = line[titled.end() :], line_start + titled.end()
    cuts = [cut for cut in (0, *_sentence_starts(line)) if cut < len(line)] or [0]
    if value := _whole_line(line, readable, question):
        return value, line_start
    return _last_sentence(line, line_start, cuts[-3:], readable, question)


def _sentence_starts(line: str, start: int = 0) -> Iterator[int]:
    """Yield where the sentences of a line begin behind an offset, but for the first one."""
    for stop in _STOP.finditer(line, start):
        if stop[0] not in ".!?":
            yield stop.end()
            continue
        short = _ABBREVIATED.search(line, max(0, stop.start() - _SHORT), stop.start()) if stop[0] == "." else None
        if short is None or (short["month"] and not re.match(r"\s\d", line[stop.end() : stop.end() + 2])):
            yield _AFTER_STOP.match(line, stop.end()).end()  # type: ignore[union-attr]


_SHORT = 6  # characters that hold an abbreviation


def _with_names(body: str, line: str, question: str) -> tuple[str, int] | None:
    """Return the values that the end of a text gives to several letters or names, and where the first one stands."""
    named = named_lines(body, question) if ":" in line else None
    return named or assigned_lines(body, question) or (assigned_apart(body, question) if "=" in line else None)


def _listed_behind(body: str, start: int) -> bool:
    """Return whether a line is an item behind another one of a list, and begins with no negative number."""
    return (
        body[start : start + 2] == "- " and body[body.rfind("\n", 0, max(start - 1, 0)) + 1 :][:2] == "- " and start > 1
    )


_SET_LETTER = re.compile(r"\$?[a-zA-Z](?:_\{?\d\}?|[₀-₉])?\s?=[^=]{1,60}\Z")


def listed_answers(text: str, readable: Readable, question: str) -> tuple[str, int] | None:
    """Return the values of the list that ends a text, as one answer, and where it begins.

    None where the text ends otherwise; "" where another list stands there, or bare numbers that nobody asked to list.
    """
    items, intro, start = bulleted(text.rstrip())
    values = [plain(item) for item in items]
    if not asks_list(question):
        return ("", start) if len(values) > 1 and all(map(NUMERAL.match, values)) else None
    if len({bool(_SET_LETTER.match(value)) for value in values} | {"=" in value for value in values}) > 1:
        return None  # the steps to an answer
    if len(values) < 2 or any(is_prose(value) or not (NUMERAL.match(value) or readable(value)) for value in values):
        return None
    return (", ".join(values) if introduces_answers(intro, question) else ""), start


def _end_of_chain(whole: str) -> str:
    """Return the number in which a chain of equations ends; "" for any other line."""
    chain = _CHAIN.match(whole) if whole.count("=") > 1 else None
    return chain["value"] if chain is not None and NUMERAL.match(chain["value"]) else ""


def _whole_line(line: str, readable: Readable, question: str) -> str:
    """Return what a last line states that is nothing but an answer; "" for any other."""
    whole = opened(plain(line.lstrip("# ") if line[:1] == "#" else line))
    if without_rejected(whole) != whole or _SAYS_ABROAD.match(whole):
        return ""
    if " " in whole and (first := _EXPLAINED.match(whole)):
        value = first[1] or first[2]
        if readable(value) and not is_prose(value):
            return value
    if whole[:7].lower() == "either " and (cases := assigned_together(whole, question)) and readable(cases):
        return cases
    if (bounds := _range_in(whole, question)) and readable(bounds):
        return bounds
    if (so := _SO.search(whole)) and not next(_sentence_starts(whole, so.end()), 0):
        whole = whole[so.end() :]
    if "=" in whole and (together := assigned_together(whole, question)) and readable(together):
        return together
    if (
        result := _end_of_chain(whole)
        or _computed(whole, question)
        or glued_unit(whole, question)
        or share_of(whole, question)
    ):
        return result
    if len(whole) > 400 or is_prose(whole) or not (NUMERAL.match(whole) or readable(whole)) or _undecided(whole):
        return ""
    name, equals, value = whole.partition("=")  # "x = 3" states 3
    named = equals and len(name.strip()) == 1 and name.strip().isalpha() and not re.search(r"[=,;<>]", value)
    return value.strip() if named and readable(value) and not other_letter(whole, "", question) else whole


def _last_sentence(line: str, line_start: int, cuts: list[int], readable: Readable, question: str) -> tuple[str, int]:
    """Return what the last sentence of a line states that is no mere courtesy, and where it begins."""
    for cut in reversed(cuts):
        sentence = plain(line[cut:][:])
        line = line[:cut].rstrip()
        if _PLEASANTRY.match(sentence) or _OFFER.match(sentence) or (cut and is_remark(sentence, question)):
            continue
        if sentence.endswith(("?", "？")) or line[cut:].rstrip().endswith(("?", "？")):
            return "", line_start + cut
        if len(sentence) > MAX_SENTENCE:
            sentence = sentence[-MAX_SENTENCE:]
        sentence = without_rejected(_without_deed(opened(in_plain_fractions(sentence))))
        sentence = over_integers(sentence) if "$" in sentence else sentence
        if not sentence:
            return "", line_start + cut
        together = assigned_together(sentence, question) or counted_together(sentence, question)
        if together and readable(together):
            return together, line_start + cut
        if _asks_date(question) and (date := date_in(sentence)) and readable(date):
            return date, line_start + cut
        if (so := _SO.search(sentence)) and not is_prose(sentence):
            sentence = sentence[so.end() :]
        if not (is_prose(sentence) or _SAYS_ABROAD.match(sentence) or _undecided(sentence)) and readable(sentence):
            return sentence, line_start + cut
        value = _sentence_value(sentence, readable, question, marked=False)
        return value or _spelled_value(sentence, readable, question), line_start + cut
    return "", line_start


_SAYS_ABROAD = re.compile(  # Tom hat 8 Äpfel
    r"[^\W\d_]{2,}(?:\s[^\W\d_]+)?\s(?:hat|haben|kauft|bezahlt|zahlt|isst|bekommt|braucht|a|ont|achète|paie|mange|reçoit|ha|hanno|compra"
    r"|paga|mangia|riceve|tem|têm|come|recebe|tiene|tienen|recibe|heeft|har)\s(?=[\d$€])"
)
_DEED = re.compile(  # After selling 36 pears the farmer has …
    r"\A(?:after|by|having|upon|before|since|when|while)\s(?:[a-z]{3,15}ing\b|[a-z]{3,15}ed\b|(?<=having\s)[a-z]+\b)[^,.;:=]*?\s"
    r"(?=(?:the\s[a-z]+|he|she|it|they|we|there|[A-Z][a-z]+)\s(?:(?:still|now|then|only|will|would|ends?\sup|is|are)\s){0,3}"
    r"(?:has|have|had|is|are|was|were|needs?|owns?|keeps?|with|weighs?|costs?|holds?|gets?|pays?|remain)\b)",
    re.IGNORECASE,
)


_IMAGINED = re.compile(r"\A(?:had|were)\s(?:[^,.;=]|[,.](?=\d)){3,120},\s(?=[^\n]*\bwould\b)", re.IGNORECASE)


def _without_deed(sentence: str) -> str:
    """Return a sentence without the deed that leads it in, with no comma behind; "" where no number is left."""
    deed = _DEED.match(sentence) or _IMAGINED.match(sentence)
    if deed is None or not ANY_NUMBER.search(in_figures(sentence[: deed.end()])):
        return sentence
    rest = sentence[deed.end() :]
    return rest if re.search(r"[\d$\\]", in_figures(rest)) else ""


def _spelled_value(sentence: str, readable: Readable, question: str) -> str:
    """Return the value that a closing sentence states in words: "Tom is twenty-five years old"."""
    figures = in_figures(sentence)
    abroad = figures == sentence
    figures = in_figures_abroad(sentence, question) if abroad else figures
    if figures == sentence or _GUESSED.search(sentence) or UNSURE.search(sentence):
        return ""
    spelled = opened(figures)
    if readable(spelled) and not _undecided(spelled):
        return spelled
    led = SUBORDINATE.match(spelled) or PARTICIPLE.match(spelled)
    value = _value_behind_copula(spelled[led.end() :] if led else spelled, readable, question, marked=False)
    value = value or asked_value(spelled, question)
    lonely = abroad or not re.search(r"\d", sentence)
    return value or (lonely_value(spelled, readable, question, marked=False) if lonely else "")


_ASKS_DATE = re.compile(
    r"\b(?:what|which)\b[^?.]{0,40}\b(?:date|day)\b|\bwhen (?:did|does|will|is|was|do|should|must|can)\b"
    r"|\bdate\b[^.?]{0,60}\?",
    re.IGNORECASE,
)


@lru_cache(maxsize=4096)
def _asks_date(question: str) -> bool:
    return _ASKS_DATE.search(question) is not None


_CHAIN = re.compile(  # |z| = √(25 + 144) = √169 = 13
    r"[^=,;<>≤≥]{1,40}=(?:[^=,;<>≤≥]*\d[^=,;<>≤≥]*=){1,6}\s?(?P<value>[-−]?\d[\d.,/]*)\s*\Z"
)
_EXPLAINED = re.compile(  # 4, since 2^4 = 16; 6, at x = 3
    r"([^,;\n]{1,60}?),?\s(?:since|because)\s|([^,;=\n]{1,60}?),\s(?:at|when|for)\s\$?[a-zA-Z]\$?\s?="
)
_RANGE = re.compile(  # Since …, we have 1 ≤ g(x) ≤ 3
    r"(?:,\s|\A)(?:so|thus|hence|therefore|we (?:have|get|obtain|find|see)|it follows that|then)(?: that)?,?\s"
    r"(?P<bounds>\$?[-−]?[\d./]+\s?(?:[<≤]|\\leq?(?![a-z]))\s?(?P<of>y|[a-z]\([a-z]\))\s?(?:[<≤]|\\leq?(?![a-z]))\s?[-−]?[\d./]+\$?)\Z"
)
_ASKS_RANGE = re.compile(r"\brange\b", re.IGNORECASE)


def _range_in(sentence: str, question: str) -> str:
    """Return the bounds that a sentence ends with, of what a question asks the range; "" where it has none."""
    found = _RANGE.search(sentence) if "range" in question.lower() and _ASKS_RANGE.search(question) else None
    return found["bounds"] if found is not None and found["of"] in ("y", *_FUNCTION.findall(question)) else ""


_FUNCTION = re.compile(r"(?<![A-Za-z])[a-z]\([a-z]\)")
_SO = re.compile(  # (x - 2)(x - 3) = 0, so x = 2 or 3
    r"[,;]\s(?:so|thus|hence|therefore|that is|i\.e\.),?\s+"
    r"(?=\$?(?:[A-Za-z]\s?(?:[=<>≤≥∈]|\\in\b)|\\?(?:sin|cos|tan|log|ln)\b[^=,]{1,20}=))"
)
_TITLED = re.compile(r"[\s*-]{0,6}(?:\d{1,2}[.)]\s{1,3})?\*\*[^*\n]{1,80}:\*\*\s{1,3}(?=\S)")
_CUT = re.compile(r"\$[A-Za-z\\({^][^$]*\Z")  # mathematics that is left open at the end of the text
_DIGIT = re.compile(r"\d")
_RESULT = re.compile(rf"\s*(?P<right>{NUMBER}\s?[A-Za-zµ]{{0,8}})\Z")
_COUNTED = re.compile(rf"{NUMBER}(?:\s[A-Za-z'-]{{2,}}){{1,3}}\Z")


def _computed(whole: str, question: str) -> str:
    """Return the result of a computation with units: `2mm + 3mm = 5mm`."""
    left, equals, right = whole.rpartition("=")
    if not equals:
        return ""
    counted = len(whole) <= MAX_SENTENCE and re.search(r"\d", left) and not re.search(r"[\\$]", left)
    if counted and _COUNTED.match(right.strip()) and not is_unit(right.split()[-1]):
        return number_of(right.strip())
    match = _RESULT.match(right) if _DIGIT.search(left.partition("=")[0]) else None
    if match is None or not all(is_unit(word) for word in re.findall(r"[A-Za-zµ]+", left)):
        return ""
    return glued_unit(match["right"], question) or match["right"]


def _broken(line: str) -> bool:
    """Return whether a last line was cut inside mathematics, or is a loop of digits."""
    return (line.count("$") % 2 == 1 and _CUT.search(line) is not None) or line.startswith("000")


def opened(sentence: str) -> str:
    """Return the sentence without the words that lead it in: "Thus x = 3"."""
    lead = _OPENING.match(sentence)
    return sentence[lead.end() :] if lead else sentence


def _undecided(value: str) -> bool:
    """Return whether a sentence leaves two numbers open: "5 or 6"; the roots of "x = 2 or x = 3" are one answer."""
    return re.search(r"(?<!,)\s\bor\b", value) is not None and re.search(r"[=\\<>≤≥]", value) is None


_DISPLAY_END = re.compile(  # \\,.\\;\\blacksquare
    r"(?:\\(?:[,;:! ]|(?:q?quad|blacksquare|square|Box|checkmark|qed)(?![A-Za-z]))|[\s.,;✓✔■□∎])+\Z"
)


def _closing_display(body: str) -> tuple[str, int] | None:
    """Return the content of a display that ends the text, over as many lines as it has, and where it begins."""
    tail = body.rstrip(" .*_")
    for opener, closer in (("$$", "$$"), ("\\[", "\\]"), ("\\begin{align", "}"), ("\\begin{equation", "}")):
        if not tail.endswith(closer):
            continue
        start = tail.rfind(opener, max(0, len(tail) - 2_000), len(tail) - len(closer))
        if start < 0:
            continue
        content = re.sub(r"\\(?:begin|end)\{(?:align|equation|aligned|gather|split)\*?\}", "", tail[start:])
        content = content.replace(opener, "").replace(closer, "") if not opener.startswith("\\begin") else content
        rows = [
            _DISPLAY_END.sub("", row.replace("&", "")).strip(" ,.\n")
            for row in re.split(r"\\\\", content)
            if row.strip(" ,.&\n")
        ]
        if not rows or "\\begin" in content:
            return content.strip(), start
        return " ".join(rows[-1].split()), start
    return None


def _sentence_value(sentence: str, readable: Readable, question: str, *, marked: bool) -> str:
    text = _THAT_IS_ABROAD.sub("", sentence.replace("\u2019", "'"))
    if not marked:
        if _GUESSED.search(text):
            return ""
        text = _main_clause(text, question)
        gloss = _ROUGHLY.search(text)
        if gloss and _EXACT_FORM.search(text, 0, gloss.start()):
            text = f"is {gloss['value']}" if _ASKS_ROUNDED.search(question) else text[: gloss.start()]
    if len(text) > MAX_SENTENCE:
        text = text[-MAX_SENTENCE:]
    if (itself := _ITSELF.match(text)) and not DENIES.search(itself["value"] + " "):
        value = plain(THEN.sub(" ", " " + itself["value"]))
        if readable(value):
            return value
    if not marked and (compared := compared_value(text, question)):
        return compared
    if not marked and "=" not in text and (asked := asked_value(text, question)):
        return asked
    led = None if marked else SUBORDINATE.match(text) or PARTICIPLE.match(text)
    main = text[led.end() :] if led else text
    behind = _value_behind_copula(main, readable, question, marked=marked)
    if behind is not None:
        return behind
    return lonely_value(text, readable, question, marked=marked)


_PURPOSE = re.compile(
    r",?\s(?:in order\s)?to\s(?:reach|achieve|ensure|make sure|meet|attain|guarantee|satisfy)\b"
    r"(?:(?!\b(?:is|are|was|were|will|equals?)\b|=)[^.])*\Z",
    re.IGNORECASE,
)
_ATTAINED = re.compile(  # The minimum is $6$, attained at $x=3$
    r",?\s\(?(?:which (?:is|occurs) )?(?:attained|achieved|reached|obtained|occurring|when|where|with equality|at|for"
    r"|atteint|bei|für|iff?)\s(?:(?:at|when|for|by|if|only if|and|en)\s){0,3}\$?[a-zA-Z]\$?\s?=[^.]*\Z"
)
_CLAUSES = re.compile(r",?\s(?:and|while|whereas|but)\s(?=[A-Z][a-z])|;\s")
_NAME_FIRST = re.compile(r"\W*(?:[a-z]+,?\s)?([A-Z][a-z]+)")


def _of_asked_name(text: str, question: str) -> str:
    """Return the clause that speaks of whom the question asks: "Peter has 63 stamps and Anna has 21"."""
    clauses = _CLAUSES.split(text)
    names = asked_names(question) if len(clauses) > 1 else frozenset()
    own = [clause for clause in clauses if (name := _NAME_FIRST.match(clause)) and name[1] in names]
    return own[0] if len(own) == 1 and ANY_NUMBER.search(own[0]) else text


_WHICH_IS = re.compile(r",\swhich\s(?:is|are|was|were|equals?)\s[^,]{1,40},(?=\sto\s)")
_HAD = re.compile(rf"\bhad\s{NUMBER}")  # it had 340 books before and has 275 now
_HAS_NOW = re.compile(r"\b(?:has|have|now)\b")
_BEFORE = re.compile(r"\s(?P<what>(?:before|until)\s(?:i|we|you|it|they|he|she)\s\w+)\b[^.,]*", re.IGNORECASE)


def _main_clause(sentence: str, question: str) -> str:
    """Return a sentence without what it says aside, if a number is left.

    That is what a step's result is ("the blouses, which is 4, to get"), the goal of an amount ("to reach his goal of
    $135"), and a condition that repeats the question's ("before he has to recycle it").
    """
    text = _WHICH_IS.sub(",", sentence)
    if " had " in text and _HAS_NOW.search(text):
        text = _HAD.sub("had some", text)
    goal = _PURPOSE.search(text) if " to " in text else None
    if goal and len(ANY_NUMBER.findall(text[: goal.start()])) == 1 and not METHOD.search(text[: goal.start()]):
        text = text[: goal.start()]
    attained = _ATTAINED.search(text) if "=" in text else None
    if attained and (MATH_SPAN.search(text, 0, attained.start()) or ANY_NUMBER.search(text, 0, attained.start())):
        text = text[: attained.start()]
    text = _of_asked_name(text, question)
    if (until := _BEFORE.search(text)) and until["what"].lower() in question.lower():
        text = text[: until.start()] + text[until.end() :]
    return text if ANY_NUMBER.search(text) else sentence


_AMOUNT = re.compile(r"\A\W*[\d.,/]+(?<![.,])")
_EQUATION_SPAN = re.compile(r"\$[A-Za-z][\w{}]{0,9}\s?=[^$\n]{1,200}\$")  # $x = 2$, and no two amounts of money
_NEAREST = 12  # characters that hold a word that denies
_FUNCTION_SPAN = re.compile(r"\$[A-Za-z]\([a-z]\)\s?=[^$\n=]{1,200}\$")
_THAT_IS_ABROAD = re.compile(  # recorre 2.400 metros, es decir, 2,4 kilómetros; e = 0.6,其中 a 为长半轴
    r"(?<=[\w$}])[,，]\s?(?:其中|(?:es decir|o sea|c'est-à-dire|das heißt|d\. ?h\.|cioè|ou seja|isto é|то есть"
    r"|т\. ?е\.),?\s).*\Z"
)
_LEFT_OUT = re.compile(r"\b(?:except|excluding|other than)\b(?: for| when| where)?\s\$?[a-z]\s?\Z")
_ROUGHLY = re.compile(  # 32π/3 cubic units, or approximately 33.51 cubic units
    r"(?:,\s?(?:or|which is|that is,?|i\.e\.,?)|\sor)\s(?:approximately|about|roughly|around|nearly|≈|\$\\approx)\s"
    r"(?P<value>[^.]*(?:\.\d[^.]*)?)\Z"
)
_EXACT_FORM = re.compile(r"[π√]|\\(?:pi|sqrt|[dt]?frac|ln|log|sin|cos|tan|arctan)(?![a-z])|\d\s?/\s?\d")
_ASKS_ROUNDED = re.compile(r"\b(?:nearest|decimals?|approximat\w*|round\w*|estimate\w*)\b", re.IGNORECASE)
_EXACT = re.compile(r"[π√][^,;=]*\Z|\(\s?\Z")  # 25π ≈ 78.5, 25π cm² (≈ 78.5 cm²)
_NOT_BEFORE = re.compile(r"(?:\bnot|n't|\bnever|\bcannot|\bcan not)\Z|(?:没|不|至[少多]|最[少多])\Z", re.IGNORECASE)


def _rounds_exact(text: str, sign: int, formulas: Sequence[tuple[int, int]]) -> bool:
    """Return whether what is behind a sign of approximation is a gloss on the exact value before it."""
    return (
        any(start < sign < end for start, end in formulas)
        or _EXACT.search(text, max(0, sign - _NEAREST), sign) is not None
    )


def _is_aside(text: str, copula: re.Match[str], approximated: Sequence[tuple[int, int]]) -> bool:
    """Return whether a sign only begins a gloss on an exact value, or a point left out: "all numbers except x = 2"."""
    sign = copula[0].strip()
    if sign in ("≈", "\\approx"):
        return _rounds_exact(text, copula.start(), approximated)
    return sign == "=" and _LEFT_OUT.search(text, 0, copula.start()) is not None


def _behind(text: str, copula: re.Match[str]) -> str:
    """Return what stands behind a verb of being, without words that lead it in."""
    rest = text[copula.end() :]
    rest = JAPANESE_END.sub("", rest.rstrip("。 ")) if copula[0] == "は" else rest
    lead = _LEAD.match(rest)
    return rest[lead.end() :] if lead else rest.lstrip()


def _value_behind_copula(text: str, readable: Readable, question: str, *, marked: bool) -> str | None:
    """Return the value behind the last verb of being that has one; "" if it leaves two open, None without one."""
    spans = [span.span() for span in _EQUATION_SPAN.finditer(text)] if "$" in text else []
    spans += [span.span() for span in _FUNCTION_SPAN.finditer(text)] * 2 if "$" in text else []  # says what t is
    approximated = [span.span() for span in MATH_SPAN.finditer(text)] if "approx" in text or "≈" in text else []
    for copula in reversed([*_COPULA.finditer(text)][-12:]):
        if _is_aside(text, copula, approximated):
            continue
        if len(spans) > 1 and any(start < copula.start() < end for start, end in spans):
            continue  # of one of several formulas, which are one answer
        if not (rest := _behind(text, copula)):
            continue
        if value := value_of(rest, readable, question, marked=marked):
            before = text[: copula.start()]
            if not marked and other_role(text[: copula.end()], _AMOUNT.sub("", rest, count=1), question):
                continue  # "… is $30, which is $10 off"
            if _NOT_BEFORE.search(before.rstrip()[-_NEAREST:]) or _OPEN.search(before):
                return ""
            if not marked and _undecided(value):
                return ""
            return value
        if copula[0].strip() in ("=", "≈") and re.match(r"\s*[-+$\\\d(]", rest):
            return None  # an equation that can't be read: nothing before it is the conclusion
    return None
