"""STEM multiple choice: the option that a trace concludes with, by letter, by text, or by both.

`Problem.info["options"]` is a list of texts or a mapping of label to text; the gold is a label, an option's
text, or a 0-based index, tried in this order. Without options the gold must be a letter or a digit. What a text
concludes is found as for every domain (`answers.conclusion`, and `answers.options` for the few answers that there
are); here stands what names an option in words. Policy:

- An option is named between answer tags, in `\\boxed{}`, under the answer key of a JSON object, behind `【答案】`, in a
  statement ("the answer is …", "option B is correct", in a dozen languages), or by a final line that is nothing but an
  answer. Several marks that agree are one.
- Letter and text that disagree are `wrong`, detail `contradiction`.
- One statement that names several options is `wrong`, detail `several_options`.
- A last box or tag that names no option is `wrong`, detail `no_option`.
- Marks that contradict each other are `unparsed`, detail `several_answers`; a statement that is taken back right
  behind it ("no, wait") is `unparsed`, detail `taken_back`.
- Where the prompt asks for tags or JSON, nothing said in words counts: `unparsed`, detail `not_tagged` or `not_json`.
- A value written in another way than the option's text is compared as mathematics: `0.5` names `\\frac12`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from proofmill.filters.answers.conclusion import conclude
from proofmill.filters.answers.endings import TAIL, sentence_start
from proofmill.filters.answers.hedging import asks_faulty, denied, hypothetical, negated, revises
from proofmill.filters.answers.marks import Mark, asked_form, asked_tag
from proofmill.filters.answers.reader import Reader
from proofmill.filters.multiple_choice import Choices, by_order, in_latin_labels, normalise, parse_options
from proofmill.filters.option_lists import CONCLUDES_ON, signed
from proofmill.filters.symbolic.number_words import in_figures
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

_STATED = re.compile(
    r"(?:\b(?:answer|option|choice|solution|(?:the|correct|right|best|my)\sletter|the\sone|my\s(?:pick|(?:best\s)?guess|selection))\b"
    r"(?:\s(?:choice|option|letter|here|to\s(?:(?:the|this)\s)?\w{1,20}(?:\s\d{1,3})?"
    r"|(?:that|which|I)\s\w{1,15}(?:\s\w{1,15})?))?[* \t]{0,3}"
    r"(?:(?:is|would\sbe|must\sbe|should\sbe)(?:\s(?:therefore|clearly|indeed|then|thus|simply|just|definitely|hence)\b)?"
    r"|:|=|[-–—](?=\s))|\bans\s?[.:]|\b(?:I(?:['’](?:ll|d|m)|\swill|\swould|\sam)?|let['’]s)\s(?:choose|pick|select|go(?:ing)?\swith)\b"
    r"|(?<!not\s)(?<!n['’]t\s)(?<!never\s)\b(?:chang|revis|switch|correct)(?:e|es|ed|ing)?\s(?:my|the)\s(?:final\s)?answer\s(?:\w+\s[A-Z]\s)?to\b"
    r"|\b(?:I(?:['’](?:ll|d|m)|\swill|\swould|\sam)?\s(?:guess|say|bet\son|answer|lean(?:ing)?\s(?:towards?|to)))"
    r"(?=\s(?:option\s|it['’]s\s|that\sit['’]s\s)?[(*]{0,3}[A-Z][)*]{0,3}(?:[.,;]|\s*$))"
    r"|(?:^|(?<=[.!?]\s))[*\s]{0,4}(?:select|choose|pick|mark|correct\s?:)(?=\s)"
    r"|\b(?:so|thus|therefore|hence),?\sit(?:['’]s|\sis|\smust\sbe)"
    r"(?=\s[*(]{0,3}[A-Z][*)]{0,3}(?:[.,;]?\s{0,3}$|[.,;]\s|\s(?:because|since|as)\b))"
    r"|(?:答案(?=选)|正确的?(?:选项|答案)?|符合(?:题意|要求)的(?:选项)?|选项)(?:选项|选择)?\s?(?:应该?|应当)?(?:是|为|选|[:：])|答\s?[:：]"
    r"|(?:^|(?<=[\s,，.。;；:：*（(])|(?<![不非别勿没])(?:故|所以|因此|应该?|本题|此题|我))选择?(?![项择])"
    r"|(?:^|\bQ:[^\n]{0,300}\s)A:(?=\s?[(*]{0,3}[A-Z][)*]{0,3}\.?\s{0,3}$)"
    r"|\b(?:opción|option|opção|opzione|alternativa|letra|lettre|lettera|buchstabe)\s(?:\w{3,12}\s)?(?:es|est|ist|è|é)\s"
    r"(?:(?:la|el|le|l'|die|der|das|a|o)\s)?(?:(?:opción|option|opção|opzione|letra|lettre|lettera|buchstabe)\s)?"
    r"|\b(?:opción|option|opção|opzione|alternativa|proposition)\s(?:correct[ae]|correta|corretta|giusta|certa|juste)\s?[:：]\s?"
    r"(?:(?:letra|lettre|lettera)\s)?)",
    re.IGNORECASE | re.MULTILINE,
)
_CALLED = re.compile(
    r"^[-*•\s]{0,6}\(?([A-Z])[).:]\s[^\n]{0,200}?(?:→|->|⇒|=>|—|–|\s-|\()\s?(?:this\sis\s)?(?:the\s)?correct"
    r"(?:\s(?:answer|option|choice|one))?\W{0,4}$|"
    r"(?<![A-Za-z])([A-Z]|\d(?=\s(?:is|as)\b))[)*\]]{0,3}\s(?:is|as)\s(?:(?:the|our|my)\s)?(?:only\s)?(?:correct|right|best|answer)\b"
    r"(?:\s(?:answer|option|choice|one|letter)\b)?(?!\s(?:only|if|when|unless|except|but|side|hand|angle)\b|,?\sor\s)"
    r"|(?:^|(?<=[.!?–—-]\s))[*\s]{0,4}(?:(?:Also|Donc|Portanto|Quindi|Por\stanto|Luego),?\s)?(?:"
    r"(?:[Rr]ichtig|[Kk]orrekt)\sist\s(?:(?:die|nur|also|daher|somit|demnach)\s)?(?:Antwort|Option|Lösung)\s([A-Z])(?![\w'’])"
    r"|(?:Also|Somit|Daher|Folglich|Damit|Demnach)\sist\s(?:(?:die\s)?(?:Antwort|Option|Lösung)\s)?([A-Z])\s(?:richtig|korrekt)\b"
    r"|C['’]est\s(?:donc\s)?la\s(?:réponse|lettre|proposition|option)\s([A-Z])(?![\w'’])|Es\sist\s(?:also|daher|somit)\s([A-Z])(?![\w'’])"
    r"|Es\sla\s(?:opción\s|letra\s|respuesta\s)?([A-Z])(?![\w'’])"
    r"|(?:(?:[Ll]a|[Dd]ie|[Aa])\s)?(?:[Rr]éponse|[Oo]ption|[Rr]espuesta|[Oo]pción|[Rr]esposta|[Oo]pção|[Rr]isposta|[Oo]pzione|Antwort|Lösung)"
    r"\s([A-Z])\s(?:est|es|è|é|ist)\s(?:(?:la|a|die)\s)?(?:bonne|juste|correct[ea]|corret[at]a|corretta|giusta|richtig|korrekt)\b)"
    r"(?=\s?[*]{0,2}(?:[.!]|$|,?\s(?:weil|denn|da|car|parce|puisque|porque|pois|perché|ya\sque)\b))"
    r"|(?<![A-Za-z])([A-Z])\sit\sis\b|(?<![A-Za-z])([A-Z])\s(?:est\s(?:donc\s)?la\s(?:bonne\s)?réponse|es\s(?:entonces\s)?la\s(?:respuesta|opción)|ist\s(?:(?:also|daher|somit)\s)?(?:richtig|die\srichtige)"
    r"|è\sla\srisposta|é\sa\sresposta)\b"
    r"|\b(?:[Пп]равильн|[Вв]ерн)\w{2,3}\s(?:ответ|вариант)\s([A-Z])(?![\w'’])|\b[Dd]oğru\scevap\s([A-Z])['’]?d[iı]r\b"
    r"|(?:只有|唯有)?(?:选项|答案)?\s?(?<![A-Za-z])([A-Z])\s?(?:选项|项)?\s?(?:是|为|才是)?(?:唯一)?"
    r"(?:正确(?:的|答案|选项)?|对的|最合适的?|最佳答案|符合题意)",
    re.MULTILINE,
)
_FITS = re.compile(
    r"\b(?:(?:is|matches|corresponds\s(?:to|with)|fits|agrees\swith|points\sto|only)\s(?:option|choice|answer)"
    r"|(?:leaves|left\swith)(?:\s(?:us\swith|only|option|choice)){0,2})\s[(\[*]{0,3}([A-Z])\b"
    r"(?!['’^=+/])",
    re.IGNORECASE,
)
_ONLY = re.compile(  # "Only C is a noble gas"
    r"\b[Oo]nly\s(?:option\s|\w{1,20}\s(?=\())?[(*]{0,3}([A-Z])[)*]{0,3}\s"
    r"(?:is|are|has|satisfies|fits|works|meets|matches|holds|remains|survives|qualifies)\b(?!\sto\b)"
    r"(?!\s(?:wrong|incorrect|false|invalid|excluded|eliminated|ruled|impossible))"
)
_NAMED = re.compile(r"\b(?:is|are|as|of|be|was|to|would)[\s:*]{1,4}\(?([A-Z])[).:,]{1,2}\*{0,2}\s(?=([^\n]{1,300}))")
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
_JOINED = re.compile(
    r"(?:\b(?:and|or|nor|neither|not|than|both|except|besides|without|(?:all|any\w{0,5}|every\w{0,5})\s(?:options?\s)?but)\s(?:option\s)?|[和与及或、]|\b[A-Z]\s?[,，]\s?)[(\[*]{0,3}\Z",
    re.IGNORECASE,
)
_BUT_IS = re.compile(
    r"\b(?:but|however|although|though)\b[^\n]{0,300}?\b(?:is|be|are)\s(?:actually\s|really\s)?(?:option\s)?[(\[]?([A-Z])[)\]]?"
    r"(?=[,.;:]|\s(?:as|because|since|for)\b|\s?$|\s[\"“])"
)
_PLACEHOLDER = re.compile(r"(?:[g-z]|[Xx?_.…]{0,5}|letter|answer|your\s(?:final\s)?answer|option)")
_LISTED = re.compile(r"[ \t>*-]{0,6}[(\[]?(\w{1,2})[).:\]](?=\s|\*)")
_SENTENCE_END = re.compile(r"[.!?](?=\s{1,4}[A-Z¿¡]|\s{0,4}$)|$")
_OPENERS = re.compile(
    r"[*:：,\s}]{0,6}(?:(?:therefore|clearly|indeed|then|thus|simply|just|definitely|hence|donc|alors|ainsi"
    r"|par conséquent|por lo tanto|por tanto|entonces|portanto|então|assim|also|daher|somit|folglich|damit|demnach"
    r"|quindi|dunque|pertanto|dus|więc|zatem|alltså|следовательно|значит)\b[*:,\s]{0,6})?"
    r"(?-i:(?:la|el|le|die|der|das|a|o)\s(?=(?:[a-zß-ÿ]{4,12}\s)?[(*]{0,3}[A-Z]\b))?"
    r"(?:(?:opción|option|opção|opzione|alternativa|proposition|letra|lettre|lettera|buchstabe|réponse|respuesta|resposta"
    r"|risposta|antwort|вариант)\s(?=[(*]{0,3}(?:[A-Z]\b|[a-z]\))))?",
    re.IGNORECASE,
)
_OF_LABEL = re.compile(r"\A([A-Z])の(?=\w)")  # 正解はAの酸素です
_EITHER_ABROAD = re.compile(  # C ou la D
    r"(?<![A-Za-z])[A-Z]\s(?:ou|o|oder|oppure|или|of|eller|lub|veya)\s(?:(?:la|le|el|die|der|das|a|o)\s)?[A-Z](?![\w'’])"
)
_LETTERS = parse_options([""] * 26)  # for questions whose options stand in the prompt only
_DIGITS = parse_options({str(number): "" for number in range(1, 10)})
_LINE = 300  # characters of a line that are read


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
    return found if found.verdict != WRONG or faulty else found._replace(verdict=ERROR, detail=NO_GOLD)


def _decide(choices: Choices, gold: str, text: str, prompt: str) -> Verdict:
    said = _Said(choices, prompt)
    text = text if text.isascii() else in_latin_labels(text, prompt)
    form, tag = asked_form(prompt), asked_tag(prompt)
    found = conclude(text, Reader(bool, said.key, prompt, form, tag, prompt=prompt, options=said))
    if not found.text:
        return Verdict(UNPARSED, detail=found.rule, final_start=found.start)
    reading = choices.read(found.text, whole=False)
    end = _SENTENCE_END.search(found.text) if found.rule in ("answer_is", "stated") else None
    extracted = (found.text[: end.start()] if end else found.text).strip()[:200]
    cause = found.rule
    if reading.contradiction or len(reading.labels) > 1:
        cause = "contradiction" if reading.contradiction else "several_options"
    elif not reading.labels:
        cause = "no_option"
    right = cause == found.rule and reading.labels[0] == gold
    return Verdict(CORRECT if right else WRONG, extracted, cause, final_start=found.start)


@dataclass(frozen=True)
class _Said:
    """What names one of a question's options, for `answers.options`."""

    choices: Choices
    question: str = ""

    def named(self, phrase: str) -> tuple[str, ...]:
        return self.choices.read(phrase, whole=False).labels

    def key(self, phrase: str) -> tuple[str, ...]:
        return self.named(phrase) or (phrase,)

    def placeholder(self, phrase: str) -> bool:
        return _PLACEHOLDER.fullmatch(phrase.strip()) is not None

    def statement(self, text: str, mark: Mark) -> Mark | None:
        opener = _OPENERS.match(text, mark.end)
        start = mark.end if opener is None else opener.end()
        line = text[start : start + _LINE].partition("\n")[0]
        if (of := _OF_LABEL.match(line)) and self.choices.owns(of[1], line[of.end() :]):
            line = of[1]
        if not self.named(line) and not text.startswith("【", mark.start):
            return None
        end = _SENTENCE_END.search(line)
        length = end.start() if end else len(line)
        if _EITHER_ABROAD.search(line, 0, length):
            return None
        return None if line.startswith("?", length) else mark._replace(phrase=line, end=start + length)

    def stated(self, text: str) -> Iterator[Mark]:
        for match in _STATED.finditer(text, max(0, len(text) - TAIL)):
            yield Mark("stated", "", match.start(), match.end())

    def goes_on(self, text: str, last: Mark) -> bool:
        return any(self.choices.owns(label, text[last.end : last.end + 500]) for label in self.named(last.phrase))

    def another(self, text: str, last: Mark) -> bool:
        """Return whether the sentence goes on to another option: "The answer is (B), but the correct one is (H)"."""
        rest = text[last.start : last.start + 500].partition("\n")[0].partition(",")[2].strip()
        other = _BUT_IS.search(rest)
        return other is not None and other[1] in self.choices.labels and (other[1],) != self.named(last.phrase)

    def closing(self, text: str, behind: int | None) -> list[Mark]:
        """Return what a text says behind its last mark, or all that it says where it has none.

        Behind a mark, that something is correct may be part of the explanation: it must be called an option, or
        follow a word that corrects.
        """
        found = list(_called(self.choices, text, behind))
        if found or behind is not None:
            return found or list(_final_line(self.choices, text, behind or 0))
        rules = (_named, _fits, by_order, _final_line, _opening_line)
        marks = list(_only_one(self.choices, text, self.question)) or list(signed(self.choices, text, self.question))
        marks = marks or next((marks for rule in rules if (marks := list(rule(self.choices, text)))), [])
        return marks or list(_in_sentence(self.choices, text, self.question))


def _called(choices: Choices, text: str, behind: int | None) -> Iterator[Mark]:
    for match in _CALLED.finditer(text, max(0, len(text) - TAIL, behind or 0)):
        label = next(filter(None, match.groups()))
        before = text[max(0, match.start() - 30) : match.start()]
        if label not in choices.labels or _JOINED.search(before) or denied(text, match.start()):  # "neither C is"
            continue
        option = re.search(r"(?:\b(?:option|choice|answer)\s|选项\s?)[(\[*]{0,3}\Z", before, re.IGNORECASE)
        if behind is None or option or match[0].startswith("选项") or revises(text[behind : match.start()]):
            yield Mark("called", label, match.start(), match.end())


def _fits(choices: Choices, text: str) -> Iterator[Mark]:
    """Yield marks in the last paragraph: "… which is option C", "only option C fits"."""
    start = text.rstrip().rfind("\n") + 1
    for pattern in (_FITS, _ONLY):
        for match in pattern.finditer(text, max(start, len(text) - TAIL)):
            around = text[max(start, match.start() - 30) : match.end() + 15]
            if match[1] in choices.labels and not negated(around) and not denied(text, match.start()):
                yield Mark("named", match[1], match.start(), match.end())


_ONLY_ONE = re.compile(
    r"(?:(?:\b[Oo]ption|\b[Cc]hoice|\b[Aa]nswer)\s)?(?<![A-Za-z])[(*]{0,3}(?P<label>[A-Z])[)*]{0,3}\s(?:is|was)\s(?:therefore\s)?the\sonly"
    r"\s(?:one|option|choice|answer|statement|candidate)\s(?:that|which|to|with|left|in\swhich)(?P<said>[^.\n]{0,200})"
    r"|\b[Tt]he\sonly\s(?:one|option|choice|answer|statement)\s(?:that|which|to|with|left)(?P<told>[^.\n]{0,200}?)\s(?:is|was)\s(?:option\s)?"
    r"[(*]{0,3}(?P<behind>[A-Z])[)*]{0,3}(?=[.,\s]*$)",
    re.MULTILINE,
)
_FAULT = re.compile(
    r"\b(?:not|n't|never|no|wrong|incorrect|false|fails?|contradicts?|violates?|exclude|eliminate|rule\sout|reject|dismiss)\b"
    r"|n['’]t\b",
    re.IGNORECASE,
)


def _only_one(choices: Choices, text: str, question: str) -> Iterator[Mark]:
    """Yield the option that the last paragraph calls the only one that fits, or that does not if that is asked."""
    start = text.rstrip().rfind("\n") + 1
    for match in _ONLY_ONE.finditer(text, max(start, len(text) - TAIL)):
        label = match["label"] or match["behind"]
        faulty = _FAULT.search(match["said"] or match["told"] or "") is not None
        if label in choices.labels and faulty == asks_faulty(question) and not denied(text, match.start()):
            yield Mark("named", label, match.start(), match.end())


def _named(choices: Choices, text: str) -> Iterator[Mark]:
    """A last paragraph that names one option with its own text: "… is known as D. Reconstruction."."""
    start = text.rstrip().rfind("\n") + 1
    marks = [
        Mark("named", f"{match[1]}. {match[2]}"[:200], match.start(1), match.end())
        for match in _NAMED.finditer(text, max(start, len(text) - TAIL))
        if match[1] in choices.labels and choices.owns(match[1], match[2]) and not denied(text, match.start())
    ]
    yield from marks if len({mark.phrase[0] for mark in marks}) == 1 else ()


def _final_line(choices: Choices, text: str, behind: int = 0) -> Iterator[Mark]:
    stripped = text.rstrip()
    start = stripped.rfind("\n") + 1
    line = stripped[start:]
    before = stripped[:start].rstrip()
    listed = _LISTED.match(before, before.rfind("\n") + 1)
    if start < behind or len(line) > _LINE:
        return
    if listed and listed[1].upper() in choices.labels and not _CONCLUDED.match(line):
        return  # the last of a list of options is no answer
    line = _bare_line(choices, line)
    for content, whole in _readings_of(line):
        if choices.read(content, whole=whole).labels:
            yield Mark("final_line", content, start, len(stripped))
            return


_CONCLUDED = re.compile(r"[*\s]{0,4}(?:so|thus|therefore|hence),?\s", re.IGNORECASE)
_LABEL_AFTER = re.compile(r"(?<=[\w)%][.!])\s{1,3}\*{0,2}\(([A-Z])\)\*{0,2}\Z")  # … drives the winds. (A)
_ANY_LABEL = re.compile(r"\(([A-Za-z])\)|(?<![A-Za-z'’])([B-Z]|A(?=[.):,]|\sis\b))(?![\w'’])")
_REFUSED = re.compile(
    r"\b(?:wrong|incorrect|false|untrue|eliminat\w+|ruled out|excluded?|impossible|fails?|cannot|unlike"
    r"|isn't|aren't|not (?:true|correct|right))\b",
    re.IGNORECASE,
)
_LABEL_BEHIND = re.compile(  # "… one standard deviation covers 68% — **B**.", "4 is the answer (choice B)"
    r"\(\*{0,2}(?:option|choice|answer)\s\(?(?P<called>[A-Z])\)?\*{0,2}\)\Z|(?:[—–→]|:|\s-)\s?(?:option\s|answer\s)?(?:\*\*\(?([A-Z])\)?\.?\*\*|[(\[]([A-Z])[)\]]|(?<=[—–→]\s)([A-Z]))\Z"
)
_BOLD = re.compile(r"\*\*([^*\n]{1,200})\*\*|__([^_\n]{1,200})__")
_BEFORE_OPTION = re.compile(
    r"(?:\b(?:is|are|was|were|be|by|equals?|means|called|named|gives?|get|obtain|yields?|has|have|say|definitely|est|es|war"
    r"|ist|fue|è|é|это)|c'est|[=→:])\s?(?:(?:donc|also|daher|somit|quindi|portanto|entonces)\s)?"
    r"(?:(?:the|an?|la|le|el|il|lo|die|der|das|o)\s|l['’])?\Z"
)
_BECAUSE = re.compile(
    r",?\s(?:because|since|as|which|weil|da|car|parce|puisque|porque|ya que|pois|perché)\b.*\Z", re.DOTALL
)
_MAY_BE = re.compile(r"\b(?:could|might|may|can)\s(?!only\b)(?:\w+\s)?be\b")
_CONTENT = re.compile(r"[a-z]{3,}|\d+|not|no")
_FUNCTIONAL = frozenset(
    re.findall(
        r"\w+",
        "the are was were has have had that which this one its his her their so thus hence therefore and did does "
        "there of them among these those four five three only options choices listed given here",
    )
)
_LABEL_BEFORE = re.compile(r"(?<![a-z'’])\(?([a-z])[).:]\s*\Z")
_BREAKS = frozenset(",:;-–—")
_CIRCUMSTANCE = re.compile(r"\s(?:in|on|at|from|around)\s[\w ]{1,30}|,?\sof\scourse")
_ANSWER_WORDS = frozenset({"yes", "no", "true", "false"})


def _in_sentence(choices: Choices, text: str, question: str) -> Iterator[Mark]:
    """Yield the option that a last sentence concludes with, by its text or with its letter behind it.

    Its text counts where it ends the sentence behind "is" or "by", where it alone is in bold type, where a "yes" begins
    the sentence, or where all that is said of it repeats the question: "Jupiter is the largest planet".
    """
    body = text.rstrip(" \n.!✅")
    if (after := _LABEL_AFTER.search(body)) and _only_label(choices, body, after):
        yield Mark("named", after[1], after.start(1), after.end(1))
        return
    start = sentence_start(body, len(body) - 1)
    sentence = body[start:]
    if len(sentence) > _LINE or text.rstrip().endswith("?") or denied(text, start) or hypothetical(sentence):
        return
    behind = _LABEL_BEHIND.search(sentence)
    label = next(filter(None, behind.groups()), "") if behind else ""
    if label in choices.labels and not (behind and behind["called"] and negated(sentence)):
        yield Mark("named", label, start, len(body))
        return
    solved = None if negated(sentence) else _SO_LETTER.search(sentence)
    if solved and re.search(_ASKS_VALUE.format(solved[1]), question, re.IGNORECASE):
        if choices.read(solved[2], whole=True).labels:
            yield Mark("final_line", solved[2], start, len(body))
        return
    for said in dict.fromkeys((sentence, in_figures(sentence))):
        if option := _said_of_one(choices, said, question):
            yield Mark("final_line", option, start, len(body))
            return


def _only_label(choices: Choices, body: str, after: re.Match[str]) -> bool:
    """Return whether a label behind the last sentence is the only one of the text, and no sentence of it refuses it."""
    said = {label for match in _ANY_LABEL.finditer(body) for label in match.groups() if label}
    before = body[max(0, after.start() - _LINE) : after.start()]
    doubtful = _REFUSED.search(before) or hypothetical(before) or "?" in before[-1:]
    return after[1] in choices.labels and not doubtful and said.isdisjoint(set(choices.labels) - {after[1]})


@lru_cache(maxsize=64)
def _label_behind(label: str) -> re.Pattern[str]:
    """Return what names an option's letter behind its text: "neutralization, option E"."""
    return re.compile(rf"\A,?\s?\(?(?:option|choice|answer)?\s?\(?{label.lower()}\)?\W*\Z")


def _said_of_one(choices: Choices, sentence: str, question: str) -> str:
    """Return the text of the one option that a sentence states; "" where it states none, or several."""
    found = choices.mentioned(sentence)
    if len(found) != 1:
        return ""
    label, before, after = found[0]
    named = _LABEL_BEFORE.search(before)
    if named is not None and named[1].upper() in set(choices.labels) - {label}:
        return ""  # C: Cannot be determined, where that is D
    first = before.strip(" ,:") in ("", "so", "thus", "therefore", "hence")
    if first and choices.option(label) in _ANSWER_WORDS and (not after.strip(" .") or after.strip()[0] in _BREAKS):
        return choices.option(label)
    after = _BECAUSE.sub("", _label_behind(label).sub("", after))
    if (right := _IS_RIGHT.match(after)) and (right["noun"] or not asks_faulty(question)):
        return "" if negated(before) or hypothetical(sentence) else choices.option(label)
    if _MAY_BE.search(before):
        return ""
    around = f"{before} {after}"
    words = set(_CONTENT.findall(around)) - _FUNCTIONAL
    asked = set(_CONTENT.findall(question.lower()))
    repeats = bool(words) and words <= asked and negated(around) == negated(question)
    bold = [normalise(match[1] or match[2]) for match in _BOLD.finditer(sentence)]
    ends = (not after.strip(" .") or _CIRCUMSTANCE.fullmatch(after) is not None) and _BEFORE_OPTION.search(
        before
    ) is not None
    plain = not negated(around) and not negated(question) and (ends or bold == [choices.option(label)])
    return choices.option(label) if repeats or plain else ""


_IS_RIGHT = re.compile(
    r"\A\s(?:is|are|must\sbe)\s(?:(?:therefore|thus|clearly)\s)?(?:the\s)?(?:correct|right|best)(?P<noun>\s(?:answer|option|choice|one))?\W*\Z"
)
_IT_IS_LAST = re.compile(
    r",\s(?:so|then|thus)\s(?P<said>[^,;:]{2,80}?)\sit\sis\W*\Z", re.IGNORECASE
)  # …, so argon it is


def _readings_of(line: str) -> Iterator[tuple[str, bool]]:
    """Yield what may be the answer of a last line, and whether it must be nothing else."""
    if (last := _IT_IS_LAST.search(line)) and not negated(last[0]) and not hypothetical(line):
        yield last["said"], True
    yield line, True
    if lead := _LEAD.match(line):
        yield line[lead.end() :], True
    if (lead := _IT_IS.match(line)) and not hypothetical(line):
        content = line[lead.end() :]
        yield content, len(content.split()[0].strip("()[].,:*")) < 2 if content.split() else True
    if (lead := _SO.search(line)) and not negated(line):
        yield line[lead.end() :], True
    if (lead := _SUBJECT_IS.match(line)) and not negated(line) and not hypothetical(line):
        yield line[lead.end() :], True


_SO_LETTER = re.compile(  # 2x = 8, so x = 4
    r"[,;]\s(?:so|thus|hence|therefore),?\s\$?([a-z])\s?=\s?([-−]?[\d./]*\d)\$?\Z"
)
_ASKS_VALUE = r"\b(?:solutions? of|solves?|(?:value of|what is) \$?{0}\$?(?!\s?[-+*/^\w(]))"
_SO = re.compile(r"[,;.]\s(?:so|thus|hence|therefore),?\s(?=[(*]{0,3}[A-Z][)*]{0,3}\.?\s*\Z)", re.IGNORECASE)


def _bare_line(choices: Choices, line: str) -> str:
    """Return a line without marks and numbers before an answer: "#### C", "3. C"."""
    line = _DOUBLED.sub(r"\1", _DECORATION.sub("", line))
    numbered = _NUMBERED.match(line)
    return line[numbered.end() :] if numbered and numbered[1] not in choices.labels else line


_DECORATION = re.compile("\\A[\\s#>✅☑✔✓→⇒➡👉•\ufe0f]+")
_DOUBLED = re.compile(r"\[\[([A-Z])\]\]\s*\Z")  # [[B]]
_NUMBERED = re.compile(r"(\d{1,3})[.)]\s(?=[(*]{0,3}[A-Z][)*.]{0,3}\s*\Z)")


_TITLE = re.compile(
    r"\*{0,2}\(?([A-Za-z])\)?[.:)]?\*{0,2}\s(?:[–—-]\s)?\*{0,2}([^*\n]{2,200}?)\.?\*{0,2}\s*"
)  # **A – Type I error.**
_OF_OTHERS = re.compile(
    r"^\W{0,6}(?:why\s(?:not\s)?(?:are\s)?(?:the\s)?other|why\snot\b|(?:the\s)?(?:other|remaining|incorrect|wrong)\s(?:option|choice|answer)s?\b)",
    re.IGNORECASE | re.MULTILINE,
)
_OPTION_TITLE = re.compile(r"^\W{0,6}([A-Z])\W{0,3}(?:\s?[–—:).-])", re.MULTILINE)


def _opening_line(choices: Choices, text: str) -> Iterator[Mark]:
    """Yield a first line that is nothing but a label, with the explanation behind it."""
    line, _, rest = text.strip().partition("\n")
    titled = _TITLE.fullmatch(line)
    if titled and (label := titled[1].upper()) in choices.labels and choices.owns(label, titled[2]):
        own, _, others = _OF_OTHERS.sub("\0", rest, count=1).partition("\0")  # why the others are not
        titles = {match[1] for match in _OPTION_TITLE.finditer(own)} & set(choices.labels)
        refused = _REFUSED.search(rest.strip()[:40])
        if rest.strip() and not titles and not refused and not CONCLUDES_ON.search(own + others):
            yield Mark("opening_line", label, 0, len(line))
        return
    if rest.strip() and choices.is_label(line.strip(" *")) and not _LISTED.match(rest.lstrip()):
        yield Mark("opening_line", line, 0, len(line))


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
    version=14,
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
