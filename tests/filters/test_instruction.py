"""Instruction constraints: each kind held and broken, bad data, hostile text."""

from __future__ import annotations

import inspect
import time
from typing import Any

import pytest

from proofmill.filters.domains.instruction import VERIFIER
from proofmill.filters.instructions import ifbench, ifeval
from proofmill.filters.instructions.constraint_base import KINDS, ConstraintError
from proofmill.filters.instructions.constraints import parse_constraints
from proofmill.filters.verdicts import CORRECT, ERROR, UNPARSED, WRONG, Problem, Verdict

SCHEMA = {"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}}
CASES: list[tuple[str, dict[str, Any], str, str]] = [
    ("length", {"max": 3}, "one two three", "one two three four"),
    ("length", {"min": 2, "max": 3}, "one, two!", "one"),
    ("length", {"exactly": 2, "unit": "words"}, "one - two", "one - two x"),
    ("length", {"exactly": 3, "unit": "characters"}, " abc\n", "abcd"),
    ("length", {"exactly": 2, "unit": "sentences"}, "It is 3.5 m, e.g. long. Yes!", "It is. It is. It is."),
    ("length", {"exactly": 2, "unit": "sentences"}, "这是。那是。", "这是"),
    ("length", {"exactly": 2, "unit": "paragraphs"}, "a\nb\n\n  \nc", "a\nb"),
    ("length", {"exactly": 2, "unit": "lines"}, "a\n\nb", "a b"),
    ("items", {"exactly": 2}, "Here:\n- a\n- b", "- a"),
    ("items", {"min": 1, "style": "numbered"}, "1. a", "- a"),
    ("items", {"exactly": 0, "style": "bullet"}, "1. a\n**b**", "- a"),
    ("format", {"format": "bullet_list"}, "- a\n* b", "Here:\n- a"),
    ("format", {"format": "numbered_list"}, "1. a\n2) b", "1. a\n3. b"),
    ("format", {"format": "title"}, "# A\ntext", "A\ntext"),
    ("format", {"format": "title"}, "<<A>>\ntext", "<A>\ntext"),
    ("format", {"format": "quotation"}, '"a"', '"a" b'),
    ("format", {"format": "no_commas"}, "a b", "a, b"),
    ("format", {"format": "single_line"}, "a b", "a\nb"),
    ("format", {"format": "code_block"}, "x\n```python\ny\n```", "```python\ny"),
    ("format", {"format": "table"}, "|a|b|\n|---|---|\n|1|2|", "|a|b|\n|1|2|"),
    ("json", {}, '{"a": [1, 2]}', "{'a': 1}"),
    ("json", {}, '```json\n{"a": 1}\n```', '```json\n{"a": 1\n```'),
    ("json", {}, "[1]", "[NaN]"),
    ("json", {}, "1", "[" * 100_000),
    ("json", {"schema": SCHEMA}, '{"a": 1}', '{"a": "1"}'),
    ("keywords", {"include": ["cat", "dog"]}, "Dog and cat.", "dogs and cat"),
    ("keywords", {"exclude": ["cat"]}, "concatenate", "a CAT"),
    ("keywords", {"include": ["Cat"], "case_sensitive": True}, "Cat", "cat"),
    ("keywords", {"include": ["c++"]}, "use C++ here", "use C"),
    ("frequency", {"keyword": "a", "exactly": 2}, "a cat, a dog", "a cat"),
    ("frequency", {"keyword": "a", "min": 3, "whole_words": False}, "banana", "bana"),
    ("keywords", {"include": ["苹果"]}, "我喜欢苹果和梨", "我喜欢梨"),
    ("keywords", {"include": ["AI"]}, "使用AI技术", "使用AIR技术"),
    ("keywords", {"include": ["na\u00efve"]}, "nai\u0308ve", "naive"),
    ("keywords", {"include": ["don't"]}, "I don\u2019t know", "dont"),
    ("keywords", {"exclude": ["bad"]}, "bad_name is badly made", "It is _bad_."),
    ("keywords", {"exclude": ["bad"]}, "abad", "b\u200bad"),
    ("frequency", {"keyword": "!", "max": 1}, "Hi!you", "Hi!!"),
    ("frequency", {"keyword": "x-x", "exactly": 1}, "ax-x-x", "ax-xa"),
    ("length", {"exactly": 4, "unit": "words"}, "我们 go 园", "我们"),
    ("length", {"exactly": 2, "unit": "paragraphs"}, "a\r\n\r\nb", "a\r\nb"),
    ("json", {}, '```JSON \r\n{"a": 1}\r\n```', '```json\r\n{"a": 1}\r\n```\nx'),
    ("starts_with", {"text": " I\u2019m "}, "I'm here", "Im here"),
    ("order", {"keywords": ["first", "then", "last"]}, "First a, then b, last c", "then first last"),
    ("order", {"keywords": ["a", "a"]}, "a b a", "a b"),
    ("sections", {"names": ["Plan", "Answer"]}, "# Plan\nx\n**Answer:**\ny", "# Answer\nx\n# Plan\ny"),
    ("sections", {"names": ["Plan"]}, "## plan\nx", "# Plan\n# More"),
    ("casing", {"casing": "lower"}, "all lower 5", "Not lower"),
    ("casing", {"casing": "upper"}, "ALL UPPER 5", "NOT uPPER"),
    ("casing", {"casing": "title"}, "The Lord of the Rings", "The lord of the Rings"),
    ("casing", {"casing": "lower"}, "a", "5"),
    ("capital_words", {"exactly": 2}, "NASA and ÉCOLE, A", "NASA and Esa"),
    ("starts_with", {"text": "Dear"}, "dear all", "My dear"),
    ("ends_with", {"text": "Bye."}, "So: bye.\n", "bye. So"),
    ("ends_with", {"text": "Bye", "case_sensitive": True}, "Bye", "bye"),
    ("one_of", {"choices": ["yes", "no"]}, "Yes.", "yes no"),
    ("complete", {}, "It is done.", "It is don"),
    ("complete", {}, "- a\n- b", "```\nx"),
]


def judge(text: str, *constraints: Any) -> Verdict:
    return VERIFIER.verify(Problem("instruction", "?", None, {"constraints": list(constraints)}), text)


@pytest.mark.parametrize(("kind", "params", "held", "broken"), CASES)
def test_kinds(kind: str, params: dict[str, Any], held: str, broken: str) -> None:
    constraint = {"kind": kind, **params}
    assert judge(held, constraint) == Verdict(CORRECT, None, None, 1, 1, final_start=0)
    assert judge(broken, constraint) == Verdict(WRONG, None, f"broken: {kind}", 0, 1, final_start=0)


def test_every_kind_is_tested() -> None:
    parse_constraints([{"kind": "complete"}])
    assert set(KINDS) == {case[0] for case in CASES} | {"language"}


def test_language() -> None:
    pytest.importorskip("py3langid", reason="the language kind needs py3langid")
    german = {"kind": "language", "language": "de"}
    assert judge("Die Antwort ist fünf, weil zwei und drei fünf sind.", german).verdict == CORRECT
    assert judge("The answer is five because two and three are five.", german).verdict == WRONG
    assert judge("x", {"kind": "language", "language": "qq"}).verdict == ERROR


def test_all_must_hold() -> None:
    verdict = judge(
        "a, b", {"kind": "length", "max": 5}, {"kind": "format", "format": "no_commas"}, {"kind": "complete"}
    )
    assert (verdict.verdict, verdict.tests_passed, verdict.tests_total) == (WRONG, 1, 3)
    assert verdict.detail == "broken: format, complete"


@pytest.mark.parametrize(
    ("constraint", "detail"),
    [
        ({"kind": "lenght", "max": 3}, "unknown constraint lenght; did you mean length?"),
        ({"kind": "length"}, "bad_gold: length: "),
        ({"kind": "length", "min": 3, "max": 2}, "bad_gold: length: "),
        ({"kind": "length", "max": "3"}, "bad_gold: length: max: "),
        ({"kind": "length", "max": 3, "maximum": 4}, "bad_gold: length: maximum: "),
        ({"kind": "format", "format": "poem"}, "bad_gold: format: format: "),
        ({"kind": "keywords"}, "bad_gold: keywords: "),
        ({"kind": "keywords", "exclude": ["\u200b"]}, "bad_gold: keywords: "),
        ({"kind": "order", "keywords": []}, "bad_gold: order: keywords: "),
        ({"kind": "json", "schema": {"type": "nonsense"}}, "bad_gold: json: schema: "),
        ({"max": 3}, "bad_gold: a constraint must be"),
        ("length", "bad_gold: a constraint must be"),
        ({"kind": "length", "max": {1}}, "bad_gold: "),
    ],
)
def test_faults_of_the_data_are_errors(constraint: Any, detail: str) -> None:
    verdict = judge("1", constraint)
    assert verdict.verdict == ERROR
    assert (verdict.detail or "").startswith(detail)


@pytest.mark.parametrize("info", [{}, {"constraints": []}, {"constraints": "length"}, {"constraints": {}}])
def test_no_constraints_are_an_error(info: dict[str, Any]) -> None:
    assert VERIFIER.verify(Problem("instruction", "?", None, info), "text").verdict == ERROR


@pytest.mark.parametrize("text", ["", " \n"])
def test_nothing_is_unparsed(text: str) -> None:
    assert judge(text, {"kind": "length", "max": 3}).verdict == UNPARSED


@pytest.mark.parametrize("char", [". ", "!)", " ", "- ", "```", "*", "\n", "A", "1. ", "[", "<<", "# ", "。"])
def test_hostile_text_is_judged_at_once(char: str) -> None:
    text = char * (50_000 // len(char)) + "x"
    for kind, params, _, _ in CASES:
        assert judge(text, {"kind": kind, **params}).verdict in {CORRECT, WRONG}


def test_remote_schemas_are_not_fetched() -> None:
    verdict = VERIFIER.quick
    constraint = {"kind": "json", "schema": {"$ref": "http://127.0.0.1:9/schema.json"}}
    assert verdict(Problem("instruction", "?", None, {"constraints": [constraint]}), "1") is None
    assert judge("1", constraint).verdict == ERROR


BENCHMARKS = {**ifeval.CHECKS, **ifbench.CHECKS}
_VALUES = {"int": 3, "str": "ab", "Sequence[str]": ["ab", "c"]}


@pytest.mark.parametrize("name", sorted(BENCHMARKS))
def test_a_benchmarks_checks_take_any_text_in_no_time(name: str) -> None:
    """Every check takes what a model may write, at once, and refuses parameters that aren't its own."""
    given = {
        key: _VALUES.get(str(parameter.annotation), ["ab"])
        for key, parameter in inspect.signature(BENCHMARKS[name]).parameters.items()
        if key != "text"
    }
    given |= {key: "at least" for key in given if "relation" in key}
    units = ("x", "\n", "?", "[", "<<", "<i>", '"', "* ", "a. ", "Question 1", "(", "é猫🙂", "***", "'", "A, b\n")
    texts = [*units, *(unit * (8_000 // len(unit)) for unit in units)]
    started = time.process_time()
    for text in texts:
        rules = parse_constraints([{"kind": name, **given}], "official_loose")
        assert rules[0].holds(text) in (True, False)
    assert time.process_time() - started < 10
    with pytest.raises(ConstraintError, match="bad_gold"):
        parse_constraints([{"kind": name, **given, "another": 1}])


def test_definitions_are_named() -> None:
    ours = {"kind": "format", "format": "title"}
    text = "see <<A Title>> above"
    assert not parse_constraints([ours])[0].holds(text)
    assert parse_constraints([ours], "official")[0].holds(text)
    starts = {"kind": "starts_with", "text": "Write it"}
    assert not parse_constraints([starts], "official")[0].holds("Sure!\nWrite it: done")
    assert parse_constraints([starts], "official_loose")[0].holds("Sure!\nWrite it: done")
    with pytest.raises(ConstraintError, match="definitions"):
        parse_constraints([ours], "somebody's")
