r"""Answers handed over in a field: arguments of a tool call, `final_answer(34)` of a code agent, YAML, a JSON object.

A call hands an answer over only where its name says so (`submit_answer`, `finish`): what goes to a calculator is none.
Of an object with several fields, that of an answer's name counts, with its unit; else the one that is neither a unit
nor a remark. Nothing is run: an argument that is no number, text or list as it stands hands nothing over.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping

MAX_FIELDS = 32  # of a kind, from the end of the text
_MAX_OBJECT = 4_000  # characters
_MAX_VALUE = 300

_HANDS_OVER = (
    r"(?:(?:submit|provide|give|report|return|send)_?(?:the_?)?(?:final_?)?(?:answer|result|solution|response)"
    r"|(?:select|choose|pick|mark)_?(?:the_?)?(?:final_?)?(?:answer|option|choice|letter)"
    r"|submit|finish|final_?(?:answer|result|solution|response))"
)
_HANDING_OVER = re.compile(rf"(?:{_HANDS_OVER}|answer|attempt_completion|complete)\Z", re.IGNORECASE)
_ANSWER_NAME = re.compile(
    r"(?:(?:final|correct|selected|chosen)[ _-]?)?"
    r"(?:answer|value|result|solution|amount|number|final|option|choice|letter)\Z",
    re.IGNORECASE,
)
_UNIT_NAME = re.compile(r"(?:units?|currency|dimension)\Z", re.IGNORECASE)
_REMARK = re.compile(  # the fields beside an answer that are none
    r"(?:\w*(?:reason|thought|think|expla|step|analys|confiden|comment|note|check|verif|question|problem|method|approach"
    r"|formula|calculat|justif|work|derivation|certain|probab|given|type|description|quantity|name|label)\w*|id|rationale)\Z",
    re.IGNORECASE,
)


_LOOKS_INTO = re.compile(r"check|verif|test|valid|calc|eval|python|search|look|comput", re.IGNORECASE)


def hands_over(name: str, key: str = "") -> bool:
    """Return whether a function or tool of that name, or its field of that name, is given the answer."""
    if "answer" in key.lower() and not _LOOKS_INTO.search(name):
        return True
    return _HANDING_OVER.match(name.strip().replace(" ", "_").replace("-", "_")) is not None


def field_of(fields: Mapping[str, object]) -> str:
    """Return what an object states as the answer, with its unit; "" where that is not one of its fields."""
    unit = next((str(value) for name, value in fields.items() if _UNIT_NAME.match(name) and value), "")
    stated = {name: value for name, value in fields.items() if not _UNIT_NAME.match(name)}
    named = [value for name, value in stated.items() if _ANSWER_NAME.match(name)]
    others = [value for name, value in stated.items() if not _REMARK.match(name)]
    values = named or others or list(stated.values())
    return with_unit(_plain(values[0]), unit) if len(values) == 1 else ""


def with_unit(value: str, unit: str) -> str:
    """Return a value with the unit that stands in another field, unless it has that unit already."""
    unit = unit.strip().strip("\"'")
    bare = value and unit and unit not in value and re.search(r"[A-Za-z]{3}", value) is None
    return f"{value} {unit}" if bare else value


def _plain(value: object) -> str:
    if isinstance(value, Mapping):
        return field_of({str(name): item for name, item in value.items()})
    if isinstance(value, list):
        items = [_plain(item) for item in value]
        return ", ".join(items) if all(items) else ""
    return str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else ""


_FUNCTION = re.compile(r"<(?:function=|invoke\s{1,3}name=[\"'])([\w.-]{1,40})[\"']?\s?>")
_PARAMETER = re.compile(r"<parameter(?:=|\s{1,3}name=[\"'])([\w.-]{1,40})[\"']?(?:\s[^<>\n]{0,40})?>")
_NAMED = re.compile(r'"(?:name|action|tool|tool_name)"\s{0,4}:\s{0,4}"([\w .-]{1,40})"')
_ARGUMENTS = re.compile(r'"(?:arguments|parameters|args|input|action_input|tool_input)"\s{0,4}:\s{0,4}')
_STRING = re.compile(r'"((?:[^"\\\n]|\\.){0,2000})"')
_NUMBER = re.compile(r"-?\d[\d.eE+-]{0,40}")
_CALL = re.compile(
    rf"^[ \t>]{{0,8}}(?:Action(?:\s\d{{1,2}})?:\s?)?(?:\w{{1,20}}\.)?(?:{_HANDS_OVER})(?:\.call)?"
    r"(?P<open>[(\[])\s{0,8}",
    re.MULTILINE | re.IGNORECASE,
)
_ARGUMENT = re.compile(
    r"(?:[a-z_]{1,20}\s?=\s?)?(?:\"(?P<double>(?:[^\"\\\n]|\\.){1,300})\"|'(?P<single>(?:[^'\\\n]|\\.){1,300})'"
    r"|(?P<bare>-?[\d.][\d_.,/eE+*^ -]{0,60}|[\[(][^\[\]()\n\"'a-z]{1,200}[\])]))\s{0,8},?\s{0,8}\)"
)
_YAML = re.compile(  # with a unit in a line of its own
    r"^[ \t]*(?:final_|correct_)?(?:answer|result|solution):[ \t]*(?:\n[ \t]+[a-z_]{1,30}:[ \t]*)?"
    r"(?P<value>[^\n{\[]{1,200})\n[ \t]*units?:[ \t]*(?P<unit>[^\n]{1,30})$",
    re.MULTILINE,
)


def fields_in(text: str) -> Iterator[tuple[str, int, int]]:
    """Yield the answers that a text hands over in calls and YAML, each with where it begins and ends."""
    if "<parameter" in text:
        yield from _tool_calls(text)
    if '"arguments"' in text or "_input" in text or '"parameters"' in text or '"args"' in text:
        yield from _json_calls(text)
    if "(" in text or "[" in text:
        yield from _code_calls(text)
    if "\n" in text and "unit" in text:
        for match in list(_YAML.finditer(text))[-MAX_FIELDS:]:
            yield with_unit(match["value"].strip(" \"'"), match["unit"]), match.start(), match.end()


def _tool_calls(text: str) -> Iterator[tuple[str, int, int]]:
    for match in list(_FUNCTION.finditer(text))[-MAX_FIELDS:]:
        ends = [at for end in ("</function>", "</invoke>", "</tool_call>") if (at := text.find(end, match.end())) >= 0]
        if not ends:
            continue
        body = text[match.end() : min(min(ends), match.end() + _MAX_OBJECT)]
        fields: dict[str, object] = {}
        for parameter in list(_PARAMETER.finditer(body))[:MAX_FIELDS]:
            end = body.find("</parameter>", parameter.end())
            if end >= 0:
                fields[parameter[1]] = body[parameter.end() : end].strip()
        if hands_over(match[1], " ".join(fields)) and (value := field_of(fields)):
            yield value, match.start(), min(ends)


def _json_calls(text: str) -> Iterator[tuple[str, int, int]]:
    for match in list(_NAMED.finditer(text))[-MAX_FIELDS:]:
        arguments = _ARGUMENTS.search(text, match.end(), match.end() + 200)
        if arguments is None or not hands_over(match[1]):
            continue
        value, end = _given(text, arguments.end())
        if value:
            yield value, match.start(), end


def _given(text: str, at: int) -> tuple[str, int]:
    """Return the answer that an argument holds, as it stands or in an object, and where the argument ends."""
    if string := _STRING.match(text, at):
        said = _loaded(string[0])
        inner = _loaded(said) if isinstance(said, str) and said.lstrip().startswith("{") else None
        value = _plain(inner) if isinstance(inner, dict) else said
        return value if isinstance(value, str) else "", string.end()
    if number := _NUMBER.match(text, at):
        return number[0], number.end()
    end = text.find("}", at)
    found = _loaded(text[at : end + 1]) if text[at : at + 1] == "{" and end - at < _MAX_OBJECT else None
    return _plain(found), end + 1


def _loaded(source: str) -> object:
    try:
        return json.loads(source)
    except (ValueError, RecursionError):
        return None


def _code_calls(text: str) -> Iterator[tuple[str, int, int]]:
    for match in list(_CALL.finditer(text))[-MAX_FIELDS:]:
        if match["open"] == "[":  # Finish[34]
            end = text.find("]", match.end(), match.end() + _MAX_VALUE)
            if end >= 0 and "\n" not in text[match.end() : end]:
                yield text[match.end() : end].strip(" \"'"), match.start(), end + 1
        elif argument := _ARGUMENT.match(text, match.end()):
            value = next(filter(None, argument.groups()))
            yield value.strip().rstrip(","), match.start(), argument.end()


def of_other_call(text: str, start: int) -> bool:
    """Return whether a key stands among the arguments of a call that is given no answer: of a calculator."""
    window = text[max(0, start - 300) : start]
    arguments = [*_ARGUMENTS.finditer(window)]
    named = [*_NAMED.finditer(window)]
    if not arguments or not named or "}" in window[arguments[-1].end() :]:
        return False
    return not hands_over(named[-1][1], text[start : start + 24].partition(":")[0])


_OBJECT_END = re.compile(r"\}\s*(?:\]\s*)?(?:```\s*)?(?:</tool_call>\s*)?\Z")
_KEY = re.compile(r'\{\s{0,20}"[^"\n]{1,60}"\s{0,4}:')


def closing_object(text: str) -> tuple[int, str] | None:
    """Return where the JSON object begins that ends a text, and the one quantity that it names ("" if that is unclear).

    None where a text ends otherwise.
    """
    end = _OBJECT_END.search(text, max(0, len(text) - 60))
    if end is None:
        return None
    base = max(0, len(text) - _MAX_OBJECT)
    first = _KEY.search(text, 0 if text.startswith("{") else max(text.rfind("\n{"), 0) if "\n{" in text else base)
    if first is None:
        return None
    found = _loaded(text[first.start() : end.start() + 1])
    if not isinstance(found, dict):
        return first.start(), ""
    fields = {str(name): value for name, value in found.items()}
    if len(fields) > 1 and all(len(name) == 1 for name in fields):
        return None  # values of letters
    call = any(_ARGUMENTS.match(f'"{name}":') for name in fields)
    if call or all(_REMARK.match(name) or _UNIT_NAME.match(name) for name in fields):
        return first.start(), ""
    value = field_of(fields)
    return first.start(), value if re.search(r"\d", value) else ""
