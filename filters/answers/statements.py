r"""What a phrase or sentence states: a value read whole, with words around it that cannot change it.

A phrase that is nothing but an answer is that answer. Of a sentence, what stands behind its last verb of being ("is",
"are", "equals", `=`) counts, with the words that go on behind it: they may not hold anything that makes another value
of it ("less than 20", "million", "squared", "or 7"). Where a sentence has no such verb it must hold exactly one
number, or exactly one that stands before the noun that the question asks for ("How many trips …": "needs 7 trips for
80 stones"). What can't be read in one of these ways states nothing: a number is never cut out of an expression.
"""

from __future__ import annotations

import re
from functools import lru_cache

from proofmill.filters.answers.assignments import assigned_lines, assigned_together
from proofmill.filters.answers.prose_values import (
    ANY_NUMBER,
    BEFORE_CHANGES,
    CHANGERS,
    CONDITION_FIRST,
    DENIED_BEHIND,
    DENIES,
    GLOSS,
    MATH_SPAN,
    NUMBER,
    NUMERAL,
    PLAIN_WORDS,
    STOP_WORDS,
    Readable,
    glued_unit,
    harmless,
    is_unit,
    number_of,
    of_another_case,
    plain,
    value_of,
    without_contrast,
)
from proofmill.filters.answers.questions import other_letter
from proofmill.filters.symbolic.number_words import in_figures

MAX_SENTENCE = 600  # characters; a longer one is read from its end
_OPENING = re.compile(
    r"(?:(?:=>|->|→|⇒|∴)\s*|(?:thus|therefore|hence|so|then|finally|and|also|now|clearly"
    r"|we (?:get|have|find|obtain|conclude)"
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
_LEAD = re.compile(
    r"(?:[\s:：*,]|(?:therefore|thus|hence|so|indeed|simply|just|exactly|then|now|approximately|about|around"
    r"|roughly|nearly|almost"
    r"|given by|equal to|found to be|going to be|clearly|actually|obviously|precisely|only|also|still|again"
    r"|finally|indeed"
    r"|an?\s(?:[a-z]+\s){0,3}of|an (?:additional|extra)|equivalent to|each (?:of them|[a-z]+)"
    r"|(?:us|him|her|them|you|me)(?:\swith)?|with|off by|the number|the value|that|(?:located )?at(?=\s?[$\\]{0,2}\()|:"
    r"|approx\.?|≈|~|\\approx|约|大约|共)(?=[\s\d$\\:：,.(-])[ ,:：]*)+",
    re.IGNORECASE,
)
_COPULA = re.compile(
    r"(?<=\d)\s?,?\s?\bor(?=\s[\d.]+\s?(?:\\?%|percent))|(?<![<>!=:\\])(?:=|≈|\\approx\b|\\Rightarrow\b|⇒|→"
    r"|=>)(?![=>])|(?<!\d )[:：]\s"
    r"|(?<!\bthat )(?<!\bwho )\b(?:is|are|was|were|be|been|equals?|equal to|equalled|equaled|gives?|gave|gets?"
    r"|got|becomes?|makes?|totals"
    r"|totall?ing|yields?|leaves?|leaving|obtains?|remains?|means|an? (?:total|average|sum|maximum|minimum) of"
    r"|being|rounds? (?:up |down |off )?to|rounded (?:up |down |off )?to(?= \d)"
    r"|off by|results? in|resulting in|amounts? to|adds? up to|comes? to)\b"
    r"|为|等于|得到?|(?<![不就还只])是|(?<=也就)是|共(?:有)?|(?<!没)有|需要?"
)
_UNREAD = re.compile(
    r"[=<>^√π!×·÷≤≥≠±∞⁰¹²³⁴-⁹₀-₉\\$]|(?<=[\d)])\s?[-+*/]\s?(?=[\d(])|\d[A-Za-z](?![A-Za-z])|[A-Za-z]_?\d"
)
_METHOD = re.compile(
    r"\b(?:adding|multiplying|dividing|subtracting)\b(?![^.]*\b(?:we get|gives? (?:us )?(?:a total of )?[$\d]))"
    r"|(?:^|[,;:]\s|\b(?:we|you|i|to|then|first|next|finally|must|us|let's|and|by|should)\s(?:can |need to "
    r"|must |have to |will )?)"
    r"(?:divide|multiply|subtract|add|calculate|compute|determine|convert|solve|substitute|simplify|sum"
    r"|find (?:the|out|how))\b",
    re.IGNORECASE,
)
_UNSURE = re.compile(
    r"\b(?:unknown|unclear|maybe|perhaps|either|between(?=\W{0,3}\d)|impossible to|not sure|not certain"
    r"|not clear)\b|\b(?:cannot|can't|can not) (?:be )?(?:say|tell|know|determine)",
    re.IGNORECASE,
)
_TWO_CASES = re.compile(r"\d[^.]*\b(?:if|unless)\b[^.]*\b(?:otherwise|else)\b|\bdepending on\b", re.IGNORECASE)
_OPEN = re.compile(r"\b(?:unknown|unclear|undetermined|undefined|maybe|perhaps)\b", re.IGNORECASE)
_SENTENCE = re.compile(
    r"(?<=[.!?])(?<!\b[MDS][rst]\.)(?<!\bMrs\.)(?<!\bProf\.)(?<!\be\.g\.)[\"')\]*]*\s+(?=[A-Z$\\\d*(\[\"-])|(?<=[。！？])|\n"
)
_GUESSED = re.compile(r"\b(?:maybe|perhaps|possibly|probably|might be|could be)\b", re.IGNORECASE)
_ITSELF = re.compile(
    r"(?P<value>.{1,200}?)\s+(?:is|are|must be|would be)\s+(?:the|our|my)\s+(?:(?:final|correct|right"
    r"|required)\s+)?(?:answer|solution|result)s?\s*[.!]*\Z",
    re.IGNORECASE | re.DOTALL,
)
_SUBORDINATE = re.compile(
    r"\b(?:since|if|as|because|given|when|with|by|after|for|to|in|from|while|once"
    r"|out of)\b[^,]*(?:,[^,\s][^,]*)*,\s+(?:then\s+)?",
    re.IGNORECASE,
)
_PARTICIPLE = re.compile(r"\A[a-z]{3,}ing\b[^,]*(?:,[^,\s][^,]*)*,\s+", re.IGNORECASE)
_THEN = re.compile(
    r"(?:[,;]\s*|\s)(?:so|thus|therefore|hence|then|ending (?:up )?(?:at|with)|leaving|(?<=,\s)(?:making|giving)"
    r"|reaching)\b,?\s*",
    re.IGNORECASE,
)
_HOW_MANY = re.compile(
    r"\bhow (?:many|much)\s+(?:more\s+|total\s+|fewer\s+|less\s+|extra\s+|additional\s+)?((?:[A-Za-z'-]+\s*){1,4})",
    re.IGNORECASE,
)


_NUMBER_FIRST = re.compile(r"[-−]?(?:\\?[$€£])?\d[\d,.]*\$?[\s,]")


def stated_value(phrase: str, readable: Readable, question: str = "") -> str:
    """Return what a phrase behind a mark states, "" where it can't be read whole.

    Args:
        phrase: the words behind the mark.
        readable: whether a text is an answer as it stands.
        question: the end of the prompt; what it asks for tells numbers apart.
    """
    text = plain(phrase)
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
    return "" if spelled == text else stated_value(spelled, readable, question)


def closing_value(text: str, readable: Readable, question: str = "") -> tuple[str, int]:
    """Return what the last statement of a text without any mark states, and where that sentence begins."""
    body = _before_check(text.rstrip().removesuffix("```").rstrip())
    base = max(0, len(body) - 4_000)
    display = _closing_display(body)
    if display is not None:
        content, start = display
        if readable(content):
            return content, start
        return _sentence_value(content, readable, question, marked=True) if "=" in content else "", start
    line_start = max(body.rfind("\n") + 1, base)
    line = body[line_start:]
    if line_start > base and _COURTESY.match(line):  # nothing but a courtesy: the line before it concludes
        body = body[:line_start].rstrip()
        line_start = max(body.rfind("\n") + 1, base)
        line = body[line_start:]
    if _broken(line):
        return "", line_start
    if ("=" in line or ":" in line) and (assigned := assigned_lines(body, question)) and readable(assigned[0]):
        return assigned
    if titled := _TITLED.match(line):  # 5. **Calculate the change:** Michael has $6 left
        line, line_start = line[titled.end() :], line_start + titled.end()
    cuts = [0, *(match.end() for match in _SENTENCE.finditer(line))]
    cuts = [cut for cut in cuts if cut < len(line)] or [0]
    if value := _whole_line(line, readable, question):
        return value, line_start
    return _last_sentence(line, line_start, cuts[-3:], readable, question)


def _whole_line(line: str, readable: Readable, question: str) -> str:
    """Return what a last line states that is nothing but an answer; "" for any other."""
    whole = opened(plain(line.lstrip("# ") if line[:1] == "#" else line))
    if (so := _SO.search(whole)) and not _SENTENCE.search(whole, so.end()):
        whole = whole[so.end() :]
    if "=" in whole and (together := assigned_together(whole, question)) and readable(together):
        return together
    if result := _computed(whole, question) or glued_unit(whole, question):
        return result
    if (
        len(whole) > 400
        or PLAIN_WORDS.match(whole)
        or not (NUMERAL.match(whole) or readable(whole))
        or _undecided(whole)
    ):
        return ""
    name, equals, value = whole.partition("=")  # "x = 3" states 3
    named = equals and len(name.strip()) == 1 and name.strip().isalpha() and not re.search(r"[=,;<>]", value)
    return value.strip() if named and readable(value) and not other_letter(whole, "", question) else whole


_CHECK = re.compile(
    r"^[^\w\n]{0,6}(?:\d{1,2}[.)]\s{0,3})?[^\w\n]{0,4}"
    r"(?:(?:let's|let us|we can|to|now)\s(?:\w+\s)?(?:verify|check|confirm)"
    r"|verif\w+|check(?:ing)?|this (?:makes sense|works) because|because)\b[^\n.]{0,40}:\W{0,4}$",
    re.IGNORECASE | re.MULTILINE,
)
_AGAINST = re.compile(
    r"\b(?:not|wrong|however|but|instead|actually|therefore|thus|hence|mistake|answer|(?<!, )so)\b"
    r"|n't|(?<=, )so (?!this|it)|[≠✗❌]",
    re.IGNORECASE,
)


def _before_check(body: str) -> str:
    """Return the text before a check with which it ends ("Let's verify: …"), unless that concludes anything itself."""
    start = max(0, len(body) - 1_500)
    checks = [*_CHECK.finditer(body, start)] if ":" in body[start:] else []
    if not checks or _AGAINST.search(body, checks[-1].end()) or not body[: checks[-1].start()].strip():
        return body
    return body[: checks[-1].start()].rstrip()


def _last_sentence(line: str, line_start: int, cuts: list[int], readable: Readable, question: str) -> tuple[str, int]:
    """Return what the last sentence of a line states that is no mere courtesy, and where it begins."""
    for cut in reversed(cuts):
        sentence = plain(line[cut:][:])
        line = line[:cut].rstrip()
        if _PLEASANTRY.match(sentence):
            continue
        if sentence.endswith(("?", "？")) or line[cut:].rstrip().endswith(("?", "？")):
            return "", line_start + cut
        if len(sentence) > MAX_SENTENCE:
            sentence = sentence[-MAX_SENTENCE:]
        sentence = opened(sentence)
        if (together := assigned_together(sentence, question)) and readable(together):
            return together, line_start + cut
        if not PLAIN_WORDS.match(sentence) and readable(sentence) and not _undecided(sentence):
            return sentence, line_start + cut
        value = _sentence_value(sentence, readable, question, marked=False)
        return value or _spelled_value(sentence, readable, question), line_start + cut
    return "", line_start


def _spelled_value(sentence: str, readable: Readable, question: str) -> str:
    """Return the value that a closing sentence states in words: "Tom is twenty-five years old"."""
    figures = in_figures(sentence)
    if figures == sentence or _GUESSED.search(sentence) or _UNSURE.search(sentence):
        return ""
    spelled = opened(figures)
    if readable(spelled) and not _undecided(spelled):
        return spelled
    led = _SUBORDINATE.match(spelled) or _PARTICIPLE.match(spelled)
    value = _value_behind_copula(spelled[led.end() :] if led else spelled, readable, question, marked=False)
    return value or _asked_value(spelled, question)


_SO = re.compile(
    r"[,;]\s(?:so|thus|hence|therefore),?\s+(?=\$?[A-Za-z]\s?[=<>≤≥∈])"
)  # (x - 2)(x - 3) = 0, so x = 2 or 3
_COURTESY = re.compile(
    r"\W{0,4}(?:(?:i )?hope (?:this|that|it)|let me know|please let|feel free|would you like|do you want"
    r"|is there anything|if you (?:have|need|would)|thank|happy to help|good luck)\b[^\d\n]{0,200}\Z",
    re.IGNORECASE,
)
_TITLED = re.compile(r"[\s*-]{0,6}(?:\d{1,2}[.)]\s{1,3})?\*\*[^*\n]{1,80}:\*\*\s{1,3}(?=\S)")
_CUT = re.compile(r"\$[A-Za-z\\({^][^$]*\Z")  # mathematics that is left open at the end of the text
_COMPUTED = re.compile(rf"(?P<left>[^=]*\d.*)=\s*(?P<right>{NUMBER}\s?[A-Za-zµ]{{0,8}})\Z", re.DOTALL)
_COUNTED = re.compile(rf"{NUMBER}(?:\s[A-Za-z'-]{{2,}}){{1,3}}\Z")


def _computed(whole: str, question: str) -> str:
    """Return the result of a computation with units: `2mm + 3mm = 5mm`."""
    left, _, right = whole.rpartition("=")
    counted = len(whole) <= MAX_SENTENCE and re.search(r"\d", left) and not re.search(r"[\\$]", left)
    if counted and _COUNTED.match(right.strip()) and not is_unit(right.split()[-1]):
        return number_of(right.strip())
    match = _COMPUTED.match(whole)
    if match is None or not all(is_unit(word) for word in re.findall(r"[A-Za-zµ]+", match["left"])):
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
    return re.search(r"(?<!,)\s\bor\b", value) is not None and "=" not in value and "\\" not in value


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
        rows = [row.replace("&", "").strip(" ,.\n") for row in re.split(r"\\\\", content) if row.strip(" ,.&\n")]
        if not rows or "\\begin" in content:
            return content.strip(), start
        return " ".join(rows[-1].split()), start
    return None


def _sentence_value(sentence: str, readable: Readable, question: str, *, marked: bool) -> str:
    text = sentence.replace("\u2019", "'")
    if not marked:
        if _GUESSED.search(text):
            return ""
        text = _main_clause(text, question)
    if len(text) > MAX_SENTENCE:
        text = text[-MAX_SENTENCE:]
    if (itself := _ITSELF.match(text)) and not DENIES.search(itself["value"] + " "):
        value = plain(_THEN.sub(" ", " " + itself["value"]))
        if readable(value):
            return value
    if not marked and (compared := _compared_value(text, question)):
        return compared
    if not marked and "=" not in text and (asked := _asked_value(text, question)):
        return asked
    led = None if marked else _SUBORDINATE.match(text) or _PARTICIPLE.match(text)
    main = text[led.end() :] if led else text
    behind = _value_behind_copula(main, readable, question, marked=marked)
    if behind is not None:
        return behind
    return _lonely_value(text, readable, question, marked=marked)


_PURPOSE = re.compile(
    r",?\s(?:in order\s)?to\s(?:reach|achieve|ensure|make sure|meet|attain|guarantee|satisfy)\b"
    r"(?:(?!\b(?:is|are|was|were|will|equals?)\b|=)[^.])*\Z",
    re.IGNORECASE,
)
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
    if goal and len(ANY_NUMBER.findall(text[: goal.start()])) == 1 and not _METHOD.search(text[: goal.start()]):
        text = text[: goal.start()]
    if (until := _BEFORE.search(text)) and until["what"].lower() in question.lower():
        text = text[: until.start()] + text[until.end() :]
    return text if ANY_NUMBER.search(text) else sentence


_EQUATION_SPAN = re.compile(r"\$[A-Za-z][\w{}]{0,9}\s?=[^$\n]{1,200}\$")  # $x = 2$, and no two amounts of money
_NOT_BEFORE = re.compile(r"(?:\bnot|n't|\bnever|\bcannot|\bcan not)\s*\Z|(?:没|不|至[少多]|最[少多])\Z", re.IGNORECASE)


def _value_behind_copula(text: str, readable: Readable, question: str, *, marked: bool) -> str | None:
    """Return the value behind the last verb of being that has one; "" if it leaves two open, None without one."""
    spans = [span.span() for span in _EQUATION_SPAN.finditer(text)] if "$" in text else []
    approximated = [span.span() for span in MATH_SPAN.finditer(text)] if "approx" in text or "≈" in text else []
    for copula in reversed([*_COPULA.finditer(text)][-12:]):
        if copula[0].strip() in ("≈", "\\approx") and any(a < copula.start() < b for a, b in approximated):
            continue  # a gloss on the exact value before it
        if len(spans) > 1 and any(start < copula.start() < end for start, end in spans):
            continue  # of one of several formulas, which are one answer
        rest = text[copula.end() :]
        lead = _LEAD.match(rest)
        rest = rest[lead.end() :] if lead else rest.lstrip()
        if not rest:
            continue
        if value := value_of(rest, readable, question, marked=marked):
            before = text[: copula.start()]
            if _NOT_BEFORE.search(before) or _OPEN.search(before):
                return ""
            if not marked and _undecided(value):
                return ""
            return value
        if copula[0].strip() in ("=", "≈") and re.match(r"\s*[-+$\\\d(]", rest):
            return None  # an equation that can't be read: nothing before it is the conclusion
    return None


def _cut_out(match: re.Match[str]) -> str:
    return ", " if match.start() else ""


def _lonely_value(sentence: str, readable: Readable, question: str, *, marked: bool) -> str:
    """Return the one number of a sentence without a verb of being, or the one whose noun the question asks for."""
    if _UNSURE.search(sentence) or _TWO_CASES.search(sentence):
        return ""
    clause = GLOSS.sub(" ", without_contrast(sentence))
    led = _PARTICIPLE.match(clause)
    clause = clause[led.end() :] if led else _SUBORDINATE.sub(_cut_out, clause, count=1)
    clause = _THEN.split(clause)[-1] or clause
    spans = MATH_SPAN.findall(clause)
    if spans:
        return _lonely_span(clause, spans, readable)
    if _METHOD.search(clause) or _UNREAD.search(ANY_NUMBER.sub(" ", clause)):
        return ""
    numbers = _numbers_in(clause, question, marked=marked)
    if len(numbers) > 1 and question:  # what the question gives is no answer to it
        given = set(re.findall(r"\d[\d,]*(?:\.\d+)?", question))
        new = [number for number in numbers if given.isdisjoint(re.findall(r"\d[\d,]*(?:\.\d+)?", number[0]))]
        numbers = new or numbers
    stated = _asked_for(numbers, clause, _asked_noun(question))
    if len(stated) != 1 or (not marked and re.search(r"\bor\b[^,]*\d", clause)):
        return ""
    return stated[0]


_BOUNDS = (  # what makes a bound of a number, and the question whose answer is that bound
    (
        re.compile(r"\bat least\s\Z", re.IGNORECASE),
        re.compile(r"\b(?:minimum|least|fewest|smallest|lowest)\b", re.IGNORECASE),
    ),
    (
        re.compile(r"\b(?:at most|up to)\s\Z", re.IGNORECASE),
        re.compile(r"\b(?:maximum|most|largest|greatest|highest)\b|\bhow (?:many|much)\b[^.?]*\bcan\b", re.IGNORECASE),
    ),
    (re.compile(r"\bby\s\Z", re.IGNORECASE), re.compile(r"\bby how (?:many|much)\b", re.IGNORECASE)),
)


def _asked_bound(before: str, question: str) -> bool:
    """Return whether the words before a number make a bound of it, and that bound is what the question asks for."""
    return any(words.search(before) and asks.search(question) for words, asks in _BOUNDS)


def _numbers_in(clause: str, question: str, *, marked: bool) -> list[tuple[str, bool]]:
    """The numbers of a clause that are neither bounds nor names nor denied, and whether each only stands aside
    ("for 3 months")."""
    numbers, behind = [], 0
    for match in ANY_NUMBER.finditer(clause):
        before = clause[max(0, match.start() - _NEAR) : match.start()]
        if (BEFORE_CHANGES.search(before) and not _asked_bound(before, question)) or DENIES.search(before):
            continue
        if of_another_case(clause[match.end() :], question) or _PAIRED.match(clause[match.end() :]):
            continue
        if _PAIRED_BEFORE.search(before):
            continue
        if DENIED_BEHIND.search(clause[match.end() :]) or (marked and CONDITION_FIRST.match(clause[match.end() :])):
            continue
        if match.start() < behind:  # the minutes of 1 hour 30 minutes
            continue
        if value := number_of(clause[match.start() :]):
            behind = match.start() + len(value) if " and " in value else behind
            numbers.append((value, _ASIDE.search(before) is not None))
    return numbers


_NEAR = 80  # characters before a number that may change it
_PAIRED = re.compile(r"\s(?:and|to)\s[$€£]?\d")  # the sum of 20 and 3
_PAIRED_BEFORE = re.compile(r"\d\s(?:and|to)\s[$€£]?\Z")
_MORE_THAN = r"(?:more|less|fewer|longer|older|younger|taller|farther|further|heavier|faster|cheaper)\b"
_ASKS_DIFFERENCE = re.compile(rf"\bhow (?:many|much)\s(?:\w+\s)?{_MORE_THAN}", re.IGNORECASE)
_DIFFERENCE = re.compile(rf"(?<![\w.,$/])(?P<value>{NUMBER})(?:\s[a-z]+){{0,2}}\s{_MORE_THAN}(?:\s\w+){{0,3}}?\sthan\b")


def _compared_value(sentence: str, question: str) -> str:
    """Return the difference that a question asks for: "3 loaves cost $4 more than 2 bagels"."""
    if "than" not in sentence or not _ASKS_DIFFERENCE.search(question) or _UNSURE.search(sentence):
        return ""
    found = [match for match in _DIFFERENCE.finditer(sentence) if not BEFORE_CHANGES.search(sentence[: match.start()])]
    return found[0]["value"].strip() if len(found) == 1 and not DENIES.search(sentence[: found[0].start()]) else ""


def _asked_value(sentence: str, question: str) -> str:
    """Return the one number of a plain sentence that counts what the question asks for."""
    noun = _asked_noun(question)
    if not noun or noun <= _MONEY_WORDS or MATH_SPAN.search(sentence) or _METHOD.search(sentence):
        return ""
    clause = _SUBORDINATE.sub(_cut_out, GLOSS.sub(" ", sentence), count=1)
    last = _THEN.split(clause)[-1]
    clause = last if ANY_NUMBER.search(last) else clause  # "he had 24 and ate 4, so 20 are left"
    if _UNREAD.search(ANY_NUMBER.sub(" ", clause)):
        return ""
    found = _most_named([value for value, _ in _numbers_in(clause, question, marked=False)], noun)
    return found[0] if len(found) == 1 else ""


def _most_named(values: list[str], noun: frozenset[str]) -> list[str]:
    """Return the values whose label shares most words with what is asked for, none if it shares no word."""
    shared = [len(noun.intersection(word.rstrip("s") for word in value.split())) for value in values]
    most = max(shared, default=0)
    return [value for value, count in zip(values, shared, strict=True) if count == most] if most else []


def _asked_for(numbers: list[tuple[str, bool]], clause: str, noun: frozenset[str]) -> list[str]:
    """Return the numbers that may be what the question asks for; all of them where it names no noun."""
    stated = [value for value, _ in numbers]
    if not noun:
        return stated
    main = [value for value, aside in numbers if not aside]
    stated = main or (stated if len(ANY_NUMBER.findall(clause)) == len(stated) else [])
    if len(stated) > 1:
        named = _most_named(stated, noun)
        stated = named or ([value for value in stated if value[0] in "$€£\\"] if noun & _MONEY_WORDS else [])
    if not stated and not re.search(r"\d", clause):
        words = [match for match in _WORD_NUMBER.finditer(clause) if match[2].lower().rstrip("s") in noun]
        figures = ANY_NUMBER.findall(in_figures(clause))
        words = words if figures == [str(_WORD_NUMBERS[match[1].lower()]) for match in words] else []
        stated = [f"{_WORD_NUMBERS[match[1].lower()]} {match[2]}" for match in words]
    return stated


_ASIDE = re.compile(
    r"\b(?:for|in|after|before|within|during|over|at|on|by|from|with|all|every)\s+(?:the\s+)?\Z", re.IGNORECASE
)
_MONEY_WORDS = frozenset(  # what follows "how much", which is answered by an amount
    re.findall(r"\w+", "money dollar cost price pay spend profit doe did will i wa would")
)
_WORD_NUMBERS = {
    word: value
    for value, word in enumerate(
        re.findall(
            r"\w+", "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
        )
    )
}
_WORD_NUMBER = re.compile(rf"\b({'|'.join(_WORD_NUMBERS)})\s+(?:more\s+|full\s+|whole\s+)?([A-Za-z]+)", re.IGNORECASE)


def _lonely_span(clause: str, spans: list[str], readable: Readable) -> str:
    if len(spans) > 1 or re.search(r"\d", MATH_SPAN.sub("", clause)):
        return ""
    before, span, after = clause.partition(spans[0])
    if BEFORE_CHANGES.search(before.rstrip() + " ") or CHANGERS.match(after) or not harmless(after, marked=True):
        return ""
    return span if readable(span) and not _METHOD.search(before) else ""


_TIMES = frozenset({"second", "minute", "hour", "day", "week", "month", "year"})
_HOW_LONG = re.compile(r"\bhow long\b[^.?]*\?", re.IGNORECASE)
_ASKED_UNIT = re.compile(r"\bin (?:whole |total )?([a-z]{4,})\)?\s*\?", re.IGNORECASE)


@lru_cache(maxsize=1024)
def _asked_noun(question: str) -> frozenset[str]:
    """Return the words behind the last "how many" of a question, without their plural's s."""
    found = _HOW_MANY.findall(question)
    if not found:
        unit = _ASKED_UNIT.findall(question)
        return _TIMES if _HOW_LONG.search(question) else frozenset(word.lower().rstrip("s") for word in unit[-1:])
    words = [word.strip("'-").lower().rstrip("s") for word in found[-1].split()]
    return frozenset(word for word in words[:3] if len(word) > 1 and word not in STOP_WORDS)
