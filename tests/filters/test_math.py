"""Mathematics: what is found, what is equal, and what hostile answers cost."""

from __future__ import annotations

import json
import re
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofmill.filters.answers.conclusion import conclude
from proofmill.filters.domains.math import VERIFIER, _reader
from proofmill.filters.symbolic.equality import canonical, equivalent
from proofmill.filters.verdicts import CORRECT, ERROR, TIMEOUT, UNPARSED, WRONG, Problem, Verdict
from proofmill.filters.workers import Fault, WorkerPool

_TRACES = Path(__file__).parents[2].parent / "shared" / "data" / "gsm8k_traces_6b.jsonl"


def _judge(gold: str, answer: str, prompt: str = "") -> str:
    return VERIFIER.verify(Problem("math", prompt, gold), f"So we get \\boxed{{{answer}}}.").verdict


SAME = r"""
5. | 5
1\,234 | 1234
7\,000 | 7000
1{,}234 | 1234
1,234 | 1234
1,234,567.5 | 1234567.5
１２ | 12
－３ | -3
025 | 25
+7 | 7
1e3 | 1000
2.50 | 5/2
.5 | 1/2
\frac{1}{2} | 0.5
\frac12 | 1/2
\dfrac{3}{4} | 0.75
\tfrac34 | 3/4
-\frac{1}{2} | \frac{-1}{2}
\frac{2}{4} | \frac{1}{2}
1\frac{1}{2} | 3/2
1 1/2 | 1.5
2\frac13 | 7/3
x^2 | X^2
\frac{\pi}{6} | 30^\circ
-1\frac{1}{2} | -3/2
2½ | 5/2
½ | 0.5
50% | 0.5
50\% | 1/2
12.5 percent | 1/8
1/3 | 0.333333
\sqrt{2} | 1.41421356
i | \sqrt{-1}
\sqrt{8} | 2\sqrt{2}
\sqrt8 | 2\sqrt2
√8 | 2√2
4\sqrt(2) | \sqrt{32}
\frac{1}{\sqrt{2}} | \frac{\sqrt{2}}{2}
\sqrt{5+2\sqrt{6}} | \sqrt{2}+\sqrt{3}
\sqrt{\frac{95}{24}} | \frac{\sqrt{570}}{12}
\sqrt[3]{-8} | -2
2^{10} | 1024
2**10 | 1024
10^{-3} | 0.001
5! | 120
\binom{5}{2} | 10
2^{25}\cdot 26! | 26! \times 2^{25}
e^{i\pi} | -1
0.\overline{3} | 1/3
0.1\overline{6} | \frac{1}{6}
x=y | y=x
A = 5, B = 6 | (5,6)
\ln e^2 | 2
\frac{\pi}{4} | \arctan 1
2\pi | 2π
x² | x^2
(x+1)^2 | x^2+2x+1
n(n+1)/2 | \frac{n^2+n}{2}
\frac{x}{y} | x/y
|x| | \sqrt{x^2}
ab | ba
x = 5 | 5
x=5 | x = 5.0
f(x) = 2x | 2x
y = 2x+1 | 2x+1
\text{Area} = 12 | 12
2+3=5 | 5
y = 2x+1 | 2x - y + 1 = 0
x+y=3 | 2x+2y=6
x<y | y>x
no solution | ∅
\text{no solution} | \emptyset
\text{No real solutions} | \varnothing
\{\} | \emptyset
\infty | infinity
\mathbb{R} | (-\infty, \infty)
\text{All real numbers} | \mathbb{R}
Yes. | \text{yes}
Tuesday | \textbf{Tuesday}
\text{(A)} | A
1,2 | 2, 1
\{1,2\} | 2, 1
\{ \frac12, 3 \} | \{3, 0.5\}
1 and 2 | 1, 2
x=2 \text{ or } x=3 | 2, 3
x = 2 or 3 | \{2,3\}
\pm 2 | 2, -2
x=\pm\sqrt{3} | \sqrt3, -\sqrt3
2 \pm \sqrt{3} | 2+\sqrt{3}, 2-\sqrt{3}
\frac{-1\pm\sqrt{17}}{2} | \frac{-1+\sqrt{17}}{2}, \frac{-1-\sqrt{17}}{2}
(1,2) | ( 1 , 2 )
\left(1, \frac{1}{2}\right) | (1, 0.5)
(x,y)=(1,2) | (1,2)
x=1, y=2 | (1,2)
y=2, x=1 | (1,2)
\begin{pmatrix}1\\2\end{pmatrix} | \begin{bmatrix}1\\2\end{bmatrix}
\begin{pmatrix}1&2\\3&4\end{pmatrix} | \begin{bmatrix}1&2\\3&\frac{8}{2}\end{bmatrix}
(1,5] | 1 < x \le 5
x \in [2,\infty) | x \ge 2
(-\infty,1)\cup(2,\infty) | x<1 or x>2
(2,\infty)\cup(-\infty,1) | (-\infty,1)\cup(2,\infty)
x \neq 3 | (-\infty,3)\cup(3,\infty)
5 m | 500 cm
5 \text{ m} | 5
18 | 18 dollars
$18 | 18 dollars
\$18.50 | 18.5
1800 cents | $18
2 hours | 120 minutes
3\text{ km/h} | 3 kilometers per hour
12\text{ cm}^2 | 12 square centimeters
90^\circ | 90
90^{\circ} | 90 degrees
18 eggs | 18 duck eggs
12 (twelve) | 12
about 12 | 12
12:00 | 12:00
2:05 p.m. | 2:05 PM
3:4 | 6:8
3:4 | 3/4
101_2 | 5
12_8 | 10
1A_{16} | 26
101_{\text{two}} | 101_2
\int_0^1 x dx | \frac{1}{2}
\sum_{k=1}^{3} k | 6
10^{100000} | 10^{100000}
"""

DIFFERENT = r"""
3 | 2=3
5 | 2+2=5
3 | 2x=6
10^{-20} | 10^{-21}
10^{-15} | 10^{-16}
1/2^{99} | 1/2^{98}
0.0000001 | 0.0000002
\pi 10^{-20} | \pi 10^{-21}
10^{100}+1 | 10^{100}
\sqrt{10^{200}+1} | 10^{100}
\sqrt{2} | 1.41
\pi | 3.14
\frac{1}{3} | 0.33
0.333333 | 0.3333333
(1,2) | \{1,2\}
(3,4) | \{3,4\}
(1,2) | 1, 2
(1,2) | (2,1)
[1,2] | (1,2)
[1,2) | [1,2]
(1,2) | 12
1,234 | 1, 234
\{1,2\} | \{1,2,3\}
5 m | 5 km
2 kg | 2 g
5 m | 5 m^2
5 m | 5 s
3 dollars | 3 cents
5 apples | 5 oranges
3 \text{ euros} | 3 dollars
101_2 | 101
12_8 | 12
4 | 4\sqrt(2)
6 | 6\pi
6 | 6x
3*x-1*y+13=0 | 3x+4y+14=0
x+y=3 | x+y=5
x+y=3 | x+2y=3
y=2x+1 | y=2x-1
x=1 | y=1
x<3 | x>3
x<3 | x \le 3
x>3 | [3,\infty)
50 | 50%
50 | 0.5
12:00 | 12
12:00 | 0
12:30 | 12:31
2:05 am | 2:05 pm
3:4 | 4:3
3 | 3 or 5
2 | 2, 3
2 | x = 2 or x = 3
2 | \pm 2
2 | \{2, 2.1\}
\sqrt{2} | -\sqrt{2}
\log 2 | \ln 2
5 | .5
xX | x^2
i | -i
|x| | x
x+1 | x-1
2x | 2y
x^2 | 2x
\frac{a}{b} | \frac{b}{a}
-3 | 3
\infty | -\infty
no solution | 0
yes | no
A | B
Tuesday | Thursday
\begin{pmatrix}1&2\\3&4\end{pmatrix} | \begin{pmatrix}1&3\\2&4\end{pmatrix}
x=1, y=2 | (2,1)
(1,2)\cup(3,4) | (1,2)\cup(3,5)
1\frac{1}{2} | \frac{11}{2}
2^{10} | 2^{11}
1/0 | 2/0
9 | 3^3
"""


def _pairs(table: str) -> list[tuple[str, str]]:
    """The rows of a table; the separator has spaces round it, as no bar in an answer here has."""
    rows = [line.split(" | ") for line in table.strip().splitlines()]
    return [(row[0], row[1]) for row in rows]


@pytest.mark.parametrize(("a", "b"), _pairs(SAME))
def test_same_answers_in_both_directions(a: str, b: str) -> None:
    assert (_judge(a, b), _judge(b, a)) == (CORRECT, CORRECT)


@pytest.mark.parametrize(("a", "b"), _pairs(DIFFERENT))
def test_different_answers_in_both_directions(a: str, b: str) -> None:
    assert (_judge(a, b), _judge(b, a)) == (WRONG, WRONG)


@pytest.mark.parametrize(
    ("gold", "answer", "verdict"),
    [
        ("50", "50%", CORRECT),
        ("50%", "50", CORRECT),
        ("50", "0.5", WRONG),
        ("50%", "0.5", WRONG),
        ("50", "50", CORRECT),
    ],
)
def test_a_question_for_a_percentage_decides_what_a_bare_number_means(gold: str, answer: str, verdict: str) -> None:
    assert _judge(gold, answer, "What percent of the eggs are brown?") == verdict


def test_a_percentage_among_the_facts_asks_for_none() -> None:
    assert _judge("50", "50%", "After a discount of 20%, what does it cost?") == WRONG


@pytest.mark.parametrize(
    ("text", "answer", "rule"),
    [
        (r"So \boxed{18}.", "18", "boxed"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}", "boxed"),
        (r"First \boxed{5}, and again \boxed{ 5 }.", "5", "boxed"),
        (r"\boxed{2} and \boxed{3}", "2 , 3", "boxed"),
        (r"\boxed{\boxed{7}}", "7", "boxed"),
        (r"\[ \boxed{7} \]", "7", "boxed"),
        (r"The answer is 4. \boxed{5}", "5", "boxed"),
        ("2 + 2 = 4\n#### 18", "18", "hashes"),
        ("The answer is 5.", "5", "answer_is"),
        ("The answer is 2.5.", "2.5", "answer_is"),
        ("The answer is 1,234.", "1,234", "answer_is"),
        ("The answer is 3 or 5.", "3 or 5", "answer_is"),
        ("The answer is **7**.", "7", "answer_is"),
        ("The answer is therefore 7.", "7", "answer_is"),
        ("The answer is 5 because 2+3=5.", "5", "answer_is"),
        ("The answer is $5$ meters.", "$5$ meters", "answer_is"),
        ("The answer to the question is 5", "5", "answer_is"),
        ("The final answer is: $\\frac{1}{2}$.", "$\\frac{1}{2}$", "answer_is"),
        ("The answer is\n\n$$\\frac{3}{4}$$", "$$\\frac{3}{4}$$", "answer_is"),
        ("Final Answer: The final answer is $7$. I hope it is correct.", "$7$", "answer_is"),
        ("The answer is an integer.\nThe answer is 6.", "6", "answer_is"),
        ("Answer: 18 dollars", "18 dollars", "answer_is"),
        ("**Answer:** 18", "18", "answer_is"),
        ("**Answer: 18**", "18", "answer_is"),
        ("Convert the answer to weeks: 28 / 7 = 4\nA: 4", "4", "answer_is"),
        ("She makes 9 * 2 = 18\nA: 18", "18", "answer_is"),
        ("So we get\n**12**", "12", "bold"),
        ("The total is **12 apples**.", "12 apples", "bold"),
        ("We add them.\n12", "12", "final_line"),
        ("So the sum is 12.", "12", "final_line"),
        ("There are 5 apples.", "5 apples", "final_line"),
        ("7 + 2 = 9.", "9", "final_line"),
        ("Now 3 more. The sum of 3 and 4 is 7.", "7", "final_line"),
        (r"Thus x = \frac{1}{2}", r"\frac{1}{2}", "final_line"),
    ],
)
def test_the_stated_answer_is_found_by_a_named_rule(text: str, answer: str, rule: str) -> None:
    found = conclude(text, _reader(""))
    assert (found.text, found.rule) == (answer, rule)
    assert found.start is not None
    assert 0 <= found.start < len(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no_answer"),
        ("I like it.", "no_answer"),
        ("Is it 5?", "no_answer"),
        ("It is not 5.", "no_answer"),
        ("It is 5 or 6.", "no_answer"),
        ("### Step 3", "no_answer"),
        ("She has 12 apples in 3 bags.", "no_answer"),
        (r"\boxed{}", "empty_box"),
        (r"\boxed{5", "unclosed_box"),
        (r"\boxed{3} for the first, then we see \boxed{5}", "several_boxes"),
        (r"\fbox{3} for the first, then we see \boxed{5}", "several_boxes"),
        ("The answer is 3. No: the answer is 5.", "several_answers"),
        ("#### 3\n#### 4", "several_answers"),
        ("It is **3**, I mean **4**.", "several_answers"),
    ],
)
def test_a_text_without_one_answer_is_unparsed(text: str, reason: str) -> None:
    assert VERIFIER.verify(Problem("math", "", "5"), text) == Verdict(UNPARSED, None, reason)


def test_the_final_part_begins_where_the_answer_is_stated() -> None:
    text = "3 + 4 = 7.\nWe check it. So the answer is 7."
    verdict = VERIFIER.verify(Problem("math", "", "7"), text)
    assert verdict == Verdict(CORRECT, "7", "answer_is", final_start=text.index("the answer"))


@pytest.mark.parametrize(
    "gold", ["18", "#### 18", "She makes <<9*2=18>>18.\n#### 18", "9 * 2 = 18\nA: 18", r"so \boxed{18}"]
)
def test_gold_answers_come_in_the_forms_of_data_sets(gold: str) -> None:
    assert _judge(gold, "18") == CORRECT
    assert _judge(gold, "19") == WRONG


@pytest.mark.parametrize("gold", ["", "  ", r"\frac{1}{", "{", r"\begin{", "1 + + * 2", "x" * 3000])
def test_gold_that_can_not_be_read_is_an_error_and_no_wrong_trace(gold: str) -> None:
    verdict = VERIFIER.verify(Problem("math", "", gold), r"\boxed{5}")
    assert (verdict.verdict, verdict.detail) == (ERROR, "bad_gold")


@given(st.integers(-(10**12), 10**12))
def test_formats_of_an_integer_agree(value: int) -> None:
    forms = [
        str(value),
        f"{value:,}",
        f"{value}.0",
        f"${value}$",
        f"{{{value}}}",
        f"{value}.",
        f"\\text{{{value}}}",
    ]
    assert {_judge(str(value), form) for form in forms} == {CORRECT}
    assert {_judge(form, str(value + 1)) for form in forms} == {WRONG}
    assert len({canonical(form) for form in forms}) == 1


@given(st.fractions(max_denominator=10**6), st.integers(1, 50))
def test_formats_of_a_fraction_agree(value: Fraction, factor: int) -> None:
    upper, lower = value.numerator * factor, value.denominator * factor
    forms = [
        f"{upper}/{lower}",
        rf"\frac{{{upper}}}{{{lower}}}",
        rf"\dfrac{{{upper}}}{{{lower}}}",
        f"({upper})/({lower})",
    ]
    assert all(equivalent(a, b) for a in forms for b in forms)
    assert not any(equivalent(form, str(value + 1)) for form in forms)
    assert {canonical(form) for form in forms} == {str(value)}


_ANSWERS = r"""
50 | 50% | 0.5 | \frac12 | 12:00 | 12 | 0 | 5 m | 500 cm | 5 km | 5 s | 101_2 | 101 | (1,2) | \{1,2\} | 1,2
2,1 | [1,2] | x=1 | \sqrt2 | -\sqrt2 | \frac{2}{\sqrt2} | no solution | \emptyset | x>1 | (1,\infty)
"""
_NUMBERS = st.sampled_from([answer.strip() for answer in re.split(r"[|\n]", _ANSWERS.strip())])


@given(_NUMBERS, _NUMBERS, _NUMBERS)
def test_equivalence_is_symmetric_and_transitive(a: str, b: str, c: str) -> None:
    assert equivalent(a, b) == equivalent(b, a)
    if equivalent(a, b) and equivalent(b, c):
        assert equivalent(a, c)


@given(st.text(alphabet=st.sampled_from("0123456789+-*/^_{}()[]\\ .,=<>|!%$&xyfracsqrtpmtex\n"), max_size=60))
def test_no_text_raises_and_equal_texts_are_never_wrong(text: str) -> None:
    problem = Problem("math", "", text)
    verdict = VERIFIER.verify(problem, f"\\boxed{{{text}}}").verdict
    assert verdict in (CORRECT, ERROR, UNPARSED, TIMEOUT, WRONG)


_BOMBS = {
    "power tower": r"9^{9^{9^{9^9}}}",
    "factorial": "((9!)!)!",
    "binomial": r"\binom{10^9}{5\cdot 10^8}",
    "exponentials": "e^{e^{e^{e^e}}}",
    "sine of a tower": r"\sin(10^{10^{10}})",
    "2,000 braces": "{" * 2000 + "5" + "}" * 2000,
    "900 brackets": "(" * 900 + "5" + ")" * 900,
    "100,000 terms": "1+" * 100_000 + "1",
    "900 items": "1," * 900 + "1",
    "scientific": "1e9999999",
    "long sum": r"\sum_{k=1}^{10^9} k^k",
    "long product": r"\prod_{k=1}^{10^8} k",
}


@pytest.mark.slow
def test_bombs_cost_a_bounded_time_and_the_pool_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bomb_judge.py").write_text(
        "from proofmill.filters.domains.math import VERIFIER, _reader\n"
        "from proofmill.filters.verdicts import Problem\n"
        "def judge(row):\n    return VERIFIER.verify(Problem('math', '', row[0]), row[1])\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    rows = [(gold, f"\\boxed{{{bomb}}}") for bomb in _BOMBS.values() for gold in ("5", r"\sqrt{2}")]
    with WorkerPool("bomb_judge:judge", workers=2, cpu_seconds=1) as pool:
        results = pool.map([*rows, ("5", r"\boxed{5}")])
    kinds = [result.kind if isinstance(result, Fault) else result.verdict for result in results]
    assert kinds == [TIMEOUT] * len(rows) + [CORRECT]


@pytest.mark.parametrize(
    "text",
    [
        *(mark * 50_000 for mark in ("\\boxed{", "the answer is ", "answer to ", "A: \n", "#### ", "is 1 ")),
        *(mark * 100_000 for mark in ("**", "= ", "1,", "$", "word ")),
        " " * 200_000 + "x",
        "the answer of " + "a " * 100_000,
        "the answer is " + "so " * 50_000,
    ],
)
def test_extraction_is_linear_in_hostile_text(text: str) -> None:
    assert VERIFIER.verify(Problem("math", "", r"\sqrt{2}"), text).verdict in (UNPARSED, WRONG, TIMEOUT)


@pytest.mark.skipif(not _TRACES.exists(), reason="needs the shared data set of GSM8K traces beside the project")
@pytest.mark.parametrize("marks", [True, False], ids=["with calculator marks", "without"])
def test_verdicts_agree_with_the_labels_of_real_traces(marks: bool) -> None:
    disagreements = []
    for line in _TRACES.read_text().splitlines():
        row = json.loads(line)
        text = row["solution"] if marks else re.sub(r"<<[^>]*>>", "", row["solution"])
        verdict = VERIFIER.verify(Problem("math", row["question"], row["gold_solution"]), text)
        if (verdict.verdict == CORRECT) != row["is_correct"] or verdict.verdict == ERROR:
            disagreements.append((verdict, text[-80:]))
    assert disagreements == []
