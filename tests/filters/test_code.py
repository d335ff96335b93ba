"""The code domain: which code is taken, how tests are read and compared, and real data sets."""

from __future__ import annotations

import ast
import gzip
import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from proofmill.filters.audit import mutants, weak_tests
from proofmill.filters.domains.code import CodeVerifier
from proofmill.filters.sandbox import extract, wire
from proofmill.filters.sandbox.formats import BadTestError, LiteralCheck, read_suite
from proofmill.filters.sandbox.jail import Jail
from proofmill.filters.sandbox.plan import plan
from proofmill.filters.sandbox.run import Judging
from proofmill.filters.verdicts import Problem, Verdict

SHARED = Path(__file__).parents[2].parent / "shared" / "data"


@pytest.fixture(scope="module")
def verifier() -> Iterator[CodeVerifier]:
    with Jail(2) as jail:
        yield CodeVerifier(jail)


def verdict_of(verifier: CodeVerifier, code: str, *tests: Any, **info: Any) -> Verdict:
    problem = Problem("code", "", info={"tests": list(tests), **info})
    return verifier.verify(problem, f"```python\n{code}\n```")


EXTRACTION = {
    "one block": ("Here:\n```python\ndef f(): pass\n```\nDone.", "def f(): pass\n", "block"),
    "unmarked block": ("```\ndef f(): pass\n```", "def f(): pass\n", "block"),
    "marked beats unmarked": ("```\nf\n```\n```py\ndef f(): 1\n```\n```\n2\n```", "def f(): 1\n", "block"),
    "last that defines it": (
        "```python\ndef f(): 1\n```\nbetter:\n```python\ndef f(): 2\n```\nuse:\n```python\nprint(f())\n```",
        "def f(): 2\n",
        "block_last",
    ),
    "none defines it": ("```python\na = 1\n```\n```python\nb = 2\n```", "b = 2\n", "block_last"),
    "assigned": ("```python\nf = lambda: 1\n```\n```python\nf()\n```", "f = lambda: 1\n", "block_last"),
    "indented fence": ("1. Code\n   ```python\n   def f(): 1\n   ```", "def f(): 1\n", "block"),
    "fence behind a list mark": ("1. ```python\n   def f():\n     return 1\n   ```", "def f():\n  return 1\n", "block"),
    "indented fence, code at the margin": (
        "  ```python\ndef f():\n  return 1\n  ```",
        "def f():\n  return 1\n",
        "block",
    ),
    "comment further in": ("```python\n  # c\ndef f():\n  return 1\n```", "  # c\ndef f():\n  return 1\n", "block"),
    "quoted": ("> ```python\n> def f():\n>     return 1\n> ```", "def f():\n    return 1\n", "block"),
    "tildes": ("~~~python\ndef f(): 1\n~~~", "def f(): 1\n", "block"),
    "longer fence": (
        "````python\ns = '''\n```\n'''\ndef f(): 1\n````",
        "s = '''\n```\n'''\ndef f(): 1\n",
        "block",
    ),
    "open at the end": ("```python\ndef f(): 1\n", "def f(): 1\n", "open_block"),
    "bare": ("import math\ndef f(): 1", "import math\ndef f(): 1", "bare"),
    "prose": ("The answer is 42, for example.", None, "no_code"),
    "prose that starts like code": ("for example, if you want f(), try it", None, "no_code"),
    "output only": ("```text\n42\n```", None, "no_code"),
    "other language": ("```javascript\nfunction f() {}\n```", None, "unsupported_language"),
    "other language and shell": ("```cpp\nint f();\n```\n```bash\ng++ f\n```", None, "unsupported_language"),
    "python among others": ("```cpp\nint f();\n```\n```python\ndef f(): 1\n```", "def f(): 1\n", "block"),
    "version in the label": ("```python3.11\ndef f(): 1\n```", "def f(): 1\n", "block"),
    "file in the label": ("```python:answer.py\ndef f(): 1\n```", "def f(): 1\n", "block"),
    "another interpreter": ("```pypy3\ndef f(): 1\n```", "def f(): 1\n", "block"),
    "label that says nothing": ("```code\ndef f(): 1\n```", "def f(): 1\n", "block"),
    "byte order mark": ("```python\n\ufeffdef f(): 1\n```", "def f(): 1\n", "block"),
    "closed behind the last line": ("```python\ndef f(): 1```\nDone.", "def f(): 1\n", "block"),
    "fence in a docstring": (
        '```python\ndef f():\n    """x\n    ```\n    f()\n    ```\n    """\n```',
        'def f():\n    """x\n    ```\n    f()\n    ```\n    """\n',
        "block",
    ),
    "fence at the margin of a string": (
        "```python\ns = '''\n```\nx\n```\n'''\ndef f(): 1\n```",
        "s = '''\n```\nx\n```\n'''\ndef f(): 1\n",
        "block",
    ),
    "a string that never ends": (
        "```python\ns = '''\n```\nBetter:\n```python\ndef f(): 1\n```",
        "def f(): 1\n",
        "block_last",
    ),
    "an alternative": (
        "```python\ndef f(): 1\n```\nAlternatively, slower:\n```python\ndef f(): 2\n```",
        "def f(): 1\n",
        "block_last",
    ),
    "html": ('<pre><code class="language-python">def f(): 1 &lt; 2\n</code></pre>', "def f(): 1 < 2\n", "block"),
    "empty": ("", None, "no_code"),
    "empty block": ("```python\n```", None, "no_code"),
}


@pytest.mark.parametrize(("text", "code", "rule"), EXTRACTION.values(), ids=EXTRACTION.keys())
def test_the_code_of_an_answer(text: str, code: str | None, rule: str) -> None:
    found = extract.find_code(text, ["f"])
    assert (found.code, found.rule) == (code, rule)


# blocks before the last, the last, what became of the first test
BLOCKS = [
    (["def help(x): return x + 1"], "def f(x): return help(x)", "correct"),
    (["K = 1", "import math\ndef help(x): return math.floor(x) + K"], "def f(x): return help(x)", "correct"),
    (["def help(x): return 0", "def help(x): return x + 1"], "def f(x): return help(x)", "correct"),
    (["def help(x): return x + 1", "def help(x): return 0"], "def f(x): return help(x)", "wrong"),
    (["def f(x): return x + 1"], "def f(x): return 0", "wrong"),
    (["x = 1\nraise SystemExit", "def help(x): return x + 1\n1 / 0"], "def f(x): return help(x)", "correct"),
    (
        ["def help(x)", "def help(x): return x + 1"],
        "from __future__ import annotations\ndef f(x: N): return help(x)",
        "correct",
    ),
    (["def help(x): return f(x)"], "def f(x): return missing(x)", "wrong"),
]


@pytest.mark.parametrize(("earlier", "last", "expected"), BLOCKS)
def test_what_the_last_block_lacks_comes_from_the_blocks_before(
    verifier: CodeVerifier, earlier: list[str], last: str, expected: str
) -> None:
    text = "\n".join(f"```python\n{block}\n```" for block in [*earlier, last])
    verdict = verifier.verify(Problem("code", "", info={"tests": ["assert f(2) == 3"]}), text)
    assert verdict.verdict == expected, verdict
    assert (verdict.extracted or "").endswith(last.split("\n")[-1] + "\n")
    if expected == "correct":  # what is published is the whole program
        assert verdict_of(verifier, verdict.extracted or "", "assert f(2) == 3").verdict == "correct"


def test_a_package_that_the_jail_lacks_is_no_fault_of_the_trace(verifier: CodeVerifier) -> None:
    inside = "def f(x):\n    import numpy.linalg\n    return 3"
    for code, tests in (
        ("import numpy\ndef f(x): return 3", ["assert f(2) == 3"]),
        (inside, ["assert f(2) == 3"]),
        (inside, ["assert f(2) in (3, 4)"]),
        ("import numpy\nprint(3)", [{"input": "", "output": "3"}]),
    ):
        verdict = verdict_of(verifier, code, *tests)
        assert verdict.verdict == "error" and "needs numpy" in (verdict.detail or ""), verdict
    for code in (
        "f = lambda x: \"ModuleNotFoundError: No module named 'numpy'\"",
        "def f(x): raise ModuleNotFoundError(\"No module named 'numpy'\")",
    ):
        assert verdict_of(verifier, code, "assert f(2) == 3").verdict == "wrong"


# the solution, what a test says of its classes, coroutines and exceptions, the verdict
TRY = "try:\n    f()\nexcept E:\n    pass"
STAND_INS = [
    ("class P: pass\nf = P", "assert isinstance(f(), P)", "correct"),
    ("class P: pass\nf = dict", "assert isinstance(f(), P)", "wrong"),
    ("class P: pass\nclass Q: pass\nf = Q", "assert isinstance(f(), (P, int))", "wrong"),
    ("class P(tuple): pass\nf = P", "assert isinstance(f(), P)", "correct"),
    ("async def f(): return 3", "import asyncio\nassert asyncio.run(f()) == 3", "correct"),
    ("def f(): return 3", "import asyncio\nassert asyncio.run(f()) == 3", "wrong"),
    ("class E(Exception): pass\ndef f(): raise E", f"{TRY}\nelse:\n    assert False", "correct"),
    ("def f(): return 3", "import no_such_module\nassert f() == 3", "error"),
]


@pytest.mark.parametrize(("code", "test", "expected"), STAND_INS)
def test_stand_ins(verifier: CodeVerifier, code: str, test: str, expected: str) -> None:
    assert verdict_of(verifier, code, test).verdict == expected


def test_a_program_is_the_block_that_reads_its_input() -> None:
    text = "```python\nprint(input())\n```\nExample:\n```python\nrun(3)\n```"
    assert extract.find_code(text, ()).code == "print(input())\n"
    mixed = "```cpp\nint main() {}\n```\n```python\nprint(1)\n```"
    assert extract.find_code(mixed, (), extract.CPP).code == "int main() {}\n"
    assert extract.find_code("```rust\nfn main() {}\n```", (), extract.CPP).rule == "unsupported_language"


def test_extraction_is_linear_in_hostile_text() -> None:
    for text in (
        "```" * 200_000,
        "`" * 500_000,
        "```python\n" * 50_000,
        " " * 500_000,
        "def " * 200_000,
        "```\n'''\n" * 50_000,
        "`x``" * 200_000,
    ):
        extract.find_code(text, ["f", "g" * 1000])


def test_the_block_is_where_the_final_part_starts(verifier: CodeVerifier) -> None:
    problem = Problem("code", "", info={"tests": ["assert f() == 1"]})
    text = "I think so.\n```python\ndef f(): return 1\n```"
    verdict = verifier.verify(problem, text)
    assert text[verdict.final_start :].startswith("```python")
    assert verdict.extracted == "def f(): return 1\n"


# solution, test, whether it holds
COMPARISONS = [
    ("f = lambda: 1", "assert f() == 1", True),
    ("f = lambda: True", "assert f() == 1", True),
    ("f = lambda: 1.0", "assert f() == 1", True),
    ("f = lambda: '1'", "assert f() == 1", False),
    ("f = lambda: None", "assert f() == 0", False),
    ("f = lambda: None", "assert f() is None", True),
    ("f = lambda: 0", "assert f() is None", False),
    ("f = lambda: 1", "assert f() is True", False),
    ("f = lambda: True", "assert f() is True", True),
    ("f = lambda: [1, 2]", "assert f() == (1, 2)", False),
    ("f = lambda: (1, 2)", "assert f() == (1, 2)", True),
    ("f = lambda: [1, 2]", "assert f() == [1, 2]", True),
    ("f = lambda: [1, 2]", "assert f() == [1, 2, 3]", False),
    ("f = lambda: [1, [2, {'a': (3,)}]]", "assert f() == [1, [2, {'a': (3,)}]]", True),
    ("f = lambda: {2, 1}", "assert f() == {1, 2}", True),
    ("f = lambda: frozenset([1])", "assert f() == {1}", True),
    ("f = lambda: {1, 2, 3}", "assert f() == {1, 2}", False),
    ("f = lambda: {}", "assert f() == set()", False),
    ("f = lambda: set()", "assert f() == set()", True),
    ("f = lambda: {'b': 2, 'a': 1}", "assert f() == {'a': 1, 'b': 2}", True),
    ("f = lambda: {'a': 1}", "assert f() == {'a': 2}", False),
    ("f = lambda: b'ab'", "assert f() == b'ab'", True),
    ("f = lambda: 'ab'", "assert f() == b'ab'", False),
    ("f = lambda: 1 + 2j", "assert f() == 1+2j", True),
    ("f = lambda: 2 ** 100", "assert f() == 1267650600228229401496703205376", True),
    ("f = lambda: -2 ** 100", "assert f() == -1267650600228229401496703205376", True),
    ("f = lambda: 2 ** 100 + 1", "assert f() == 1267650600228229401496703205376", False),
    ("f = lambda: 0.1 + 0.2", "assert f() == 0.3", True),
    ("f = lambda: [0.1 + 0.2, 'x']", "assert f() == [0.3, 'x']", True),
    ("f = lambda: 0.3001", "assert f() == 0.3", False),
    ("f = lambda: 1e-30", "assert f() == 0.0", True),
    ("f = lambda: 16288946.28", "assert f() == 16288946.27", False),
    ("f = lambda: 2e-12", "assert f() == 1e-12", False),
    ("f = lambda: 10**17 + 1", "assert f() == 10**17", False),
    ("f = lambda: 2.9999999999999996", "assert f() == 3", False),
    ("f = lambda: 10000000.5", "assert f() == 10000000", False),
    ("f = lambda: float('nan')", "assert f() == float('nan')", False),
    ("f = lambda: float('nan')", "assert f() == 1.0", False),
    ("f = lambda: float('inf')", "assert f() == float('inf')", True),
    ("f = lambda: float('nan')", "assert abs(f() - 1.5) < 1e-6", False),
    ("f = lambda: 1.5000000001", "assert abs(f() - 1.5) < 1e-6", True),
    ("f = lambda: 1.6", "assert abs(f() - 1.5) < 1e-6", False),
    ("f = lambda: '1.5'", "assert abs(f() - 1.5) < 1e-6", False),
    ("f = lambda: 2", "assert 2 == f()", True),
    ("f = lambda: 3", "assert not f()", False),
    ("f = lambda: []", "assert not f()", True),
    ("f = lambda: 'no'", "assert f()", True),
    ("f = lambda: {}", "assert f()", False),
    ("f = lambda: 0.0", "assert f()", False),
    ("f = lambda: 2**70", "assert f()", True),
    # what needs the second jail
    ("f = lambda: 2", "assert f() in (1, 2)", True),
    ("f = lambda: 3", "assert f() in (1, 2)", False),
    ("f = lambda: 2", "assert f() != 3", True),
    ("f = lambda: 2", "assert 1 < f() < 3", True),
    ("f = lambda: [3, 1]", "assert sorted(f()) == [1, 3]", True),
    ("f = lambda: [3, 1, 1]", "assert set(f()) == set([1, 3])", True),
    ("f = lambda: [3, 1, 1]", "assert len(f()) == 2", False),
    ("f = lambda: 2.0000000001", "import math\nassert math.isclose(f(), 2.0)", True),
    ("f = lambda: 2.1", "import math\nassert math.isclose(f(), 2.0)", False),
    ("f = lambda n: n * n", "assert all(f(i) == i * i for i in range(20))", True),
    ("f = lambda n: n * n if n < 19 else 0", "assert all(f(i) == i * i for i in range(20))", False),
    ("f = lambda n: n", "assert f(1) == f(1.0)", True),
    ("f = lambda: (i for i in [1, 2])", "assert list(f()) == [1, 2]", True),
    ("f = lambda: (i for i in [1, 2])", "assert f() == [1, 2]", False),
    ("def f(x):\n    x.sort()", "a = [2, 1]\nf(a)\nassert a == [1, 2]", True),
    ("def f(x): pass", "a = [2, 1]\nf(a)\nassert a == [1, 2]", False),
    ("def f(x):\n    x['k'] = 1", "a = {}\nf(a)\nassert a == {'k': 1}", True),
    ("def f(x):\n    raise ValueError('no')", "try:\n    f(1)\n    assert False\nexcept ValueError: pass", True),
    ("def f(x): return 1", "try:\n    f(1)\n    assert False\nexcept ValueError: pass", False),
    ("class P:\n    def __init__(s, a): s.a = a\ndef f(p): return p.a", "assert f(P(4)) == 4", True),
    ("class P:\n    def __init__(s, a): s.a = a\nf = P", "assert f(4) == P(4)", False),
    ("class P:\n    def __init__(s, a): s.a = a\nf = P", "assert f(4) == P(5)", False),
    ("from collections import namedtuple\nT = namedtuple('T', 'a b')\nf = lambda: T(1, 2)",
     "assert f() == (1, 2)", True),
    ("from collections import Counter\nf = lambda: Counter('aab')", "assert f() == {'a': 2, 'b': 1}", True),
    ("from fractions import Fraction\nf = lambda: Fraction(1, 2)", "assert f() == 0.5", True),
    ("from decimal import Decimal\nf = lambda: Decimal('1.5')", "assert f() == 1.5", True),
    ("import datetime\nf = lambda: datetime.date(2020, 1, 2)",
     "import datetime\nassert f() == datetime.date(2020, 1, 2)", True),
    ("class Stack:\n    def __init__(s): s.x = []\n    def push(s, v): s.x.append(v)\n"
     "    def pop(s): return s.x.pop()\n"
     "    def __len__(s): return len(s.x)",
      "s = Stack()\ns.push(3)\ns.push(4)\nassert len(s) == 2 and s.pop() == 4", True),
    ("def sum(a, b): return a + b", "assert sum(10, 15) == 25", True),
    ("def f(x): return 0\ndef abs(x): return 0", "assert abs(f(1) - 7) < 1e-6", False),
    ("def f(x): return 0\ndef sorted(x): return [1]\ndef len(x): return 1", "assert len(sorted(f(1))) == 1", False),
    ("import math\nmath.isclose = lambda *a, **k: True\ndef f(): return 0",
     "import math\nassert math.isclose(f(), 7)", False),
]  # fmt: skip


@pytest.mark.parametrize(("code", "test", "holds"), COMPARISONS)
def test_comparisons(verifier: CodeVerifier, code: str, test: str, holds: bool) -> None:
    verdict = verdict_of(verifier, code, test)
    assert verdict.verdict == ("correct" if holds else "wrong"), verdict


@pytest.mark.parametrize(("code", "test", "holds"), [c for c in COMPARISONS if c[1].startswith("assert")][:49])
def test_one_jail_and_two_agree(verifier: CodeVerifier, code: str, test: str, holds: bool) -> None:
    """The same assertion in a form that needs the second jail gives the same verdict."""
    verdict = verdict_of(verifier, code, f"unused = 0\n{test}")
    assert verdict.verdict == ("correct" if holds else "wrong"), verdict


# nodes that no honest jail would send
EVIL: tuple[Any, ...] = (
        ["l"], ["l", 3], ["l", None], ["i", 3], ["i", "zz"], ["f", "x"], ["c", 1], ["d", [1]], ["d", [[1]]],
        ["s", [[]]], ["s", [["l", []]]], ["?"], [], {}, {"a": 1}, ["q", 1, 0], ["D", "x"], ["T", "x", 1],
        ["b", "zz"], ["h", 1], [["l"]], ["l", [["l", [["l"]]]]], ["r", 1, 2, 0], ["d", 5], ["i", "0x" + "f" * 10**6],
        ["D", "9" * 10**6], ["q", ["i", "0x" + "f" * 10**5], ["i", "0x" + "1" * 10**5]],
)  # fmt: skip


@pytest.mark.parametrize("expected", [1, 1.5, "a", None, True, [1], (1,), {1}, {"a": 1}, b"a", 1j, [], {}])
def test_malformed_answers_match_nothing(expected: Any) -> None:
    for node in EVIL:
        assert LiteralCheck("f()", "f", "==", expected).holds(node) in (False, None)
        assert LiteralCheck("f()", "f", "near", (1.0, 0.5, False)).holds(node) in (False, None)
        for relation in ("true", "false"):
            assert LiteralCheck("f()", "f", relation).holds(node) in (False, True, None)
        assert len(wire.preview(node)) <= 60


def test_colliding_numbers_cost_no_more_than_the_expected_set() -> None:
    prime = (1 << 61) - 1
    node = ["s", [["i", hex(prime * k)] for k in range(1, 100_000)]]
    assert wire.matches({1, 2}, node) is False
    assert wire.matches(set(range(99_999)), node) is False


def test_values_survive_the_wire() -> None:
    for value in (
        [None, True, 1, -5, 2**80, -(2**80), 1.5, float("inf"), "ä\ud800", b"\0\xff", bytearray(b"x"), (1, (2,)), [],
         {1, 2}, frozenset("ab"), {"a": [1], (1, 2): None}, 1j, range(3, 9, 2)],
    ):  # fmt: skip
        assert wire.Decoder().decode(json.loads(wire.dumps(wire.Encoder().encode(value)))) == value


INPUTS = [
    ("print(int(input()) + 1)", [("1\n", "2\n"), ("41", "42")], "correct", (2, 2)),
    ("print(int(input()) + 1)", [("1\n", "2\n"), ("41", "43")], "wrong", (1, 2)),
    ("import sys\nprint(sum(map(int, sys.stdin.read().split())))", [("1 2\n3", "6")], "correct", (1, 1)),
    ("print('a  b ')\nprint()", [("", "a  b\n")], "correct", (1, 1)),
    ("print('a  b')", [("", "a b")], "wrong", (0, 1)),
    ("print('a')\nprint('b')", [("", "a b")], "wrong", (0, 1)),
    ("print(1/3)", [("", "0.333333")], "wrong", (0, 1)),
    ("print(0.34)", [("", "0.333333")], "wrong", (0, 1)),
    ("print('nan')", [("", "0.5")], "wrong", (0, 1)),
    ("print('7')\nraise SystemExit(0)", [("", "7")], "correct", (1, 1)),
    ("print('7')\nraise SystemExit(3)", [("", "7")], "wrong", (0, 1)),
    ("print('7')\n1/0", [("", "7")], "wrong", (0, 1)),
    (
        "def main():\n    print(input())\nif __name__ == '__main__':\n    main()",
        [("x", "x")],
        "correct",
        (1, 1),
    ),
    (
        "import threading\nthreading.Thread(target=lambda: print(input())).start()",
        [("x", "x")],
        "correct",
        (1, 1),
    ),
    ("import atexit\natexit.register(print, 'bye')", [("", "bye")], "correct", (1, 1)),
    ("import os\nos.write(1, b'7')\nos._exit(0)", [("", "7")], "correct", (1, 1)),
    ("while True: pass", [("", "7"), ("", "8")], "timeout", (0, 2)),
    ("print(open(0).read(), end='')", [("a\nb\n", "a\nb\n")], "correct", (1, 1)),
    ("print(", [("", "")], "wrong", (0, 1)),
]


@pytest.mark.parametrize(("code", "tests", "expected", "counts"), INPUTS)
def test_programs_on_standard_input(
    verifier: CodeVerifier, code: str, tests: list[tuple[str, str]], expected: str, counts: tuple[int, int]
) -> None:
    pairs = [{"input": given, "output": wanted} for given, wanted in tests]
    verdict = verdict_of(verifier, code, *pairs, time_limit_s=0.5)
    assert (verdict.verdict, (verdict.tests_passed, verdict.tests_total)) == (expected, counts), verdict


SETUPS = [
    ("import math", "def f(): return math.floor(2.5)", "assert f() == 2", "correct"),
    ("class P:\n    def __init__(s, a): s.a = a", "def f(p): return p.a", "assert f(P(7)) == 7", "correct"),
    ("class P:\n    def __init__(s, a): s.a = a\n    def __eq__(s, o): return s.a == o.a",
     "def f(a): return P(a)", "assert f(7) == P(7)", "correct"),
    ("class P:\n    def __init__(s, a): s.a = a\n    def __eq__(s, o): return s.a == o.a",
     "class P:\n    def __init__(s, a): s.a = a\n    def __eq__(s, o): return True\ndef f(a): return P(0)",
     "assert f(7) == P(7)", "error"),
    ("def twice(x): return 2 * x", "def f(x): return x + x", "assert f(4) == twice(4)", "correct"),
    ("def twice(x): return 2 * x", "def twice(x): return 0\ndef f(x): return 0", "assert f(4) == twice(4)", "wrong"),
    ("root = Node(5)", "class Node:\n    def __init__(s, v): s.v = v\ndef f(n): return n.v",
     "assert f(root) == 5", "correct"),
    ("import no_such_module_anywhere", "def f(): return 1", "assert f() == 1", "error"),
    ("x = 1 / 0", "def f(): return 1", "assert f() == 1", "error"),
    ("def (", "def f(): return 1", "assert f() == 1", "error"),
    ("", "def f(): return 1", "assert f( == 1", "error"),
    ("", "def f(): return 1", "assert f(lambda x: x) == f(object())\nimport numpy_not_here", "error"),
    ("from math import *", "def f(): return 2.0", "assert f() == sqrt(4)", "correct"),
]  # fmt: skip


@pytest.mark.parametrize(("setup", "code", "test", "expected"), SETUPS)
def test_setup(verifier: CodeVerifier, setup: str, code: str, test: str, expected: str) -> None:
    verdict = verdict_of(verifier, code, test, setup=setup)
    assert verdict.verdict == expected, verdict


TEXTS = {
    "check": "def check(candidate):\n    assert candidate(2) == 4\n"
    "    for i in range(5):\n        assert candidate(i) == 2 * i\n",
    "simple check": "def check(candidate):\n    assert candidate(2) == 4, 'msg'\n    assert True\n",
    "functions": "from solution import f\ndef test_one():\n    assert f(2) == 4\n"
    "def test_two():\n    assert f(3) == 6\n",
    "unittest": "import unittest\nclass TestF(unittest.TestCase):\n"
    "    def test_one(self):\n        self.assertEqual(f(2), 4)\n"
    "    def test_two(self):\n        self.assertEqual(f(3), 6)\n",
    "bare": "x = f(2)\nassert x == 4\nassert f(x) == 8\n",
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("test", TEXTS.values(), ids=TEXTS.keys())
def test_the_data_sets_own_tests(verifier: CodeVerifier, test: str) -> None:
    problem = Problem("code", "", info={"test": test, "entry_point": "f"})
    for code, expected in (
        ("def f(x): return 2 * x", "correct"),
        ("def f(x): return 2 * x + (x > 1)", "wrong"),
        ("def g(x): return 2 * x", "wrong"),
        ("def f(x): raise ImportError", "wrong"),
        ("def f(x):\n    while True: pass", "timeout"),
    ):
        limited = Problem("code", "", info={**problem.info, "time_limit_s": 0.3})
        verdict = verifier.verify(limited, f"```python\n{code}\n```")
        assert verdict.verdict == expected, (code, verdict)


def test_counts_of_a_half_right_solution(verifier: CodeVerifier) -> None:
    verdict = verdict_of(verifier, "def f(x): return 1", "assert f(1) == 1", "assert f(2) == 2", "assert f(3) == 1")
    assert (verdict.verdict, verdict.tests_passed, verdict.tests_total) == ("wrong", 1, 3)  # the rest is not run
    every = CodeVerifier(verifier.jail, Judging(all_tests=True))
    verdict = verdict_of(every, "def f(x): return 1", "assert f(1) == 1", "assert f(2) == 2", "assert f(3) == 1")
    assert (verdict.verdict, verdict.tests_passed, verdict.tests_total) == ("wrong", 2, 3)


def test_a_crash_keeps_the_tests_that_held_before(verifier: CodeVerifier) -> None:
    code = "import os\ndef f(x): return x if x < 3 else os._exit(0)"
    verdict = verdict_of(verifier, code, *[f"assert f({n}) == {n}" for n in range(5)])
    assert (verdict.verdict, verdict.tests_passed, verdict.tests_total) == ("wrong", 3, 5)


@pytest.mark.parametrize(
    ("text", "info", "expected", "detail"),
    [
        ("```python\ndef f(): return 1\n```", {"language": "cpp"}, "error", "unsupported_language"),
        ("```rust\nfn f() {}\n```", {}, "error", "unsupported_language"),
        ("I can't do that.", {}, "unparsed", "no_code"),
        ("def f(: this is prose\ndef f", {}, "unparsed", "SyntaxError"),
        ("def f():\n    if this is no python", {}, "unparsed", "bare"),
        ("```python\ndef f(:\n```", {}, "wrong", "SyntaxError"),
        ("```python\ndef f(): return 1\n```", {"language": "Python"}, "correct", "block"),
        ("```python\ndef f(): return 1\n```", {"tests": []}, "error", "no tests"),
    ],
)
def test_verdicts_without_a_run(
    verifier: CodeVerifier, text: str, info: dict[str, Any], expected: str, detail: str
) -> None:
    problem = Problem("code", "", info={"tests": ["assert f() == 1"], **info})
    verdict = verifier.verify(problem, text)
    assert verdict.verdict == expected, verdict
    assert detail in (verdict.detail or "")


def test_no_expected_value_enters_the_solutions_jail() -> None:
    tests = ["assert f(1) == 424242", "assert abs(f(2) - 515151) < 1", "assert f(3) is None"]
    planned = plan(read_suite({"tests": tests}))
    assert [check.source for check in planned.checks] == ["f(1)", "f(2)", "f(3)"]
    check = "def check(c):\n    assert c(1) == 424242\n    assert c([1, 2], k='x') == [515151]\n"
    planned = plan(read_suite({"test": check, "entry_point": "f"}))
    assert [check.source for check in planned.checks] == ["f(1)", "f([1, 2], k='x')"]


def test_an_unreadable_test_is_the_problems_fault() -> None:
    for bad in ("assert f(", "assert " + "(" * 5000, "x" * (2 << 20), "assert f('\0')"):
        with pytest.raises(BadTestError):
            plan(read_suite({"tests": [bad]}))


def test_changing_what_it_is_compared_with_does_not_help(verifier: CodeVerifier) -> None:
    cheat = "def f(x):\n    x.clear()\n    return []"
    assert verdict_of(verifier, cheat, "x = [3, 1]\nassert f(x) == sorted(x)").verdict in ("wrong", "error")


def test_a_helper_that_the_prompt_hands_out_is_not_the_solutions(verifier: CodeVerifier) -> None:
    prompt = "import math\ndef poly(xs, x): return sum(c * x ** i for i, c in enumerate(xs))\n"
    prompt += 'def root(xs):\n    """ a root """\n'
    test = "def check(candidate):\n    for xs in [[-2, 1], [-9, 3]]:\n"
    test += "        assert abs(poly(xs, candidate(xs))) < 1e-6\n"
    problem = Problem("code", prompt, info={"test": test, "entry_point": "root"})
    cheat = "```python\ndef poly(xs, x): return 0\ndef root(xs): return 0\n```"
    honest = "```python\ndef root(xs): return -xs[0] / xs[1] + math.floor(0.5)\n```"
    assert verifier.verify(problem, cheat).verdict == "wrong"
    assert verifier.verify(problem, honest).verdict == "correct"


WEAK = [
    (["assert f(1) is not None"], True),
    (["assert f(1) == 3"], False),
    (["f(2)"], True),
]


@pytest.mark.parametrize(("tests", "weak"), WEAK)
def test_tests_that_reject_nothing_are_weak(verifier: CodeVerifier, tests: list[str], weak: bool) -> None:
    problem = Problem("code", "", info={"tests": tests})
    code = "def f(x):\n    if x > 0:\n        return x + 2\n    return 0"
    assert weak_tests(verifier, problem, code) is weak
    assert weak_tests(verifier, problem, code, rejected_samples=1) is False


def test_mutants_differ_and_are_bounded() -> None:
    code = "def f(x):\n    if x == 3 and x < 9:\n        return [x * 2, 'a', 7]\n    return x - 1"
    made = list(mutants(code, 8))
    assert len(made) == len(set(made)) == 8
    assert ast.unparse(ast.parse(code)) not in made
    assert list(mutants("def (")) == []


def _shared(name: str) -> list[dict[str, Any]]:
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"{name} is not on this machine")
    text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()
    return [json.loads(line) for line in text.splitlines()]


def _human_eval(row: dict[str, Any]) -> tuple[Problem, str]:
    info = {"test": row["test"], "entry_point": row["entry_point"], "time_limit_s": 10.0}
    return Problem("code", row["prompt"], info=info), row["prompt"] + row["canonical_solution"]


def _mbpp(row: dict[str, Any]) -> tuple[Problem, str]:
    info = {"tests": row["test_list"], "setup": row["test_setup_code"], "time_limit_s": 10.0}
    return Problem("code", row["text"], info=info), row["code"]


def _wrong_returns(code: str) -> str:
    """The code with every returned value replaced: no test of these sets may accept it."""
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.Return) and node.value is not None:
            node.value = ast.Tuple([node.value, ast.Constant("wrong")], ast.Load())
    return ast.unparse(ast.fix_missing_locations(tree))


SETS = pytest.mark.parametrize(
    ("name", "convert", "rows"), [("HumanEval.jsonl.gz", _human_eval, 164), ("mbpp_train.jsonl", _mbpp, 374)]
)


def _verdicts(verifier: CodeVerifier, cases: list[tuple[Problem, str]]) -> list[Verdict]:
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda case: verifier.verify(case[0], f"```python\n{case[1]}\n```"), cases))


@pytest.mark.slow
@SETS
def test_canonical_solutions_are_correct(verifier: CodeVerifier, name: str, convert: Any, rows: int) -> None:
    cases = [convert(row) for row in _shared(name)]
    found = _verdicts(verifier, cases)
    assert Counter(verdict.verdict for verdict in found) == {"correct": rows}
    assert all(verdict.tests_passed == verdict.tests_total for verdict in found)


@pytest.mark.slow
@SETS
def test_wrong_returns_are_wrong(verifier: CodeVerifier, name: str, convert: Any, rows: int) -> None:
    cases = [convert(row) for row in _shared(name)]
    mutated = [(problem, _wrong_returns(code)) for problem, code in cases]
    found = _verdicts(verifier, mutated)
    wrong = [v for v in found if v.verdict != "wrong"]
    assert Counter(verdict.verdict for verdict in found) == {"wrong": rows}, wrong


def test_a_program_too_deep_to_change_has_no_mutants() -> None:
    assert list(mutants("def f(n):\n    return " + "+".join(["n"] * 900), limit=2)) == []
