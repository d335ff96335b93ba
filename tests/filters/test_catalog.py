"""The list of filters: names, columns and reasons once each; a recipe reads it without a verifier."""

from __future__ import annotations

import subprocess
import sys

from proofmill.data.schemas import SPLIT_COLUMNS
from proofmill.filters.base import ProblemFilter
from proofmill.filters.catalog import FILTERS, problem_schema, reasons, trace_schema
from proofmill.flows.recipe.schema import Recipe

HEAVY = ("sympy", "math_verify", "reasoning_gym", "torch", "vllm", "prefect", "transformers", "datasets")


def test_reading_a_recipe_imports_no_verifier() -> None:
    program = (
        "import sys; from proofmill.flows.recipe import load; load.load('quickstart').active_filters(); "
        f"heavy = [name for name in {HEAVY} if name in sys.modules]; "
        "ours = [name for name in sys.modules if name.startswith(('proofmill.filters.domains.', "
        "'proofmill.filters.sandbox', 'proofmill.filters.symbolic.', 'proofmill.filters.claims.check'))]; "
        "sys.exit(', '.join(heavy + ours) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_names_columns_and_reasons_stand_once() -> None:
    names = [one.name for one in FILTERS]
    assert len(set(names)) == len(names)
    for schema in (trace_schema(), problem_schema()):
        assert len(set(schema.names)) == len(schema.names)
    assert len(set(reasons())) == len(reasons())


def test_a_filter_reads_only_what_is_there() -> None:
    known = {*trace_schema().names, *problem_schema().names, *SPLIT_COLUMNS, "problem"}
    for one in FILTERS:
        known |= {*one.schema.names} if not isinstance(one, ProblemFilter) else set()
    assert [(one.name, name) for one in FILTERS for name in one.reads if name not in known] == []


def test_every_option_of_a_rule_or_key_is_one() -> None:
    for one in FILTERS:
        fields = set(one.options.model_fields)
        asked = {*one.keyed_by, *(key for rule in one.rules for key in rule.hangs_on)}
        assert asked <= fields, one.name


def test_sections_of_filters_are_sections_of_the_recipe() -> None:
    tops = {one.section.partition(".")[0] for one in FILTERS if one.section}
    assert tops <= set(Recipe.model_fields)
