"""A recipe's sections as the options that the judges take."""

from __future__ import annotations

from proofmill.filters.caps import CapOptions
from proofmill.filters.curriculum import options_of
from proofmill.filters.duplicates.minhash import DedupOptions
from proofmill.filters.potential import PotentialOptions
from proofmill.filters.selection import SelectOptions
from proofmill.filters.verification import VerifyOptions
from proofmill.flows.recipe.engines import Asked
from proofmill.flows.recipe.schema import Recipe


def verify_options(recipe: Recipe) -> VerifyOptions:
    """Options of the verifiers."""
    section = recipe.verify
    return VerifyOptions(
        section.cpu_seconds,
        section.memory_mb,
        section.workers,
        section.verifiers,
        section.max_error_rate,
        section.jail.model_dump(),
    )


def dedup_options(recipe: Recipe) -> DedupOptions:
    """Options of the near-duplicate search."""
    section = recipe.dedup
    return DedupOptions(
        threshold_within=section.threshold_within,
        threshold_across=section.threshold_across,
        permutations=section.permutations,
        shingle=section.shingle,
        shingle_size=section.shingle_size,
    )


def potential_options(recipe: Recipe) -> PotentialOptions | None:
    """Options of the learning potential; None where it is not measured."""
    section = recipe.quality.learning
    return PotentialOptions(**section.model_dump(exclude=set(Asked.model_fields))) if section else None


def caps_options(recipe: Recipe) -> CapOptions:
    """Limits over the whole run."""
    section = recipe.select
    return CapOptions(tuple(sorted(section.mix.items())), section.max_total_tokens)


def select_options(recipe: Recipe) -> SelectOptions:
    """Options of the selection."""
    curriculum = recipe.curriculum.model_dump()
    return SelectOptions(
        max_repetition=recipe.quality.max_repetition,
        drop_refuted=recipe.claims.drop,
        min_reliability=recipe.claims.min_reliability,
        max_per_problem=recipe.select.max_per_problem,
        max_trace_tokens=recipe.select.max_trace_tokens,
        pass_rate=recipe.select.pass_rate,
        curriculum=options_of(curriculum),
        reference=curriculum.get("reference"),
    )
