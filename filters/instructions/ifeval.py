"""The 25 instructions of IFEval, by the definitions of its own checker, so that scores can be compared.

Instructions are named as there (`length_constraints:number_words`) with their own parameters. Definitions after
Zhou et al. 2023 (arXiv 2311.07911) and its published checker; where they differ from ours, they are looser or odder:
a word is `\\w+`, a bullet is `*` or `-` without a space behind it, a highlighted section may be empty of bold type.

Two of its libraries are not used, for they need data from elsewhere or are not maintained: sentences are counted by
the rules of NLTK's punkt (Kiss & Strunk 2006) with a list of abbreviations in place of its trained model, a language is
told by `py3langid` in place of langdetect.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from typing import Any

from proofmill.filters.instructions.constraint_base import ConstraintError
from proofmill.filters.instructions.text_measures import library

Check = Callable[..., bool]
Call = tuple[Check, Mapping[str, Any]]

_MAX_LANGUAGE_TEXT = 5000  # characters: more tell no more about the language
_BULLETS = re.compile(r"^[^\S\n]*(?:\*[^*]|-)", re.MULTILINE)
_PLACEHOLDER = re.compile(r"\[[^\n\[\]]*\]")
_EMPHASISED = re.compile(r"\*[^\n*]*\*")
_STRONG = re.compile(r"\*\*([^\n*]*)\*\*")
_PARAGRAPH_MARK = re.compile(r"\s?\*\*\*\s?")
_WORDS = re.compile(r"\w+")
_CONSTRAINED = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
_STOPS = frozenset(".,?!'\"")
_FENCES = ("```json", "```Json", "```JSON", "```")
_TOKEN = re.compile(r"[^\s\w]|[\w'’.-]+")
_ABBREVIATIONS = frozenset({
    "mr", "mrs", "ms", "dr", "prof", "st", "vs", "e.g", "i.e", "u.s", "u.k", "u.n", "u.s.a", "d.c", "a.m", "p.m",
    "jan", "feb", "aug", "sept", "oct", "nov", "dec", "inc", "corp", "co", "ltd", "jr", "sr", "gen", "col", "gov",
    "sen", "rep", "lt", "sgt", "capt", "rev", "maj", "adm", "fig", "cf", "al", "ph.d", "m.d", "b.a", "m.a", "n.y",
    "n.j", "n.c", "s.c", "calif", "conn", "fla", "ga", "ill", "ind", "kan", "ky", "mass", "mich", "minn", "ore",
    "pa", "tenn", "tex", "va", "wash", "wis", "messrs", "hon", "ave", "blvd", "bros", "dept", "est", "etc",
})  # fmt: skip
_CONTRACTION = re.compile(r"(.+?)(n['’]t|['’](?:s|re|ve|ll|d|m))$", re.IGNORECASE)


def _compare(found: int, relation: str, bound: int) -> bool:
    if relation == "less than":
        return found < bound
    if relation == "at least":
        return found >= bound
    raise ConstraintError(f"bad_gold: the relation must be 'less than' or 'at least', not {relation!r}")


def _finds(pattern: str, text: str) -> bool:
    """Return whether a keyword stands in a text, case aside, taken as it is (the checker takes it for a pattern)."""
    return pattern.lower() in text.lower()


def existence(text: str, keywords: Sequence[str]) -> bool:
    """All keywords occur, as parts of words too."""
    return all(_finds(keyword, text) for keyword in keywords)


def frequency(text: str, keyword: str, frequency: int, relation: str) -> bool:
    """A keyword occurs so often, as part of words too."""
    return _compare(text.lower().count(keyword.lower()), relation, frequency)


def forbidden_words(text: str, forbidden_words: Sequence[str]) -> bool:
    """No word of a list occurs as a whole."""
    return not any(re.search(rf"\b{re.escape(word)}\b", text, re.IGNORECASE) for word in forbidden_words)


def letter_frequency(text: str, letter: str, let_frequency: int, let_relation: str) -> bool:
    """A letter, of either case, occurs so often."""
    return _compare(Counter(text.lower())[letter.lower()], let_relation, let_frequency)


def response_language(text: str, language: str) -> bool:
    """The response is in a language; one of which none can be told passes."""
    if not any(char.isalpha() for char in text):
        return True
    found = str(library("py3langid").classify(text[:_MAX_LANGUAGE_TEXT])[0])
    return found == language.partition("-")[0]


def number_sentences(text: str, num_sentences: int, relation: str) -> bool:
    """So many sentences, by the rules of punkt: line ends part none, the number of a list item is one of its own."""
    return _compare(count_sentences(text), relation, num_sentences)


def count_sentences(text: str) -> int:
    """Return the number of sentences of a text by the rules of punkt."""
    return len(split_sentences(text))


def split_sentences(text: str) -> list[str]:
    """Return the sentences of a text by the rules of punkt, with single spaces."""
    words, found = text.split(), list[list[str]]()
    for index, word in enumerate(words):
        if index == 0 or _ends_sentence(words[index - 1], word):
            found.append([])
        found[-1].append(word)
    return [" ".join(sentence) for sentence in found]


def _ends_sentence(word: str, behind: str) -> bool:
    bare = word.rstrip("\"')]}*_”’»`").lstrip("\"'([{*_“‘«`")
    if not bare.endswith((".", "!", "?")):
        return False
    starts = behind.lstrip("\"'([{*_“‘«`#-")[:1]
    if bare.endswith(".."):
        return starts.isupper()
    stem = bare[:-1]
    if bare.endswith(".") and (stem.lower() in _ABBREVIATIONS or (len(stem) == 1 and stem.isalpha() and stem != "I")):
        return False
    if bare.endswith(".") and stem.replace(",", "").replace(".", "").lstrip("-$").isdigit():
        return not starts.islower()
    return True


def number_paragraphs(text: str, num_paragraphs: int) -> bool:
    """So many paragraphs, parted by `***`; an empty one may only stand at an end."""
    parts = _PARAGRAPH_MARK.split(text)
    empty = [index for index, part in enumerate(parts) if not part.strip()]
    if any(0 < index < len(parts) - 1 for index in empty):
        return False
    return len(parts) - len(empty) == num_paragraphs


def number_words(text: str, num_words: int, relation: str) -> bool:
    """So many runs of letters, digits and underscores."""
    return _compare(len(_WORDS.findall(text)), relation, num_words)


def nth_paragraph_first_word(text: str, num_paragraphs: int, nth_paragraph: int, first_word: str) -> bool:
    """So many paragraphs, parted by blank lines, and the n-th begins with a word."""
    parts = text.split("\n\n")
    count = sum(bool(part.strip()) for part in parts)
    if nth_paragraph > count or nth_paragraph < 1 or nth_paragraph > len(parts):
        return False
    words = parts[nth_paragraph - 1].split()
    if not words:
        return False
    word = words[0].lstrip("'").lstrip('"')
    end = next((index for index, char in enumerate(word) if char in _STOPS), len(word))
    return count == num_paragraphs and word[:end].lower() == first_word.lower()


def number_placeholders(text: str, num_placeholders: int) -> bool:
    """At least so many `[placeholders]`."""
    return len(_PLACEHOLDER.findall(text)) >= num_placeholders


def postscript(text: str, postscript_marker: str) -> bool:
    """A postscript, begun by `P.S.`, `P.P.S` or another marker."""
    known = {"P.P.S": r"p\.\s?p\.\s?s", "P.S.": r"p\.\s?s\."}
    pattern = known.get(postscript_marker) or re.escape(postscript_marker.lower())
    return re.search(pattern, text.lower()) is not None


def number_bullet_lists(text: str, num_bullets: int) -> bool:
    """Exactly so many lines that begin with `*` or `-`."""
    return len(_BULLETS.findall(text)) == num_bullets


def constrained_response(text: str) -> bool:
    """One of three fixed answers occurs."""
    return any(answer in text for answer in _CONSTRAINED)


def number_highlighted_sections(text: str, num_highlights: int) -> bool:
    """At least so many pieces between asterisks."""
    single = sum(bool(piece.strip("*").strip()) for piece in _EMPHASISED.findall(text))
    double = sum(bool(piece.strip()) for piece in _STRONG.findall(text))
    return single + double >= num_highlights


def multiple_sections(text: str, section_spliter: str, num_sections: int) -> bool:
    """At least so many numbered sections: `SECTION 1`."""
    mark = re.compile(rf"\s?{re.escape(section_spliter)}\s?\d+\s?")
    return len(mark.split(text)) - 1 >= num_sections


def json_format(text: str) -> bool:
    """The response is JSON, in a fence or bare."""
    plain = text.strip()
    for fence in _FENCES:
        plain = plain.removeprefix(fence)
    try:
        json.loads(plain.removesuffix("```").strip())
    except (ValueError, RecursionError):
        return False
    return True


def title(text: str) -> bool:
    """A title in double angular brackets."""
    marked = ((line, line.find("<<"), line.rfind(">>")) for line in text.split("\n"))
    return any(0 <= start < end and line[start:end].strip("<> \t") for line, start, end in marked)


def two_responses(text: str) -> bool:
    """Two different responses, parted by six asterisks."""
    parts = text.split("******")
    if any(not part.strip() for part in parts[1:-1]):
        return False
    whole = [part.strip() for part in parts if part.strip()]
    return len(whole) == 2 and whole[0] != whole[1]


def repeat_prompt(text: str, prompt_to_repeat: str) -> bool:
    """The response begins with the request."""
    return text.strip().lower().startswith(prompt_to_repeat.strip().lower())


def end_checker(text: str, end_phrase: str) -> bool:
    """The response ends with a phrase."""
    return text.strip().strip('"').lower().endswith(end_phrase.strip().lower())


def capital_word_frequency(text: str, capital_frequency: int, capital_relation: str) -> bool:
    """So many words in capitals, single letters among them."""
    return _compare(sum(word.isupper() for word in tokens(text)), capital_relation, capital_frequency)


def english_capital(text: str) -> bool:
    """English, in capitals only."""
    return text.isupper() and response_language(text.lower(), "en")


def english_lowercase(text: str) -> bool:
    """English, in small letters only."""
    return text.islower() and response_language(text, "en")


def no_comma(text: str) -> bool:
    """No comma."""
    return "," not in text


def quotation(text: str) -> bool:
    """Double quotation marks around the whole."""
    plain = text.strip()
    return len(plain) > 1 and plain[0] == plain[-1] == '"'


def tokens(text: str) -> list[str]:
    """Return the words as the Penn Treebank parts them: endings such as `n't` are words of their own."""
    found: list[str] = []
    for token in _TOKEN.findall(text):
        word = token.strip("'’").rstrip(".") if token.count(".") == 1 else token.strip("'’")
        parts = _CONTRACTION.match(word)
        found += parts.groups() if parts else [word]
    return found


CHECKS: Mapping[str, Check] = {
    "keywords:existence": existence,
    "keywords:frequency": frequency,
    "keywords:forbidden_words": forbidden_words,
    "keywords:letter_frequency": letter_frequency,
    "language:response_language": response_language,
    "length_constraints:number_sentences": number_sentences,
    "length_constraints:number_paragraphs": number_paragraphs,
    "length_constraints:number_words": number_words,
    "length_constraints:nth_paragraph_first_word": nth_paragraph_first_word,
    "detectable_content:number_placeholders": number_placeholders,
    "detectable_content:postscript": postscript,
    "detectable_format:number_bullet_lists": number_bullet_lists,
    "detectable_format:constrained_response": constrained_response,
    "detectable_format:number_highlighted_sections": number_highlighted_sections,
    "detectable_format:multiple_sections": multiple_sections,
    "detectable_format:json_format": json_format,
    "detectable_format:title": title,
    "combination:two_responses": two_responses,
    "combination:repeat_prompt": repeat_prompt,
    "startend:end_checker": end_checker,
    "startend:quotation": quotation,
    "change_case:capital_word_frequency": capital_word_frequency,
    "change_case:english_capital": english_capital,
    "change_case:english_lowercase": english_lowercase,
    "punctuation:no_comma": no_comma,
}
"""By the instruction's own name."""


_TYPES: Mapping[str, tuple[type, ...]] = {"int": (int,), "str": (str,), "float": (int, float)}


def bound_check(name: str, check: Check, parameters: Mapping[str, Any]) -> Callable[[str], bool]:
    """Return a check with its parameters; null ones are left out, since data sets pad with them.

    Raises:
        ConstraintError: parameters that the check doesn't take or lacks, or values of another type.
    """
    given = {key: value for key, value in parameters.items() if value is not None}
    try:
        signature(check).bind("", **given)
    except TypeError as error:
        raise ConstraintError(f"bad_gold: {name}: {error}") from error
    for key, value in given.items():
        meant = str(signature(check).parameters[key].annotation)
        kinds = _TYPES.get(meant, (list, tuple))
        if not isinstance(value, kinds) or isinstance(value, bool):
            raise ConstraintError(f"bad_gold: {name}: {key} should be {meant}, not {value!r}"[:200])
    return lambda text: check(text, **given)


def variants(text: str) -> list[str]:
    """Return the forms of a response that the checker's loose mode tries: without asterisks, first line, last line."""
    rows = text.split("\n")
    cut = ["\n".join(part).strip() for part in (rows, rows[1:], rows[:-1], rows[1:-1])]
    forms = [text, *cut[1:]]
    return [*forms, *(form.replace("*", "") for form in forms)]


def _ranges(fields: Mapping[str, Any]) -> list[tuple[str, int]]:
    """Return our bounds as the checker's relations."""
    least = fields.get("min") if fields.get("exactly") is None else fields["exactly"]
    most = fields.get("max") if fields.get("exactly") is None else fields["exactly"]
    found = [] if least is None else [("at least", int(least))]
    return found if most is None else [*found, ("less than", int(most) + 1)]


def _length(fields: Mapping[str, Any]) -> list[Call]:
    unit = fields["unit"]
    if unit == "paragraphs" and fields.get("exactly") is not None:
        return [(number_paragraphs, {"num_paragraphs": fields["exactly"]})]
    check = {"words": (number_words, "num_words"), "sentences": (number_sentences, "num_sentences")}.get(unit)
    if check is None:
        return []
    return [(check[0], {check[1]: bound, "relation": relation}) for relation, bound in _ranges(fields)]


def _keywords(fields: Mapping[str, Any]) -> list[Call]:
    found: list[Call] = []
    for keyword in fields["include"]:
        marker = keyword in ("P.S.", "P.P.S")
        found.append((postscript, {"postscript_marker": keyword}) if marker else (existence, {"keywords": [keyword]}))
    return [*found, (forbidden_words, {"forbidden_words": fields["exclude"]})] if fields["exclude"] else found


def _frequency(fields: Mapping[str, Any]) -> list[Call]:
    keyword = fields["keyword"]
    if len(keyword) == 1:
        return [
            (letter_frequency, {"letter": keyword, "let_frequency": bound, "let_relation": relation})
            for relation, bound in _ranges(fields)
        ]
    return [
        (frequency, {"keyword": keyword, "frequency": bound, "relation": relation})
        for relation, bound in _ranges(fields)
    ]


def _contains_one(text: str, choices: Sequence[str]) -> bool:
    return any(choice in text for choice in choices)


def _format(fields: Mapping[str, Any]) -> list[Call]:
    check = {"no_commas": no_comma, "quotation": quotation, "title": title}.get(fields["format"])
    return [(check, {})] if check else []


def _casing(fields: Mapping[str, Any]) -> list[Call]:
    check = {"lower": english_lowercase, "upper": english_capital}.get(fields["casing"])
    return [(check, {})] if check else []


def _items(fields: Mapping[str, Any]) -> list[Call]:
    if fields["style"] != "bullet" or fields.get("exactly") is None:
        return []
    return [(number_bullet_lists, {"num_bullets": fields["exactly"]})]


_COUNTERPARTS: Mapping[str, Callable[[Mapping[str, Any]], list[Call]]] = {
    "length": _length,
    "items": _items,
    "format": _format,
    "json": lambda fields: [(json_format, {})] if fields["json_schema"] is None else [],
    "keywords": _keywords,
    "frequency": _frequency,
    "language": lambda fields: [(response_language, {"language": fields["language"]})],
    "casing": _casing,
    "capital_words": lambda fields: [
        (capital_word_frequency, {"capital_frequency": bound, "capital_relation": relation})
        for relation, bound in _ranges(fields)
    ],
    "starts_with": lambda fields: [(repeat_prompt, {"prompt_to_repeat": fields["text"]})],
    "ends_with": lambda fields: [(end_checker, {"end_phrase": fields["text"]})],
    "one_of": lambda fields: [(_contains_one, {"choices": fields["choices"]})],
}


def counterpart(kind: str, fields: Mapping[str, Any]) -> Callable[[str], bool] | None:
    """Return the checker's definition of one of our constraints, where it has one."""
    calls = _COUNTERPARTS[kind](fields) if kind in _COUNTERPARTS else []
    return (lambda text: all(check(text, **given) for check, given in calls)) if calls else None
