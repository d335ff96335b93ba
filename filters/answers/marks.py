r"""The marks by which a text names its answer: boxes, tags, JSON, `####`, "the answer is", headings.

Every finder is linear in the text: occurrences are found as plain substrings, and patterns are only tried there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from proofmill.filters.answers.fields import field_of, fields_in, of_other_call, with_unit
from proofmill.filters.answers.hedging_abroad import denied_abroad

MAX_MARKS = 32  # of a kind, from the end of the text
MAX_PHRASE = 2_000  # characters
HELD = frozenset({"tagged", "json", "field"})
"""The rules of marks that say where an answer ends, too."""


class Mark(NamedTuple):
    """One place at which a text names its answer.

    Attributes:
        rule: kind of the mark: `boxed`, `tagged`, `json`, `field`, `hashes`, `answer_is`, `heading`.
        phrase: what it names, as it stands there.
        start: offset at which the statement begins.
        end: offset behind the phrase.
        final: whether it calls itself the final answer.
        open: whether the phrase may go on behind its line, as behind a heading.
        exact: whether a box inside it says where exactly the answer stands.
    """

    rule: str
    phrase: str
    start: int
    end: int
    final: bool = False
    open: bool = False
    exact: bool = False


_TAGS_ASKED = re.compile(r"<(?:final[_ ]?)?answer>", re.IGNORECASE)
_OTHER_TAGS = re.compile(r"<(final|result|solution|response|conclusion)>(?=[\s\S]*</\1>)", re.IGNORECASE)
_KEY_ASKED = re.compile(
    r"[\"'`](?:final_?|correct_?)?(?:answer|solution|result|choice|option)(?:_(?:letter|option|choice))?[\"'`]",
    re.IGNORECASE,
)


@lru_cache(maxsize=4096)
def asked_form(prompt: str) -> str:
    """Return the mark in which a prompt asks for the answer: `tagged`, `json`, or "" where it asks for neither."""
    if _TAGS_ASKED.search(prompt) or asked_tag(prompt):
        return "tagged"
    return "json" if "json" in prompt.lower() and _KEY_ASKED.search(prompt) else ""


@lru_cache(maxsize=4096)
def asked_tag(prompt: str) -> str:
    """Return the name of the tag in which a prompt asks for the answer, where it is another than `answer`."""
    found = None if _TAGS_ASKED.search(prompt) else _OTHER_TAGS.search(prompt)
    return found[1].lower() if found else ""


_BOX = re.compile(r"(?:\\boxed|\\fbox|\x08oxed|(?<![A-Za-z\\])boxed)\s*(?=\{)|\\boxed\s+(?=[\d-])")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_BOXED_NUMBER = re.compile(r"-?[\d.,]*\d")
_PLACEHOLDER = re.compile(
    r"(?:\\(?:text|,|;|!|quad|qquad|ldots|dots|cdot)|[\s{}()\[\].…_?$\\:;,]|\b(?:your|final|the|numerical|answer"
    r"|here)\b)*\Z",
    re.IGNORECASE,
)
_JOINT = re.compile(
    r"(?:[\s$.,;&，、]|\\[()\[\]]|\\(?:quad|qquad|[,;: ])"
    r"|\b(?:and|or)\b|\\text\{\s{0,4},?\s{0,4}(?:and|or)\s{0,4}\}|[和或与])*(?P<name>[a-zA-Z](?:_\{?\d\}?)?\s?=\s?)?\Z"
)
_NAME_BEFORE = re.compile(r"(?<![A-Za-z\\])[a-zA-Z](?:_\{?\d\}?)?\s?=\s?\Z")


def boxes_in(text: str) -> list[tuple[int, int]]:
    r"""Return (start, end) of the outermost boxes that hold something; end is −1 where the last is never closed.

    An empty box (`\boxed{}`, `\boxed{\text{ }}`) says how an answer is to be written and is none.
    """
    boxes: list[tuple[int, int]] = []
    found = list(_BOX.finditer(text))[-MAX_MARKS:]
    closings = _closings(text, found[0].end()) if found else {}
    for match in found:
        if boxes and match.start() < boxes[-1][1]:
            continue
        end = closings.get(match.end(), -1) if text[match.end()] == "{" else _bare_end(text, match.end())
        boxes.append((match.start(), end))
    while len(boxes) > 1 and boxes[-2][1] < 0:  # only a box at the end of the text is one that was cut
        del boxes[-2]
    return boxes


def is_placeholder(content: str) -> bool:
    """Return whether a box or field is left to be filled in."""
    return len(content) < 100 and _PLACEHOLDER.match(content) is not None and not re.search(r"\\\{\s*\\\}", content)


def _bare_end(text: str, start: int) -> int:
    number = _BOXED_NUMBER.match(text, start)
    return number.end() if number else -1


def _closings(text: str, start: int) -> dict[int, int]:
    """Return where each brace from `start` on is closed; found for all boxes at once, which may all be left open."""
    opened: list[int] = []
    closings: dict[int, int] = {}
    for match in _BRACE.finditer(text, start):
        if match[0] == "{":
            opened.append(match.start())
        elif match[0] == "}" and opened:
            closings[opened.pop()] = match.end()
    return closings


_NAMED_IN_BOX = re.compile(r'(?:\\text\{)?\s*"?answer"?\s*:\s*"?([^"{}]+)"?\s*\}?\Z', re.IGNORECASE)


def inside(text: str, box: tuple[int, int]) -> str:
    """Return what a box holds, without "answer:" before it."""
    content = text[slice(*box)].strip()
    while match := _BOX.match(content):  # a box may hold nothing but another one
        content = content[match.end() :].strip()
        content = content[1:-1].strip() if content.startswith("{") else content
    named = _NAMED_IN_BOX.match(content) if "nswer" in content else None
    return (named[1].strip() if named else content) + (behind_box(text, box[1]))


_BEHIND_BOX = re.compile(
    r"(?:[\s$)\]\\*]|\\[,;: ]){0,6}?"
    r"(\\?%|(?:\\text\{)?\s?(?:per\s?cent|dozen|hundred|thousand|million|billion|trillion)\b)",
    re.IGNORECASE,
)


def behind_box(text: str, end: int) -> str:
    r"""Return what stands behind a box and makes another value of it: `\boxed{12}\%`, `\boxed{5}` million."""
    after = text[end : end + 24]
    if not after or after[0] in ".\n}":
        return ""
    match = _BEHIND_BOX.match(after)
    return "" if match is None else " " + match[1].replace("\\text{", "").strip()


def joined(text: str, left_end: int, right_start: int) -> bool:
    """Return whether nothing but a comma, "and" or "or" stands between two boxes, so that they are one list."""
    joint = _JOINT.match(text[left_end:right_start]) if right_start - left_end <= 60 else None
    return joint is not None and (not joint["name"] or any(word in joint[0] for word in ("and", "or", ",")))


def box_name(text: str, start: int) -> str:
    r"""Return the letter of which a box is the value: x of `x = \boxed{2}`; "" where there is none."""
    name = _NAME_BEFORE.search(text, max(0, start - 12), start)
    return name[0].rstrip(" =") if name else ""


_PART_BEFORE = re.compile(
    r"(?:[<>≤≥+]|\\(?:sqrt|[dt]?frac|cdot|times|leq?|geq?|lt|gt|neq?|pm)(?:\[[^\]\n]{0,9}\])?\{?|\^\{?|=\s?-"
    r"|(?<!-)-(?=\Z)|\d(?=\Z)|[*/](?<![*\s]\*)(?<=\d.))\s?\Z"
)
_PART_BEHIND = re.compile(
    r"\s?(?:\^(?!\{?\s?\\circ)|\\(?:pi|sqrt|cdot|times|frac|ldots)\b|[+*/]\s?[\w\\(]|-\s?\d|\}\s?\{)"
    r"|[xyznkabcdtrpqiewπ√](?![A-Za-z])|\.?\d"
)


def is_part(text: str, box: tuple[int, int]) -> bool:
    r"""Return whether a box is only a part of an expression: `2\boxed{3}`, `\sqrt{\boxed{3}}`, `x > \boxed{3}`."""
    before = text[max(0, box[0] - 16) : box[0]]
    return _PART_BEFORE.search(before) is not None or _PART_BEHIND.match(text[box[1] : box[1] + 16]) is not None


_HASHES = re.compile(r"####[ \t*]*([^\n#](?:(?!####)[^\n]){0,2000})")


def hashes_in(text: str) -> Iterator[Mark]:
    """Yield the marks `#### …`, each to the end of its line."""
    if "####" not in text:
        return
    for match in list(_HASHES.finditer(text))[-MAX_MARKS:]:
        if match.start() and text[match.start() - 1] == "#":
            continue
        yield Mark("hashes", match[1].strip(), match.start(), match.end())


_ATTRIBUTES = r"(?P<attributes>\s[^<>\n]{0,80}?)?"
_UNIT_ATTRIBUTE = re.compile(r"\bunits?\s?=\s?[\"']([^\"'\n]{1,30})[\"']")
_VALUE_ATTRIBUTE = re.compile(
    r"<(?:final[_ ]?)?(?:answer|result|solution)(?=\s)"
    r"(?P<attributes>[^<>\n]{0,40}?\bvalue=[\"'](?P<said>[^\"'<>\n]{1,60})[\"'][^<>\n]{0,40}?)/?>\s*(?:</\w{1,30}>\s*)*\Z"
)


@lru_cache(maxsize=16)
def _tag(name: str) -> re.Pattern[str]:
    own = f"|{name}" if name else ""
    return re.compile(  # "I put it in <answer> tags" only mentions one
        rf"<\s?(?P<closes>/?)\s?(?:(?:final[_ ]?)?answer{own}){_ATTRIBUTES}\s?>(?!\W{{0,4}}(?:tags?|and|or)\b)"
        r"|\[(?P<ends>/?)(?:(?:final[_ ]?)?answer)\]|<\|(?P<mark>begin|end)_of_(?:solution|answer)\|>",
        re.IGNORECASE,
    )


_LAST_TAG = re.compile(r"</([A-Za-z][\w-]{1,30})>\s*\Z")
_CONCLUDING_TAG = re.compile(
    r"(?:final|result|solution|output|conclusion|response|final[_-](?:result|solution|output|response))\Z",
    re.IGNORECASE,
)
_MAX_TAGGED = 200  # characters between other tags than those of an answer, which may hold a whole solution


def _other_tags(text: str, question: str) -> Iterator[Mark]:
    """Yield what stands between the tags of the name with which a text ends, where that is of a result."""
    closing = _LAST_TAG.search(text, max(0, len(text) - 60))
    if closing is None:
        return
    asked = re.search(rf"\b{re.escape(closing[1])}\b", question, re.IGNORECASE) is not None
    if not _CONCLUDING_TAG.match(closing[1]) and not (asked and f"<{closing[1]}>" not in question):
        return
    pair = re.compile(
        rf"<{re.escape(closing[1])}{_ATTRIBUTES}>(?P<said>[^<>]{{1,{_MAX_TAGGED}}})</{re.escape(closing[1])}>"
    )
    for match in list(pair.finditer(text))[-MAX_MARKS:]:
        yield Mark("tagged", _measured(match), match.start(), match.end(), final=True)


def _measured(match: re.Match[str]) -> str:
    """Return what a tag holds, with the unit that it has as an attribute."""
    unit = _UNIT_ATTRIBUTE.search(match["attributes"] or "")
    return with_unit(match["said"].strip(), unit[1]) if unit else match["said"].strip()


def wrapped(text: str) -> tuple[int, int] | None:
    """Return where a solution begins and ends that stands between tags at the end of a text; None where none does."""
    closing = _LAST_TAG.search(text, max(0, len(text) - 60))
    if closing is None or not _CONCLUDING_TAG.match(closing[1]):
        return None
    opening = text.rfind(f"<{closing[1]}>", 0, closing.start())
    start = opening + len(closing[1]) + 2
    return (start, closing.start()) if opening >= 0 and closing.start() - start > 0 else None


def tags_in(text: str, name: str = "", question: str = "") -> Iterator[Mark]:
    """Yield what stands between answer tags, or behind one that is left open at the end of the text.

    Args:
        text: a response.
        name: of the tag that the prompt asks for, where that is another.
        question: what names the quantity that a tag may be called after.
    """
    if text.rstrip()[-1:] == ">":
        yield from _other_tags(text, question)
        if valued := _VALUE_ATTRIBUTE.search(text, max(0, len(text) - 300)):
            yield Mark("tagged", _measured(valued), valued.start(), valued.end(), final=True)
    if not name and not any(sign in text for sign in ("nswer>", "NSWER", "nswer]", "<answer ", "<Answer ", "_answer ")):
        return
    opened: re.Match[str] | None = None
    for match in list(_tag(name).finditer(text))[-4 * MAX_MARKS :]:
        if match["mark"]:
            continue
        closes = bool(match["closes"] or match["ends"])
        if closes and opened is not None:
            said = text[opened.end() : match.start()].strip()
            unit = _UNIT_ATTRIBUTE.search(opened["attributes"] or "")
            said = with_unit(said, unit[1]) if unit else said
            yield Mark("tagged", said, opened.start(), match.end(), final=True)
            opened = None
        elif not closes and not (match["attributes"] or "").endswith("/"):
            opened = match
    if opened is not None and text[opened.end() :].strip():
        yield Mark("tagged", text[opened.end() :].strip(), opened.start(), len(text), final=True)


_KEY = re.compile(
    r"""["']?(?:the[ _])?(?:(?:(?:final|correct|selected|chosen|best|predicted)[ _-]?)?"""
    r"""(?:answer|ans|result|solution|value|option|choice)"""
    r"""(?:[ _-]?(?:letter|option|choice))?|final)["']?\s{0,4}:\s{0,20}""",
    re.IGNORECASE,
)
_JSON_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"(?=\s*(?:[,}\]`\n]|\\[)\]]|\Z))', re.DOTALL)
_JSON_BARE = re.compile(r"(?:-?[\d.][\d.,eE+/-]*\d|-?\d|true|false|[A-Z])(?=\s*(?:[,}\n]|\Z))")
_PYTHON_KEY = re.compile(  # of a dictionary of Python's: {'answer': 'B'}
    r"""'(?:(?:final[ _-]?|correct[ _-]?)?(?:answer|option|choice)(?:[ _-]?(?:letter|option|choice))?|final)'"""
    r"""\s{0,4}:\s{0,4}"""
    r"""(?:'([^'\n]{1,300})'|(-?\d[\d.,]{0,40}(?<=\d)|[A-Z]))(?=\s{0,4}[,}\n])""",
    re.IGNORECASE,
)
_JSON_LIST = re.compile(r"[\[{]([^\[\]{}]{0,1000})[\]}](?=\s*(?:[,}\n]|\Z))")
_JSON_FIELD = re.compile(r'"(?:[^"\\]|\\.){1,100}"\s*:\s*')
_JSON_PAIR = re.compile(r'"((?:[^"\\]|\\.){1,40})"\s*:\s*("(?:[^"\\]|\\.)*"|[^,"]+)')
_ANSWER_NAMES = frozenset({"value", "final", "final_answer", "answer", "result", "amount", "number"})
_ESCAPE = re.compile(r'\\(?:u([0-9a-fA-F]{4})|n(?![A-Za-z])|t(?![A-Za-z])|(["/\\]))')


def json_in(text: str, *, asked: bool = False) -> Iterator[Mark]:
    """Yield the value of an answer key of a JSON object, fenced or bare, whatever else the object holds.

    Args:
        text: a response.
        asked: the prompt asks for the key, so that it need not stand in an object.
    """
    for value, start, end in fields_in(text):
        yield Mark("field", value, start, end, final=True)
    if ("':" in text or "' :" in text) and (quoted := [*_PYTHON_KEY.finditer(text)][-MAX_MARKS:]):
        last = quoted[-1]
        yield Mark("json", last[1] if last[1] is not None else last[2], last.start(), last.end(), final=True)
    at = len(text)
    for _ in range(MAX_MARKS):
        at = max(text.rfind('"', 0, at), -1)
        if at < 0:
            return
        key_end = at + 1
        opening = text.rfind('"', 0, at)
        if opening < 0:
            return
        if key_end - opening <= 24 and (key := _KEY.match(text, opening)) and key.end() > key_end:
            mark = _json_value(text, opening, key.end(), asked=asked)
            if mark is not None:
                yield mark
                if not is_placeholder(mark.phrase):  # else it is the form that was to be filled in
                    return


def _json_value(text: str, start: int, at: int, *, asked: bool) -> Mark | None:
    before = text[max(0, start - 40) : start]
    opened = not before.strip() or before.rstrip().endswith(("{", ",", '"', "```", "json"))
    opened = opened or (asked and before.rstrip(" `\n").endswith((":", "\\text{", "\\[")))
    if not opened and not before.rstrip(" ").endswith("\n"):  # an object without its opening brace, or no object
        return None
    if of_other_call(text, start):
        return None
    if string := _JSON_STRING.match(text, at):
        return Mark("json", unescaped(string[1]).strip(), start, string.end(), final=True)
    if bare := _JSON_BARE.match(text, at):
        return Mark("json", bare[0], start, bare.end(), final=True)
    if items := _JSON_LIST.match(text, at):
        return Mark("json", unescaped(_listed(items[1])), start, items.end(), final=True)
    return None


def _listed(items: str) -> str:
    """Return what an answer key's list or object holds: its items; of an object with a value, that with its unit."""
    fields = {field[1]: field[2].strip().strip('"') for field in _JSON_PAIR.finditer(items)}
    measured = any(name.lower() in ("unit", "units", "currency", "value") for name in fields)
    if fields and (measured or len(fields) == 1) and (value := field_of(fields)):
        return value
    if any(name.lower() in _ANSWER_NAMES for name in fields) and (value := field_of(fields)):
        return value
    if fields and all(len(name) == 1 for name in fields):
        return ", ".join(f"{name} = {value}" for name, value in fields.items())  # {"x": 5, "y": 2}
    return ", ".join(item.strip().strip('"') for item in _JSON_FIELD.sub("", items).split(","))


def unescaped(text: str) -> str:
    r"""Return a JSON string's text; `\frac` that a model forgot to escape stays the command that it is meant to be."""

    def replace(match: re.Match[str]) -> str:
        if match[1]:
            return chr(int(match[1], 16))
        return match[2] or " "

    return _ESCAPE.sub(replace, text)


_COPULA = re.compile(
    r"s?(?:\s{1,2}(?:to|for|of|in|on)\b[^\n.:=]{1,100}?)?[ \t*_\"'”)]{0,4}\s?"
    r"(?:(?:\bis\b|\bare\b|\bwas\b|\b(?:must|would|will|should|can only|has to|have to) (?:be|equal)\b|\bequals\b"
    r"|\bbecomes\b|\bcomes out (?:to|as)(?: be)?\b)(?:\s+(?:that|therefore|thus|then|now))?(?=\W)"
    r"|(?<=[Aa]nswer)[*_ \t]{0,4}(?:=|:|：|->|→|=>|-(?=\s))|(?<=ANSWER)[*_ \t]{0,4}[:=])[ \t*_]{0,4}[:：]?[ \t*_]{0,4}",
)
_BEFORE = re.compile(
    r"(?:\A|[\n.!?:;,*_#>(—–-]|\b(?:final|correct|the|The|my|our|right|required|desired|exact|numerical|numeric|unique"
    r"|overall|actual|total|simplified|only|so|thus|hence|therefore|then|and))[\s,*_]*\Z",
    re.IGNORECASE,
)
_OF_QUESTIONS = re.compile(r"\b(?:[Ll]ong|[Ss]hort|[Mm]ultiple|[Ee]ssay|[Oo]pen)[- ]\Z")  # kinds of questions in a test
_FINAL = re.compile(r"\b(?:final|correct)\s*\Z", re.IGNORECASE)
_HEADING = re.compile(r"[*_:： \t]{0,6}(?=\n|\Z)")
_HEADING_LINE = re.compile(r"[\s#*_>\d.)]{0,12}(?:[A-Za-z]+\s){0,3}\Z")
_ANSWER_LINE = re.compile(
    r"^[ \t*_#>]{0,8}(?:(?:A|Final [Rr]esult|Result|Solution)[ \t]{0,2}:|Ans\.?[ \t]{0,2}[:=])[ \t*]{0,4}", re.MULTILINE
)
_CHINESE = re.compile(
    r"(?:答案|结果)(?:并不|不)是[^，。,\n]{1,30}[，,]\s?而是\s?|【(?:最终|正确|参考|标准)?(?:答案|解答结果)】[:：\s*]{0,6}|(?:最终|正确|最后的?|所求)?(?:答案|结果)\s?(?:应该?)?(?:[为是]|[:：])\s{0,4}[:：]?\s{0,4}"
    r"|(?<![^\n。\s*])答[:：]\s?|(?:答え|正解|解答|正答)(?:は、?|[:：])\s?|(?:정답|답)(?:은|:|：)\s?|(?:सही\s)?उत्तर\s?(?:है\s?)?[:：]?\s?"
    r"|(?:الإجابة|الجواب)(?:\sالصحيحة|\sالصحيح)?\s?(?:هي|هو|:)\s?"
)
_NOUNS = re.findall(
    r"\S+",
    "respuesta réponse antwort lösung risposta resposta odpowiedź odpowiedz cevap yanıt jawaban antwoord svaret svar "
    "vastaus răspunsul ответ відповідь απάντηση resultado résultat ergebnis risultato wynik",
)
_NO = r"nicht|keine?r?|no|pas|non|não|nie|не|ні|ikke|inte|niet|bukan|ei|değil"
_FOREIGN = re.compile(  # "La respuesta correcta es", "Die Antwort ist", "Ответ:"
    rf"(?<![^\W\d_])(?:{'|'.join(_NOUNS)}|đáp\sán)"
    rf"(?:[\s*]{{1,3}}(?!(?:es|est|ist|{_NO})\b)[^\W\d]{{3,12}}){{0,2}}[\s*]{{0,3}}"
    r"(?:(?:es|est|ist|lautet|beträgt|è|é|será|sera|vaut|to|jest|wynosi|là|adalah|is|luidt|är|lyder|er|on|este|равен|равна|равно)(?:\s|(?=[:,]))(?:(?:la|el|le|l'|die|der|das|a|o)\s)?"
    r"|(?:no\ses|n['’]est\spas|ist\snicht|lautet\snicht|non\sè|não\sé|nie\sjest|is\sniet|не)\s[^.,;:!?\n]{1,40},\s"
    r"(?:sino|mais|sondern|ma|mas|lecz|maar|а)\s"
    rf"|[:：=]|[-—–]\s)[:：*\s]{{0,4}}(?!(?:{_NO})\b)",
    re.IGNORECASE,
)


def _may_be_foreign(text: str) -> bool:
    lower = text if text.isascii() else text.lower()
    return any(noun in lower for noun in _NOUNS) or "đáp án" in lower


def sentences_in(text: str) -> Iterator[Mark]:
    """Yield the marks "The answer is …", "Answer: …", a heading "Final answer", and the same in other languages."""
    lower = text.lower() if text.isascii() else text
    at, marks = len(text), list[Mark]()
    for _ in range(4 * MAX_MARKS):
        at = max(lower.rfind("answer", 0, at), lower.rfind("Answer", 0, at), lower.rfind("ANSWER", 0, at))
        if at < 0 or len(marks) >= MAX_MARKS:
            break
        before = text[max(0, at - 24) : at]
        if _OF_QUESTIONS.search(before):
            continue
        if (match := _COPULA.match(text, at + 6)) is not None and (
            match[0].rstrip(" \t*_")[-1:] in ":：=" or _BEFORE.search(before)
        ):
            marks.append(_sentence(text, at, match.end(), before))
        elif (match := _HEADING.match(text, at + 6)) is not None and _is_heading(text, at):
            marks.append(Mark("answer_is", "", at, match.end(), final=True, open=True))
    for match in list(_ANSWER_LINE.finditer(text))[-MAX_MARKS:] if ":" in text or "=" in text else ():
        marks.append(_sentence(text, match.start(), match.end(), ""))
    if not text.isascii():
        found = list(_CHINESE.finditer(text))[-MAX_MARKS:]
        marks += [_sentence(text, m.start(), m.end(), "")._replace(final=text[m.start()] == "【") for m in found]
    if not marks and " the " not in text and _may_be_foreign(lower):  # no text in English does
        marks = [
            _sentence(text, m.start(), m.end(), "")
            for m in list(_FOREIGN.finditer(text))[-MAX_MARKS:]
            if not denied_abroad(text, m.start(), m.end())
        ]
    yield from sorted(marks, key=lambda mark: mark.end)


def _is_heading(text: str, at: int) -> bool:
    start = text.rfind("\n", 0, at) + 1
    return _HEADING_LINE.match(text[start:at]) is not None


def _sentence(text: str, start: int, end: int, before: str) -> Mark:
    opened = text[max(0, start - 8) : start]
    lead = re.search(r"(?:\b[Tt]he |\b[Mm]y |\b[Oo]ur )?(?:final |correct |Final |Correct )?\Z", before)
    begin = start - (len(lead[0]) if lead else 0)
    return Mark(
        "answer_is",
        "",
        begin,
        end,
        final=_FINAL.search(before) is not None,
        open=":" in text[end - 6 : end] or "*" in opened,
    )


_STATEMENT_END = re.compile(
    r"\n|\?|(?<=[\w)}%$*\]!✅])(?:\.|(?<!\d)!)(?=\s|\Z|[\u4e00-\u9fff])|。"
    r"|[ ,](?:because|since|as there|so that|when|given that)\b"
)
_PHRASE_LEAD = re.compile(r"^(?:[\s:：*_`]|(?:therefore|thus|hence|so|indeed|simply|then|now)\b[ ,:]*)+", re.IGNORECASE)


def phrased(text: str, mark: Mark) -> Mark:
    """Return a sentence mark with the phrase behind it: a display, or the rest of the sentence."""
    start = mark.end
    rest = text[start : start + MAX_PHRASE]
    lead = _PHRASE_LEAD.match(rest)
    skipped = lead.end() if lead else 0
    # The value may stand on the next line, but a new sentence there is not the answer.
    if not mark.open and rest.lstrip(" \t*")[:1] == "\n" and rest.lstrip(" \t\n*")[:1] not in _VALUE_STARTS:
        skipped = 0
    start, rest = start + skipped, rest[skipped:]
    for opener, closer in (("$$", "$$"), ("\\[", "\\]")):
        if rest.startswith(opener):
            end = rest.find(closer, 2)
            phrase = rest[: end + 2] if end > 0 else ""
            return mark._replace(phrase=phrase, end=start + len(phrase))
    end_match = _STATEMENT_END.search(rest)
    # "Is the answer 5?" asks; it states nothing.
    if end_match and end_match[0] == "?":
        return mark._replace(phrase="", end=start + end_match.end(), open=False)
    phrase = rest[: end_match.start()] if end_match else rest
    if not phrase.isascii():
        phrase = "" if _EASTERN_DENIAL.search(phrase) else phrase
        return mark._replace(
            phrase=JAPANESE_END.sub("", phrase.translate(_WIDE_DIGITS)).strip(), end=start + len(phrase)
        )
    return mark._replace(phrase=phrase.strip(" \t"), end=start + len(phrase))


JAPANESE_END = re.compile(r"(?:です|である|だ|となる|になります)\s*\Z")
_EASTERN_DENIAL = re.compile(r"では(?:な|あり)|じゃな|でない|아니|아닙")  # in Japanese and Korean it comes last
_WIDE_DIGITS = {0xFF10 + digit: str(digit) for digit in range(10)}
_VALUE_STARTS = frozenset("0123456789$\\(-−")
