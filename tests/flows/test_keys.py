"""A stage's key covers the code that makes its result: a helper that changes must not serve a stale one."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cache
from importlib.metadata import packages_distributions
from importlib.util import find_spec
from pathlib import Path

import pytest

from proofmill.data import run as runs
from proofmill.data.run import Stage
from proofmill.flows.stages.keys import STAGES, VERDICTS

_DOMAINS = [f"proofmill.filters.domains.{name}" for name in ("choice", "code", "instruction", "logic", "math")]
# What makes the rows of each stage: its task, and what that has done in other processes.
ROWS: dict[str, tuple[str, ...]] = {
    "problems": ("intake:problem_shards",),
    "recorded": ("intake:problem_shards",),
    "samples": ("drawing:Drawing",),
    "verdicts": ("tasks:verdicts", "proofmill.filters.verification", *_DOMAINS),
    "claims": ("tasks:claims", "work:claims"),
    "audit": ("tasks:audit",),
    "quality": ("tasks:quality",),
    "benchmarks": ("tasks:benchmarks",),
    "contamination": ("tasks:contamination",),
    "learning": ("learning:_Scoring",),
    "potential": ("learning:buckets",),
    "signatures": ("tasks:signatures",),
    "near_duplicates": ("tasks:near_duplicates",),
    "clr_named": ("reliability:_Stream", "proofmill.filters.reliability:claims_prompt"),
    "clr_judged": ("reliability:_Stream", "proofmill.filters.reliability:judgement_prompt"),
    "clr": ("reliability:_Asked", "work:claims"),
    "votes": ("voting:_votes", "work:agreement"),
    "labels": ("voting:_labelled",),
    "labelled_problems": ("voting:_labelled",),
    "selection": ("tasks:selected",),
    "caps": ("balance:limits",),
    "balance": ("balance:balanced",),
    "prompt_signatures": ("balance:_signed_prompts",),
    "holdout": ("balance:holdout",),
    "publish": ("publishing:publish_version",),
}
# What may change without making any stage's rows anew, and why.
NOT_CODE = {
    "proofmill.data.errors": "what is said when there are no rows",
    "proofmill.data.files": "how bytes are kept",
    "proofmill.data.run": "how tables are found again",
    "proofmill.data.tables": "how tables are kept",
    "proofmill.data.rows_io:batched": "how many rows are handed on at once",
    "proofmill.flows.recipe": "its values are in the keys one by one",
    "proofmill.flows.run.log_file": "shown",
    "proofmill.flows.stages.keys": "the keys",
    "proofmill.flows.stages.work:chunks": "how rows go to a worker",
    "proofmill.flows.stages.tasks:_counts": "numbers to show",
    "proofmill.filters.domains:find_domain": "finds the domain; what is read of it is named one by one",
    "proofmill.filters.domains:is_known": "the same",
    "proofmill.filters.domains:DOMAINS": "the same",
    "proofmill.filters.workers:Fault": "stands for a row that a worker could not do",
}
_ASKED = "what a model is asked is in the key, and its answer is recorded"
_DRAWN = "how samples are drawn: they are recorded, and their digest is what later keys depend on"
NOT_CODE_OF = {
    "problems": {"proofmill.data.licenses": "refuses a run, and changes no row"},
    "samples": {
        "proofmill.flows.stages.drawing": _DRAWN,
        "proofmill.generators.engines.base": _DRAWN,
        "proofmill.generators.sampler": _DRAWN,
    },
    "verdicts": {"proofmill.flows.stages.tasks:verdicts": "hands tables to the judge"},
    "learning": {
        "proofmill.filters": _ASKED,
        "proofmill.flows.stages": _ASKED,
        "proofmill.generators.engines.base": _ASKED,
    },
    "clr": {
        "proofmill.flows.stages.phases": _ASKED,
        "proofmill.generators.engines.base": _ASKED,
        "proofmill.generators.sample_plan": _ASKED,
    },
    "selection": {"proofmill.data.schemas": "columns of what it reads; its own are in filters.selection"},
    "holdout": dict.fromkeys(
        ("proofmill.flows.stages.balance", "proofmill.flows.stages.signing", "proofmill.flows.stages.work:signed"),
        "signing is a stage of its own, whose key is in this one's",
    ),
}
NOT_CODE_OF["recorded"] = NOT_CODE_OF["problems"]
NOT_CODE_OF["clr_named"] = NOT_CODE_OF["clr_judged"] = {"proofmill": _ASKED}
# Libraries whose version decides no row, and why.
NOT_DECIDING = {
    "datasets": "reads what a revision names",
    "huggingface-hub": "the same",
    "jinja2": "the page and the card, which are made for each version",
    "markupsafe": "the same",
    "numpy": "sums of integers, and random numbers of a stream that numpy has frozen",
    "orjson": "JSON",
    "prefect": "runs the stages",
    "psutil": "finds processes",
    "pyarrow": "columns as they are",
    "pydantic": "refuses what is malformed",
    "pyyaml": "YAML",
    "torch": "asks for hardware",
    "xxhash": "a hash function that is specified, XXH3",
}
# There it sorts, joins and compares what it was given.
_READS_ONLY = {"polars": ("problems", "recorded", "samples", "learning", "near_duplicates")}

_PLACE = re.compile(r"proofmill(\.\w+)+(:\w+)?")


class _Uses(ast.NodeVisitor):
    """Names that a piece of code uses and imports; annotations and what is for type checkers alone left out."""

    def __init__(self, node: ast.AST) -> None:
        self.names: set[str] = set()
        self.bound: set[str] = set()
        self.attributes: set[tuple[str, str]] = set()
        self.places: set[str] = set()
        self.imports: dict[str, str] = {}
        self.visit(node)

    def visit_If(self, node: ast.If) -> None:
        if not (isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"):
            self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        arguments = node.args
        self.bound |= {found.arg for found in ast.walk(arguments) if isinstance(found, ast.arg)}
        for part in (*node.decorator_list, *arguments.defaults, *filter(None, arguments.kw_defaults), *node.body):
            self.visit(part)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        for part in filter(None, (node.target, node.value)):
            self.visit(part)

    def visit_Name(self, node: ast.Name) -> None:
        (self.names if isinstance(node.ctx, ast.Load) else self.bound).add(node.id)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if isinstance(node.value, ast.Name):
            self.attributes.add((node.value.id, node.attr))
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str) and _PLACE.fullmatch(node.value):
            self.places.add(node.value)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self.imports[alias.asname or alias.name.partition(".")[0]] = alias.name

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for alias in node.names:
            deeper = f"{node.module}.{alias.name}"
            self.imports[alias.asname or alias.name] = deeper if _is_module(deeper) else f"{node.module}:{alias.name}"


@cache
def _is_module(name: str) -> bool:
    try:
        return name.startswith("proofmill.") and find_spec(name) is not None
    except ModuleNotFoundError:
        return False


@cache
def _module(name: str) -> tuple[dict[str, ast.AST], _Uses]:
    """What a module defines at its top, and what it uses as a whole."""
    spec = find_spec(name)
    assert spec is not None
    assert spec.origin is not None, name
    tree = ast.parse(Path(spec.origin).read_text())
    defined: dict[str, ast.AST] = {}
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            defined[node.name] = node
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = (found for target in targets for found in ast.walk(target))
            defined |= {found.id: node for found in names if isinstance(found, ast.Name)}
    return defined, _Uses(tree)


@cache
def _used(place: str) -> frozenset[str]:
    """What a module, or one definition of it, uses directly: places of ours, names of other libraries."""
    return frozenset(_uses(place))


def _uses(place: str) -> Iterator[str]:
    module, _, name = place.partition(":")
    defined, whole = _module(module)
    if not name:
        yield from whole.imports.values()
        yield from whole.places
    elif name in defined:
        node = defined[name]
        uses = _Uses(node)
        local = uses.bound if isinstance(node, ast.FunctionDef) else set()
        imports = {**whole.imports, **uses.imports}
        by_attribute = {one for one, _ in uses.attributes if _is_module(imports.get(one, ""))}
        yield from uses.places
        yield from (f"{module}:{one}" for one in uses.names - local if one in defined)
        yield from (imports[one] for one in uses.names - local - by_attribute if one in imports and one not in defined)
        yield from (f"{imports[one]}:{attribute}" for one, attribute in uses.attributes if one in by_attribute - local)
    elif name in whole.imports:  # handed on by a package
        yield whole.imports[name]
    elif _is_module(f"{module}.{name}"):
        yield f"{module}.{name}"


def _covered(place: str, by: Iterable[str]) -> bool:
    return any(place == name or place.startswith((f"{name}.", f"{name}:")) for name in by)


@cache
def reached(stage: str) -> tuple[frozenset[str], frozenset[str]]:
    """Definitions of ours that make a stage's rows, and the other distributions that these use."""
    todo = [place if place.startswith("proofmill") else f"proofmill.flows.stages.{place}" for place in ROWS[stage]]
    ours, libraries, known = set(), set(), packages_distributions()
    while todo:
        place = todo.pop()
        if not place.startswith("proofmill"):
            package = re.split(r"[.:]", place)[0]
            if package not in sys.stdlib_module_names:
                libraries |= {name.lower().replace("_", "-") for name in known.get(package, [package])}
        elif place not in ours and not _covered(place, NOT_CODE):
            ours.add(place)
            todo += _used(place)
    return frozenset(ours), frozenset(libraries)


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_a_key_covers_all_code_that_makes_a_stages_rows(stage: Stage) -> None:
    ours, _ = reached(stage.name)
    columns = ("proofmill.data.schemas",) if stage.schema is not None else ()
    known = (*stage.code, *columns, *NOT_CODE_OF.get(stage.name, ()))
    assert {place for place in ours if not _covered(place, known)} == set()
    assert len(ours) > 1, "the rows are made somewhere"


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_a_key_covers_all_libraries_that_decide_a_stages_rows(stage: Stage) -> None:
    _, libraries = reached(stage.name)
    reads_only = {name for name, stages in _READS_ONLY.items() if stage.name in stages}
    assert libraries - {*stage.libraries, *NOT_DECIDING, *reads_only} == set()


def test_what_is_left_out_of_keys_is_used() -> None:
    """An exclusion that nothing needs hides what comes to that place later."""
    every = {place for stage in STAGES for place in reached(stage.name)[0]}
    every |= {used for place in every for used in _used(place)}
    assert [name for name in NOT_CODE if not any(_covered(place, [name]) for place in every)] == []
    for stage, names in NOT_CODE_OF.items():
        mine = reached(stage)[0]
        assert [name for name in names if not any(_covered(place, [name]) for place in mine)] == [], stage


def test_what_a_key_names_exists() -> None:
    for stage in STAGES:
        for place in stage.code:
            module, _, name = place.partition(":")
            assert find_spec(module), place
            assert not name or name in _module(module)[0], place
        for library in stage.libraries:
            assert runs.library_version(library) != "absent", library


def test_columns_belong_to_a_key() -> None:
    assert VERDICTS.schema is not None
    fewer = replace(VERDICTS, schema=VERDICTS.schema.remove(0))
    assert fewer.key() != VERDICTS.key()
