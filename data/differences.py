"""Two versions beside each other, row by row, from their folders alone.

Rows are joined by trace id, problems by problem id. A part of the problems at a time, so that memory is bounded by
`PART_ROWS` rows of the two versions and not by their length.
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
_PROVEN = "correct"  # the verdict of a trace that may take another one's place
_TYPES = {"sample_index": pl.Int32, "stage": pl.Int8}  # of what neither version has a column for; else text


@dataclass(frozen=True)
class Group:
    """Rows with the same difference.

    Attributes:
        kind: `added`, `removed` or `changed`.
        before, after: verdict, stage and drop_reason on either side; empty where the row is not there.
        judged: filters whose columns differ, in their order (changed rows only).
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


def judged_columns(before: Version, after: Version) -> dict[str, tuple[str, ...]]:
    """Columns of a trace by the filter that wrote them, as the manifests of the two versions name them."""
    columns: dict[str, tuple[str, ...]] = {}
    for version in (after, before):
        for record in version.manifest.filters:
            columns[record.name] = tuple(dict.fromkeys((*columns.get(record.name, ()), *record.adds)))
    return columns


def compare_traces(before: Version, after: Version, examples: int = 0) -> list[Group]:
    """Return every difference between the traces of two versions, equal ones gathered, the most frequent first."""
    comparison = _Comparison(before, after, judged_columns(before, after), examples)
    groups: dict[str, Group] = {}
    for part in parts("problem_id", max(rows_in(before, "traces"), rows_in(after, "traces"))):
        for group in comparison.groups(part):
            key = repr(_identity(group))
            known = groups.get(key)
            if known is None:
                groups[key] = group
            else:
                rows = (known.rows + group.rows)[:examples]
                groups[key] = Group(**_identity(group), count=known.count + group.count, rows=rows)
    order = {ADDED: 0, REMOVED: 1, CHANGED: 2}
    return sorted(groups.values(), key=lambda group: (order[group.kind], -group.count, repr(_identity(group))))


def compare_problems(before: Version, after: Version) -> dict[str, int]:
    """Return how many problems were added, removed, and have other columns under the same id."""
    sides = [version.scan("problems") for version in (before, after)]
    if any(side is None for side in sides):
        return {}
    one, two = ((side.collect_schema().names(), side) for side in sides if side is not None)
    common = sorted(set(one[0]) & set(two[0]) - {"id"})
    narrow = [side.select("id", pl.struct(common).hash().alias(name)) for side, name in ((one[1], "a"), (two[1], "b"))]
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
    """Conditions that part so many rows into pieces of about `PART_ROWS`, rows with the same key together."""
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
        """The differences among one part of the problems."""
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
            pl.coalesce("sample_index", "sample_index_b").alias("key_place"),
            *(
                pl.any_horizontal(pl.lit(False), *(_differ(name) for name in columns)).alias(_differs(name))
                for name, columns in self._judged.items()
            ),
        )
        for row in self._gathered(self._with_surroundings(joined)).iter_rows(named=True):
            yield self._group(row)

    def _narrow(self, before: Version, after: Version) -> list[pl.LazyFrame]:
        """Narrow columns of both sides: long ones are hashes, and a column that one side lacks differs nowhere."""
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
        """What else is known of a row's problem and place on the other side."""
        in_a, in_b = pl.col("id").is_not_null(), pl.col("id_b").is_not_null()
        place = ("key_problem_id", "key_sampler", "key_place")
        proven = (pl.col("verdict") == _PROVEN) | (pl.col("verdict_b") == _PROVEN)  # the others are in nobody's way
        judged = pl.any_horizontal(_differs(name) for name in self._judged)
        moved = ((pl.col("kind") != CHANGED) | judged) & proven.fill_null(False)
        added = pl.col("kind") == ADDED

        def on_the_other_side(of: str | tuple[str, ...]) -> pl.Expr:
            return pl.when(added).then(in_a.any().over(of)).otherwise(in_b.any().over(of))

        same = [_first_of(name, place).eq_missing(_first_of(f"{name}_b", place)) for name in _WRITER]
        return joined.with_columns(
            on_the_other_side("key_problem_id").alias("problem_known"),
            on_the_other_side(place).alias("slot_known"),
            pl.all_horizontal(same).alias("same_model"),
            (moved.sum().over("key_problem_id") > moved.cast(pl.UInt32)).alias("siblings"),
        )

    def _gathered(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Equal differences as one row, with their number and some examples."""
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
    """The column that says whether a filter's columns differ."""
    return f"differs_{name}"


def _differ(column: str) -> pl.Expr:
    return pl.col(column).ne_missing(pl.col(f"{column}_b"))


def _first_of(name: str, place: tuple[str, ...]) -> pl.Expr:
    return pl.col(name).drop_nulls().first().over(place)


def _identity(group: Group) -> dict[str, Any]:
    return {name: value for name, value in vars(group).items() if name not in ("count", "rows")}
