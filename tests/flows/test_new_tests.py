"""More tests for programming seeds: a model's generator and validator, programs that agree, all of it in the jail."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from proofmill.data.errors import RecipeError
from proofmill.filters import new_tests
from proofmill.filters.domains.code import default_jail
from proofmill.filters.sandbox.jail import Limits
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
)
CARELESS = "def largest(items):\n    best = 0\n    for item in items:\n        best = max(best, item)\n    return best"


def made(info: Row, generator: str, validator: str, *programs: str) -> new_tests.MadeTests:
    form = new_tests.form_of({"domain": "code", "prompt": "", "answer": None, "info": json.dumps(info)})
    assert form
    return new_tests.make(default_jail(), form, generator, validator, programs)


def test_new_tests_are_what_the_validator_takes_and_programs_agree_on() -> None:
    found = made(LARGEST, GENERATOR, VALIDATOR, *RIGHT)
    assert len(found.tests) == new_tests.KEPT
    assert all(test.startswith("assert largest([") for test in found.tests)
    assert not any("largest([])" in test for test in found.tests), "which the validator refuses"
    with_careless = made(LARGEST, GENERATOR, VALIDATOR, *RIGHT, CARELESS)
    assert with_careless.inputs > 0
    assert not any("== -" in test for test in with_careless.tests), "where they differ, nothing is expected"
    programs = "print(int(input()) * 2)", "n = int(input())\nprint(n + n)"
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
    ],
)
def test_what_a_model_writes_may_be_anything(generator: str, validator: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(new_tests, "GENERATOR_LIMITS", Limits(cpu_s=0.3))
    assert made(LARGEST, generator, validator, *RIGHT) == new_tests.MadeTests((), "0 of 40 inputs are new and valid", 0)


class Writer(Endpoint):
    """Writes generators, and solves problems carelessly every other time."""

    def reply(self, body: Row) -> Reply:
        if "structured_outputs" in body:
            text = json.dumps({"generator": GENERATOR, "validator": VALIDATOR})
        else:
            text = f"```python\n{(RIGHT[0], CARELESS)[body['seed'] % 2]}\n```"
        choice = {"message": {"content": text}, "finish_reason": "stop"}
        return 200, {}, {"choices": [choice], "usage": {"completion_tokens": 20}}


def test_a_seed_is_judged_by_its_new_tests_too(
    regenerate: Callable[..., Row], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    seed = {"prompt": "Write largest(items), the largest of a list of numbers.", "domain": "code", "license": "mit"}
    other = {"prompt": "Write double.", "domain": "code", "license": "mit"} | DOUBLE
    solved = [seed | LARGEST | {"response": f"```python\n{program}\n```"} for program in RIGHT]
    regenerate(replay_recipe(write_jsonl(tmp_path / "solved.jsonl", solved)) | {"name": "solved"}, tmp_path / "home")
    problems = write_jsonl(tmp_path / "problems.jsonl", [seed | LARGEST, other])
    with serving(Writer()) as (server,):
        engine = {"kind": "openai", "endpoints": [server.url], "api": "chat", "retries": 0}
        recipe = {
            "name": "tested",
            "problems": {
                "sources": [{"kind": "file", "path": str(problems)}],
                "expand": {"steps": [{"operator": "new_tests", "solved_in": "solved@v1"}]},
            },
            "samplers": [{"model": "bundled", "engine": engine, "sampling": {"n": 6, "max_tokens": 64}}],
            "verify": {"workers": 1},
        }
        manifest = regenerate(recipe, tmp_path / "home")["manifest"]
    assert "solved@v1 has several proven programs, in Python, of 1 of 2 programming seeds" in caplog.text
    assert manifest.stages["problems"].dropped == {"tested_anew": 1}
    (row,) = table(tmp_path / "home", "expansion", "tested").to_dicts()
    assert (row["operator"], row["drop_reason"]) == ("new_tests", None)
    assert row["detail"].startswith("12 new tests: ")
    rows = {row["prompt"]: row for row in table(tmp_path / "home", "problems", "tested").to_dicts()}
    assert set(rows) == {seed["prompt"], other["prompt"]}, "the seed is there once"
    found = rows[seed["prompt"]]
    assert found["parents"] == row["parents"] != [found["id"]]
    assert json.loads(found["info"])["tests"][:2] == LARGEST["tests"]
    assert len(json.loads(found["info"])["tests"]) == 2 + 12
    traces = [
        row for row in table(tmp_path / "home", "traces", "tested").to_dicts() if row["problem_id"] == found["id"]
    ]
    careless = {row["verdict"] for row in traces if "best = 0" in row["response"]}
    assert careless == {"wrong"}, "the seed's own tests let it through"
    assert {row["verdict"] for row in traces if "max(items)" in row["response"]} == {"correct"}
    assert not any(row["drop_reason"] == "outside_band" for row in traces)


@pytest.mark.parametrize("step", ["new_tests", {"operator": "similar", "solved_in": "a@v1"}])
def test_programs_come_from_a_version(step: Any) -> None:
    sampler = {"engine": {"kind": "openai", "endpoints": ["http://127.0.0.1:9/v1"]}}
    source = {"kind": "file", "path": "p.jsonl", "domain": "code"}
    with pytest.raises(RecipeError, match="solved_in"):
        recipes.parse(
            {"name": "x", "samplers": [sampler], "problems": {"sources": [source], "expand": {"steps": [step]}}}
        )
