"""New tests for programming seeds: what a model wrote for them is run in the jail beside programs that are proven.

The programs come from a published version, so that what new tests expect is decided before anything is sampled. A seed
that gets new tests is sampled with them only; it keeps its prompt, so answers that a model gave to it in earlier runs
are judged anew, and none is drawn again. A seed with recorded samples of its own gets none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any

import polars as pl

from proofmill.data.versions import Version
from proofmill.filters import new_problems, new_tests
from proofmill.filters.model_judge import MALFORMED
from proofmill.filters.sandbox.jail import Jail
from proofmill.filters.verdicts import CORRECT
from proofmill.generators.problems.operators import ExpandStep
from proofmill.generators.problems.problem import Row, SourceDefaults, problem_row

CODE = "code"
_READ = 4 * new_tests.MAX_PROGRAMS  # programs of a problem, of which some may be copies of others


class ProvenPrograms:
    """The proven programs of a published version.

    Args:
        version: read anew for each shard; in memory are only the ids of the problems that have enough of them.
    """

    def __init__(self, version: Version) -> None:
        self.version = version

    @cached_property
    def problems(self) -> frozenset[str]:
        """The problems with enough programs that differ in more than blanks and comments."""
        # Whether they differ in more than names shows in the jail, once a model was asked.
        texts = pl.col("extracted").str.replace_all(r"#.*", "").str.replace_all(r"\s", "").hash()
        enough = texts.n_unique() >= new_tests.MIN_PROGRAMS
        found = self._proven().group_by("problem_id").agg(enough.alias("enough")).filter("enough")
        return frozenset(found.select("problem_id").collect(engine="streaming")["problem_id"])

    def of(self, problems: Iterable[str]) -> dict[str, list[str]]:
        """Return different programs of each problem, in an order that their texts decide."""
        found = self._proven().filter(pl.col("problem_id").is_in(list(problems))).unique()
        programs = pl.col("extracted").sort().head(_READ)
        return dict(found.group_by("problem_id").agg(programs).collect().iter_rows())

    def _proven(self) -> pl.LazyFrame:
        traces = self.version.scan("traces")
        if traces is None:
            return pl.LazyFrame(schema={"problem_id": pl.String, "extracted": pl.String})
        proven = traces.filter((pl.col("verdict") == CORRECT) & (pl.col("domain") == CODE))
        return proven.select("problem_id", "extracted").drop_nulls()


def testable(rows: Iterable[Row], programs: ProvenPrograms) -> dict[str, Row]:
    """Return the problems, by id, whose tests can be made more."""
    found = (row for row in rows if row["domain"] == row["verifier"] == CODE and row["id"] in programs.problems)
    return {row["id"]: row for row in found if new_tests.form_of(row)}


def drafts(
    step: ExpandStep,
    replies: Sequence[Row],
    seeds: Mapping[str, Row],
    programs: ProvenPrograms,
    jail: Jail,
    done: Callable[[], None],
) -> list[Row]:
    """Return what becomes of the replies about some seeds: problems with more tests, or why there are none.

    Args:
        step: of the recipe.
        replies: of a model.
        seeds: by id.
        programs: that are proven.
        jail: where everything runs, as many seeds at a time as it takes.
        done: called for each seed.
    """
    proven = programs.of({reply["about"][0] for reply in replies})

    def draft(reply: Row) -> Row:
        row = _draft(step, reply, seeds[reply["about"][0]], proven.get(reply["about"][0], []), jail)
        done()
        return row

    with ThreadPoolExecutor(jail.workers, thread_name_prefix="new tests") as pool:
        return list(pool.map(draft, replies))


def _draft(step: ExpandStep, reply: Row, seed: Row, programs: Sequence[str], jail: Jail) -> Row:
    row: Row = {
        "operator": step.operator,
        "parents": [seed["id"]],
        "domain": seed["domain"],
        "completion_tokens": reply["completion_tokens"],
        "source": seed["source"],
        "license": seed["license"],
    }
    sources, reason = _sources(reply)
    form = new_tests.form_of(seed)
    if reason or form is None:
        return row | {"reply": reply["text"], "drop_reason": reason or MALFORMED}
    made = new_tests.make(jail, form, *sources, programs)
    if made.reason:
        return row | {"reply": reply["text"], "drop_reason": made.reason, "detail": made.detail}
    given: dict[str, Any] = {name: seed[name] for name in ("prompt", "system", "answer", "verifier")}
    given["info"] = new_tests.with_tests(seed["info"], made.tests)
    problem = problem_row(given, SourceDefaults(seed["domain"], seed["source"], seed["license"]))
    if isinstance(problem, str):
        return row | {"reply": reply["text"], "drop_reason": MALFORMED, "detail": problem}
    return row | problem | {"detail": f"{len(made.tests)} new tests: {made.detail}"}


def _sources(reply: Row) -> tuple[tuple[str, str], str | None]:
    """Return generator and validator of a reply, and why there are none (None: there are)."""
    sources = []
    for key in ("generator", "validator"):
        value, reason = new_problems.read_text(reply["text"], reply["finish_reason"], key)
        if reason or not isinstance(value, str) or not value.strip():
            return ("", ""), reason or MALFORMED
        sources.append(value)
    return (sources[0], sources[1]), None
