"""Every filter, in order. Adding one is a file of its own and a line here (one that asks a model also has a phase).

The order is that of the drop reasons: of several reasons that a row has, the first is named. Map filters run in this
order on every shard; model and gather filters follow when all shards are there.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from proofmill.data.schemas import FATE, PROBLEMS, SHARD_TRACES, SPLIT_RESPONSE
from proofmill.filters.audit import AUDIT
from proofmill.filters.base import Filter, ProblemFilter
from proofmill.filters.claim_checks import CLAIM_CHECKS
from proofmill.filters.contamination import CONTAMINATED_PROBLEMS, CONTAMINATION
from proofmill.filters.guessing import GUESS_RATES, LUCK
from proofmill.filters.learning_potential import LEARNING_POTENTIAL, NLL
from proofmill.filters.near_duplicates.duplicates import NEAR_DUPLICATES, SIGNATURES
from proofmill.filters.reliability import RELIABILITY
from proofmill.filters.repetition import QUALITY
from proofmill.filters.selection import RULES
from proofmill.filters.verification import VERDICTS

FILTERS: tuple[Filter[Any], ...] = (
    VERDICTS,
    CLAIM_CHECKS,
    AUDIT,
    GUESS_RATES,
    LUCK,
    RELIABILITY,
    QUALITY,
    NLL,
    LEARNING_POTENTIAL,
    CONTAMINATED_PROBLEMS,
    CONTAMINATION,
    SIGNATURES,
    NEAR_DUPLICATES,
)

_BEHIND = SHARD_TRACES.names[SHARD_TRACES.get_field_index("completion_tokens") :]  # how it was sampled


def trace_schema(filters: tuple[Filter[Any], ...] = FILTERS) -> pa.Schema:
    """Return the columns of the config `traces`: the sample, what each filter adds, and the trace's fate."""
    sampled = [field for field in SHARD_TRACES if field.name not in _BEHIND]
    added = [field for filter_ in filters if not isinstance(filter_, ProblemFilter) for field in filter_.adds]
    return pa.schema([*sampled, *SPLIT_RESPONSE, *added, *(SHARD_TRACES.field(name) for name in _BEHIND), *FATE])


def problem_schema(filters: tuple[Filter[Any], ...] = FILTERS) -> pa.Schema:
    """Return the columns of the config `problems`."""
    return pa.schema(
        [*PROBLEMS, *(field for filter_ in filters if isinstance(filter_, ProblemFilter) for field in filter_.adds)]
    )


def reasons(filters: tuple[Filter[Any], ...] = FILTERS) -> tuple[str, ...]:
    """Return every drop reason in the order in which they are tried: of the filters, then of the section `select`."""
    return (*(rule.reason for filter_ in filters for rule in filter_.rules), *(rule.reason for rule in RULES))
