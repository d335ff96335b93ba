"""Rows of every kind that the code judge must tell: what it says of each, and which reading says so."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from proofmill.filters.domains.code import FIELDS, IN_PROCESS, CodeVerifier
from proofmill.filters.sandbox.formats import BadTestError, SuiteCensus, read_suite
from proofmill.filters.sandbox.jail import Jail
from proofmill.filters.sandbox.run import Judging
from proofmill.filters.verdicts import Problem, Verdict, reward_of

ROWS = [json.loads(line) for line in Path(__file__).with_name("code_rows.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def jail() -> Iterator[Jail]:
    with Jail(2) as jail:
        yield jail


def verdict_of(jail: Jail, row: dict[str, Any], judging: Judging | None = None) -> Verdict:
    info = {name: row[name] for name in FIELDS if name in row}
    language = row.get("language", "python")
    problem = Problem("code", row.get("prompt", ""), info=info)
    return CodeVerifier(jail, judging).verify(problem, f"```{language}\n{row['code']}\n```")


@pytest.fixture(scope="module")
def verdicts(jail: Jail) -> list[Verdict]:
    """All of them at once, on both cores."""
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda row: verdict_of(jail, row), ROWS))


@pytest.mark.parametrize("index", range(len(ROWS)), ids=[f"{n}: {row['kind']}" for n, row in enumerate(ROWS)])
def test_a_row(verdicts: list[Verdict], index: int) -> None:
    row, verdict = ROWS[index], verdicts[index]
    if row.get("language") == "cpp" and shutil.which("g++") is None:
        assert (verdict.verdict, "needs g++" in (verdict.detail or "")) == ("error", True)
        return
    assert verdict.verdict in row["expect"], verdict


def test_the_detail_says_which_reading_has_decided(jail: Jail) -> None:
    guarded = {"code": "def f(n): return n", "tests": ["assert f(1) == 1"]}
    beside = {"code": "def f(n): return n", "tests": ["x = f(1)\nassert x == 1"]}
    assert IN_PROCESS not in (verdict_of(jail, guarded).detail or "")
    assert IN_PROCESS in (verdict_of(jail, beside).detail or "")


def test_without_the_reading_beside_the_tests_stand_ins_decide_what_they_can(jail: Jail) -> None:
    guarded = Judging(in_process=False)
    values = {"code": "def f(n): return n", "tests": ["x = f(1)\nassert x == 1"]}
    objects = {"code": "class P: pass\ndef f(): return P()", "tests": ["x = f()\nassert isinstance(x, P)"]}
    assert verdict_of(jail, values, guarded).verdict == "correct"
    verdict = verdict_of(jail, objects, guarded)
    assert (verdict.verdict, "not_decided" in (verdict.detail or "")) == ("error", True)


@pytest.mark.slow
def test_a_row_of_sleeping_tests_is_bounded(jail: Jail, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proofmill.filters.sandbox.jail.WAIT_S", 1.0)
    code = "import time\ntime.sleep(0.4)\nprint(7)"
    row = {"code": code, "tests": [{"input": "", "output": "7"}] * 100, "time_limit_s": 0.05}
    verdict = verdict_of(jail, row)
    assert verdict.verdict == "timeout"
    assert (verdict.tests_passed or 0) < 20


NEEDS = [
    ("a task about a shell", "Run a shell command.", "needs processes", None),
    ("a task about nothing of the kind", "Write f().", "not_judged", 0.0),
]


@pytest.mark.parametrize(("prompt", "detail", "reward"), [row[1:] for row in NEEDS], ids=[row[0] for row in NEEDS])
def test_what_the_jail_refuses_counts_where_the_task_did_not_ask_for_it(
    jail: Jail, prompt: str, detail: str, reward: float | None
) -> None:
    code = "import os\ndef f(): return os.fork()"
    verdict = verdict_of(jail, {"code": code, "tests": ["x = f()\nassert x"], "prompt": prompt})
    assert (verdict.verdict, detail in (verdict.detail or "")) == ("error", True), verdict
    assert reward_of(verdict) == reward


def test_tests_are_counted_by_format_and_packages_by_name() -> None:
    census = SuiteCensus()
    for info, _ in FORMATS:
        census.add(info, "import numpy as np\nimport json")
    census.add({"tests": [7]}, "from pandas import DataFrame")
    formats, packages = census.lines(["numpy"])
    assert "asserts 1" in formats
    assert "bad_tests 1" in formats
    assert packages == "code rows import pandas 1: add to verify.jail.packages: [pandas]"


def test_a_looser_comparison_stands_in_the_detail(jail: Jail) -> None:
    row = {"code": "def f(): return 1.0000001", "tests": ["assert f() == 1.0"], "float_tolerance": 1e-6}
    verdict = verdict_of(jail, row)
    assert (verdict.verdict, verdict.detail) == ("correct", "block; float_tolerance 1e-06")


FORMATS = [
    ({"tests": ["assert f(1) == 2"]}, "asserts"),
    ({"tests": '["assert f(1) == 2"]'}, "json+asserts"),
    ({"tests": [{"input": "1", "output": "2"}, "assert f(1) == 2"]}, "input/output+asserts"),
    ({"input_output": {"inputs": ["1"], "outputs": ["2"]}}, "inputs/outputs"),
    ({"tests": {"inputs": [[1]], "outputs": [2], "fn_name": "f"}}, "calls"),
    ({"tests": [{"input": "1", "output": "2", "testtype": "functional"}], "fn_name": "f"}, "functional"),
    ({"test": "def check(c): assert c(1) == 2", "entry_point": "f"}, "test text"),
]


@pytest.mark.parametrize(("info", "name"), FORMATS)
def test_formats_are_named(info: dict[str, Any], name: str) -> None:
    assert read_suite(info).format == name


@pytest.mark.parametrize(
    "tests", [7, [None], [{"in": 1}], {"a": "assert f()"}, "x = 1", [{"inputs": [1], "outputs": []}]]
)
def test_what_is_no_test_is_said(tests: Any) -> None:
    with pytest.raises(BadTestError):
        read_suite({"tests": tests})


@pytest.fixture(scope="module")
def wider() -> Iterator[Jail]:
    with Jail(1, packages=["pytest", "numpy"]) as jail:
        yield jail


EACH = "@pytest.mark.parametrize('a,b', [(1, 2), (2, 3)])\ndef test_a(a, b): assert f(a) == b"
FIXTURE = "@pytest.fixture\ndef n(): return 3\ndef test_a(n, tmp_path): assert f(n) == 3"
RAISES = "def test_a():\n    with pytest.raises(ValueError, match='odd'): f(1)"
HIDDEN = (  # a failure that a test swallows is evidence, whatever a later test is meant to fail at
    "def test_a(capsys):\n    try: assert f(1) == 2\n    except AssertionError: pass\n"
    "@pytest.mark.xfail\ndef test_b(): assert f(1) == 3\ndef test_c(): assert f(1) == 1"
)
ALIASED = "X = [1]\n@pytest.mark.parametrize('a,b', [(X, X)])\ndef test_a(a, b): assert f(a) == b"
PYTEST = [
    ("def f(n): return n + 1", EACH, "correct"),
    ("def f(n): return 2", EACH, "wrong"),
    ("def f(n): return n", FIXTURE, "correct"),
    ("def f(n): raise ValueError('odd')", RAISES, "correct"),
    ("def f(n): return n", RAISES, "wrong"),
    ("async def f(n): return n", "@pytest.mark.asyncio\nasync def test_a(tmp_path): assert await f(2) == 2", "correct"),
    ("async def f(n): return 0", "@pytest.mark.asyncio\nasync def test_a(): assert await f(2) == 2", "wrong"),
    (
        "def f(n): return n",
        "@pytest.mark.xfail\ndef test_a(): assert f(1) == 2\ndef test_b(): assert f(1) == 1",
        "correct",
    ),
    ("def f(n): return n", HIDDEN, "error"),
    ("def f(n): print(n)", "def test_a(capsys):\n    f(1)\n    assert capsys.readouterr().out == '1\\n'", "correct"),
    ("def f(xs):\n    xs.clear()\n    return []", ALIASED, "error"),
    ("import pytest\ndef f(n): pytest.skip('x')", "def test_a(): assert f(1) == 2", "error"),
]


@pytest.mark.parametrize(("code", "test", "expected"), PYTEST)
def test_pytest_where_it_is_there(wider: Jail, code: str, test: str, expected: str) -> None:
    text = f"import pytest\nfrom solution import f\n{test}"
    assert verdict_of(wider, {"code": code, "test": text, "entry_point": "f"}).verdict == expected


def test_a_package_by_name_is_shown_with_what_it_needs(wider: Jail) -> None:
    code = "import numpy as np\ndef f(xs): return np.array(xs).sum()"
    assert verdict_of(wider, {"code": code, "tests": ["assert f([1, 2]) == 3"]}).verdict == "correct"
    lying = "import numpy as np\ndef f(xs): return np.ma.masked_all(2)"
    text = "import numpy as np\nnp.testing.assert_array_equal(f([1]), np.array([4, 5]))"
    assert verdict_of(wider, {"code": lying, "tests": [text]}).verdict != "correct"
