"""Pairs of all shards in one order."""

from __future__ import annotations

import random
from pathlib import Path

from proofmill.data.schemas import pairs
from proofmill.data.tables import from_rows
from proofmill.flows.preference_data import PAIRS_TOGETHER, hard_first, pairs_in_order, write_pairs


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
    written = [
        write_pairs(tmp_path / f"{number}.pairs", from_rows(rows, pairs("text")))
        for number, rows in enumerate(shards)
        if rows
    ]
    found = list(pairs_in_order([file.path for file in written], hard_first(written)))
    assert max(table.num_rows for table in found) <= PAIRS_TOGETHER
    ordered = [row for table in found for row in table.to_pylist()]
    last = 2.0
    expected = sorted(
        (row for rows in shards for row in rows),
        key=lambda row: (
            last if row["pass_rate"] is None else row["pass_rate"],
            last if row["rejected_share"] is None else -row["rejected_share"],
        ),
    )
    assert len(ordered) > PAIRS_TOGETHER
    assert [(row["problem_id"], row["prompt"]) for row in ordered] == [
        (row["problem_id"], row["prompt"]) for row in expected
    ]
