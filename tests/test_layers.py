"""Who imports whom: no cycle between modules, and a recipe is read without the code that judges.

The order of the layers themselves is the contract in pyproject.toml that `lint-imports` checks.
"""

from __future__ import annotations

import subprocess
import sys
from graphlib import CycleError, TopologicalSorter

import grimp
import pytest

PACKAGES = ("proofmill.data", "proofmill.filters", "proofmill.generators", "proofmill.flows")


@pytest.fixture(scope="module")
def imports() -> dict[str, set[str]]:
    """Every module with the modules that it imports, within functions and for types alone too."""
    graph = grimp.build_graph(*PACKAGES, cache_dir=None)
    return {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}


def test_no_modules_import_one_another(imports: dict[str, set[str]]) -> None:
    assert len(imports) > 50, "the graph sees the packages"
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        pytest.fail("imported in a circle: " + " ← ".join(error.args[1]))


@pytest.mark.parametrize("module", ["proofmill.flows.cli", "proofmill.flows.recipe"])
def test_a_recipe_is_read_without_the_code_that_judges(module: str) -> None:
    slow = ("sympy", "math_verify", "torch", "vllm", "prefect", "datasets", "transformers")
    code = f"import sys, {module}; print(*sorted(sys.modules.keys() & set({slow!r})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.split() == []


@pytest.mark.slow
def test_nothing_but_a_cluster_imports_ray_and_nothing_but_an_object_store_its_client() -> None:
    code = "import sys, proofmill.flows.cli, proofmill.flows.regenerate, proofmill.flows.commands.doctor as _"
    none = "sys.exit(not {'ray', 'obstore'}.isdisjoint(sys.modules))"
    done = subprocess.run([sys.executable, "-c", f"{code}; {none}"], timeout=120, check=False)
    assert done.returncode == 0
