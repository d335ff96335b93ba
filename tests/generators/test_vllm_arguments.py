"""What the engine's own process is started with."""

from __future__ import annotations

import dataclasses

import pytest

from proofmill.generators.engines.vllm_worker import _arguments
from proofmill.generators.sample_plan import RESOURCE_ARGS

pytest.importorskip("torch", reason="the engine is not installed: pip install 'proofmill[cpu]'")
SHAPED = "structured_outputs_config"


def test_json_comes_without_free_white_space_unless_the_recipe_says_otherwise() -> None:
    assert _arguments("m", {})[SHAPED] == {"backend": "xgrammar", "disable_any_whitespace": True}
    own = {"backend": "guidance"}
    assert _arguments("m", {"args": {SHAPED: own}})[SHAPED] == own


def test_vllm_knows_all_that_is_said_to_make_no_other_samples() -> None:
    arguments = pytest.importorskip("vllm.engine.arg_utils", reason="the engine is not installed")
    assert {field.name for field in dataclasses.fields(arguments.EngineArgs)} >= RESOURCE_ARGS
