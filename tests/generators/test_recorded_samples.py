"""What recorded samples are found by must never change: a HOME that was sampled last year is sampled no second time.

The values below were computed when the format was fixed. A change that makes one of these tests fail makes every user
draw every sample again; it is wrong, unless that is what it is for.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from proofmill.data.tables import from_rows
from proofmill.generators.models import Model
from proofmill.generators.problems.ingest import SHARD_PROBLEMS, trace_id
from proofmill.generators.problems.problem import SourceDefaults, problem_row
from proofmill.generators.prompts import Message, PromptStyle
from proofmill.generators.rounds import Rounds
from proofmill.generators.sample_plan import SamplePlan, rendered, sample_seed


class FixedRenderer:
    """A chat template that no model brings."""

    template_digest = "template"

    def text(self, prompt: list[Message], arguments: dict[str, Any]) -> str:
        return "".join(f"<{turn['role']}>{turn['content']}" for turn in prompt) + f"{sorted(arguments)}<assistant>"


STYLE = PromptStyle(
    "Think first.",
    {"math": "{problem}\nEnd with \\boxed{}."},
    {"enable_thinking": True},
    {"own": "package.module:judge"},
)
SAMPLING = {"temperature": 0.7, "top_p": 0.95, "top_k": -1, "max_tokens": 512, "stop": ["</end>"], "min_p": 0.05}
IN_PROCESS = {
    "kind": "vllm",
    "dtype": "float32",
    "max_model_len": 1024,
    "window": 64,
    "restarts": 3,
    "args": {"quantization": "fp8", "enforce_eager": True, "gpu_memory_utilization": 0.5},
}
SERVED = {
    "kind": "openai",
    "endpoints": ["http://one/v1", "http://two/v1"],
    "served": "tiny",
    "api": "chat",
    "api_key_env": "KEY",
    "window": 128,
    "timeout_s": 1800.0,
    "retries": 5,
    "wait_s": 300.0,
    "max_model_len": None,
    "revision": "r1",
}


def plan(engine: dict[str, Any]) -> SamplePlan:
    model = Model("org/tiny", Path("somewhere"), "r1", "weights", "mit")
    return SamplePlan("self", model, FixedRenderer(), STYLE, SAMPLING, engine, 4, 17, ("math",))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("engine", "key"),
    [
        (IN_PROCESS, "ee2e9c03a8f724c4336dc2da"),
        (SERVED, "f1939b8d85b068e9c24b9b63"),
    ],
    ids=["in process", "served"],
)
def test_the_key_of_a_plan_is_what_it_was(engine: dict[str, Any], key: str, tmp_path: Path) -> None:
    fixed = plan(engine)
    assert fixed.key() == key
    assert fixed.quarantine(tmp_path) == tmp_path / "samples" / key / "quarantine.json"
    with fixed.store(tmp_path):
        assert (tmp_path / "samples" / key / "identity.json").exists()


def test_what_decides_no_sample_changes_no_key() -> None:
    fixed = plan(IN_PROCESS)
    args = {**IN_PROCESS["args"], "enforce_eager": False, "tensor_parallel_size": 2}  # type: ignore[dict-item]
    other_run = replace(
        fixed,
        name="other",
        model=replace(fixed.model, name="renamed", path=Path("elsewhere"), license=None),
        style=replace(STYLE, verifiers={}),
        engine={**IN_PROCESS, "window": 8, "restarts": 0, "args": args},
        n=9,
        domains=None,
        rounds=Rounds(9, 2, 30),
        max_total_tokens=1_000_000,
    )
    assert other_run.key() == fixed.key()
    for change in (
        {"model": replace(fixed.model, digest="other weights")},
        {"style": replace(STYLE, system=None)},
        {"sampling": {**SAMPLING, "temperature": 0.8}},
        {"engine": {**IN_PROCESS, "max_model_len": 2048}},
        {"seed": 18},
    ):
        assert replace(fixed, **change).key() != fixed.key(), change  # type: ignore[arg-type]


def test_prompts_seeds_and_ids_are_what_they_were() -> None:
    row = {"prompt": "2 + 2?", "answer": "$4$", "system": "Be brief."}
    problem = problem_row(row, SourceDefaults("math", "file", "mit"))
    assert isinstance(problem, dict)
    assert problem["id"] == "b8b72240f43a209b062a5f12"
    table = from_rows([problem], SHARD_PROBLEMS)
    ((prompt, text),) = rendered(plan(IN_PROCESS), table).values()
    assert text == "<system>Be brief.<user>2 + 2?\nEnd with \\boxed{}.['enable_thinking']<assistant>"
    assert prompt == "5b492c7ad69ffe4282d3520a"
    assert sample_seed(17, prompt, 3) == 147454627433967
    assert trace_id(problem["id"], "self", 3, "4") == "ccfd01c862a85d51cd8cb31d"
