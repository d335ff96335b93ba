"""The stages of a run, with what decides their results besides inputs and options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from proofmill.data.run import Stage


def _filters(*names: str) -> tuple[str, ...]:
    return tuple(f"proofmill.filters.{name}" for name in names)


PROBLEMS = Stage(
    "problems",
    tuple(f"proofmill.generators.{name}" for name in ("intake", "problems", "procedural")),
    ("reasoning-gym",),
)
RECORDED = Stage("recorded", PROBLEMS.code, PROBLEMS.libraries)
SAMPLES = Stage("samples", tuple(f"proofmill.generators.{name}" for name in ("sampling", "rounds", "prompts")))
VERDICTS = Stage(
    "verdicts",
    _filters(
        "canaries",
        "domains",
        "instructions",
        "mathematics",
        "options",
        "reasoning",
        "sandbox",
        "scorers",
        "verdicts",
        "verification",
        "worker_process",
        "workers",
    ),
    ("math-verify", "latex2sympy2-extended", "sympy", "reasoning-gym", "py3langid", "jsonschema"),
)
CLAIMS = Stage("claims", ("proofmill.filters.claims", *_filters("verdicts")))
AUDIT = Stage("audit", ("proofmill.filters.audit", "proofmill.filters.sandbox"))
QUALITY = Stage("quality", _filters("degeneration", "reasoning"))
BENCHMARKS = Stage("benchmarks", _filters("contamination", "windows"))
CONTAMINATION = Stage("contamination", BENCHMARKS.code)
# What a student says is recorded like a sample: only what it is asked belongs to the key.
LEARNING = Stage("learning", ("proofmill.generators.scoring", "proofmill.generators.prompts"))
POTENTIAL = Stage("potential", _filters("potential"))
SIGNATURES = Stage("signatures", _filters("duplicates.minhash", "windows", "arrow_arrays"))
DUPLICATES = Stage("near_duplicates", _filters("duplicates", "windows", "arrow_arrays"))
# What a model was asked depends on the prompts (in the key's inputs), never on code: an answer is an input.
CLR_NAMED, CLR_JUDGED = Stage("clr_named"), Stage("clr_judged")
CLR = Stage("clr", (*_filters("reliability", "claims", "reasoning"), "proofmill.flows.stages.reliability"))
VOTES = Stage(
    "votes", (*_filters("agreement", "mathematics", "options"), "proofmill.flows.stages.voting"), ("math-verify",)
)
LABELS, LABELLED = Stage("labels", VOTES.code), Stage("labelled_problems", VOTES.code)
SELECTION = Stage("selection", _filters("selection", "curriculum", "caps", "potential", "claim_ledger"))
CAPS = Stage("caps", _filters("caps"))
BALANCE = Stage("balance", SELECTION.code)
PROMPTS = Stage("prompt_signatures", SIGNATURES.code)
HOLDOUT = Stage("holdout", (*DUPLICATES.code, *_filters("holdout")))
PUBLISH = Stage(
    "publish",
    (
        "proofmill.data",
        "proofmill.filters.reliability",
        "proofmill.filters.rewards",
        "proofmill.flows.run.previous",
        "proofmill.flows.stages.manifest",
        "proofmill.flows.stages.publishing",
        "proofmill.generators.prompts",
        "proofmill.generators.rendering",
    ),
    ("pyarrow", "transformers"),
)
STAGES = (
    PROBLEMS,
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
