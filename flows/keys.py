"""The stages of a run, with what decides their results besides inputs and options."""

from __future__ import annotations

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
