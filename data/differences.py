"""Two versions beside each other, row by row, from their folders alone.

Rows are joined by trace id, problems by problem id. A part of the problems at a time, so that memory is bounded by
`PART_ROWS` rows of the two versions and not by their length.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from proofmill.data.schemas import TRACES
from proofmill.data.versions import Version
from proofmill.filters.verdicts import CORRECT

PART_ROWS = 100_000
ADDED, REMOVED, CHANGED = "added", "removed", "changed"
_FATE = ("verdict", "stage", "drop_reason")
JUDGED: dict[str, tuple[str, ...]] = {
    "verdicts": ("verdict", "verdict_detail", "extracted", "tests_passed", "tests_total"),
    "claims": ("claims_checked", "claims_refuted", "first_refuted_step", "claim_score", "claim_coverage"),
    "clr": ("clr_score",),
    "quality": ("repetition", "quality_detail"),
    "contamination": ("contaminated_by",),
    "near_duplicates": ("duplicate_of",),
    "learning": ("nll",),
}
"""By stage: the columns of a trace that it writes, in the order in which stages follow each other."""
_KEY = ("id", "problem_id", "sampler", "sample_index", "model", "model_revision")
_OTHER = [name for names in JUDGED.values() for name in names if name not in _FATE]
_WRITER = ("model", "model_revision")


@dataclass(frozen=True)
class Group:
    """Rows with the same difference.

    Attributes:
        kind: `added`, `removed` or `changed`.
        before, after: verdict, stage and drop_reason on either side; empty where the row is not there.
        judged: stages whose columns differ, in their order (changed rows only).
        sampler: who wrote the traces.
        problem_known: whether the other version has the problem (added and removed rows).
        slot_known: whether it has another trace in the same place: problem, sampler and number.
        sampler_known: whether it has traces of this sampler at all.
        same_model: whether that trace in the same place is of the same model and revision.
        siblings: whether other rows of the problem, right ones, were added, removed or judged otherwise.
        count: how many rows.
        rows: some of them: id and problem_id.
    """

    kind: str
    before: dict[str, Any]
    after: dict[str, Any]
    judged: tuple[str, ...]
    sampler: str
    problem_known: bool
    slot_known: bool
    sampler_known: bool
    same_model: bool
    siblings: bool
    count: int
    rows: list[dict[str, Any]] = field(default_factory=list)

    @property
    def fate_changed(self) -> bool:
        """Whether verdict, stage or drop_reason differ, not only what was measured."""
        return self.before != self.after


def compare_traces(before: Version, after: Version, examples: int = 0) -> list[Group]:
    """Every difference between the traces of two versions, equal ones gathered, the most frequent first."""
    samplers = [_samplers(before), _samplers(after)]
    found: dict[str, Group] = {}
    for mine in parts("problem_id", max(rows_in(before, "traces"), rows_in(after, "traces"))):
        for row in _part(before, after, mine, examples).iter_rows(named=True):
            group = _group(row, samplers)
            known = found.setdefault(repr(_identity(group)), Group(**_identity(group), count=0, rows=[]))
            rows = (known.rows + group.rows)[:examples]
            found[repr(_identity(group))] = Group(**_identity(group), count=known.count + group.count, rows=rows)
    order = {ADDED: 0, REMOVED: 1, CHANGED: 2}
    return sorted(found.values(), key=lambda group: (order[group.kind], -group.count, repr(_identity(group))))


def compare_problems(before: Version, after: Version) -> dict[str, int]:
    """How many problems were added, removed, and stand there with other columns under the same id."""
    sides = [version.scan("problems") for version in (before, after)]
    if any(side is None for side in sides):
        return {}
    one, two = ((side.collect_schema().names(), side) for side in sides if side is not None)
    common = sorted(set(one[0]) & set(two[0]) - {"id"})
    narrow = [side.select("id", pl.struct(common).hash().alias(name)) for side, name in ((one[1], "a"), (two[1], "b"))]
    found = dict.fromkeys((ADDED, REMOVED, CHANGED), 0)
    for mine in parts("id", max(rows_in(before, "problems"), rows_in(after, "problems"))):
        a, b = (side.filter(mine) for side in narrow)
        counts = a.join(b, on="id", how="full", coalesce=True).select(
            pl.col("a").is_null().sum().alias(ADDED),
            pl.col("b").is_null().sum().alias(REMOVED),
            (pl.col("a") != pl.col("b")).fill_null(False).sum().alias(CHANGED),
        )
        for name, count in counts.collect(engine="streaming").row(0, named=True).items():
            found[name] += int(count)
    return found


def changed_configs(before: Version, after: Version) -> list[str]:
    """Configs whose files differ."""
    sides: list[dict[str, list[str]]] = []
    for version in (before, after):
        configs: dict[str, list[str]] = {}
        for item in version.manifest["files"]:
            if item["path"].endswith(".parquet"):
                configs.setdefault(item["path"].partition("/")[0], []).append(item["sha256"])
        sides.append(configs)
    return sorted(name for name in sides[0].keys() | sides[1].keys() if sides[0].get(name) != sides[1].get(name))


def rows_in(version: Version, config: str) -> int:
    """How many rows a config has, as the manifest says."""
    return sum(i["rows"] or 0 for i in version.manifest["files"] if i["path"].startswith(f"{config}/"))


def parts(key: str, rows: int) -> Iterator[pl.Expr]:
    """Conditions that part so many rows into pieces of about `PART_ROWS`, rows with the same key together."""
    count = max(1, -(-rows // PART_ROWS))
    return (pl.col(key).hash(seed=0) % count == part for part in range(count))


def _samplers(version: Version) -> set[str]:
    traces = version.scan("traces")
    if traces is None:
        return set()
    return set(traces.select(pl.col("sampler").unique()).collect(engine="streaming")["sampler"])


def _traces(before: Version, after: Version) -> list[pl.LazyFrame]:
    """Narrow columns of both versions' traces; long ones are hashes, and what a schema has not yet differs nowhere."""
    empty = pl.DataFrame(TRACES.empty_table()).lazy()
    sides = [empty if (table := version.scan("traces")) is None else table for version in (before, after)]
    common = set.intersection(*(set(side.collect_schema().names()) for side in sides))
    types = empty.collect_schema()
    columns = [pl.col(n) if n in common else pl.lit(None, types[n]).alias(n) for n in (*_KEY, *_FATE)]
    columns += [pl.col(n).hash() if n in common else pl.lit(None, pl.UInt64).alias(n) for n in _OTHER]
    return [side.select(columns) for side in sides]


def _part(before: Version, after: Version, mine: pl.Expr, examples: int) -> pl.DataFrame:
    """The differences among one part of the problems, gathered."""
    a, b = (side.filter(mine) for side in _traces(before, after))
    joined = a.join(b, on="id", how="full", suffix="_b").collect(engine="streaming")
    joined = joined.with_columns(
        pl.when(pl.col("id").is_null())
        .then(pl.lit(ADDED))
        .when(pl.col("id_b").is_null())
        .then(pl.lit(REMOVED))
        .otherwise(pl.lit(CHANGED))
        .alias("kind"),
        *(pl.coalesce(name, f"{name}_b").alias(f"key_{name}") for name in ("id", "problem_id", "sampler")),
        pl.coalesce("sample_index", "sample_index_b").alias("key_place"),
        *(pl.any_horizontal(_differ(name) for name in columns).alias(f"differs_{s}") for s, columns in JUDGED.items()),
    )
    return _gathered(_with_surroundings(joined), examples)


def _differ(name: str) -> pl.Expr:
    return pl.col(name).ne_missing(pl.col(f"{name}_b"))


def _with_surroundings(joined: pl.DataFrame) -> pl.DataFrame:
    """What else is known of a row's problem and place on the other side."""
    in_a, in_b = pl.col("id").is_not_null(), pl.col("id_b").is_not_null()
    place = ("key_problem_id", "key_sampler", "key_place")
    proven = (pl.col("verdict") == CORRECT) | (pl.col("verdict_b") == CORRECT)  # the others are in nobody's way
    judged = pl.any_horizontal(f"differs_{stage}" for stage in JUDGED)
    moved = ((pl.col("kind") != CHANGED) | judged) & proven.fill_null(False)
    known = (
        pl.when(pl.col("kind") == ADDED)
        .then(in_a.any().over("key_problem_id"))
        .otherwise(in_b.any().over("key_problem_id"))
    )
    slot = pl.when(pl.col("kind") == ADDED).then(in_a.any().over(place)).otherwise(in_b.any().over(place))
    one = [_in_place(name, place).eq_missing(_in_place(f"{name}_b", place)) for name in _WRITER]
    return joined.with_columns(
        known.alias("problem_known"),
        slot.alias("slot_known"),
        pl.all_horizontal(one).alias("same_model"),
        (moved.sum().over("key_problem_id") > moved.cast(pl.UInt32)).alias("siblings"),
    )


def _in_place(name: str, place: tuple[str, ...]) -> pl.Expr:
    return pl.col(name).drop_nulls().first().over(place)


def _gathered(rows: pl.DataFrame, examples: int) -> pl.DataFrame:
    differs = [f"differs_{stage}" for stage in JUDGED]
    fate = [name for column in _FATE for name in (column, f"{column}_b")]
    changed = rows.filter(
        (pl.col("kind") != CHANGED) | pl.any_horizontal(differs) | pl.any_horizontal(_differ(n) for n in _FATE)
    )
    keys = ["kind", *fate, *differs, "key_sampler", "problem_known", "slot_known", "same_model", "siblings"]
    example = pl.struct(pl.col("key_id").alias("id"), pl.col("key_problem_id").alias("problem_id"))
    return changed.sort("key_id").group_by(keys).agg(pl.len().alias("count"), example.head(examples).alias("rows"))


def _group(row: dict[str, Any], samplers: list[set[str]]) -> Group:
    kind = row["kind"]
    changed = kind == CHANGED
    other = samplers[0] if kind == ADDED else samplers[1]
    return Group(
        kind=kind,
        before={} if kind == ADDED else {name: row[name] for name in _FATE},
        after={} if kind == REMOVED else {name: row[f"{name}_b"] for name in _FATE},
        judged=tuple(stage for stage in JUDGED if row[f"differs_{stage}"]) if changed else (),
        sampler=row["key_sampler"],
        problem_known=changed or row["problem_known"],
        slot_known=changed or row["slot_known"],
        sampler_known=row["key_sampler"] in other,
        same_model=changed or bool(row["same_model"]),
        siblings=bool(row["siblings"]) if changed else False,
        count=row["count"],
        rows=row["rows"],
    )


def _identity(group: Group) -> dict[str, Any]:
    return {name: value for name, value in vars(group).items() if name not in ("count", "rows")}
