"""The kinds of constraint on a response; each class is one, its fields are the parameters.

How words, sentences, items and the like are counted, and what a whole word is, stands in `text_measures`.
Keywords are whole words, case aside, unless told otherwise.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal

import orjson
from pydantic import Field, StringConstraints, model_validator

from proofmill.filters.instructions.constraint_base import Constraint, ConstraintError, Count, constraint
from proofmill.filters.instructions.text_measures import (
    FORMATS,
    HEADING,
    UNITS,
    capital_words,
    count_items,
    fold,
    has_marks,
    is_finished,
    is_title,
    library,
    lines,
    seen,
    spans,
)

Text = Annotated[str, Field(min_length=1)]
Edge = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]  # the response is stripped too
Texts = Annotated[list[Text], Field(min_length=1)]

_FENCE = re.compile(r"(```+|~~~+)[ \t]*\w*[ \t]*\n(.*)\1", re.DOTALL)
_MAX_LANGUAGE_TEXT = 5000  # characters: more tell no more about the language


@constraint("length")
class Length(Count):
    """So many characters, words, sentences, paragraphs or non-empty lines."""

    unit: Literal["characters", "words", "sentences", "paragraphs", "lines"] = "words"

    def count(self, text: str) -> int:
        """Return the length in the unit."""
        return UNITS[self.unit](text)


@constraint("items")
class Items(Count):
    """So many list items."""

    style: Literal["bullet", "numbered", "any"] = "any"

    def count(self, text: str) -> int:
        """Return the list items of the style."""
        return count_items(text, self.style)


@constraint("format")
class Format(Constraint):
    """A shape of the whole response."""

    format: Literal[
        "bullet_list",
        "numbered_list",
        "title",
        "quotation",
        "no_commas",
        "single_line",
        "code_block",
        "table",
    ]

    def holds(self, text: str) -> bool:
        """Return whether the response has the shape."""
        return FORMATS[self.format](text)


@constraint("json")
class Json(Constraint):
    """The response is JSON, in a code fence or bare; where a `schema` is given, it fits."""

    json_schema: dict[str, Any] | None = Field(None, alias="schema")

    def holds(self, text: str) -> bool:
        """Return whether the response parses, and fits the schema."""
        fence = _FENCE.fullmatch(text)
        try:
            value = orjson.loads(fence[2] if fence else text)
        except orjson.JSONDecodeError:
            return False
        return self.json_schema is None or _fits(value, orjson.dumps(self.json_schema))


def _fits(value: object, schema: bytes) -> bool:
    try:
        return bool(_validator(schema).is_valid(value))
    except library("referencing.exceptions").Unresolvable as error:
        raise ConstraintError(f"bad_gold: json: schema: {error}"[:200]) from error


@functools.lru_cache(maxsize=256)
def _validator(schema: bytes) -> Any:
    """Return a JSON schema validator that fetches nothing from the network."""
    jsonschema, referencing = library("jsonschema"), library("referencing")
    kind = jsonschema.validators.validator_for(orjson.loads(schema), jsonschema.Draft202012Validator)
    try:
        kind.check_schema(orjson.loads(schema))
    except jsonschema.SchemaError as error:
        raise ConstraintError(f"bad_gold: json: schema: {error.message}"[:200]) from error
    return kind(orjson.loads(schema), registry=referencing.Registry())


class _Matching(Constraint):
    """A constraint that looks for words."""

    whole_words: bool = True
    case_sensitive: bool = False

    def spans(self, keyword: str, text: str) -> Iterator[int]:
        """Return where `keyword` begins in `text`, as both are seen.

        Raises:
            ConstraintError: nothing of the keyword can be seen.
        """
        marks = has_marks(keyword)
        keyword, text = (seen(side, case=self.case_sensitive, marks=marks) for side in (keyword, text))
        if not keyword:
            raise ConstraintError(f"bad_gold: {self.kind}: a keyword of invisible characters only")
        return spans(keyword, text, whole_words=self.whole_words)

    def occurs(self, keyword: str, text: str) -> bool:
        """Return whether `keyword` stands in `text`."""
        return next(self.spans(keyword, text), None) is not None


@constraint("keywords")
class Keywords(_Matching):
    """All of `include` are there, none of `exclude`."""

    include: list[Text] = Field(default_factory=list)
    exclude: list[Text] = Field(default_factory=list)

    @model_validator(mode="after")
    def _any(self) -> Keywords:
        if self.include or self.exclude:
            return self
        raise ValueError("give include, exclude, or both")

    def holds(self, text: str) -> bool:
        """Return whether the words are there, or not there."""
        found = all(self.occurs(keyword, text) for keyword in self.include)
        return found and not any(self.occurs(keyword, text) for keyword in self.exclude)


@constraint("frequency")
class Frequency(Count, _Matching):
    """A word, or a letter with `whole_words: false`, so many times."""

    keyword: Text

    def count(self, text: str) -> int:
        """Return the occurrences of the keyword."""
        return sum(1 for _ in self.spans(self.keyword, text))


@constraint("order")
class Order(_Matching):
    """The keywords or section names all appear, in the given order."""

    keywords: Texts

    def holds(self, text: str) -> bool:
        """Return whether each keyword has a place behind the one before it."""
        place = -1
        for keyword in self.keywords:
            place = next((start for start in self.spans(keyword, text) if start > place), -1)
            if place < 0:
                return False
        return True


@constraint("sections")
class Sections(Constraint):
    """The headings of the response are exactly these, in this order (case and marks aside)."""

    names: Texts

    def holds(self, text: str) -> bool:
        """Return whether the lines that are headings, or equal a name, are the names in order."""
        wanted = [fold(name).strip("#*: ") for name in self.names]
        bare = [(line, fold(line).strip("#*:<> \t")) for line in lines(text)]
        return [name for line, name in bare if name in wanted or HEADING.match(line)] == wanted


@constraint("casing")
class Casing(Constraint):
    """All letters lower or upper case, or every word but small ones capitalised."""

    casing: Literal["lower", "upper", "title"]

    def holds(self, text: str) -> bool:
        """Return whether the letters have the case; a response without letters has none."""
        if self.casing == "lower":
            return text.islower()
        return text.isupper() if self.casing == "upper" else is_title(text)


@constraint("capital_words")
class CapitalWords(Count):
    """So many words of capitals only, of two letters or more."""

    def count(self, text: str) -> int:
        """Return the words of capitals only."""
        return capital_words(text)


@constraint("starts_with")
class StartsWith(Constraint):
    """The response begins with a text, case aside unless told otherwise."""

    text: Edge
    case_sensitive: bool = False

    def holds(self, text: str) -> bool:
        """Return whether it begins so."""
        whole, part = (fold(side, case=self.case_sensitive) for side in (text, self.text))
        return whole.startswith(part)


@constraint("ends_with")
class EndsWith(StartsWith):
    """The response ends with a text, case aside unless told otherwise."""

    def holds(self, text: str) -> bool:
        """Return whether it ends so."""
        whole, part = (fold(side, case=self.case_sensitive) for side in (text, self.text))
        return whole.endswith(part)


@constraint("one_of")
class OneOf(Constraint):
    """The response is one of the choices, outer punctuation and case aside."""

    choices: Texts

    def holds(self, text: str) -> bool:
        """Return whether it is one of them."""
        return _bare(text) in {_bare(choice) for choice in self.choices}


def _bare(text: str) -> str:
    return fold(text).strip(" .!\"'*")


@constraint("complete")
class Complete(Constraint):
    """The response was finished: every code fence closed, the last line ends something."""

    def holds(self, text: str) -> bool:
        """Return whether it looks finished."""
        return is_finished(text)


@constraint("language")
class Language(Constraint):
    """The response is written in a language, told by py3langid."""

    language: Annotated[str, Field(pattern=r"^[a-z]{2,3}$")]

    def holds(self, text: str) -> bool:
        """Return whether the language is the most likely one of those the library knows.

        Raises:
            ConstraintError: the library is not installed, or does not know the language.
        """
        classify, known = _identifier()
        if self.language not in known:
            raise ConstraintError(f"bad_gold: language: {self.language} is not one that py3langid knows")
        return bool(classify(text[:_MAX_LANGUAGE_TEXT])[0] == self.language)


@functools.cache
def _identifier() -> tuple[Callable[[str], tuple[str, float]], frozenset[str]]:
    py3langid = library("py3langid")
    return py3langid.classify, frozenset(language for language, _ in py3langid.rank("a"))
