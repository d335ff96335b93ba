"""More tests for programming seeds: a model's generator and validator, programs that agree, all of it in the jail."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from proofmill.data.errors import RecipeError
from proofmill.filters import new_tests
from proofmill.filters.domains import code
from proofmill.filters.domains.code import default_jail
from proofmill.filters.sandbox.jail import Limits
from proofmill.filters.verdicts import Problem
from proofmill.flows.recipe import load as recipes
from support.endpoints import Endpoint, Reply, serving
from support.samples import replay_recipe, table, write_jsonl

Row = dict[str, Any]
LARGEST = {"tests": ["assert largest([1, 3, 2]) == 3", "assert largest([5]) == 5"], "entry_point": "largest"}
DOUBLE = {"tests": [{"input": "4\n", "output": "8\n"}]}
GENERATOR = """
import random
def generate(seed):
    draw = random.Random(seed)
    return [[draw.randint(-9, 9) for _ in range(seed % 5)]]
"""
VALIDATOR = "def valid(given):\n    return len(given) == 1 and len(given[0]) > 0"
RIGHT = (
    "def largest(items):\n    return max(items)",
    "def largest(items):\n    best = items[0]\n    for item in items:\n        best = max(best, item)\n    return best",
    "def largest(items):\n    return sorted(items)[-1]",
)
CARELESS = "def largest(items):\n    best = 0\n    for item in items:\n        best = max(best, item)\n    return best"


def made(info: Row, generator: str, validator: str, *programs: str, prompt: str = "") -> new_tests.MadeTests:
    form = new_tests.form_of({"domain": "code", "prompt": prompt, "answer": None, "info": json.dumps(info)})
    assert form
    return new_tests.make(default_jail(), form, generator, validator, programs)


def test_new_tests_are_what_the_validator_takes_and_programs_agree_on() -> None:
    found = made(LARGEST, GENERATOR, VALIDATOR, *RIGHT)
    assert len(found.tests) == new_tests.KEPT
    assert all(test.startswith("assert largest([") for test in found.tests)
    assert not any("largest([])" in test for test in found.tests), "which the validator refuses"
    with_careless = made(LARGEST, GENERATOR, VALIDATOR, *RIGHT, CARELESS)
    assert with_careless.tests
    assert not any("== -" in test for test in with_careless.tests), "where they differ, nothing is expected"
    programs = "print(int(input()) * 2)", "n = int(input())\nprint(n + n)", "print(int(input()) << 1)"
    numbers = made(
        DOUBLE, "def generate(seed):\n    return f'{seed * 7}\\n'", "def valid(g):\n    return g != '7\\n'", *programs
    )
    assert {"input": "14\n", "output": "28\n"} in numbers.tests
    assert not any(test["input"] == "7\n" for test in numbers.tests)


@pytest.mark.parametrize(
    ("generator", "validator"),
    [
        ("def generate(seed):\n    while True: pass", VALIDATOR),
        ("import os\ndef generate(seed):\n    return [[len(os.listdir('/proc'))]]", VALIDATOR),
        ("def generate(seed):\n    return [[object()]]", VALIDATOR),
        ("def generate(seed):\n    return [['x' * 10**6]]", VALIDATOR),
        ("this is no Python", VALIDATOR),
        (GENERATOR, "def valid(given):\n    return 'yes'"),
        (GENERATOR, "valid = None"),
        ("def generate(seed):\n    return [[{1: seed, 'a': object}]]", VALIDATOR),
        ("def generate(seed):\n    return [[1 << 40_000]]", VALIDATOR),
    ],
)
def test_what_a_model_writes_may_be_anything(generator: str, validator: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(new_tests, "GENERATOR_LIMITS", Limits(cpu_s=0.3))
    nothing = new_tests.MadeTests((), "no_inputs", "0 of 40 inputs are new and valid")
    assert made(LARGEST, generator, validator, *RIGHT) == nothing


@pytest.mark.parametrize(
    "value", ["'\\ud800'", "{1.5: 2, 'a': 3}", "{1, 2}", "float('nan')", "1 << 20_000", "'x' * 70_000"]
)
def test_an_output_is_stored_only_as_what_it_is(value: str) -> None:
    programs = [f"def f(n):\n    return {before}({value}) if n else n" for before in ("", "0 or ", "0 or 0 or ")]
    info = {"tests": [{"input": [0], "output": 0, "fn_name": "f"}], "fn_name": "f"}
    found = made(info, "def generate(seed):\n    return [seed % 2]", "def valid(given):\n    return True", *programs)
    assert found.tests == ({"input": [0], "output": 0, "fn_name": "f"},), found


def test_programs_find_what_they_find_where_they_are_judged() -> None:
    """Imports of the prompt, and of judges of called functions."""
    prompt = (
        "from typing import List\n\ndef halved(items): return [n / 2 for n in items]\n\ndef mean(items: List[float]):"
    )
    with_check = {"test": "def check(candidate):\n    assert candidate([1.0, 3.0]) == 2.0", "entry_point": "mean"}
    bodies = "sum(items) / len(items)", "2 * sum(halved(items)) / len(items)", "sum(items) * len(items) ** -1"
    programs = [f"def mean(items: List[float]):\n    return {body}" for body in bodies]
    generator = "def generate(seed):\n    return [[seed, seed + 2.0]]"
    assert "assert mean([3, 5.0]) == 4.0" in made(with_check, generator, VALIDATOR, *programs, prompt=prompt).tests
    bodies = "gcd(a, b)", "a * b // lcm(a, b)", "reduce(gcd, [a, b])"
    programs = [f"class Solution:\n    def divisor(self, a, b):\n        return {body}" for body in bodies]
    info: Row = {"input_output": {"inputs": [[4, 6]], "outputs": [2], "fn_name": "divisor"}}
    generator, validator = "def generate(seed):\n    return [seed, 12]", "def valid(given):\n    return given[0] > 0"
    found = made(info, generator, validator, *programs)
    assert {"input": [8, 12], "output": 4, "fn_name": "divisor"} in found.tests
    longer = Problem("code", "Find the divisor.", None, new_tests.with_tests(json.dumps(info), found.tests))
    assert code.VERIFIER.verify(longer, fenced(programs[0])).tests_passed == 1 + len(found.tests)


def test_what_runs_nowhere_or_says_one_thing_three_times_makes_no_test() -> None:
    found = made(LARGEST | {"setup": "import no_such_package"}, GENERATOR, VALIDATOR, *RIGHT)
    assert found == new_tests.MadeTests((), "bad_setup", "needs no_such_package")
    twins = (
        "import math\n\ndef largest(numbers: list) -> int:\n    'Return it.'\n    return max(numbers)  # quick",
        "def largest(x):\n    pass\n    return max(x)",
        "def largest(",
    )
    found = made(LARGEST, GENERATOR, VALIDATOR, RIGHT[0], *twins, RIGHT[1])
    assert found == new_tests.MadeTests((), "programs_alike", "2 of 5 programs differ, and 3 are needed")


class Writer(Endpoint):
    """Writes generators, and solves every problem rightly."""

    def reply(self, body: Row) -> Reply:
        if "structured_outputs" in body:
            text = json.dumps({"generator": GENERATOR, "validator": VALIDATOR})
        else:
            text = fenced(RIGHT[body["seed"] % 3])
        choice = {"message": {"content": text}, "finish_reason": "stop"}
        return 200, {}, {"choices": [choice], "usage": {"completion_tokens": 20}}


def fenced(program: str) -> str:
    return f"```python\n{program}\n```"


def test_a_seed_is_judged_by_its_new_tests_too(
    regenerate: Callable[..., Row], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    seed = {"prompt": "Write largest(items), the largest of a list of numbers.", "domain": "code", "license": "mit"}
    recorded = seed | {"prompt": "Define largest(items), which returns the largest number."} | LARGEST
    other = {"prompt": "Write double.", "domain": "code", "license": "mit"} | DOUBLE
    solved = [row | {"response": fenced(program)} for row in (seed | LARGEST, recorded) for program in RIGHT]
    regenerate(replay_recipe(write_jsonl(tmp_path / "solved.jsonl", solved)) | {"name": "solved"}, tmp_path / "home")
    problems = write_jsonl(tmp_path / "problems.jsonl", [seed | LARGEST, recorded, other])
    replayed = write_jsonl(tmp_path / "recorded.jsonl", [recorded | {"response": fenced(RIGHT[0])}])
    with serving(Writer()) as (server,):
        engine = {"kind": "openai", "endpoints": [server.url], "api": "chat", "retries": 0}
        recipe = {
            "name": "tested",
            "problems": {
                "sources": [{"kind": "file", "path": str(problems)}],
                "expand": {"steps": [{"operator": "new_tests", "solved_in": "solved@v1", "seeds": 1}]},
            },
            "samplers": [
                {"model": "bundled", "engine": engine, "sampling": {"n": 3, "max_tokens": 64}},
                {"name": "old", "engine": {"kind": "replay", "files": [str(replayed)]}},
            ],
            "verify": {"workers": 1},
        }
        manifest = regenerate(recipe, tmp_path / "home")["manifest"]
    assert "1 of 3 programming seeds may get new tests" in caplog.text
    assert manifest.stages["problems"].dropped == {"tested_anew": 1}
    (row,) = table(tmp_path / "home", "expansion", "tested").to_dicts()
    assert (row["operator"], row["drop_reason"]) == ("new_tests", None)
    assert row["detail"].startswith("12 new tests: ")
    rows = table(tmp_path / "home", "problems", "tested").to_dicts()
    assert sorted(row["prompt"] for row in rows) == sorted(one["prompt"] for one in (seed, recorded, other))
    (found,) = (row for row in rows if row["prompt"] == seed["prompt"])
    assert found["parents"] == row["parents"] != [found["id"]]
    info = json.loads(found["info"])
    assert info["tests"][:2] == LARGEST["tests"]
    assert len(info["tests"]) == 2 + 12
    verdicts = [
        code.VERIFIER.verify(Problem("code", seed["prompt"], None, its), fenced(CARELESS)).verdict
        for its in (LARGEST, info)
    ]
    assert verdicts == ["correct", "wrong"], "the seed's own tests let it through"
    traces = table(tmp_path / "home", "traces", "tested").to_dicts()
    reasons = {row["drop_reason"] for row in traces if row["problem_id"] == found["id"]}
    assert reasons, "it is sampled"
    assert "outside_band" not in reasons, "which is for new problems, and all its samples are right"


TESTED = {"operator": "new_tests", "solved_in": "a@v1"}


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        (["new_tests"], "solved_in"),
        ([{"operator": "similar", "solved_in": "a@v1"}], "solved_in"),
        ([TESTED, TESTED], "a seed gets new tests once"),
    ],
)
def test_programs_come_from_one_version(steps: Any, message: str) -> None:
    sampler = {"engine": {"kind": "openai", "endpoints": ["http://127.0.0.1:9/v1"]}}
    source = {"kind": "file", "path": "p.jsonl", "domain": "code"}
    with pytest.raises(RecipeError, match=message):
        recipes.parse(
            {"name": "x", "samplers": [sampler], "problems": {"sources": [source], "expand": {"steps": steps}}}
        )
