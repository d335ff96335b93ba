"""The stages of a run, with what decides their results besides inputs and options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from proofmill.data.run import Stage

PROBLEMS = Stage("problems", ("proofmill.generators.intake", "proofmill.generators.problems"), ("reasoning-gym",))
RECORDED = Stage("recorded", PROBLEMS.code, PROBLEMS.libraries)
SAMPLES = Stage("samples", ("proofmill.generators.sampling", "proofmill.generators.prompts"))
VERDICTS = Stage(
    "verdicts",
    ("proofmill.filters",),
    ("math-verify", "latex2sympy2-extended", "sympy", "reasoning-gym", "langcodes"),
)
QUALITY = Stage("quality", ("proofmill.filters.repetition", "proofmill.filters.reasoning"))
SIGNATURES = Stage("signatures", ("proofmill.filters.minhash",), ("datasketch",))
DUPLICATES = Stage("near_duplicates", ("proofmill.filters.near_duplicates", "proofmill.filters.band_join"))
SELECTION = Stage("selection", ("proofmill.filters.selection", "proofmill.filters.curriculum"))
PUBLISH = Stage("publish", ("proofmill.data", "proofmill.generators.prompts"), ("pyarrow", "transformers"))
STAGES = (PROBLEMS, SAMPLES, VERDICTS, QUALITY, SIGNATURES, DUPLICATES, SELECTION, PUBLISH)


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
