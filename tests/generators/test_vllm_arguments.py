"""What the engine's own process is started with."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from proofmill.generators.engines.vllm_worker import _arguments, _cpu_arguments
from proofmill.generators.sample_plan import RESOURCE_ARGS

SHAPED = "structured_outputs_config"


def test_json_comes_without_free_white_space_unless_the_recipe_says_otherwise() -> None:
    assert _arguments("m", {})[SHAPED] == {"backend": "xgrammar", "disable_any_whitespace": True}
    own = {"backend": "guidance"}
    assert _arguments("m", {"args": {SHAPED: own}})[SHAPED] == own


@pytest.mark.slow
def test_a_model_of_a_short_context_is_not_asked_for_more(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="the engine is not installed: pip install 'proofmill[cpu]'")
    (tmp_path / "config.json").write_text('{"max_position_embeddings": 1024}')
    cases: tuple[tuple[dict[str, Any], int], ...] = (({}, 1024), ({"max_model_len": 512}, 512))
    for options, length in cases:
        assert _cpu_arguments(str(tmp_path), options)["max_model_len"] == length
    assert _cpu_arguments(str(tmp_path / "no-such"), {})["max_model_len"] == 4096


@pytest.mark.slow
def test_vllm_knows_all_that_is_said_to_make_no_other_samples() -> None:
    arguments = pytest.importorskip("vllm.engine.arg_utils", reason="the engine is not installed")
    assert {field.name for field in dataclasses.fields(arguments.EngineArgs)} >= RESOURCE_ARGS
