"""Reward functions: what TRL gets for each kind of completion."""

from __future__ import annotations

import asyncio
import inspect
import json
import math
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofmill.filters import rewards
from proofmill.filters.rewards import (
    choice_reward,
    code_reward,
    combined_reward,
    domain_reward,
    in_thread,
    instruction_reward,
    logic_reward,
    long2short,
    make_combined_reward,
    math_reward,
    mgpo_weight,
)

OPTIONS = json.dumps({"options": ["London", "Paris"]})
SHORT = json.dumps({"constraints": [{"kind": "length", "max": 3}]})
LOGIC = json.dumps({"task": "syllogism", "entry": {"question": "q", "answer": "Yes", "metadata": {}}})
FAULTY = json.dumps({"task": "sudoku", "entry": {"question": "q", "answer": "True", "metadata": {}}})  # no grid
CODE = json.dumps({"tests": ["assert add(1, 2) == 3"]})
ROWS: list[tuple[str, str | None, str, str, float | None]] = [
    ("math", "4", "{}", "The answer is \\boxed{4}.", 1.0),
    ("math", "4", "{}", "The answer is \\boxed{5}.", 0.0),
    ("math", "4", "{}", "<think>\\boxed{4}", 0.0),
    ("math", "4", "{}", "<think>5?</think>\\boxed{4}", 1.0),
    ("code", None, CODE, "```python\ndef add(a, b):\n    return a + b\n```", 1.0),
    ("code", None, CODE, "```python\ndef add(a, b):\n    return a - b\n```", 0.0),
    ("logic", "Yes", LOGIC, "<answer>Yes</answer>", 1.0),
    ("logic", "Yes", LOGIC, "<answer>No</answer>", 0.0),
    ("logic", "True", FAULTY, "<answer>True</answer>", None),
    ("choice", "B", OPTIONS, "The answer is B.", 1.0),
    ("choice", "B", OPTIONS, "The answer is B) London.", 0.0),
    ("choice", "E", OPTIONS, "The answer is B.", None),
    ("choice", "B", "{broken", "The answer is B.", None),
    ("instruction", None, SHORT, "one two", 1.0),
    ("instruction", None, SHORT, "one two three four", 0.0),
    ("instruction", None, "{}", "one two", None),
    ("poetry", "B", "{}", "The answer is B.", None),
]
FUNCTIONS = {
    "math": math_reward,
    "code": code_reward,
    "logic": logic_reward,
    "choice": choice_reward,
    "instruction": instruction_reward,
}


def batch(messages: bool = False) -> dict[str, Any]:
    """The rows as TRL passes them."""
    prompts: list[Any] = ["?"] * len(ROWS)
    completions: list[Any] = [row[3] for row in ROWS]
    if messages:
        prompts = [[{"role": "user", "content": text}] for text in prompts]
        completions = [[{"role": "assistant", "content": text}] for text in completions]
    domains = [row[0] for row in ROWS]
    return {
        "prompts": prompts,
        "completions": completions,
        "completion_ids": [[0] * len(row[3]) for row in ROWS],
        "answer": [row[1] for row in ROWS],
        "info": [row[2] for row in ROWS],
        "domain": domains,
        "verifier": domains,
        "trainer_state": None,
    }


@pytest.mark.slow
@pytest.mark.parametrize("messages", [False, True])
def test_combined(messages: bool) -> None:
    assert combined_reward(**batch(messages)) == [row[4] for row in ROWS]


@pytest.mark.parametrize("domain", FUNCTIONS)
def test_domains_judge_their_own_rows_only(domain: str) -> None:
    expected = [row[4] if row[0] == domain else None for row in ROWS]
    assert FUNCTIONS[domain](**batch()) == expected


def test_the_domain_column_may_be_missing() -> None:
    assert choice_reward(["?"], ["The answer is B."], answer=["B"], info=[OPTIONS]) == [1.0]


def test_weights() -> None:
    reward = make_combined_reward(programming=2.0, mathematics=0.5, logic=3.0, choice=4.0, instruction=5.0)
    weights = {"code": 2.0, "math": 0.5, "logic": 3.0, "choice": 4.0, "instruction": 5.0, "poetry": 1.0}
    expected = [None if row[4] is None else row[4] * weights[row[0]] for row in ROWS]
    assert reward(**batch()) == expected


def test_a_block_opened_by_the_prompt_must_close() -> None:
    columns: dict[str, Any] = {"answer": ["B", "B"], "info": [OPTIONS] * 2, "domain": ["choice"] * 2}
    completions = ["The answer is B.", "hm</think>The answer is B."]
    assert combined_reward(["?<think>\n"] * 2, completions, **columns) == [0.0, 1.0]
    prompts = [[{"role": "user", "content": "?"}]] * 2
    assert combined_reward(prompts, completions, **columns) == [1.0, 1.0]
    assert make_combined_reward(think_prefilled=True)(prompts, completions, **columns) == [0.0, 1.0]


def test_shift_prefers_the_shorter_of_two_correct_completions() -> None:
    reward = make_combined_reward(long2short_strength=0.2)
    completions = ["The answer is B.", "It is Paris. The answer is B.", "The answer is A."]
    found = reward(["?"] * 3, completions, answer=["B"] * 3, info=[OPTIONS] * 3, domain=["choice"] * 3)
    assert found == pytest.approx([1.2, 0.8, 0.0])


def test_long2short_by_hand() -> None:
    # s = 1, 1/2, 1/4; mean 7/12; deviations 5/12, -1/12, -4/12; the widest is 5/12
    found = long2short([1.0, 1.0, 1.0, 0.0, None, 1.0], [1, 2, 4, 1, 1, 9], ["p", "p", "p", "p", "p", "q"])
    assert found[3:] == [0.0, None, 1.0]
    assert found[:3] == pytest.approx([1.2, 1 - 0.2 / 5, 1 - 0.8 / 5])


@given(st.lists(st.tuples(st.sampled_from([0.0, 1.0, 2.5, None]), st.integers(0, 10**6), st.integers(0, 2))))
def test_long2short_sums_to_zero_and_leaves_the_wrong_alone(
    rows: list[tuple[float | None, int, int]],
) -> None:
    before = [row[0] for row in rows]
    after = long2short(before, [row[1] for row in rows], [row[2] for row in rows])
    assert sum(x or 0.0 for x in after) == pytest.approx(sum(x or 0.0 for x in before), abs=1e-9)
    for old, new in zip(before, after, strict=True):
        assert new == old if not old else new is not None and abs(new - old) <= 0.2 + 1e-9


def test_mgpo_weight() -> None:
    assert mgpo_weight(0.5, 3.0) == 1.0
    assert mgpo_weight(0.0, 1.0) == mgpo_weight(1.0, 1.0) == pytest.approx(0.5)
    assert mgpo_weight(0.25, 2.0) == pytest.approx(math.exp(-2 * (0.25 * math.log(0.5) + 0.75 * math.log(1.5))))
    assert mgpo_weight(0.9, 0.0) == 1.0
    with pytest.raises(ValueError, match="accuracy"):
        mgpo_weight(1.5, 1.0)


def test_threads_and_async_code() -> None:
    expected = [row[4] for row in ROWS]
    with ThreadPoolExecutor(4) as threads:
        assert all(found == expected for found in threads.map(lambda _: combined_reward(**batch()), range(8)))

    async def many() -> list[list[float | None]]:
        return list(await asyncio.gather(*(in_thread(combined_reward)(**batch()) for _ in range(4))))

    assert asyncio.run(many()) == [expected] * 4


def test_trl_takes_them() -> None:
    for function in [*FUNCTIONS.values(), combined_reward]:
        assert function.__name__.endswith("_reward")
        assert not inspect.iscoroutinefunction(function)
    assert inspect.iscoroutinefunction(in_thread(combined_reward))


def test_importing_needs_no_engine_and_no_orchestration() -> None:
    code = (
        "import sys, proofmill.filters.rewards; "
        "print([name for name in ('torch', 'vllm', 'prefect', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_workers_end_with_the_process() -> None:
    code = (
        "import json, psutil; from proofmill.filters.rewards import combined_reward\n"
        f"info = json.dumps({json.loads(LOGIC)!r})\n"
        "print(combined_reward(['?'], ['<answer>Yes</answer>'], info=[info], domain=['logic']))\n"
        "print(*[child.pid for child in psutil.Process().children(recursive=True)])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    reward, pids = done.stdout.strip().split("\n")
    assert reward == "[1.0]"
    import psutil

    assert pids
    assert not [pid for pid in map(int, pids.split()) if psutil.pid_exists(pid)]


def test_module_has_one_judge_a_process() -> None:
    combined_reward(**batch())
    assert len(rewards._judges) == 1


def test_a_reading_that_shares_the_tests_process_may_be_left_out() -> None:
    beside = json.dumps({"tests": ["x = add(1, 2)\nassert x == 3"]})
    right, wrong = (f"```python\ndef add(a, b):\n    return a {sign} b\n```" for sign in "+-")
    columns: dict[str, Any] = {
        "prompts": ["?"] * 3,
        "completions": [right, right, wrong],
        "info": [CODE, beside, beside],
    }
    assert domain_reward("code")(**columns) == [1.0, 1.0, 0.0]
    assert domain_reward("code", in_process=False)(**columns) == [1.0, None, 0.0]
