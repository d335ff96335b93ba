"""Attacks on the jail and on the comparison behind it: what a program must not win by, or break."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from proofmill.filters.domains.code import CodeVerifier
from proofmill.filters.sandbox.formats import read_suite
from proofmill.filters.sandbox.jail import Jail
from proofmill.filters.sandbox.plan import plan
from proofmill.filters.sandbox.run import MAX_ANSWERS
from proofmill.filters.verdicts import Problem, Verdict

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def verifier() -> Iterator[CodeVerifier]:
    with Jail(2) as jail:
        yield CodeVerifier(jail)


def judge(verifier: CodeVerifier, code: str, **info: Any) -> Verdict:
    limits = {"time_limit_s": 2.0, "memory_mb": 256}
    return verifier.verify(Problem("code", "", info=limits | info), f"```python\n{textwrap.dedent(code)}\n```")


def forged(answer: str) -> str:
    """A solution that puts its own bytes on the channel in place of the answer."""
    return f"""
import os
def f(n):
    body = b"A" + {answer}
    body = len(body).to_bytes(4, "big") + body
    while True:
        sent = 0
        while sent < len(body): sent += os.write(3, body[sent:])
"""


MALFORMED = [
    ('b\'{"ok":["d",[{}]]}\'', "assert f(1) == {'a': 1}"),
    ('b\'{"ok":["s",[{}]]}\'', "assert f(1) == {0}"),
    ('b\'{"ok":["D","sNaN"]}\'', "assert f(1) == 1.5"),
    ('b\'{"ok":["l",[["D","sNaN"]]]}\'', "assert f(1) == [1]"),
    ('b\'{"ok":["d",[["a",["q",["D","sNaN"],1]]]]}\'', "assert f(1) == {'a': 1}"),
    ('b\'{"ok":["D","9e999999999999999999"]}\'', "assert abs(f(1) - 2.5) < 1"),
    ("b'{\"raised\":[[{}],{}]}'", "assert f(1) == 1"),
]


@pytest.mark.parametrize(("answer", "test"), MALFORMED)
def test_an_answer_that_no_honest_jail_sends_is_wrong(verifier: CodeVerifier, answer: str, test: str) -> None:
    assert judge(verifier, forged(answer), tests=[test]).verdict == "wrong"


def test_a_signalling_nan_is_wrong(verifier: CodeVerifier) -> None:
    code = "from decimal import Decimal\ndef f(n): return Decimal('sNaN')"
    for test in ("assert f(1) == 1", "x = f(1)\nassert x == 1", "assert abs(f(1) - 1) < 0.5"):
        assert judge(verifier, code, tests=[test]).verdict == "wrong"


@pytest.mark.parametrize("test", ["assert f(1) == 1", "x = f(1)\nassert x == 1"])
def test_what_a_solution_says_can_be_stored(verifier: CodeVerifier, test: str) -> None:
    """A lone surrogate in a message would make the table of verdicts unwritable."""
    code = "def f(n): raise ValueError('\\ud800 \\udfff')"
    verdict = judge(verifier, code, tests=[test])
    assert verdict.verdict == "wrong"
    assert pa.array([verdict.detail, verdict.extracted]).null_count == 0


def test_large_answers_to_many_tests_are_not_all_read(verifier: CodeVerifier) -> None:
    """Each costs the parent far more to read than the solution to send; here each is true, but padded."""
    size = 3_900_000
    code = forged(f"b'{{\"ok\":' + b' ' * {size} + b'41}}'")
    verdict = judge(verifier, code, tests=[f"assert f({n}) == 41" for n in range(200)], time_limit_s=5.0)
    assert (verdict.verdict, verdict.tests_passed) == ("wrong", MAX_ANSWERS // size)


EMPTY = {
    "an empty answer to loop over": ("def f(n): return []", "for a, b in zip(f(3), [1, 2, 3]):\n        assert a == b"),
    "an end in the middle of a loop": (
        "def f(n): raise StopIteration",
        "for a, b in zip(map(f, [1, 2]), [1, 2]):\n        assert a == b",
    ),
    "an end before anything is compared": (
        "def f(n): raise StopIteration",
        "assert all(a == b for a, b in zip(map(f, [1, 2]), [1, 2]))",
    ),
    "an end after the first": (
        "def f(n):\n    if n > 1: raise StopIteration\n    return 1",
        "for a, b in zip(map(f, [1, 2]), [1, 2]):\n        assert a == b",
    ),
}


@pytest.mark.parametrize(("code", "body"), EMPTY.values(), ids=EMPTY.keys())
def test_where_no_assertion_is_reached_nothing_is_proven(verifier: CodeVerifier, code: str, body: str) -> None:
    test = f"def check(f):\n    {body}\n"
    assert judge(verifier, code, test=test, entry_point="f").verdict == "wrong"
    honest = "def f(n): return [1, 2, 3] if n == 3 else n"
    assert judge(verifier, honest, test=test, entry_point="f").verdict == "correct"


def test_an_iterator_of_the_solution_may_still_end(verifier: CodeVerifier) -> None:
    code = """
        class Up:
            def __init__(self, n): self.n, self.at = n, 0
            def __iter__(self): return self
            def __next__(self):
                self.at += 1
                if self.at > self.n: raise StopIteration
                return self.at
    """
    tests = ["up = Up(2)\nassert next(up) == 1\nassert next(up) == 2\nassert next(up, None) is None"]
    assert judge(verifier, code, tests=tests).verdict == "correct"


FAKES = {
    "math": "class math:\n    isclose = staticmethod(lambda *a, **k: True)\ndef f(n): return 0",
    "collections": "class collections:\n    Counter = staticmethod(lambda x: 0)\ndef f(n): return 'zzz'",
}
USES = {
    "math": ["assert math.isclose(f(1), 78.5)"],
    "collections": ["assert collections.Counter(f(1)) == collections.Counter('ab')"],
}


@pytest.mark.parametrize("name", FAKES)
def test_a_module_that_tests_do_not_import_is_the_real_one(verifier: CodeVerifier, name: str) -> None:
    assert judge(verifier, FAKES[name], tests=USES[name]).verdict == "wrong"
    honest = f"import {name}\ndef f(n): return 78.5 if {name!r} == 'math' else 'ba'"
    assert judge(verifier, honest, tests=USES[name]).verdict == "correct"


def test_a_solution_may_be_called_like_a_module() -> None:
    for source, name in (("copy(3) == 3", "copy"), ("math(3) == 9", "math"), ("gcd(4, 6) == 2", "gcd")):
        assert plan(read_suite({"tests": [f"assert {source}"]})).asked == {name}
    planned = plan(read_suite({"tests": ["assert math.sqrt(f(1)) == math.pi"]}))
    assert (planned.asked, dict(planned.library)) == ({"f"}, {"math": ("math", "")})


def test_text_that_a_test_compiles_is_the_solutions_fault(verifier: CodeVerifier) -> None:
    test = "def check(f):\n    value = eval(f(1))\n    assert value == 3\n"
    assert judge(verifier, "def f(n): return '('", test=test, entry_point="f").verdict == "wrong"
    assert judge(verifier, "def f(n): return '1 + 2'", test=test, entry_point="f").verdict == "correct"


def test_a_sleeper_is_a_timeout(verifier: CodeVerifier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proofmill.filters.sandbox.jail.WAIT_S", 0.5)
    code = "import time\ntime.sleep(1000)\ndef f(n): return 1"
    assert judge(verifier, code, tests=["assert f(1) == 1"], time_limit_s=0.05).verdict == "timeout"


PRINTED = [
    ("print('a\\x0bb')", "a\nb"),
    ("print('a\\u2028b')", "a\nb"),
    ("print('１.５')", "1.5"),
    ("print('0x1.8')", "1.5"),
    ("print('1_0.0')", "10.0"),
    ("import os\nos.pwrite(0, b'7', 0)\nprint(8)", "7"),
    ("import sys\nsys.stdout.write('7 ' * 2000000)", "7"),
    ("print(7, end='\\0')", "7"),
]


@pytest.mark.parametrize(("code", "wanted"), PRINTED)
def test_what_only_looks_like_the_output_is_wrong(verifier: CodeVerifier, code: str, wanted: str) -> None:
    assert judge(verifier, code, tests=[{"input": "1\n", "output": wanted}]).verdict == "wrong"


UNWON = {
    "audit hook": "import sys\nsys.addaudithook(lambda *a: (_ for _ in ()).throw(SystemExit))\ndef f(n): return 0",
    "trace function": "import sys\nsys.settrace(lambda *a: None)\nsys.setprofile(lambda *a: None)\ndef f(n): return 0",
    "own main module": "import sys, types\nsys.modules['__main__'] = types.ModuleType('x')\ndef f(n): return 0",
    "import hook": """
        import sys
        class All:
            def find_spec(self, *a): raise SystemExit
        sys.meta_path.insert(0, All()); sys.modules.clear()
        def f(n): return 0
    """,
    "lying string": """
        class S(str):
            def __eq__(self, other): return True
            def __str__(self): return self
            def __len__(self): return 41
            __hash__ = str.__hash__
        def f(n): return S('no')
    """,
    "hostile repr and str": """
        class E(Exception):
            def __str__(self): raise SystemExit
            __repr__ = __str__
        def f(n): raise E
    """,
    "a thread that answers first": """
        import os, threading
        def spam():
            body = b'A{"ok":true}'
            while True: os.write(3, len(body).to_bytes(4, "big") + body)
        def f(n):
            threading.Thread(target=spam, daemon=True).start()
            while True: pass
    """,
    "ctypes patches an integer": """
        import ctypes
        def f(n):
            ctypes.cast(id(41) + 24, ctypes.POINTER(ctypes.c_int))[0] = 0
            return 0
    """,
}


@pytest.mark.parametrize("code", UNWON.values(), ids=UNWON.keys())
@pytest.mark.parametrize("test", ["assert f(1) == 41", "x = f(1)\nassert x == 41"], ids=["check", "exam"])
def test_a_trick_of_the_interpreter_wins_nothing(verifier: CodeVerifier, code: str, test: str) -> None:
    assert judge(verifier, code, tests=[test], time_limit_s=0.5).verdict in ("wrong", "timeout", "error")
    assert judge(verifier, "def f(n): return 41", tests=[test]).verdict == "correct"


GROUPS: dict[str, dict[str, str]] = json.loads(Path(__file__).with_name("code_attacks.json").read_text())
ATTACKS = {name: code for group in GROUPS.values() for name, code in group.items()}
BESIDE: dict[str, dict[str, Any]] = {
    "general": {"tests": ["x = f(1)\nassert x == 41", "x = f(2)\nassert x == 97"]},
    "unittest": {
        "entry_point": "f",
        "test": "import unittest\nclass T(unittest.TestCase):\n    def test_a(self): self.assertEqual(f(1), 41)\n"
        "    def test_b(self): self.assertEqual(f(2), 97)\n",
    },
    "library": {
        "entry_point": "f",
        "test": "from solution import f\nimport math\ndef test_a(): assert math.isclose(f(1), 41)\n"
        "def test_b():\n    for a, b in zip(map(f, [1, 2]), [41, 97]):\n        assert a == b\n",
    },
    "method": {"tests": ["x = f(3)\nassert x.issubset({1, 2})"]},
}


@pytest.fixture(scope="module")
def judged(verifier: CodeVerifier) -> dict[tuple[str, str], Verdict]:
    """Every attack on every form of tests that runs beside the solution, at once on both cores."""
    pairs = [(attack, form) for attack in GROUPS["every form"] for form in BESIDE]
    pairs += [(attack, form) for attack in GROUPS["values and methods"] for form in ("general", "method")]
    with ThreadPoolExecutor(2) as pool:
        found = pool.map(lambda pair: judge(verifier, ATTACKS[pair[0]], time_limit_s=0.5, **BESIDE[pair[1]]), pairs)
        return dict(zip(pairs, found, strict=True))


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_beside_the_tests_wins_nothing(judged: dict[tuple[str, str], Verdict], attack: str) -> None:
    won = [form for name, form in judged if name == attack and judged[name, form].verdict == "correct"]
    assert won == []


def test_the_solutions_process_is_told_nothing_of_the_tests(verifier: CodeVerifier) -> None:
    """Where tests and solution are apart, no object of the solution's process holds what is expected."""
    code = """
        import gc
        def f(n):
            needle = "".join(reversed("456789"))
            held = [item for item in gc.get_objects() if isinstance(item, (dict, list, tuple))]
            return int(needle) if any(needle in repr(item)[:100000] for item in held) else 0
    """
    for tests in (["assert f(1) == 987654"], ["x = f(1)\nassert x == 987654"]):
        assert judge(verifier, code, tests=tests, time_limit_s=5.0).verdict == "wrong"


def test_the_forms_that_are_attacked_can_be_passed(verifier: CodeVerifier) -> None:
    code = "def f(n): return {1: 41, 2: 97, 3: {1}}[n]"
    assert {form: judge(verifier, code, **info).verdict for form, info in BESIDE.items()} == dict.fromkeys(
        BESIDE, "correct"
    )
