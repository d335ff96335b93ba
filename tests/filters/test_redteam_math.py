"""Attacks on the judges of answers: what must not pass, must not fail, and must not cost the caller its time."""

from __future__ import annotations

from pathlib import Path

import pytest

from proofmill.filters.domains.choice import VERIFIER as CHOICE
from proofmill.filters.domains.math import VERIFIER as MATH
from proofmill.filters.symbolic.equality import canonical, equivalent
from proofmill.filters.verdicts import CORRECT, ERROR, UNPARSED, WRONG, Problem
from proofmill.filters.workers import Fault, WorkerPool

WRONG_ANSWERS = [
    ("5", "5 million"), ("5 million", "5"), ("2", "2 dozen"), ("5", r"\$5\text{ million}"), ("5", "5 hundred apples"),
    ("5", "5 not"), ("5", "5 not eggs"), ("5 eggs", "5 not eggs"), ("5", "5 (wrong)"), ("5", "5 (or six)"),
    ("5", r"5\text{ or maybe 6}"), ("5", "5 factorial"), ("5", "5 remainder"), ("5", "5 modulo"),
    ("21/2", "2 1/2"), ("5/2", "21/2"), ("34", "3 4"), ("12", r"1\,2"), ("12", "1~2"), ("2^{10}", "2^{1 0}"),
    ("5", "not 5"), ("5", "at least 5"), ("5", "less than 5"), ("5", "5 to 6"), ("5", r"\{5, 6\}"),
    ("5", "5$²"), ("5", "5$^2"), ("5", "5_x"), ("5", "5_2"), ("5 m", "5_05"),
]  # fmt: skip
UNREADABLE_ANSWERS = ["5!=", "5 m^፩0", "101_፩", "101 base ፩", "2^፩"]
RIGHT_ANSWERS = [
    ("5000000", "5 million"), ("5 million", "5,000,000"), ("24", "2 dozen"), ("24 eggs", "2 dozen eggs"),
    ("3000000", r"3\text{ million dollars}"), ("1234567", r"1\,234\,567"), ("2.5", "2 1/2"), ("5", "5 (five)"),
    ("3", "3 times"), ("12", "12 hundredths long"), ("10^{6}", "1 million"),
]  # fmt: skip


@pytest.mark.parametrize("answer", UNREADABLE_ANSWERS)
def test_of_an_answer_that_can_not_be_read_whole_no_number_is_taken(answer: str) -> None:
    verdict = MATH.verify(Problem("math", "", "5"), f"\\boxed{{{answer}}}")
    assert (verdict.verdict, verdict.detail) == (UNPARSED, "unreadable")


@pytest.mark.parametrize(("gold", "answer"), WRONG_ANSWERS)
def test_a_wrong_answer_is_wrong(gold: str, answer: str) -> None:
    assert MATH.verify(Problem("math", "", gold), f"So \\boxed{{{answer}}}.").verdict == WRONG


@pytest.mark.parametrize(("gold", "answer"), RIGHT_ANSWERS)
def test_a_right_answer_is_correct(gold: str, answer: str) -> None:
    assert MATH.verify(Problem("math", "", gold), f"So \\boxed{{{answer}}}.").verdict == CORRECT


def test_a_scale_that_the_question_names_may_be_left_out() -> None:
    asked = Problem("math", "How many dozen eggs does she need?", "7")
    assert MATH.verify(asked, r"\boxed{7\text{ dozen}}").verdict == CORRECT
    assert MATH.verify(asked, r"\boxed{7}").verdict == CORRECT
    assert MATH.verify(asked, r"\boxed{8\text{ dozen}}").verdict == WRONG


@pytest.mark.parametrize(
    "text",
    [
        "The answer is less than 5.", "The answer is anything but 5.", "The answer is at least 5.", "#### not 5",
        "It is more than 5.", "So x is greater than 5.", "That is up to 5.", "Everything except 5.",
        "The answer is 5? No.", "The answer is $5$, then $6$.", "#### 5 (or 6)",
    ],
)  # fmt: skip
def test_a_text_that_states_no_such_answer_is_not_correct(text: str) -> None:
    assert MATH.verify(Problem("math", "", "5"), text).verdict in (WRONG, UNPARSED)


COSTLY = [
    r"\sqrt[99]{3^{190000}+1}", "(7^{120000}+1)^{1/97}" * 8, "2^{-190000}", "0.123456+2^{-190000}", "5^{-130000}",
    "3^{190000}/7^{120000}-" * 8 + "7", r"\sqrt[3]{1e9999}" * 12, "3000!" * 39, r"\binom{3000}{1500}" * 10,
]  # fmt: skip


@pytest.mark.parametrize("answer", COSTLY)
@pytest.mark.parametrize("gold", ["5", "0.123456"])
def test_large_numbers_are_left_to_the_pool(gold: str, answer: str) -> None:
    """`quick` runs in the caller's process, where nothing could stop it."""
    quick = MATH.quick(Problem("math", "", gold), f"\\boxed{{{answer}}}")
    assert quick is None


HOSTILE = {
    "hashes and blanks": "####" + " " * 100_000 + "x" * 2_001,
    "boxes left open": "\\boxed{" * 32 + "{" * 100_000,
    "boxes and escapes": "\\boxed{" * 32 + "\\a" * 50_000,
    "long words": ("the answer is " + "a" * 1_980 + "\n") * 50,
    "headings and blanks": ("the answer is step" + " " * 1_970 + "\n") * 50,
    "statements of commands": "".join(f"the answer is \\a{n}" + "\\q," * 600 + f" {n}\n" for n in range(50)),
    "a heading on the last line": "step" + " " * 3_990 + "x",
}


@pytest.mark.slow
def test_hostile_text_costs_little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten of each, so that what takes a tenth of a second a text would not get through."""
    (tmp_path / "quick_judge.py").write_text(
        "from proofmill.filters.domains.math import VERIFIER\n"
        "from proofmill.filters.verdicts import Problem\n"
        "def judge(text):\n    return [VERIFIER.quick(Problem('math', '', '5'), text) for _ in range(10)][0]\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with WorkerPool("quick_judge:judge", workers=1, cpu_seconds=1) as pool:
        results = pool.map(list(HOSTILE.values()))
    assert [name for name, result in zip(HOSTILE, results, strict=True) if isinstance(result, Fault)] == []


def test_boxes_are_matched_as_braces_are() -> None:
    for text, verdict in (
        (r"{ \boxed{5}", CORRECT),
        (r"\boxed{4}} and \boxed{5}", UNPARSED),
        (r"\boxed{\{5\}}", CORRECT),
        (r"\boxed{ \boxed{5}", CORRECT),
        (r"\boxed{5} and \boxed{6", UNPARSED),
    ):
        assert MATH.verify(Problem("math", "", "5"), text).verdict == verdict, text


@pytest.mark.parametrize("answer", ["10^{5000}", "2^{100000}", "1e9999", "1/3^{9000}", "2000!"])
def test_a_number_too_long_to_write_has_no_key(answer: str) -> None:
    assert canonical(answer) is None
    assert equivalent(answer, answer)


def test_no_digit_of_another_script_is_the_verifiers_fault() -> None:
    for digit in "²①፩٣߁५Ⅷ㊿𝟙":
        for answer in (f"5_{digit}", f"5 m^{digit}", f"5^{digit}", f"1{digit}:30", f"5 base {digit}", f"{digit}/0"):
            for gold in ("5", r"\sqrt{2}", "5 m"):
                assert MATH.verify(Problem("math", "", gold), f"\\boxed{{{answer}}}").verdict != ERROR


OPTIONS = {"options": ["Paris", "Rome", "12", "13"]}
CHOICES = [
    (r"\boxed{B is wrong}", WRONG), (r"\boxed{B or maybe D}", WRONG), (r"\boxed{B - C}", WRONG),
    (r"\boxed{B–D}", WRONG), ("The answer is B but also C", WRONG), ("The answer is (B) unless (C)", WRONG),
    ("The answer is B? No, C.", UNPARSED), ("<answer>B isn't it</answer>", WRONG), ("\\boxed{\u0412}", WRONG),
    ("The answer is B, not C.", CORRECT), ("The answer is (B) - a city in Italy.", CORRECT),
    ("The answer is B because C is wrong", CORRECT), (r"\boxed{B}?", CORRECT), (r"\boxed{B. Rome}", CORRECT),
]  # fmt: skip


NUMBERED = {"options": ["10", "12", "14", "2"]}
OTHER_VALUES = [
    r"\boxed{12\pi}", r"\boxed{12\sqrt{2}}", r"\boxed{12\%}", r"\boxed{12+1}", r"\boxed{12 \times 3}",
    r"\boxed{12 thousand}", "The answer is 12 - 2 = 10.", "The answer is 12:3", "The answer is 12 out of 13",
]  # fmt: skip
OWN_VALUES = [
    r"\boxed{12}", r"\boxed{12 \text{ cm}}", "The answer is 12 cm.", "The answer is 12, because 3*4 = 12.",
    "The answer is 12 (B).", "The answer is **12**.", "The answer is $12$.", "The answer is 12 - the product.",
]  # fmt: skip


@pytest.mark.parametrize(("text", "own"), [(t, False) for t in OTHER_VALUES] + [(t, True) for t in OWN_VALUES])
def test_a_number_that_goes_on_is_another_one(text: str, own: bool) -> None:
    assert (CHOICE.quick(Problem("choice", "", "B", NUMBERED), text).verdict == CORRECT) == own


UNCHOSEN = [
    "It is not the case that B is correct.", "I don't think B is correct.", "Nobody believes B is the right choice.",
    "It is false that the answer is B.", "Which option is B?", "I doubt that the correct answer is B.",
]  # fmt: skip
CHOSEN = [
    "I think the correct answer is B.", "This is not A, so the answer is B.", "A is not right. B is correct.",
    "If x is 3 then y is 4, so the answer is B.",
]  # fmt: skip


@pytest.mark.parametrize(("text", "chosen"), [(t, False) for t in UNCHOSEN] + [(t, True) for t in CHOSEN])
def test_a_choice_that_is_denied_is_none(text: str, chosen: bool) -> None:
    assert (CHOICE.quick(Problem("choice", "", "B", OPTIONS), text).verdict == CORRECT) == chosen


@pytest.mark.parametrize(("text", "verdict"), CHOICES)
def test_a_choice_that_hedges_is_none(text: str, verdict: str) -> None:
    assert CHOICE.quick(Problem("choice", "", "B", OPTIONS), text).verdict == verdict


COLUMN, SQUARE = r"\begin{pmatrix} 1 \\ 2 \\ 3 \end{pmatrix}", r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}"


@pytest.mark.parametrize(
    ("gold", "answer", "verdict"),
    [
        (COLUMN, r"\begin{pmatrix} 3 \\ 2 \\ 1 \end{pmatrix}", WRONG),
        (SQUARE, r"\begin{pmatrix} 1 & 3 \\ 2 & 4 \end{pmatrix}", WRONG),
        (r"\begin{pmatrix} a \\ b \end{pmatrix}", r"\begin{pmatrix} b \\ a \end{pmatrix}", WRONG),
        (SQUARE, r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", CORRECT),
        (COLUMN, "(1,2,3)", CORRECT),
        (COLUMN, r"\begin{pmatrix} 1 \\ 2 \\ 3 \\ \end{pmatrix}", CORRECT),
        (COLUMN, r"\begin{bmatrix} 1 \\[2pt] 2 \\[2pt] 3 \end{bmatrix}", CORRECT),
        ("12", r"\not=12", WRONG),
        (r"x \ne 5", r"x\not=5", CORRECT),
    ],
)
def test_entries_of_a_matrix_have_their_places_and_not_negates(gold: str, answer: str, verdict: str) -> None:
    problem, text = Problem("math", "", gold), f"\\boxed{{{answer}}}"
    assert (MATH.quick(problem, text) or MATH.verify(problem, text)).verdict == verdict


TAKEN_BACK = [
    "If n is even, the answer is 42.", "Unless drag is ignored, the answer is 42.",
    "I don't think the answer is 42.", "It is not true that the answer is 42.", "We doubt that the answer is 42.",
    "A naive student would say the answer is 42.", "One may guess the answer is 42. That is incorrect.",
    "Suppose the answer is 42.\nWe get a contradiction.", "Let us check whether the answer is 42.",
]  # fmt: skip
STATED = [
    "It is not prime, so the answer is 42.", "Not 41: the answer is 42.",
    "Suppose the answer is 41. That fails. So the answer is 42.", "Hence $n = 42$.", "Thus $n=42$", "She pays 42$.",
]  # fmt: skip


@pytest.mark.parametrize(("text", "stated"), [(t, False) for t in TAKEN_BACK] + [(t, True) for t in STATED])
def test_what_is_denied_or_supposed_is_no_answer(text: str, stated: bool) -> None:
    problem = Problem("math", "", "42")
    assert ((MATH.quick(problem, text) or MATH.verify(problem, text)).verdict == CORRECT) == stated
