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
    "values of expressions": (
        "12",
        ["x+y=12", "a+b+c=12", "x^2+y^2=12", "m-n = 12", "AB+CD=12", "x+y=5+7=12", r"\angle A+\angle B=12"],
        ["x+y=13", "3x=12", "2+3=12", "x^2=12", "x+y>12", "x+y=5=12", r"x+y\ne 12", "x+y=12 or 13", "y = 12-x",
         "if x+y=12", "not x+y=12"],
    ),
    "an equation for a gold equation": ("x+y=12", ["y+x=12", "2x+2y=24"], ["12", "x+y=13", "x-y=12"]),
    "chains": ("12", ["x = 24/2 = 12", "x = y = 12", "x=11.999=12.0"], ["x = 13 = 12", "n = 5+8 = 12", "x=12=13"]),
    "decimals that go on": ("0.333", ["0.3330"], ["0.333...", r"0.333\ldots", "0.3333333"]),
    "decimals with a period": ("1/3", ["0.333...", r"0.3333\ldots"], ["0.33...", "0.334...", "0.3...", "0.333"]),
    "words behind a number": (
        "12",
        [r"12\text{ (twelve)}", r"12\text{ cm squared}", r"12\text{ pairs}"],
        [r"12 \text{ (wrong)}", "12 (this is wrong)", r"12 \text{ is wrong}", r"12\text{?}", r"12\text{ squared}",
         r"12\text{ halves}",
         r"12\ldots", r"12\text{ plus 3}"],
    ),
    "numbered roots": (
        "2,3",
        ["x_1=2,x_2=3", "x_1=3,x_2=2", r"x_{1}=2,\ x_{2}=3", r"x_1=2 \text{ and } x_2=3"],
        ["x_1=2,x_2=4", "x_1=2", "x_1=2,x_2=2", "x_1=2,y_1=3", "x=2,y=3", "x_1=2,x_2=3,x_3=4"],
    ),
    "numbered golds": ("x_1=2,x_2=3", ["x_2=3,x_1=2"], ["x_1=3,x_2=2", "3,2"]),
    "pairs joined by or": (
        "(1,2),(2,1)",
        [r"(x,y)=(1,2) \text{ or } (2,1)", r"(2,1)\text{ or }(1,2)"],
        [r"(1,2)\text{ or }(1,2)", r"(1,2)\text{ or }(2,2)"],
    ),
    "intervals": (
        r"x \in (0,1]",
        ["]0,1]", r"\left]0,1\right]", r"x\in]0,1]", "]0;1]", r"\{x \mid 0 < x \le 1\}",
         r"\{x\in\mathbb{R} : 0<x\leq 1\}", r"\{t | 0<t\le1\}", r"\{x| x\in(0,1]\}"],
        ["]0,1[", "[0,1]", "[0,1[", "]1,0]", "]0,1],2", r"\{x \mid y > 0\}", r"\{x\in\mathbb{Z} | 0<x\le1\}",
         r"\{x | 0<y\le 1\}", r"\{x \mid x \notin (0,1]\}", r"\{(x,y) | 0<x\le1\}"],
    ),
    "unions": (
        r"(-\infty,-2)\cup(3,\infty)",
        [r"]-\infty,-2[\cup]3,+\infty[", r"(-\infty,-2)\bigcup(3,\infty)", r"\{x| x<-2 \text{ or } x>3\}"],
        [r"]-\infty,-2]\cup]3,+\infty[", r"(-\infty,-2)\bigcap(3,\infty)", r"\bigcup_{n}(n,n+1)",
         r"x<-2 \text{ and } x>3"],
    ),
    "the reals": (
        r"\mathbb{R}", [r"\mathbb R", r"\R", r"x\in\mathbb R"],
        [r"\mathbb Z", "R", r"\mathbb R^2", r"\mathbb{R}\setminus\{0\}"],
    ),
    "bounds without a name": (
        "≤5", [r"\le 5", r"x \le 5", r"(-\infty,5]"], ["5", "<5", "≥5", "x<5", r"x \ge 5"],
    ),
    "a number against bounds": ("5", ["5"], [r"\le 5", ">5", r"\ne 5", "<5", r"\ge 5"]),
    "binomials": (
        r"\binom{10}{3}",
        [r"{10 \choose 3}", "120", r"10\choose 3", r"{10\choose{3}}", r"{{10} \choose {3}}"],
        [r"{3 \choose 10}", r"{10\choose 4}", r"{10 \over 3}", "10 3"],
    ),
    "fractions": ("(n+1)/2", [r"{n+1\over 2}", r"n+1 \over 2"], [r"{2\over n+1}", r"n+{1\over 2}"]),
    "colons": ("10:30", ["10{:}30", "10{ : }30", r"10\!:\!30"], ["10{:}31", "30{:}10", "1030", "10{,}30", "1:3"]),
    "ratios": ("5:2", ["5{:}2", r"5 \text{ to } 2"], ["2 to 5", "5 to 3", "5 to 2 to 1", "52"]),
    "thousands": (
        "12345",
        [r"12{,}345\text{ dollars}", r"12,345\text{ dollars}", r"\$12{,}345"],
        [r"12,\!34", r"12, 345\text{ dollars}", r"1{,}2{,}345", "12{.}345", r"12,345\text{ or }6", "(12,345)"],
    ),
    "bases": (
        "101_2",
        ["(101)_2", r"(101)_{\text{two}}", r"\text{101}_2", "5"],
        ["(101)_3", "(11)_2", "101", "(101)", "(1)(01)_2", "(102)_2"],
    ),
    "letters of options": (
        "7",
        [r"(A)\ 7", r"\text{(A) }7", r"\textbf{(A) }7", r"\text{A. }7", "(E) 7", "B) 7"],
        ["(A) 8", "(A) - 7", r"(A)\cdot 7", "(x) 7", "(A)+7", "A", "7A", "f(A) 7", "(A) 7x"],
    ),
    "colours": (
        "12",
        [r"\color{red}12", r"\color{red}{12}", r"{\color{blue} 12}", r"\textcolor{red}{12}", r"\underline{12}"],
        [r"\color{red}13", r"\cancel{12}", r"\color{red}\cancel{12}", r"\color{red}{-12}", r"\textcolor{red}{1}2.5"],
    ),
    "functions by cases": (
        r"f(x)=\begin{cases}x & x\ge0\\-x & x<0\end{cases}",
        [r"\begin{cases} x & \text{if } x\ge 0 \\ -x & \text{if } x<0\end{cases}",
         r"\begin{cases} -x, & x<0, \\ x, & \text{for } x \geq 0. \end{cases}",
         r"\left\{\begin{array}{ll} x & x\ge0\\ -x & x<0\end{array}\right."],
        [r"\begin{cases}x & x\ge0\\-2x & x<0\end{cases}", r"\begin{cases}x & x>0\\-x & x<0\end{cases}",
         r"\begin{cases}-x & x\ge0\\x & x<0\end{cases}", r"\begin{cases}x & x\ge0\end{cases}", "x",
         r"\begin{cases}x & \text{otherwise}\\-x & x<0\end{cases}"],
    ),
    "systems": (
        r"\begin{cases} x = 1 \\ y = 2 \end{cases}",
        ["(1,2)", "x=1,y=2", r"\left\{\begin{aligned}x&=1\\y&=2\end{aligned}\right."],
        ["(2,1)", r"\begin{cases} x=2\\y=1\end{cases}", "1", "12"],
    ),
    "matrices with a factor": (
        r"\frac{1}{2}\begin{pmatrix}1&1\\1&1\end{pmatrix}",
        [r"\begin{pmatrix}1/2&1/2\\1/2&1/2\end{pmatrix}", r"0.5\cdot\begin{bmatrix}1&1\\1&1\end{bmatrix}",
         r"\left(\begin{array}{cc}.5&.5\\.5&.5\end{array}\right)"],
        [r"\begin{pmatrix}1&1\\1&1\end{pmatrix}", r"-\frac{1}{2}\begin{pmatrix}1&1\\1&1\end{pmatrix}",
         r"\frac{1}{2}\begin{vmatrix}1&1\\1&1\end{vmatrix}", r"\frac{1}{2}+\begin{pmatrix}1&1\\1&1\end{pmatrix}"],
    ),
}  # fmt: skip


def _judge(gold: str, answer: str, prompt: str = "") -> str:
    return MATH.verify(Problem("math", prompt, gold), f"So we get \\boxed{{{answer}}}.").verdict


@pytest.mark.parametrize("form", FORMS)
def test_a_form_passes_and_its_near_misses_do_not(form: str) -> None:
    gold, right, wrong = FORMS[form]
    assert [answer for answer in right if _judge(gold, answer) != CORRECT] == []
    assert [answer for answer in wrong if _judge(gold, answer) == CORRECT] == []


@pytest.mark.parametrize(
    ("prompt", "answer", "right"),
    [
        (r"If $x+\frac1x=3$, find $x^2+\dfrac{1}{x^2}$.", r"x^2+\frac{1}{x^2}=7", True),
        (r"Compute \(\lfloor x \rfloor\) for the larger root.", r"\lfloor x\rfloor = 7", True),
        ("If 3x=21, find x.", "3x=7", False),
        ("Find 3x+5 for the larger root.", "3x=7", False),
        ("Find $3x^2$ for the larger root.", "3x=7", False),
    ],
)
def test_an_equation_states_the_value_of_what_the_question_asks_for(prompt: str, answer: str, right: bool) -> None:
    assert (_judge("7", answer, prompt) == CORRECT) == right


BOXES = [
    ("42", r"$\boxed{42}$ and check: $\boxed{42.0}$", True), ("42", r"\boxed{42}, that is \boxed{\text{42}}", True),
    ("1/2", r"\(\boxed{\dfrac{1}{2}}\) = $\boxed{0.5}$", True), ("1/2", r"\boxed{1/2} or \boxed{0.5}", True),
    ("42", "the answer is 42. The answer is 42.0", True), ("42", r"\boxed{42} and check: \boxed{42.5}", False),
    ("42", r"\boxed{42}, that is \boxed{-42}", False), ("42", r"\boxed{x=42} so \boxed{y=42}", False),
]  # fmt: skip


@pytest.mark.parametrize(("gold", "text", "right"), BOXES)
def test_boxes_of_one_value_are_one_answer(gold: str, text: str, right: bool) -> None:
    assert (MATH.verify(Problem("math", "", gold), text).verdict == CORRECT) == right


STATEMENTS = [
    "The answer is 42.{}", r"So \boxed{{42}}.{}", "Answer: 42\n{}",
]  # fmt: skip
TAKEN_BACK = [
    " No, it is 41.", " Wait, that's off.", " That is incorrect.", " Hmm, let me see.", " Actually, it is 41.",
    "不对。",
    " However, that is incorrect.", " But wait, I forgot one.", " I made a mistake.", " This violates the condition.",
]  # fmt: skip
LEFT = [
    "",
    " No other value works.",
    " This is right.",
    " It is not right-angled.",
    " No doubt.",
    " However, 41 is odd.",
]


@pytest.mark.parametrize("statement", STATEMENTS)
def test_a_statement_that_is_taken_back_states_nothing(statement: str) -> None:
    def judge(tail: str) -> str:
        return MATH.verify(Problem("math", "", "42"), statement.format(tail)).verdict

    assert [tail for tail in TAKEN_BACK if judge(tail) == CORRECT] == []
    assert [tail for tail in LEFT if judge(tail) != CORRECT] == []


DENIED = [
    r"Not \boxed{42}", r"The answer is not $\boxed{42}$.", r"I doubt it's \boxed{42}", r"\boxed{42} is not the answer.",
    r"It's not true that the answer is \boxed{42}", r"\boxed{42} isn't correct", "The answer, 42, is incorrect.",
    r"\boxed{42} cannot be right", "The wrong answer is 42.",
]  # fmt: skip
KEPT = [
    r"The answer is not \boxed{41} but \boxed{42}", r"I know that the answer is \boxed{42}", r"It's \boxed{42}.",
    r"This is not hard: \[\boxed{42}\]",
]  # fmt: skip


@pytest.mark.parametrize(("text", "kept"), [(text, False) for text in DENIED] + [(text, True) for text in KEPT])
def test_a_denied_box_states_nothing(text: str, kept: bool) -> None:
    assert (MATH.verify(Problem("math", "", "42"), text).verdict == CORRECT) == kept


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
         "The answer is not A but C.", "The correct letter is C", "The answer is clearly 'C'.",
         "Answer - C", "The answer is C, no doubt."],
        ["I won't choose C.", "Should I choose C?", "If I choose C, I fail.", "So it is C that fails.",
         "The wrong answer is C",
         "The first letter is C", "I choose C or A", "Neither A nor C is correct.", "A and C is correct",
         "C is correct only if x is 3", "C is the right side", "The answer is not C but A.",
         "A common answer is C.", "Some say the answer is C.", "The answer is C only if x is 3.",
         "The answer is C (wrong)",
         "The answer would be C if it were so.", "The answer should be C but it isn't", "C is correct, or is it D",
         "\\boxed{C?}", "\\boxed{C \\land D}", "The answer is Berlin-adjacent Potsdam"],
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
         "答案是A或C", "答案是A、C", "答案：C 或 D", "选C、D", "选 C 是错的", "选C不正确",
         "并非答案是C", "不要选C。选A。"],
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
         "\\boxed{B}, \\boxed{14}", "\\boxed{12:1}", "\\boxed{12_3}", "\\boxed{12 14}",
         "The answer is 12 less than 14", "x = 12 or 14"],
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
