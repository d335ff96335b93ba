r"""Where a response leaves its question: a model that does not stop goes on with an exercise that it invents.

"… 7 birds are left. #### 7", then "Question: Tom has 3 apples …", `Q: … A: …`, "Problem 2: …", `### Instruction`,
`Human:`, or whatever the examples in its prompt look like. What is answered there is of another question, so the text
ends where that begins. A question that the model asks itself on the way ("Question 1: How many are left at noon?") is
no such end. These tell the two apart:

- Something has been concluded before a new question; the same heading was never used before that.
- A new question asks for something, and brings figures or things along of which nobody has spoken. It need not where it
  stands in the form of the prompt's own question, nor where another speaker begins.
- The parts that the prompt itself numbers are no new questions, nor is the question of the prompt told again.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from itertools import chain, islice
from typing import Literal

Concluded = Literal["", "weakly", "clearly"]
"""What a text has concluded: nothing, something in the words of its last line, or an answer behind a mark."""

_WORDS = re.findall(
    r"\w+",
    "question problem exercise task example query puzzle riddle pregunta problema ejercicio frage aufgabe "
    "problème exercice pergunta questão exercício domanda esercizio вопрос задача pytanie zadanie soru 问题 題目 "
    "题目 例题 例 问 習題 习题 問題 問 質問 문제 질문",
)
_SPEAKERS = re.findall(
    r"\w+", "user human usuario utilisateur benutzer utente usuário пользователь 用户 人类 ユーザー 사용자"
)
_WORD_OF = "|".join(_WORDS)
_SPEAKER_OF = "|".join(_SPEAKERS)
_HEADING = re.compile(
    r"\n[ \t>]{0,4}(?:(?P<turn>"
    r"<\|?(?:user|im_start\|>\s?user|start_header_id\|>\s?user|start_of_turn>\s?user)[|>]{0,2}|\[INST\]"
    rf"|[#*_ ]{{0,6}}(?:{_SPEAKER_OF})[*_ ]{{0,3}}[:：]|#{{1,4}} ?(?:{_SPEAKER_OF}|instructions?)\b[*_ ]{{0,3}}:?(?=\s)"
    r"|(?:user|human)(?=[ \t]*\n))"
    r"|[#*_【\[ ]{0,8}(?:(?:new|next|another|similar|related|bonus|follow-?up|practice|sub-?)[ -]?)?"
    rf"(?P<word>q|(?:{_WORD_OF})s?)[ \t]?(?:#|No\.|Nr\.)?[ \t]{{0,2}}\(?(?P<label>\d{{1,3}}|[a-h](?![a-z]))?\)?"
    r"(?:[*_】\] \t]{0,4}[:：.](?!\d)|(?:[*_】\]]{0,4}[ \t]*(?=\n|\Z)))[*_ \t]{0,4})",
    re.IGNORECASE,
)
_SIGNS = " \t>#*_【["  # of a heading
_CUES = (
    *_WORDS, *_SPEAKERS, "instruction", "inst]", "<", "q", "new", "next", "another", "similar", "related", "bonus",
    "follow", "practice", "sub-", "subq", "sub q",
)  # fmt: skip
_LONGEST_CUE = max(map(len, _CUES))
_MAX_HEADINGS = 40
_MAX_QUESTION = 800  # characters
_ANSWERED = re.compile(
    r"\n[ \t#*_>【\[]{0,6}(?:A|Ans|Answer|Solution|Response|Assistant|Reasoning|Explanation|Output|Final answer"
    r"|Respuesta|Solución|Antwort|Lösung|Réponse|Resposta|Risposta|Soluzione|Ответ|Решение|答案?|解答?|答え|풀이|답)\b"
    r"[^\n:：]{0,20}[:：]|(?<=[?？.$])\s[*_]{0,2}A(?:ns(?:wer)?)?[*_]{0,2}:|\bLet's think\b",
    re.IGNORECASE,
)
_REPLIED = re.compile(r"\s*[*_]{0,2}(?:A|Ans|Answer)\b[*_ ]{0,3}[:.]")
_QUESTION_END = re.compile(r"[?？][*_\"')]{0,3}[ \t]*(?=\n)|(?<=[.!。_=)\]}$])(?=\n[ \t]*\n)")
_ASKS = re.compile(
    r"[?？]|\b(?:what|how|which|who|when|where|find|calculate|compute|determine|solve|simplify|evaluate|prove|show that"
    r"|write|express|explain|describe|identify|name|state|complete|according to|factori?[sz]?e?|expand|convert"
    r"|differentiate|integrate|give|list|choose|select|encuentra|calcula|halla|berechne|bestimme|calculer|trouver?"
    r"|calcule|trova|calcola|найдите|вычислите)\b|[=_:]\s*\Z|\n\s?\(?A[).:]\s|\b(?:Options|Choices):"
    r"|求|计算|多少|几|下列|いくつ|求め|구하",
    re.IGNORECASE,
)
_FIGURE = re.compile(r"\d+(?:[.,]\d+)*|\\[a-zA-Z]{2,}")  # and the commands of a formula
_FORMULA = re.compile(r"(?<!\\)\$([^$\n]{4,200}?)(?<!\\)\$")
_WORD = re.compile(r"[^\W\d_]{4,}")
_INFLECTED = re.compile(r"(?:ing|ed|s)\Z")
_SCRIPT = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7af]{2,}")
_OF_QUESTIONS = frozenset(  # nobody heads a remark so
    re.findall(r"\w+", "question exercise riddle puzzle pregunta ejercicio frage pergunta domanda вопрос")
)
_FORM_WORDS = frozenset(
    re.findall(
        r"\w+",
        "what which many much does will have been find they them that this with from each there were number total "
        "after before then than more most left into when where altogether together take must should would could",
    )
)
_STEM = 5  # characters in which two forms of a word agree
_SHORT = 20  # letters and figures below which a question may stand in a prompt by chance
_OF_ITSELF = re.compile(  # Is my reasoning right?
    r"\b(?:(?:my|our|this|that|above|previous|earlier)\s(?:\w+\s)?(?:answer|solution|result|reasoning|calculation|work|value)"
    r"|(?:is|was)\s(?:this|that|it|the\sanswer)\s(?:\w+\s)?(?:right|correct|possible|consistent|reasonable)|(?:did|have|am)\sI"
    r"|mistakes?|make\ssense|double-?check|verify)\b",
    re.IGNORECASE,
)
_BRIEF = 100  # characters
_FEW = 3  # words
_LATE = 200  # characters of a response, behind which it seldom tells its question in other words


def own_part(text: str, prompt: str, concluded: Callable[[str], Concluded]) -> str:
    """Return a response without what follows its own question; most are returned as they are.

    Args:
        text: a response behind its reasoning block.
        prompt: the question, with examples before it where the prompt has such.
        concluded: says of the beginning of a response whether an answer stands in it.
    """
    headings = _headings(text)
    series = set[str]()  # headings of questions that the response asks on its way
    first = 0
    for index, heading in enumerate(headings):
        end = headings[index + 1].start() if index + 1 < len(headings) else len(text)
        question = _question(text[heading.end() : end])
        before = text[: heading.start()]
        if not before.strip() or _is_prompts(question, prompt):
            continue
        if _has_its_figures(question, prompt) and _news(question, own_question(prompt)) < _STRANGE:
            continue  # in other words
        answered = concluded(before)
        replied = _REPLIED.match(text, heading.end() + len(question)) is not None
        if _begins_new(heading, question, before, prompt, answered, series, replied=replied):
            return _before_bare_exercise(before, prompt, concluded)
        if not answered and heading["word"] and not series:
            series.add(_kind(heading["word"]))
            first = heading.start()
    last = headings[-1] if series else None
    if last is None:
        return _before_bare_exercise(text, prompt, concluded)
    if last.start() == first or _kind(last["word"] or "") not in series:
        return text
    new = _news(_question(text[last.end() :]), own_question(prompt) + text[: last.start()])
    return text if new or not concluded(text[last.start() :]) else _blanked(text, first, last.start())


_TASK = (
    r"(?:Find|Compute|Calculate|Determine|Evaluate|Simplify|Solve|Express|Expand|Factori?[sz]?e?|Convert|What|Which|How|Who"
    r"|Where)\b"
)
_BARE_START = re.compile(  # of a line or a sentence behind a marked answer
    r"\n[ \t]*(?:(?P<label>\d{1,3})[.)][ \t]{1,3})?(?=[A-Z$\\\d“\"'(][^\n]{8})"
    r"|(?<=[.!?)\]}$*])[ \t]+(?=[A-Z][a-z]*\s[^\n]{8})"
)
_UNMARKED_START = re.compile(
    r"\n(?P<label>)?(?=[A-Z][^\n]{40,800}\?[ \t]*\n[ \t\n]*\S"
    r"|(?<=\n\n)(?:Find|Compute|Evaluate|Simplify|Solve|Express|Determine)\b[^\n]{30,800}[^:\s*][ \t]*\n"
    r"|[A-Z][^\n]{12,800}\n\s{0,4}\(?A[).:]\s"
    r"|[A-Z][^\n]{30,800}, (?:find|calculate|compute|determine) [^\n]{10,200}\.[ \t]*\n[ \t\n]*\S)"
)
_BARE_ASKS = re.compile(
    rf"[?？]|(?:\A|[.;:!?$)]\s+){_TASK}|,\s(?:and\s|then\s)?(?:find|calculate|compute|determine|evaluate|what|how)\b|_\s*\Z"
)
_OPTIONS_BEHIND = re.compile(r"(?:[^\n]{1,800}\n){1,3}?\s{0,4}\(?A[).:]\s[^\n]*\n\s{0,4}\(?B[).:]\s")
_MARKS = re.compile(r"\n[ \t]{0,3}A(?:ns)?[:.] |boxed\b|####|nswer(?:\*\*)?(?:\s+is\b|:)|</answer>|答案")
_PARAGRAPH_TASK = re.compile(r"\n\n(?:Find|Compute|Evaluate|Simplify|Solve|Express|Determine) ")
_SAID = re.compile(r"nswer(?:\s+is\b|:|\*\*|>)")
_SHORTEST = 40  # characters of an exercise with its answer, and of what closes the answer before it
_RECONSIDERS = re.compile(
    r"(?:but|wait|however|hmm|actually|what\s(?:if|about)|hold|let['’]?s|let\s(?:us|me)|is|are|did|does|so|now|then|or|and|no"
    r"|would|should|could|can|do|since|therefore|thus|because|note|alternatively|another|also|again|here|hence|first|second"
    r"|finally|step|part|case|method|approach|check|verif\w+|to\s(?:verify|check|confirm|see)|this|that|it|we"
    r"|(?:the|my|our|final|correct)?\s?answer|explanation|reason\w*|solution|note|for\s(?:example|instance)|if\s(?:the|this)\s(?:question|problem))\b",
    re.IGNORECASE,
)
_OWN_VOICE = re.compile(
    r"\b(?:[Ww]e|[Ll]et['’]?s|[Ll]et me|[Oo]ur|I (?:think|will|need|can|should|am|would|made|get|got|hope))\b|\bI['’]"
)
_SENTENCE = re.compile(r"(?<=[.?!])\s|\n")
_ENDS_AS_QUESTION = re.compile(r"[^\n]{1,800}\?[ \t]*\n")
_LONE = re.compile(r"\s*[*(]{0,3}(?:[A-J]|-?\$?\d[\d.,/]{0,20}%?)[*).]{0,3}[ \t]*(?=\n)")
_THINKS = re.compile(r"\b(?:[Ww]ait|[Hh]mm+|[Mm]aybe|[Ll]et me)\b")
_AT_ONCE = 200  # characters behind a marked answer, within which a question belongs to no explanation of it


def _before_bare_exercise(text: str, prompt: str, concluded: Callable[[str], Concluded]) -> str:
    """Return a text up to where it asks something else without any heading.

    Right behind an answer that is marked as one, or that is all of the text, a question that brings anything new begins
    an exercise, as does one with options of its own; elsewhere it must bring figures and things of its own.
    """
    lone = _LONE.match(text)
    behind = lone.end() if lone else _first_mark(text)
    asks, goes_on = _may_ask(text), lone is not None or len(text) - behind > _SHORTEST
    if not asks and not goes_on:
        return text
    starts = chain(
        _UNMARKED_START.finditer(text, 0, behind) if asks else (), _BARE_START.finditer(text, behind) if goes_on else ()
    )
    for start in islice((start for start in starts if _may_begin(text, start)), _FEW):
        section = text[start.end() : start.end() + _MAX_QUESTION]
        question = _question(section) if start.start() >= behind else section.partition("\n")[0]
        before = text[: start.start()]
        if _is_prompts(question, prompt):
            continue
        listed = _OPTIONS_BEHIND.match(text, start.end()) is not None
        news = _news(question, own_question(prompt) + before) + listed
        if news < _NEW:
            continue
        answered = concluded(before)
        if answered and (_answers_at_once(text, before) or (lone and lone.end() >= len(before.rstrip()))):
            return before
        if news >= (_STRANGE if answered == "clearly" else _STRANGE + 1) and (
            answered or (listed and _ENDS_AS_QUESTION.match(section))
        ):
            return before
    return text


def _first_mark(text: str) -> int:
    """Return where the first mark of an answer stands; the length of the text where it has none."""
    end = len(text)
    if (box := text.find("boxed{")) >= 0:
        end = box
    if (hashes := text.find("####", 0, end)) >= 0:
        end = hashes
    first = text.find("nswer", 0, end)
    if 0 <= first < len(text) - _SHORTEST and (said := _SAID.search(text, first, end)) is not None:
        end = said.start()
    if (line := text.find("\nA: ", 0, end)) >= 0:
        end = line
    return end


def _may_ask(text: str) -> bool:
    """Return whether a text may ask something in a line of its own; most texts that do not hold no such words."""
    if "\n" not in text:
        return False
    if "?\n" in text or "? \n" in text or "\nA. " in text or "\nA) " in text or "\n(A) " in text:
        return True
    if ", find " in text or ", calculate " in text or ", determine " in text or ", compute " in text:
        return True
    return "\n\n" in text and _PARAGRAPH_TASK.search(text) is not None


def _answers_at_once(text: str, before: str) -> bool:
    """Return whether a response gives its answer right before an offset, and is not still thinking.

    Whoever boxes an answer at the end has not given it before.
    """
    near = max(0, len(before.rstrip()) - _AT_ONCE)
    marked = _MARKS.search(before, near) is not None and not _THINKS.search(before, near)
    return marked and ("boxed{" in before or "boxed{" not in text)


def _may_begin(text: str, start: re.Match[str]) -> bool:
    """Return whether a line or sentence may begin an exercise: it asks, and is neither the writer's own nor a step."""
    line = text[start.end() : start.end() + _MAX_QUESTION]
    label = start["label"]
    if label and re.search(rf"(?:\A|\n)[ \t]*{int(label) - 1}[.)]\s", text[: start.start()]):
        return False  # an item of a list
    paragraph = line.partition("\n\n" if start[0][0] == "\n" else "\n")[0]
    return bool(
        (_BARE_ASKS.search(paragraph) or _OPTIONS_BEHIND.match(text, start.end()))
        and not _RECONSIDERS.match(line)
        and not _OWN_VOICE.search(_SENTENCE.split(paragraph, maxsplit=1)[0])
    )


def _blanked(text: str, start: int, end: int) -> str:
    """Return a text without its questions on the way and their answers; offsets stay as they are."""
    return text[:start] + re.sub(r"[^\n]", " ", text[start:end]) + text[end:]


_INLINE = re.compile(  # 24. Q: LCM of 3 and 4? A: 12
    r"(?:(?<=[.!?)\]}$%\d*])[ \t]+|(?<=[a-z])[ \t]+(?=Q(?:uestion)?:[^\n]{5,800}\sA(?:ns|nswer)?:))[*_]{0,2}"
    r"(?:(?P<turn>(?:User|Human):)"
    r"|(?:(?:New|Next|Another)[ ])?(?P<word>Q|[Qq]uestion|Problem|Exercise)[ ]?(?P<label>\d{1,3})?:)"
    r"[*_]{0,2}[ \t]*(?=\S)"
)
_INLINE_CUES = ("Q:", "uestion", " Problem", " Exercise", "User:", "Human:")


@lru_cache(maxsize=8)
def _headings(text: str) -> tuple[re.Match[str], ...]:
    """Return what may be headings of questions; in most texts no line begins as one does."""
    begun = (line.lstrip(_SIGNS)[:_LONGEST_CUE] for line in text.split("\n")[1:])
    found = []
    if any(line.lower().startswith(_CUES) for line in begun if line):
        found = list(islice(_HEADING.finditer(text), _MAX_HEADINGS))
    if any(cue in text for cue in _INLINE_CUES):
        inline = islice(_INLINE.finditer(text), _MAX_HEADINGS)
        found = sorted([*found, *inline], key=lambda heading: heading.start())
    return tuple(found)


def _begins_new(
    heading: re.Match[str],
    question: str,
    before: str,
    prompt: str,
    answered: Concluded,
    series: set[str],
    *,
    replied: bool,
) -> bool:
    """Return whether a heading begins an exercise of the model's own, or another speaker's turn.

    `replied`: whether an answer under a heading of its own follows: "Q: … A: …".
    """
    known = own_question(prompt) + before
    news = _news(question, known)
    if heading["turn"]:
        return answered != "" or news >= _NEW
    word, label = _kind(heading["word"]), heading["label"] or ""
    if label and _is_part(word, label, prompt):
        return False
    of_question = word in _OF_QUESTIONS and answered == "clearly" and news >= _NEW
    if not (_ASKS.search(question) or of_question or (news >= _STRANGE and (label or len(question) > _BRIEF))):
        return word in _own_headings(prompt) and answered == "clearly"
    if word in series:
        return answered != "" and news > _STRANGE
    as_asked = word in _own_headings(prompt)
    if not answered:
        late = label != "1" and len(before) > _LATE
        return news > _STRANGE or (news == _STRANGE and (late or (as_asked and not label)))
    if as_asked and (answered == "clearly" or not label):
        return True
    if answered == "weakly" and label == "1":
        return False  # the first of several on the way
    return news >= (_STRANGE if answered == "weakly" and not replied else _NEW)


def _question(section: str) -> str:
    """Return what stands behind a heading, up to where an answer begins."""
    answer = _ANSWERED.search(section)
    question = section[: min(_MAX_QUESTION, answer.start() if answer else _MAX_QUESTION)].strip()
    ends = (end.end() for end in _QUESTION_END.finditer(question))
    return next((question[:end] for end in ends if _ASKS.search(question, 0, end)), question)


_NEW, _STRANGE = 1, 2


def _news(question: str, known: str) -> int:
    """Return how much a question brings along that is not known: 0, `_NEW` figures or things, `_STRANGE`, or more."""
    if len(question) < _BRIEF and _OF_ITSELF.search(question):
        return 0
    figures = set(_FIGURE.findall(question)) - set(_FIGURE.findall(known))
    written = re.sub(r"\s", "", known)
    figures.update(span for span in _FORMULA.findall(question) if re.sub(r"\s", "", span) not in written)
    words = _things(question)
    unknown = words - _things(known)
    mostly = 2 * len(unknown) >= len(words)
    if len(unknown) >= _FEW and mostly:
        return _STRANGE + 1 if figures else _STRANGE if len(unknown) > _FEW else _NEW
    return _NEW if figures or (len(unknown) > 1 and mostly) else 0


def _things(text: str) -> set[str]:
    """Return the words of a text in their stems; of a script without spaces, its pairs of characters."""
    words = {_INFLECTED.sub("", word)[:_STEM] for word in _WORD.findall(text.lower()) if word not in _FORM_WORDS}
    runs = [] if text.isascii() else _SCRIPT.findall(text)
    return words | {run[at : at + 2] for run in runs for at in range(len(run) - 1)}


def told_again(text: str, prompt: str) -> int | None:
    """Return where a response tells the prompt's question again, as it may to answer it once more; None if nowhere."""
    for heading in _headings(text) if prompt else ():
        if heading["word"] and _is_prompts(_question(text[heading.end() : heading.end() + _MAX_QUESTION]), prompt):
            return heading.start()
    return None


def _is_prompts(question: str, prompt: str) -> bool:
    """Return whether a question is the prompt's own."""
    told = _squeezed(question)
    return len(told) >= _SHORT and told in _squeezed(own_question(prompt))


def _has_its_figures(question: str, prompt: str) -> bool:
    """Return whether a question has all the figures of the prompt's own, as where it is told in other words."""
    figures = set(_FIGURE.findall(own_question(prompt)))
    return len(figures) > 1 and figures == set(_FIGURE.findall(question))


@lru_cache(maxsize=256)
def _squeezed(text: str) -> str:
    return re.sub(r"\W+", "", text.lower())


def _kind(word: str) -> str:
    """Return what two writings of one heading share: "Q" and "Question", "Problem" and "Problems"."""
    word = word.lower().removesuffix("s")
    return "question" if word == "q" else word


def _is_part(word: str, label: str, prompt: str) -> bool:
    """Return whether the prompt itself has a part with this label."""
    names = rf"(?:{re.escape(word)}s?|q|part|question|problem)"
    written = rf"(?:^|\s)\({label}\)|(?:^|\n)\s*{label}[.)]\s|\b{names}\W{{0,3}}{label}\b"
    return re.search(written, own_question(prompt), re.IGNORECASE) is not None


@lru_cache(maxsize=1024)
def _own_headings(prompt: str) -> frozenset[str]:
    """Return the headings under which a prompt asks."""
    return frozenset(_kind(match["word"]) for match in _HEADING.finditer("\n" + prompt) if match["word"])


@lru_cache(maxsize=1024)
def own_question(prompt: str) -> str:
    """Return a prompt without the examples before its question."""
    headings = [match for match in _HEADING.finditer("\n" + prompt) if match["word"]]
    alike = [match.start() for match in headings if _kind(match["word"]) == _kind(headings[-1]["word"])]
    examples = len(alike) > 1 and _ANSWERED.search(prompt, alike[0], alike[-1]) is not None
    return prompt[max(0, alike[-1] - 1) :] if examples else prompt
