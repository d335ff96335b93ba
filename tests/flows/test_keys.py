"""A stage's key covers the code that makes its result: a helper that changes must not serve a stale one."""

from __future__ import annotations

import ast
from importlib.util import find_spec
from pathlib import Path

import pytest

from proofmill.data.run import Stage
from proofmill.flows.stages.keys import DUPLICATES, PUBLISH, QUALITY, SIGNATURES, STAGES, VERDICTS

_SHARED = ("proofmill.data",)  # schemas and files: what they change shows in the table itself


def imported(module: str) -> set[str]:
    """Modules of proofmill that a module imports."""
    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    found = set()
    for node in ast.walk(ast.parse(Path(spec.origin).read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("proofmill."):
            for alias in node.names:
                deeper = f"{node.module}.{alias.name}"
                is_module = node.module != module and _is_module(deeper)
                found.add(deeper if is_module else str(node.module))
    return {name for name in found if not name.startswith(_SHARED)}


def _is_module(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False


@pytest.mark.parametrize("stage", [QUALITY, SIGNATURES, DUPLICATES, VERDICTS], ids=lambda stage: stage.name)
def test_a_key_covers_all_modules_that_the_stage_uses(stage: Stage) -> None:
    todo, reached = list(stage.code), set()
    while todo:
        module = todo.pop()
        if module not in reached:
            reached.add(module)
            todo += imported(module)
    missing = {name for name in reached if not name.startswith(stage.code)}
    assert not missing


def test_a_module_that_is_named_exists() -> None:
    for stage in STAGES:
        assert all(find_spec(name) for name in stage.code), stage.name


def test_code_that_writes_a_version_belongs_to_what_a_finished_run_remembers() -> None:
    """Else a newer proofmill would say that there is nothing to do."""
    writers = imported("proofmill.flows.stages.publishing") | {"proofmill.flows.stages.publishing"}
    wiring = {"proofmill.flows.run.session", "proofmill.flows.stages.tasks"}  # what they decide is in other keys
    covered = tuple(name for stage in STAGES for name in stage.code)
    assert {name for name in writers - wiring if not name.startswith(covered)} == set()
    assert "proofmill.flows.stages.publishing" in PUBLISH.code
