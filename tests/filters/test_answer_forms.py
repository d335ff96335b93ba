r"""Forms of a right answer that must pass, beside near misses of the same form that must not."""

from __future__ import annotations

import pytest

from proofmill.filters.domains.choice import VERIFIER as CHOICE
from proofmill.filters.domains.math import VERIFIER as MATH
from proofmill.filters.verdicts import CORRECT, Problem

FORMS = {
    "differences of letters": (
        "p - q",
        ["p-q", "-q+p", "-(q-p)", "p -q"],
        ["q-p", "p+q", "pq", "p, q", "p"],
    ),
    "differences of products": ("ab-cd", ["ab - cd", "-dc+ba"], ["cd-ab", "ab-c", "abcd"]),
    "a letter that could be a unit": ("n - m", ["-m+n", "n-m"], ["n", "m - n", "n - s"]),
    "hyphens of words": ("x-ray", ["X-ray", "x - ray"], ["ray", "x ray"]),
    "names": (
        "12",
        ["[ABC]=12", r"\max f=12", r"k_{\max}=12", r"S_{\triangle ABC}=12", r"\Pr[X=1]=12", r"P(A\cap B)=12",
         "f(-2)=12", r"R_{\text{eq}}=12", r"\operatorname{Var}(X)=12"],
        ["x not = 12", "not x = 12", "wrong x = 12", r"\text{if }x=12", "1 when x=12", "3x=12", "x(x-1)=12",
         "p(p-1)=12", r"\max f \ne 12", "n!=12"],
    ),
}  # fmt: skip


def _judge(gold: str, answer: str, prompt: str = "") -> str:
    return MATH.verify(Problem("math", prompt, gold), f"So we get \\boxed{{{answer}}}.").verdict


@pytest.mark.parametrize("form", FORMS)
def test_a_form_passes_and_its_near_misses_do_not(form: str) -> None:
    gold, right, wrong = FORMS[form]
    assert [answer for answer in right if _judge(gold, answer) != CORRECT] == []
    assert [answer for answer in wrong if _judge(gold, answer) == CORRECT] == []


STATEMENTS = [
    "The answer is 42.{}", r"So \boxed{{42}}.{}", "Answer: 42\n{}",
]  # fmt: skip
TAKEN_BACK = [
    " No, it is 41.",
    " Wait, that's off.",
    " That is incorrect.",
    " Hmm, let me see.",
    " Actually, it is 41.",
    "不对。",
]
LEFT = ["", " No other value works.", " This is right.", " It is not right-angled.", " No doubt."]


@pytest.mark.parametrize("statement", STATEMENTS)
def test_a_statement_that_is_taken_back_states_nothing(statement: str) -> None:
    def judge(tail: str) -> str:
        return MATH.verify(Problem("math", "", "42"), statement.format(tail)).verdict

    assert [tail for tail in TAKEN_BACK if judge(tail) == CORRECT] == []
    assert [tail for tail in LEFT if judge(tail) != CORRECT] == []


CITIES = ["Paris", "London", "Berlin", "Madrid"]
TRENDS = ["It increases", "It decreases", "It remains constant", "Cannot be determined"]
REASONS = ["Yes", "No, because it is small", "No", "Not enough data"]
VALUES = ["10", "12", "14", "16"]
EXACT = [r"$\frac{1}{2}$", r"$\frac{1}{3}$", r"$\sqrt{2}$", r"$2\pi$"]
LENGTHS = ["5 m", "5 km", "7 m", "9 m"]
CHOICES = {
    "statements": (
        CITIES, "C",
        ["Ans: C", "I choose C.", "I'll go with C.", "So, it must be C.", "The solution is C.", 'Answer is "C"',
         "The answer is not A but C.", "The correct letter is C", "The answer is C, no doubt."],
        ["I won't choose C.", "Should I choose C?", "If I choose C, I fail.", "So it is C that fails.",
         "The wrong answer is C",
         "The first letter is C", "I choose C or A", "Neither A nor C is correct.", "A and C is correct",
         "C is correct only if x is 3", "C is the right side", "The answer is not C but A."],
    ),
    "statements taken back": (
        CITIES, "C",
        ["The answer is C. No other option fits.", "Wait, no. The answer is C.", "A is correct? No. C is correct."],
        ["C is the only correct... no. A.", "The answer is C. No, it is A.", "The answer is C, no wait, A.",
         "\\boxed{C}. Wait, that is wrong.", "The answer is C, but that is wrong.",
         "If the question asked for Germany, the answer is C, but it asks for France."],
    ),
    "Chinese": (
        CITIES, "C",
        ["答案是C", "答案：C", "正确答案是 C。", "故选C。", "选 C", "答案为（C）", "正确选项是C", "本题选C", "选C项。"],
        ["答案不是C", "不选C", "不应选C", "如果答案是C，那么矛盾。", "答案是C吗？", "选项C错误", "错误答案是C",
         "答案是C。不对，是A。",
         "答案是A或C", "答案是A、C", "并非答案是C", "不要选C。选A。"],
    ),
    "a text that denies": (
        TRENDS, "D",
        ["The answer is D: Cannot be determined", "The answer is (D) Cannot be determined.", "\\boxed{D}"],
        ["The answer is C: Cannot be determined", "The answer is D is wrong", "The answer D can't be."],
    ),
    "a text that begins with no": (
        REASONS, "B", ["The answer is B: No, because it is small", "\\boxed{B}: No, because it is small"],
        ["The answer is B: No.", "The answer is B. No, it is A."],
    ),
    "a text that goes on": (
        TRENDS, "A", ["The answer is A, the pressure increases.", "The answer is: It increases, as shown."],
        ["The answer is: It increases or decreases", "The answer is it increases until it decreases",
         "The answer is it increases at first, then falls"],
    ),
    "numbers": (
        VALUES, "B",
        ["\\boxed{12.0}", "\\boxed{x=12}", "x = 12", "\\boxed{\\frac{24}{2}}", "\\boxed{B: 12.0}",
         "The answer is B = 12"],
        ["\\boxed{12!}", "\\boxed{C = 12}", "\\boxed{B = 14}", "\\boxed{B) \\frac{13}{1}}", "\\boxed{12\\%}",
         "\\boxed{B}, \\boxed{14}", "\\boxed{12:1}", "\\boxed{12_3}", "x = 12 or 14"],
    ),
    "fractions": (
        EXACT, "A", ["\\boxed{1/2}", "\\boxed{\\frac12}", "\\boxed{0.5}", "The answer is (A) 0.5", "A: 1/2"],
        ["\\boxed{1/3}", "The answer is (A) 1/3", "The answer is (A) \\frac13 because", "\\boxed{0.51}"],
    ),
    "roots": (
        EXACT, "C", ["\\boxed{\\sqrt2}", "\\boxed{\\frac{2}{\\sqrt{2}}}", "\\boxed{C: \\sqrt2}"],
        ["\\boxed{C: \\sqrt3}", "\\boxed{1.41}", "\\boxed{\\sqrt{2}i}", "\\boxed{D: \\sqrt2}"],
    ),
    "lengths": (LENGTHS, "C", ["\\boxed{7}", "\\boxed{700 cm}"], ["\\boxed{7 km}", "\\boxed{5}", "\\boxed{C: 5 m}"]),
}  # fmt: skip


@pytest.mark.parametrize("form", CHOICES)
def test_a_choice_passes_and_its_near_misses_do_not(form: str) -> None:
    options, gold, right, wrong = CHOICES[form]
    problem = Problem("choice", "?", gold, {"options": options})
    assert [text for text in right if CHOICE.verify(problem, text).verdict != CORRECT] == []
    assert [text for text in wrong if CHOICE.verify(problem, text).verdict == CORRECT] == []
    quick = [(CHOICE.quick(problem, text), CHOICE.verify(problem, text)) for text in right + wrong]
    assert all(early is None or early == late for early, late in quick)
    assert any(early is None for early, _ in quick) == (options in (EXACT, LENGTHS))
