r"""Closing sentences that conclude something other than a number: nothing, infinity, yes or no, a name, a date, a time.

They are looked at only where a text has no mark and its last sentence states no number.
"""

from __future__ import annotations

import re

from proofmill.filters.answers.prose_values import plain
from proofmill.filters.symbolic.dates import date_at_end

_MAX_SENTENCE = 300  # characters
_LEAD = re.compile(
    r"(?:(?:thus|therefore|hence|so|then|finally|in conclusion|as a result|since [^,]{1,80}|we (?:see|find|conclude)"
    r"|it follows|this means)(?: that)?[,:]?\s+)+",
    re.IGNORECASE,
)
_LIMITS = re.compile(
    r"\b(?:other|another|except|besides|but|unless|if|only|when|where|greater|less|more|fewer|outside|than|not|negative"
    r"|positive|maybe|perhaps|yet)\b|\d",
    re.IGNORECASE,
)
_NONE = re.compile(
    r"(?:(?P<subject>[^,.;:]{1,80}?)\s(?:has|have|admits?)|there (?:is|are|exists?))\sno\s"
    r"(?P<kind>(?:[a-z-]+\s){0,2})(?P<noun>solutions?|roots?|zeros?|values?|numbers?|integers?|pairs?|[a-z])"
    r"(?P<tail>\s(?:to|for|of|that|which|satisfying|in)\b[^,.;:]{1,80})?\Z",
    re.IGNORECASE,
)
_EQUATION = re.compile(r"[^\s=]{1,20}\s?=\s?[^\s=]{1,20}")
_NO_SOLUTION = re.compile(r"no (?:real )?solutions?\Z", re.IGNORECASE)
_HOW_MANY = re.compile(r"\bhow many\b|\bnumber of\b", re.IGNORECASE)
_PLAIN_KINDS = frozenset({"real", "such", "valid", "possible", "real-valued"})
_STATE = re.compile(
    r"(?:[^,.;:]{1,120}?\s(?:is|are|equals?|(?:diverges?|tends?|goes) to"
    r"|grows? (?:without bound )?to|approaches)\s)?"
    r"(?P<state>(?:(?:positive|negative|minus|plus) )?infinity|[-+−]?∞|undefined|infinite|(?:the )?empty(?: set)?"
    r"|all real numbers|any real number)\Z",
    re.IGNORECASE,
)
_MISSING = re.compile(r"[^,.;:]{1,120}?\s(?P<state>does not exist|doesn't exist|is not defined)\Z", re.IGNORECASE)
_ENDLESS = re.compile(
    r"[^,.;:]{0,80}?\b(?:has|have|there (?:is|are)) (?P<state>infinitely many)(?: \w+){0,2}\Z", re.IGNORECASE
)
_WEEKDAY = re.compile(
    r"(?:[^,.;:?]{1,120}?\s(?:is|was|be|falls|fell)\s)?on (?:an? )?"
    r"(?P<day>(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day)\Z",
    re.IGNORECASE,
)
_DOTTED = re.compile(r"(?<=\d)\.(?=\d)")
_CLOCK = re.compile(
    r"(?:[^\d]{1,120}?(?:\s|(?=在)))?(?:(?:at|is|by|be|until|was|um|à|a las|alle|às|kl\.?|om|в)\s|在)"
    r"(?P<time>\d{1,2}(?::|h| h |\.(?=\d\d Uhr))[0-5]\d(?:\s?[ap]\.?\s?m\b\.?)?)"
    r"(?:到达)?(?: (?:Uhr|uur|heures?|horas?|o'clock))?(?: (?:an|ab|aan))?"
    r"(?P<half> in the (?:morning|afternoon|evening))?\Z",
    re.IGNORECASE,
)
_CALCULATED = re.compile(r"\A[\d:+\s=]{9,60},\s(?:so|thus|hence)\s")  # 7:50 + 1:55 = 9:45, so it ends at …
_BOUND = re.compile(
    r"(?:.{0,80}\b(?:all )?(?:real )?(?:numbers?|values?)(?: of [a-z])?|.{0,80}?(?<![A-Za-z])\$?(?P<letter>[a-z])\$?)\s"
    r"(?:(?:that are|is|are|must be|has to be|can be)\s)?(?:(?P<side>greater|larger|more|bigger|less|smaller) than "
    r"(?P<equal>or equal to )?|(?P<least>at (?:least|most)) )\$?(?P<end>-?[\d./]+)\$?\Z",
    re.IGNORECASE,
)
_ASKS_BOUND = re.compile(r"[<>≤≥]|\\(?:le|ge|lt|gt)|\b(?:inequalit\w+|range|domain|interval)\b", re.IGNORECASE)
_ASKS_NAME = re.compile(
    r"\b(?:who|whose|whom|which|what (?:day|month|colou?r|name|shape|kind|type|letter))\b", re.IGNORECASE
)
_NAME = r"[A-Z][a-z]+(?: [A-Z][a-z]+)?"
_IS_NAME = re.compile(
    rf"(?:[^,.;:?]{{1,120}}\s(?:is|was|are|on)|[A-Za-z ]{{1,40}}:)\s(?:the |an? )?(?P<name>{_NAME})\Z"
)
_IT_IS_WHO = re.compile(
    rf"(?:.{{0,120}},\s(?:so\s)?)?it\s(?:is|was)\s(?P<name>{_NAME})\swho\s(?P<rest>[^,]{{3,120}})", re.IGNORECASE
)
_REASON_BEHIND = re.compile(r",?\s(?:since|because)\b.*\Z", re.DOTALL)
_IS_TRUE = re.compile(
    r"(?:the (?:given )?(?:statement|claim|assertion|proposition)|it|this|that)(?: given)? is (?:indeed |therefore )?"
    r"(?P<truth>true|false)\Z",
    re.IGNORECASE,
)
_OPEN = re.compile(r"\b(?:not|n't|never|or|maybe|perhaps|if|unless)\b", re.IGNORECASE)
_DENIES = re.compile(r"\b(?:not|n't|never|nor|neither|or|maybe|perhaps|probably|possibly|either)\b", re.IGNORECASE)
_ASKS_WHETHER = re.compile(
    r"(?:\A|[.!?:,]\s+)(?:is|are|was|were|does|do|did|can|could|will|would|has|have|should)\s[^?]{1,300}\?"
    r"|\byes or no\b|\byes/no\b|\bwhether\b|\btrue or false\b|\btrue/false\b",
    re.IGNORECASE,
)
_YES = "yes|true|ja|oui|sí|sì|sim|да|是的?|对"
_NO = "no|false|nein|non|não|нет|nee|不是|不对|否"
_YES_OR_NO = re.compile(  # "Yes, it is prime.", "Nein, denn 91 = 7 · 13"
    rf"[*_ ]{{0,4}}(?P<word>{_YES}|{_NO})[*_]{{0,2}}"
    r"(?:[,.:!;，。：]|\s[-–—]|\s(?=(?:because|since|as)\b))[*_]{0,2}\s?"
    r"(?!(?:and|or|but|wait|maybe|perhaps|no|yes|not\sreally|moment|doch|pardon|attend\w+|espera|aspetta|или|或)\b)"
    r"(?![^\n]*\b(?:but|however|wait|maybe|perhaps|actually|unless|if|aber|mais|pero|ma|mas|но|wenn)\b)"
    r"(?P<rest>[^\n?]{1,300})\Z",
    re.IGNORECASE,
)
_WORD_ALONE = re.compile(  # 221 = 13 × 17, so it isn't prime: **no**
    r"\*\*(?P<bold>yes|no)[.!,]?\*\*|(?:[:–—]|,\sso)\s(?P<last>yes|no)[.!*]{0,3}\Z", re.IGNORECASE
)
_WAVERS = re.compile(r"\b(?:but|however|wait|maybe|perhaps|unless|if|or|not\ssure|say|says|answer\w*)\b", re.IGNORECASE)
_OPPOSITE = {
    False: re.compile(rf"(?<![^\W_])(?:{_YES})(?![^\W_])", re.IGNORECASE),
    True: re.compile(r"\banswer\sis\sno\b|(?<![^\W_])(?:nein|нет)(?![^\W_])", re.IGNORECASE),
}
_ENGLISH = frozenset({"yes", "no", "true", "false"})
_ASKS_WHAT = re.compile(
    r"\b(?:wie|was|welche[rsnm]?|wer|wann|wo|combien|quel\w*|qui|quoi|cuán\w+|qué|cuál\w*|quién|quant[oiae]|qual\w*|chi"
    r"|сколько|како\w+|какая|кто|что|hoeveel|welke|what|which|who|how)\b|多少|几|什么|哪|谁|何|いくつ",
    re.IGNORECASE,
)
WEEKDAY = r"(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day"
_ASKS_WEEKDAY = re.compile(r"\b(?:weekday|(?:what|which)\sday(?!s))\b|\bday\sof\sthe\sweek\b", re.IGNORECASE)
_LAST_WEEKDAY = re.compile(
    rf"(?<!before )(?<!after )(?<!but )(?<!except )(?<!than )(?<!from )(?<!until )(?<!since )\b({WEEKDAY})\W*\Z"
)


def closing_weekday(sentence: str, question: str) -> str:
    """Return the weekday with which a closing sentence ends, where a question asks for one."""
    match = _LAST_WEEKDAY.search(sentence) if _ASKS_WEEKDAY.search(question) else None
    return "" if match is None or _DENIES.search(sentence) else match[1]


_ASKED_FACT = re.compile(  # Is 1001 divisible by 13?
    r"(?:\A|[.!?:,]\s+)(?:Is|Are|Was|Were)\s(?P<asked>[^?,.]{3,120})\?", re.IGNORECASE
)
_FACT_WORD = re.compile(r"[a-z]{3,}|\d+|\\[a-z]+", re.IGNORECASE)
_NO_FACT = re.compile(r"\b(?:not|n't|never|no|neither|nor)\b")
_UNSURE_FACT = re.compile(r"\b(?:if|whether|maybe|perhaps|would|might|could|may|or)\b|\?", re.IGNORECASE)


def stated_fact(line: str, question: str) -> str:
    """Return "Yes" or "No" where a last sentence says of what a question asks whether it is that it is, or is not.

    All words of the question stand in its main clause, in their order.
    """
    asked = list(_ASKED_FACT.finditer(question[-_MAX_SENTENCE:]))
    sentence = _LAST_SENTENCE.split(plain(line))[-1] if asked else ""
    clause = _REASON_FIRST.sub("", _SO_CLAUSE.split(_REASON_BEHIND.sub("", sentence))[-1])
    if not asked or len(clause) > _MAX_SENTENCE or _UNSURE_FACT.search(clause) or " is " not in f" {clause} ":
        return ""
    said = iter(_FACT_WORD.findall(clause.lower()))
    if not all(word in said for word in _FACT_WORD.findall(asked[-1]["asked"].lower())):
        return ""
    return "No" if _NO_FACT.search(clause) else "Yes"


_LAST_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z\d])")
_REASON_FIRST = re.compile(r"\A(?:because|since|as)\s[^,]{1,120},\s", re.IGNORECASE)


def yes_or_no(line: str, question: str) -> str:
    """Return the yes or no with which a last line answers; "" where it does not, or may count something."""
    match = _YES_OR_NO.match(line)
    if match is None and _ASKS_WHETHER.search(question):
        return _word_alone(line)
    if match is None or _OPPOSITE[re.fullmatch(_YES, match["word"], re.IGNORECASE) is not None].search(match["rest"]):
        return ""
    if match["word"].lower() in _ENGLISH and not re.search(r"[\d\\$]", line):
        return match["word"]
    asks = _ASKS_WHETHER.search(question) or (
        "?" in question[-200:].replace("？", "?") and not _ASKS_WHAT.search(question)
    )
    return match["word"] if asks else ""


_BOXED_SENTENCE = re.compile(
    r"\\(?:text|mathrm|textbf)\s?\{\s?(?P<said>[A-Za-z][A-Za-z' ]{2,80}?)"
    r"\s(?:is|are|equals)\s?:?\s*\}\s*(?P<value>\S.{0,80}?)\s?\.?\Z"
)
_SENTENCE_IN_BOX = re.compile(
    r"\\(?:text|mathrm|textbf)\s?\{\s?(?P<said>[A-Za-z][A-Za-z' ]{2,80}?)"
    r"\s(?:is|are|equals)\s(?P<value>[-−$]?\d[\d.,/]*)\s?\.?\}\.?\Z"
)
_GENERAL = frozenset(
    re.findall(
        r"\w+", "therefore thus hence answer final value result number solution required correct total that there"
    )
)
_UNCERTAIN = re.compile(r"\b(?:not|never|neither|no|if|maybe|perhaps|possibly|wrong|incorrect)\b|n't", re.IGNORECASE)
_REMAINDER = re.compile(
    r"(?P<quotient>-?\d+)[\s,;]*(?:with\s|and\s|mit\s|con\s|avec\s|com\s)?(?:an?\s|un\s)?"
    r"(?:R|r|[Rr]em\.?|[Rr]emainder|[Rr]est|reste|resto|[Oo]ст\.?|остаток)(?:\sof|\sde)?[\s:=]*(?P<remainder>\d+)\.?"
)
_PAIR = re.compile(r"\(?(?P<quotient>-?\d+),\s?(?P<remainder>\d+)\)?")
_IN_TEXT = re.compile(r"\\(?:text|mathrm|mbox)\s?\{([^{}]*)\}|\\[,;: ]|\$")
_AGREES = frozenset(_YES.replace("?", "").split("|")) - {"true"} | {"是"}
_DISAGREES = frozenset(_NO.split("|")) - {"false"}


def boxed_statement(answer: str, question: str) -> str:
    r"""Return the value of a sentence in a box: 5 of `\text{The remainder is } 5.`; "" for any other content.

    What it says the value of must be a word of the question, or a general one.
    """
    match = _BOXED_SENTENCE.match(answer) or _SENTENCE_IN_BOX.match(answer)
    if match is None or _UNCERTAIN.search(match["said"]):
        return ""
    words = set(re.findall(r"[a-z]{4,}", match["said"].lower())) - _GENERAL
    return match["value"] if all(word in question.lower() for word in words) else ""


def in_words_of(answer: str, gold: str, question: str) -> str:
    """Return an answer in other words as gold has it: "Nein" as "No", "9 R 2" as "9 remainder 2"; "" for any other."""
    said, meant = answer.strip(" .!*").lower(), gold.strip(" .!*").lower()
    for words in (_AGREES, _DISAGREES):
        if meant in words and said in words:
            return gold
    if not any(sign.isdigit() for sign in said) or "r" not in (answer + gold).lower():
        return ""
    stated, wanted = _quotient(answer, question), _quotient(gold, question)
    if stated is None or wanted is None or stated.re is wanted.re is _PAIR:
        return ""
    if stated.groups() == wanted.groups():
        return gold
    return rf"\text{{quotient}} = {stated['quotient']}, \text{{remainder}} = {stated['remainder']}"  # an order counts


def _quotient(text: str, question: str) -> re.Match[str] | None:
    """Return a quotient with its remainder: "9 R 2", or a pair where a question asks for a remainder."""
    plain_text = _IN_TEXT.sub(r" \1 ", text).strip()
    return _REMAINDER.fullmatch(plain_text) or (_PAIR.fullmatch(plain_text) if "emainder" in question else None)


def _word_alone(line: str) -> str:
    """Return the one yes or no that stands in bold type in a last line, or behind a colon at its end."""
    found = {(match["bold"] or match["last"]).lower() for match in _WORD_ALONE.finditer(line)}
    return found.pop() if len(found) == 1 and not _WAVERS.search(line) and not line.rstrip().endswith("?") else ""


def worded_value(sentence: str, question: str) -> str:
    """Return what a closing sentence concludes in words, as an answer is written; "" where it concludes nothing."""
    text = plain(sentence)
    if not text or len(text) > _MAX_SENTENCE or text.endswith(("?", "？")):
        return ""
    if lead := _LEAD.match(text):
        text = text[lead.end() :]
    if date := date_at_end(text):
        return date
    if match := _WEEKDAY.match(text):
        return match["day"]
    clause = _SO_CLAUSE.split(text)[-1]
    if (match := _CLOCK.match(text) or _CLOCK.match(_CALCULATED.sub("", text)) or _CLOCK.match(clause)) is not None:
        half = {"m": "am", "a": "pm", "e": "pm"}[match["half"][8]] if match["half"] else ""
        return f"{_DOTTED.sub(':', match['time'])} {half}".strip()
    if (match := _IS_TRUE.match(text)) and _ASKS_WHETHER.search(question):
        return match["truth"]
    nothing = _nothing(text, question) or _nothing(clause, question)
    return nothing or _state(text) or _state(clause) or _bound(text, question) or _name(text, question)


def _bound(text: str, question: str) -> str:
    """Return the inequality that a sentence says in words, where a question asks for one: "x is greater than 4"."""
    match = _BOUND.match(text) if _ASKS_BOUND.search(question) and not _DENIES.search(text) else None
    if match is None:
        return ""
    upper = match["least"].lower() == "at most" if match["least"] else match["side"].lower() in ("less", "smaller")
    sign = ("<" if upper else ">") + ("=" if match["least"] or match["equal"] else "")
    return f"{match['letter'] or 'x'} {sign} {match['end']}"


def _nothing(text: str, question: str) -> str:
    """Return "no solution" for a sentence that says so of all that the question asks for; 0 if that counts them."""
    if _NO_SOLUTION.match(text):
        return "no solution"
    match = _NONE.match(text)
    if (
        match is None
        or _LIMITS.search(_EQUATION.sub("", match["subject"] or ""))
        or _LIMITS.search(match["tail"] or "")
    ):
        return ""
    words = question.lower()
    if any(kind not in _PLAIN_KINDS and kind not in words for kind in match["kind"].lower().split()):
        return ""
    return "0" if _HOW_MANY.search(question) else "no solution"


def _state(text: str) -> str:
    match = _STATE.match(text) or _MISSING.match(text) or _ENDLESS.match(text)
    if match is None or _OPEN.search(text, 0, match.start("state")):
        return ""
    state = match["state"].lower()
    return {"doesn't exist": "does not exist", "is not defined": "not defined"}.get(state, state)


def _name(text: str, question: str) -> str:
    """Return the name with which a sentence answers who or which: "Evelyn won the race", "The winner is Evelyn"."""
    if not _ASKS_NAME.search(question) or _DENIES.search(text):
        return ""
    if re.fullmatch(rf"{_NAME}|[a-z]{{3,20}}", text):
        return text
    if who := _IT_IS_WHO.match(text):  # it is Priya who is the oldest, and …
        text = f"{who['name']} {who['rest']}"
    if match := _IS_NAME.match(_REASON_BEHIND.sub("", text)):
        return match["name"]
    return _of_predicate(text, question)


_NOUN = r"(?:(?:the|an?)\s)?(?P<noun>[a-z]{3,20})"
_SUBJECT_FIRST = re.compile(rf"(?:(?P<name>{_NAME})|{_NOUN})\s(?P<rest>[a-z][^.:?]{{2,200}})\Z")
_CLAUSE_BEHIND = re.compile(
    r",\s(?:and|while|whereas|since|because|as|with|followed)\b.*|\s(?:since|because)\b.*", re.DOTALL
)
_GROUP_BEHIND = re.compile(r"\s(?:of|among|out of)\s(?:the|all|them|these|those)\b.*", re.DOTALL)
_COMPARED_WITH = re.compile(r"\sthan\s(?:the\s)?[A-Z]\w+.*|,?\sby\s\$?\d.*", re.DOTALL)
_AMOUNT = re.compile(r"\s\$?\d[\d.,/]*(?:\s[a-z]{1,10})?(?=\s(?:more\b|less\b|[a-z]{2,}er\b))")
_SO_CLAUSE = re.compile(r",\s(?:so|thus|hence|therefore)\s")
_UNDER = re.compile(r"\b(?:if|when|given|because|since|assuming)\b")
_WHO = re.compile(r"\b(?:who|whose|which|what)\b(?P<asked>[^?]{3,300})\?", re.IGNORECASE)


def _of_predicate(text: str, question: str) -> str:
    """Return the name of whom a sentence says what the question asks: "Finn is the youngest", "Evelyn won the race"."""
    asked = list(_WHO.finditer(question))
    clause = _AMOUNT.sub("", _COMPARED_WITH.sub("", _SO_CLAUSE.split(text)[-1]))
    match = _SUBJECT_FIRST.match(clause)
    if match is None or not asked:
        return ""
    said = _GROUP_BEHIND.sub("", _CLAUSE_BEHIND.sub("", match["rest"])).lower().split()
    name = match["name"] or match["noun"]
    wanted = _UNDER.split(asked[-1]["asked"].lower())[0]
    known = re.search(rf"\b{re.escape(name)}\b", question) is not None
    if match["name"] and said and said[0] not in ("is", "was") and wanted.strip().startswith(" ".join(said)):
        return name
    fits = len(said) > 1 and f" {' '.join(said)} " in f" {' '.join(re.findall(r'[^ ,;]+', wanted))} "
    return name if fits and known else ""
