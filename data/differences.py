"""Compare two versions row by row, from their folders alone.

Traces are joined by trace id, problems by problem id, one part of the problems at a time: memory is bounded by
`PART_ROWS` rows of the two versions, not by their length.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from proofmill.data.versions import Version

PART_ROWS = 100_000
ADDED, REMOVED, CHANGED = "added", "removed", "changed"
_FATE = ("verdict", "stage", "drop_reason")
_KEY = ("id", "problem_id", "sampler", "sample_index", "model", "model_revision")
_WRITER = ("model", "model_revision")
_PROVEN = "correct"  # the verdict of traces that compete for a place in the version
_TYPES = {"sample_index": pl.Int32, "stage": pl.Int8}  # of columns that neither version has; the others are text


@dataclass(frozen=True)
class Group:
    """Rows with the same difference.

    Attributes:
        kind: `added`, `removed` or `changed`.
        before, after: verdict, stage and drop_reason on either side; empty where the row is not there.
        judged: filters whose columns differ, in their order (changed rows only).
        sampler: who wrote the traces.
        problem_known: whether the other version has the problem (added and removed rows).
        slot_known: whether the other version has a trace in the same slot: problem, sampler and sample index.
        sampler_known: whether the other version has traces of this sampler at all.
        same_model: whether the trace in the same slot is by the same model and revision.
        siblings: whether other traces of the problem with a right answer were added, removed or judged differently.
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


def judged_columns(before: Version, after: Version) -> dict[str, tuple[str, ...]]:
    """Return the trace columns of each filter, as the manifests of the two versions name them."""
    columns: dict[str, tuple[str, ...]] = {}
    for version in (after, before):
        for record in version.manifest.filters:
            columns[record.name] = tuple(dict.fromkeys((*columns.get(record.name, ()), *record.adds)))
    return columns


def compare_traces(before: Version, after: Version, examples: int = 0) -> list[Group]:
    """Return every difference between the traces of two versions, equal ones as one group, the most frequent first.

    Args:
        before, after: the versions.
        examples: how many rows each group names.
    """
    comparison = _Comparison(before, after, judged_columns(before, after), examples)
    groups: dict[str, Group] = {}
    for part in parts("problem_id", max(rows_in(before, "traces"), rows_in(after, "traces"))):
        for group in comparison.groups(part):
            key = repr(_identity(group))
            if (same := groups.get(key)) is None:
                groups[key] = group
            else:
                rows = (same.rows + group.rows)[:examples]
                groups[key] = Group(**_identity(group), count=same.count + group.count, rows=rows)
    order = {ADDED: 0, REMOVED: 1, CHANGED: 2}
    return sorted(groups.values(), key=lambda group: (order[group.kind], -group.count, repr(_identity(group))))


def compare_problems(before: Version, after: Version) -> dict[str, int]:
    """Return how many problems were added, removed, and have other columns under the same id."""
    sides = [version.scan("problems") for version in (before, after)]
    if any(side is None for side in sides):
        return {}
    frames = [side for side in sides if side is not None]
    common = sorted(set.intersection(*(set(frame.collect_schema().names()) for frame in frames)) - {"id"})
    narrow = [
        frame.select("id", pl.struct(common).hash().alias(name)) for frame, name in zip(frames, "ab", strict=True)
    ]
    total = dict.fromkeys((ADDED, REMOVED, CHANGED), 0)
    for part in parts("id", max(rows_in(before, "problems"), rows_in(after, "problems"))):
        a, b = (side.filter(part) for side in narrow)
        counts = a.join(b, on="id", how="full", coalesce=True).select(
            pl.col("a").is_null().sum().alias(ADDED),
            pl.col("b").is_null().sum().alias(REMOVED),
            (pl.col("a") != pl.col("b")).fill_null(False).sum().alias(CHANGED),
        )
        for name, count in counts.collect(engine="streaming").row(0, named=True).items():
            total[name] += int(count)
    return total


def changed_configs(before: Version, after: Version) -> list[str]:
    """Return the configs whose files differ."""
    sides: list[dict[str, list[str]]] = []
    for version in (before, after):
        configs: dict[str, list[str]] = {}
        for file in version.manifest.files:
            if file.config:
                configs.setdefault(file.config, []).append(file.sha256)
        sides.append(configs)
    return sorted(name for name in sides[0].keys() | sides[1].keys() if sides[0].get(name) != sides[1].get(name))


def rows_in(version: Version, config: str) -> int:
    """Return how many rows a config has, as the manifest says."""
    return version.manifest.rows_of(config)


def parts(key: str, rows: int) -> Iterator[pl.Expr]:
    """Return conditions that split so many rows into parts of about `PART_ROWS`; rows with the same key stay
    together.
    """
    count = max(1, -(-rows // PART_ROWS))
    return (pl.col(key).hash(seed=0) % count == part for part in range(count))


class _Comparison:
    """The traces of two versions, compared a part of the problems at a time."""

    def __init__(self, before: Version, after: Version, judged: dict[str, tuple[str, ...]], examples: int) -> None:
        self._judged = judged
        self._examples = examples
        self._samplers = [_samplers(before), _samplers(after)]
        self._sides = self._narrow(before, after)

    def groups(self, part: pl.Expr) -> Iterator[Group]:
        """Yield the differences among one part of the problems."""
        a, b = (side.filter(part) for side in self._sides)
        joined = a.join(b, on="id", how="full", suffix="_b").collect(engine="streaming")
        joined = joined.with_columns(
            pl.when(pl.col("id").is_null())
            .then(pl.lit(ADDED))
            .when(pl.col("id_b").is_null())
            .then(pl.lit(REMOVED))
            .otherwise(pl.lit(CHANGED))
            .alias("kind"),
            *(pl.coalesce(name, f"{name}_b").alias(f"key_{name}") for name in ("id", "problem_id", "sampler")),
            pl.coalesce("sample_index", "sample_index_b").alias("key_sample_index"),
            *(
                pl.any_horizontal(pl.lit(False), *(_differ(name) for name in columns)).alias(_differs(name))
                for name, columns in self._judged.items()
            ),
        )
        for row in self._counted(self._with_surroundings(joined)).iter_rows(named=True):
            yield self._group(row)

    def _narrow(self, before: Version, after: Version) -> list[pl.LazyFrame]:
        """Return the compared columns of both sides: long texts as hashes, and a column that one side lacks as all
        null.
        """
        sides = [version.scan("traces") for version in (before, after)]
        schemas = [side.collect_schema() for side in sides if side is not None]
        types = {name: kind for schema in schemas for name, kind in schema.items()}
        common = set.intersection(*(set(schema.names()) for schema in schemas)) if schemas else set()
        judged = dict.fromkeys(name for columns in self._judged.values() for name in columns)
        hashed = [name for name in judged if name not in _FATE]
        empty = pl.DataFrame(schema=types).lazy()

        def absent(name: str, kind: Any) -> pl.Expr:
            return pl.lit(None, kind).alias(name)

        columns = [
            pl.col(name) if name in common else absent(name, types.get(name, _TYPES.get(name, pl.String)))
            for name in (*_KEY, *_FATE)
        ]
        columns += [pl.col(name).hash() if name in common else absent(name, pl.UInt64) for name in hashed]
        return [(empty if side is None else side).select(columns) for side in sides]

    def _with_surroundings(self, joined: pl.DataFrame) -> pl.DataFrame:
        """Return the joined rows with what the other version has of the same problem and the same slot."""
        in_a, in_b = pl.col("id").is_not_null(), pl.col("id_b").is_not_null()
        slot = ("key_problem_id", "key_sampler", "key_sample_index")
        # Caps, near-duplicates and votes weigh right answers against each other; other traces displace nothing.
        proven = (pl.col("verdict") == _PROVEN) | (pl.col("verdict_b") == _PROVEN)
        judged = pl.any_horizontal(_differs(name) for name in self._judged)
        moved = ((pl.col("kind") != CHANGED) | judged) & proven.fill_null(False)
        added = pl.col("kind") == ADDED

        def on_the_other_side(group: str | tuple[str, ...]) -> pl.Expr:
            return pl.when(added).then(in_a.any().over(group)).otherwise(in_b.any().over(group))

        same = [_first_of(name, slot).eq_missing(_first_of(f"{name}_b", slot)) for name in _WRITER]
        return joined.with_columns(
            on_the_other_side("key_problem_id").alias("problem_known"),
            on_the_other_side(slot).alias("slot_known"),
            pl.all_horizontal(same).alias("same_model"),
            (moved.sum().over("key_problem_id") > moved.cast(pl.UInt32)).alias("siblings"),
        )

    def _counted(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return equal differences as one row, with their count and some examples."""
        differs = [_differs(name) for name in self._judged]
        fate = [name for column in _FATE for name in (column, f"{column}_b")]
        changed = rows.filter(
            (pl.col("kind") != CHANGED) | pl.any_horizontal(differs) | pl.any_horizontal(_differ(n) for n in _FATE)
        )
        keys = ["kind", *fate, *differs, "key_sampler", "problem_known", "slot_known", "same_model", "siblings"]
        example = pl.struct(pl.col("key_id").alias("id"), pl.col("key_problem_id").alias("problem_id"))
        return (
            changed.sort("key_id")
            .group_by(keys)
            .agg(pl.len().alias("count"), example.head(self._examples).alias("rows"))
        )

    def _group(self, row: dict[str, Any]) -> Group:
        kind = row["kind"]
        changed = kind == CHANGED
        other = self._samplers[0] if kind == ADDED else self._samplers[1]
        return Group(
            kind=kind,
            before={} if kind == ADDED else {name: row[name] for name in _FATE},
            after={} if kind == REMOVED else {name: row[f"{name}_b"] for name in _FATE},
            judged=tuple(name for name in self._judged if row[_differs(name)]) if changed else (),
            sampler=row["key_sampler"],
            problem_known=changed or row["problem_known"],
            slot_known=changed or row["slot_known"],
            sampler_known=row["key_sampler"] in other,
            same_model=changed or bool(row["same_model"]),
            siblings=bool(row["siblings"]) if changed else False,
            count=row["count"],
            rows=row["rows"],
        )


def _samplers(version: Version) -> set[str]:
    traces = version.scan("traces")
    if traces is None:
        return set()
    return set(traces.select(pl.col("sampler").unique()).collect(engine="streaming")["sampler"])


def _differs(name: str) -> str:
    """Return the column that says whether a filter's columns differ."""
    return f"differs_{name}"


def _differ(column: str) -> pl.Expr:
    return pl.col(column).ne_missing(pl.col(f"{column}_b"))


def _first_of(name: str, group: tuple[str, ...]) -> pl.Expr:
    return pl.col(name).drop_nulls().first().over(group)


def _identity(group: Group) -> dict[str, Any]:
    return {name: value for name, value in vars(group).items() if name not in ("count", "rows")}
