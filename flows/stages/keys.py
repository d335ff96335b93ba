"""The stages of a run, with what decides their results besides inputs and options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from proofmill.data import schemas
from proofmill.data.run import Stage


def _filters(*names: str) -> tuple[str, ...]:
    return tuple(f"proofmill.filters.{name}" for name in names)


def _stages(*names: str) -> tuple[str, ...]:
    return tuple(f"proofmill.flows.stages.{name}" for name in names)


# A row function's own lines are named one by one, so that another stage's change does nothing again.
_SIGNED = _stages("signing:signed", "work:signed")
_EXACT_JSON = ("proofmill.data.files:loads_exact", "proofmill.data.files:dumps_canonical")
_PROBLEM_OF = (*_EXACT_JSON, *_filters("verification:problem_of"))
_EXACT_CLAIMS = (*_filters("claims", "verdicts"), *_PROBLEM_OF, *_stages("work:_CLAIM", "work:claims"))
_MEASURED = ("polars",)  # quantiles, orders and sums

PROBLEMS = Stage(
    "problems",
    (
        *_EXACT_JSON,
        "proofmill.data.rows_io",
        "proofmill.data.versions",
        "proofmill.generators.problems.ingest",
        "proofmill.generators.problems.problem",
        "proofmill.generators.problems.procedural",
        *_filters("answers", "domains:info_fields", "domains:DOMAINS", "domains.math:gold_text", "scorers"),
        *_filters("symbolic.notation", "verdicts"),
        "proofmill.flows.run.origin:replayed",
        *_stages("intake"),
    ),
    ("reasoning-gym",),
    schemas.PROBLEMS,
)
RECORDED = Stage("recorded", PROBLEMS.code, PROBLEMS.libraries, schemas.SHARD_TRACES)
_FAILED = "proofmill.data.samples:FAILED"
_ENDS = (_FAILED, "proofmill.data.samples:FILTERED", "proofmill.data.samples:QUARANTINED")
# Who draws samples and how is no part of it: what was drawn is recorded, and is an input.
SAMPLES = Stage(
    "samples",
    (
        *(f"proofmill.generators.{name}" for name in ("sample_plan", "rounds", "prompts", "problems.ingest:trace_id")),
        *_stages("drawing:Drawing", "drawing:_DECIDES"),
        *_ENDS,
    ),
    schema=schemas.SHARD_TRACES,
)
VERDICTS = Stage(
    "verdicts",
    (
        *_filters(
            "answers",
            "domains",
            "instructions",
            "option_text",
            "options",
            "reasoning",
            "sandbox",
            "scorers",
            "symbolic",
            "verdicts",
            "verification",
            "worker_process",
            "workers",
        ),
        *_EXACT_JSON,
    ),
    (
        "math-verify",
        "latex2sympy2-extended",
        "sympy",
        "mpmath",
        "reasoning-gym",
        "py3langid",
        "jsonschema",
        "python",  # runs the code of traces
    ),
    schemas.VERDICTS,
)
CLAIMS = Stage("claims", (*_EXACT_CLAIMS, *_stages("tasks:claims")), schema=schemas.CLAIM_COLUMNS)
AUDIT = Stage(
    "audit",
    (
        *_filters("answers", "audit", "domains", "sandbox", "symbolic", "verdicts"),
        *_PROBLEM_OF,
        *_stages("tasks:audit"),
    ),
    ("mpmath", "python"),
)
QUALITY = Stage(
    "quality",
    (*_filters("degeneration", "reasoning"), *_stages("tasks:quality", "work:quality")),
    schema=schemas.QUALITY,
)
_OVERLAPS = _filters("contamination", "windows")
BENCHMARKS = Stage(
    "benchmarks",
    (
        *_OVERLAPS,
        *_EXACT_JSON,
        "proofmill.data.rows_io",
        "proofmill.flows.rows.overlaps:whole_text",
        *_stages("benchmarks", "tasks:benchmarks"),
    ),
)
CONTAMINATION = Stage(
    "contamination",
    (*_OVERLAPS, *_stages("tasks:contamination", "work:overlaps")),
    schema=schemas.CONTAMINATION,
)
# What a student says is recorded like a sample: only what it is asked belongs to the key.
LEARNING = Stage(
    "learning", ("proofmill.generators.rendering", "proofmill.generators.prompts", _FAILED), schema=schemas.NLL
)
POTENTIAL = Stage("potential", (*_filters("potential"), *_stages("learning:buckets")), _MEASURED)
SIGNATURES = Stage(
    "signatures",
    (*_filters("duplicates.minhash", "windows", "arrow_arrays"), *_SIGNED, *_stages("tasks:signatures")),
)
DUPLICATES = Stage(
    "near_duplicates",
    (
        *_filters("duplicates", "windows", "arrow_arrays", "verdicts"),
        "proofmill.flows.run.previous",
        *_stages("tasks:near_duplicates", "tasks:_ids", "tasks:_signed"),
    ),
)
# What a model was asked depends on the prompts (in the key's inputs), never on code: an answer is an input.
CLR_NAMED, CLR_JUDGED = Stage("clr_named", schema=schemas.ANSWERS), Stage("clr_judged", schema=schemas.ANSWERS)
CLR = Stage(
    "clr",
    (*_filters("reliability", "reasoning"), *_EXACT_CLAIMS, *_stages("reliability"), _FAILED),
    schema=schemas.CLR,
)
VOTES = Stage(
    "votes",
    (
        *_filters("agreement", "answers", "option_text", "options", "symbolic", "verdicts"),
        *_PROBLEM_OF,
        *_stages("voting", "reliability:columns", "work:agreement"),
    ),
    ("math-verify", "mpmath"),
    schemas.VOTES,
)
LABELS = Stage("labels", VOTES.code, schema=schemas.VERDICTS)
LABELLED = Stage("labelled_problems", VOTES.code, schema=schemas.PROBLEMS)
_CHOSEN = _filters("selection", "curriculum", "caps", "potential", "claim_ledger", "verdicts", "verification:TRUNCATED")
SELECTION = Stage(
    "selection",
    (*_CHOSEN, *_stages("tasks:selected", "tasks:_columns", "learning:columns", "reliability:columns")),
    _MEASURED,
)
CAPS = Stage("caps", (*_filters("caps"), *_stages("balance:limits", "balance:_offered")), _MEASURED)
BALANCE = Stage("balance", (*_CHOSEN, *_stages("balance:balanced")), _MEASURED)
PROMPTS = Stage("prompt_signatures", (*SIGNATURES.code, *_stages("balance:_signed_prompts")))
HOLDOUT = Stage(
    "holdout",
    (*_filters("duplicates", "windows", "arrow_arrays", "holdout"), *_stages("balance:holdout")),
    _MEASURED,
)
PUBLISH = Stage(
    "publish",
    (
        "proofmill.data",
        *_filters(
            "answers", "caps", "claim_ledger", "curriculum", "domains", "duplicates.minhash", "potential", "reasoning"
        ),
        *_filters("reliability", "rewards", "selection", "verdicts", "verification:TRUNCATED"),
        "proofmill.flows.run.origin",
        "proofmill.flows.run.previous",
        *_stages("manifest", "publishing", "drawing:rounds_of", "reliability:columns", "voting"),
        "proofmill.generators.prompts",
        "proofmill.generators.rendering",
    ),
    ("pyarrow", "polars", "transformers"),
)
STAGES = (
    PROBLEMS,
    RECORDED,
    SAMPLES,
    VERDICTS,
    CLAIMS,
    AUDIT,
    QUALITY,
    BENCHMARKS,
    CONTAMINATION,
    LEARNING,
    POTENTIAL,
    SIGNATURES,
    DUPLICATES,
    CLR_NAMED,
    CLR_JUDGED,
    CLR,
    VOTES,
    LABELS,
    LABELLED,
    SELECTION,
    CAPS,
    BALANCE,
    PROMPTS,
    HOLDOUT,
    PUBLISH,
)


def called(source: str) -> str:
    """How a source is named in rows and keys: of a path the last part, since the rest is this machine's own."""
    return Path(source).name if Path(source).expanduser().exists() else source


def portable(value: Any) -> Any:
    """A part of the recipe with its paths shortened as in `called`."""
    if isinstance(value, dict):
        return {key: portable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [portable(item) for item in value]
    return called(value) if isinstance(value, str) and "/" in value else value
