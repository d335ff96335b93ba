"""What the engine's own process is started with."""

from __future__ import annotations

import pytest

from proofmill.generators.vllm_worker import _arguments

pytest.importorskip("torch", reason="the engine is not installed: pip install 'proofmill[cpu]'")
SHAPED = "structured_outputs_config"


def test_json_comes_without_free_white_space_unless_the_recipe_says_otherwise() -> None:
    assert _arguments("m", {})[SHAPED] == {"backend": "xgrammar", "disable_any_whitespace": True}
    own = {"backend": "guidance"}
    assert _arguments("m", {"args": {SHAPED: own}})[SHAPED] == own
