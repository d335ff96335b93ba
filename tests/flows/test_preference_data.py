"""Pairs of all shards in one order."""

from __future__ import annotations

import random
from pathlib import Path

import pyarrow as pa

from proofmill.data.schemas import pairs
from proofmill.data.tables import from_rows
from proofmill.flows import preference_data
from proofmill.flows.preference_data import hard_first


def test_hard_pairs_come_first_whatever_their_shard(tmp_path: Path) -> None:
    chance = random.Random(5)
    shards = []
    for shard in range(7):
        rows = [
            {
                "prompt": "p" * chance.randrange(90),
                "problem_id": f"{shard}-{row}",
                "pass_rate": chance.choice([None, 0.0, 0.25, 0.75]),
                "rejected_share": chance.choice([None, 0.5, 1.0]),
            }
            for row in range(chance.choice([0, 1, 500]))
        ]
        shards.append(rows)
    other = pa.table({"id": ["a"]})
    tables = [("rl", other), *(("pairs", from_rows(rows, pairs("text"))) for rows in shards), ("rl", other)]
    found = list(hard_first(tables, tmp_path / "pairs.arrow"))
    assert [name for name, _ in found[:2]] == ["rl", "rl"], "nothing else waits"
    assert max(table.num_rows for _, table in found) <= preference_data._TOGETHER
    ordered = [row for _, table in found[2:] for row in table.to_pylist()]
    last = 2.0
    expected = sorted(
        (row for rows in shards for row in rows),
        key=lambda row: (
            last if row["pass_rate"] is None else row["pass_rate"],
            last if row["rejected_share"] is None else -row["rejected_share"],
        ),
    )
    assert len(ordered) > preference_data._TOGETHER
    assert [(row["problem_id"], row["prompt"]) for row in ordered] == [
        (row["problem_id"], row["prompt"]) for row in expected
    ]
