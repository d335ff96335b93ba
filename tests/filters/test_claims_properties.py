"""Laws of the claim checks: a true equality is never refuted, a false one always, however it is written."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from proofmill.filters.claims.check import check
from proofmill.filters.claims.model import REFUTED, VERIFIED
from proofmill.filters.symbolic.expressions import NoValueError, Value, evaluate
from proofmill.filters.symbolic.grammar import parse
from proofmill.filters.symbolic.notation import clean, tokenize
from proofmill.filters.symbolic.prose_grammar import Parser
from proofmill.filters.verdicts import Problem

PROBLEM = Problem("math", "")
NOTATIONS = [
    "{0} {op} {1} = {2}",
    "So {0}{op}{1}={2}.",
    "\\({0} {tex} {1} = {2}\\)",
    "\\[ {0} {tex} {1} = {2} \\]",
    "${0} {tex} {1} = {2}$",
    "The total is {0} {op} {1} = {2} apples.",
    "{0} apples {op} {1} apples = {2} apples",
    "${0} {op} ${1} = ${2}",
    "{0} {word} {1} is {2}",
    "{0} {word} {1} equals {2}.",
    "Total cost = {0} {op} {1} = {2}",
    "\\text{{Total}} = {0} {tex} {1} = \\boxed{{{2}}}",
    "{2} = {0} {op} {1}",
    "- First: {0} {op} {1} = {2}",
    "so she has ({0} {op} {1}) = {2} left",
    "**{0} {op} {1} = {2}**",
]
SIGNS = {
    "+": ("+", "plus"),
    "-": ("-", "minus"),
    "*": ("\\times", "times"),
    "×": ("\\cdot", "multiplied by"),
    "/": ("\\div", "divided by"),
}
WHOLE = st.integers(min_value=2, max_value=5000)


def grouped(number: int, group: bool) -> str:
    return f"{number:,}" if group else str(number)


@st.composite
def equalities(draw: st.DrawFn) -> tuple[str, str]:
    """The same equality rendered right and wrong."""
    operator = draw(st.sampled_from(sorted(SIGNS)))
    first, second = draw(WHOLE), draw(WHOLE)
    if operator == "/":
        first *= second
    result = {
        "+": first + second,
        "-": first - second,
        "*": first * second,
        "×": first * second,
        "/": first // second,
    }[operator]
    if operator == "-" and result < 0:
        first, second, result = second, first, -result
    off = draw(st.integers(min_value=1, max_value=50)) * draw(st.sampled_from([1, -1]))
    wrong = result + off if result + off >= 0 else result + abs(off)
    notation, group = draw(st.sampled_from(NOTATIONS)), draw(st.booleans())
    tex, word = SIGNS[operator]
    rendered = [
        notation.format(*(grouped(n, group) for n in (first, second, last)), op=operator, tex=tex, word=word)
        for last in (result, wrong)
    ]
    return rendered[0], rendered[1]


@settings(max_examples=600)
@given(equalities())
def test_right_is_verified_and_wrong_refuted_in_all_notations(pair: tuple[str, str]) -> None:
    right, wrong = ([claim.status for claim in check(PROBLEM, text)] for text in pair)
    assert VERIFIED in right
    assert REFUTED not in right
    assert REFUTED in wrong


@settings(max_examples=300)
@given(
    st.integers(min_value=-(10**6), max_value=10**6),
    st.integers(min_value=1, max_value=999),
    st.integers(0, 6),
)
def test_a_correctly_rounded_quotient_is_never_refuted(top: int, bottom: int, places: int) -> None:
    scaled = round(Fraction(top, bottom) * 10**places)
    digits = str(abs(scaled)).rjust(places + 1, "0")
    text = f"{'-' if scaled < 0 else ''}{digits[:-places]}.{digits[-places:]}" if places else str(scaled)
    assert REFUTED not in [claim.status for claim in check(PROBLEM, f"{top} / {bottom} = {text}")]


OPERATIONS = (
    "{} + {}", "{} - {}", "{} * {}", r"{} \times {}", "({}) / ({})", r"{} \cdot {}", "2({}){}", r"\frac{{{}}}{{{}}}",
    "({} + {})", r"\sqrt{{{} + {}}}", r"\left({} - {}\right)^2", "({0})^{{2}}",
)  # fmt: skip
NUMERALS = ("1", "12", "3.5", "0.25", r"2\frac{1}{2}", "5!", r"\binom{5}{2}", "1,200", "½", "3²", r"\sqrt[3]{27}")


def expressions(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Larger expressions of smaller ones, in plain signs and in LaTeX."""
    return st.builds(str.format, st.sampled_from(OPERATIONS), inner, inner.map("({})".format))


def value_or_none(text: str, *, strict: bool) -> Value | None:
    """What a text is worth as an answer or in prose, None where it has no value."""
    if strict:
        node = parse(clean(text))
    else:
        tokens = tokenize(text)
        read = Parser(tokens).parse(0)
        assert read is not None
        assert tokens[read[1]].start == len(text)
        node = read[0]
    try:
        return evaluate(node)
    except NoValueError:
        return None


@settings(max_examples=300)
@given(st.recursive(st.sampled_from(NUMERALS), expressions, max_leaves=6))
def test_answers_and_prose_give_an_expression_one_value(text: str) -> None:
    strict, prose = (value_or_none(text, strict=strict) for strict in (True, False))
    assert strict == prose


@settings(max_examples=300)
@given(st.text(max_size=300))
def test_any_text_is_read_without_error_and_covered_by_its_tokens(text: str) -> None:
    for claim in check(PROBLEM, text):
        assert text[claim.start : claim.start + len(claim.text)] == claim.text
    ends = [token.end for token in tokenize(text)]
    assert ends == sorted(ends)


PIECES = (
    r"0 1 7 12 3.5 + - * / ^ ( ) { } = < % ! x y is of the , . \frac \text \sqrt half twice more than sum "
    "and dozen hours $ << >> 2Cl⁻ x⁻² °C ^\\circ 5! != | [ ] choose -way \\pmod \\left( \\cos"
)


@settings(max_examples=300)
@given(st.lists(st.sampled_from([*PIECES.split(), "\n"]), max_size=60).map(" ".join))
def test_any_order_of_known_words_is_read_without_error(text: str) -> None:
    for claim in check(PROBLEM, text, final_start=0):
        assert claim.in_final
        assert text[claim.start : claim.start + len(claim.text)] == claim.text
