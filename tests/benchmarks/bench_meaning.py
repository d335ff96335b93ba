"""Items in other words: what is found by words alone, by the encoder alone, and by the encoder with numbers.

Run as `python tests/benchmarks/bench_meaning.py DATA`; DATA is a folder with benchmarks_math.jsonl (AIME, HMMT),
gsm8k_traces_6b.jsonl (problems of GSM8K's test split) and gsm8k_train.jsonl. `rewordings.jsonl` has 61 of the items
told in other words, by hand: reworded, with names and things changed that don't matter, or translated. A false mark
is one on a problem of GSM8K's train split; those of its own test split that say the same count as false here, too.
The encoder takes some minutes for the train split.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from proofmill.filters import meaning
from proofmill.filters.contamination import build_index
from proofmill.filters.meaning import Nearest
from proofmill.filters.overlap_index import words_of

ALLOWED = 0.01  # of the train split marked, at most
THRESHOLDS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0, 1.1)
Row = dict[str, Any]


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def rows(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def share(flags: Iterable[bool]) -> float:
    return float(np.mean(list(flags)))


def by_words(items: Sequence[str], texts: Sequence[str]) -> float:
    with tempfile.TemporaryDirectory() as folder:
        index = build_index([("set", str(n), text) for n, text in enumerate(items)], Path(folder) / "index")
        return share(match is not None for match in index.find_many(texts))


def curve(told: Sequence[Nearest | None], right: Sequence[int], others: Sequence[Nearest | None]) -> None:
    for threshold in THRESHOLDS:
        found = share(near is not None and near.nearness >= threshold for near in told)
        own = share(near is not None and near.nearness >= threshold and near.item == n
                    for near, n in zip(told, right, strict=True))  # fmt: skip
        false = share(near is not None and near.nearness >= threshold for near in others)
        say(f"    {threshold:4.2f}  found {found:6.1%}  by the right item {own:6.1%}  false {false:7.2%}"
              + ("  *" if found >= 0.9 and false <= ALLOWED else ""))  # fmt: skip


def compare(name: str, items: list[str], told: list[Row], train: list[str], train_vectors: Any) -> None:
    texts = [row["text"] for row in told]
    say(f"{name}: {len(items)} items, {len(texts)} of them in other words, {len(train)} other problems")
    say(f"  by words alone: found {by_words(items, texts):.1%}, false {by_words(items, train):.2%}")
    vectors, own = meaning.embed(items), [meaning.numbers(words_of(text)) for text in items]
    asked = meaning.embed(texts)
    for title, numbered in (("the encoder alone", False), ("with numbers, as proofmill does", True)):
        say(f"  {title}: nearness, found, false")
        of = [
            [meaning.numbers(words_of(text)) if numbered else frozenset() for text in part] for part in (texts, train)
        ]
        known = own if numbered else [frozenset()] * len(own)
        near = meaning.nearest(asked, of[0], vectors, known)
        curve(near, [row["item"] for row in told], meaning.nearest(train_vectors, of[1], vectors, known))
    for kind in sorted({row["kind"] for row in told}):
        part = [near for near, row in zip(near, told, strict=True) if row["kind"] == kind]
        default = meaning.MeaningOptions().threshold
        found = sum(item is not None and item.nearness >= default for item in part)
        say(f"  at the default {default}, {kind}: {found} of {len(part)}")


def main(folder: Path) -> None:
    told = rows(Path(__file__).with_name("rewordings.jsonl"))
    train = [row["question"] for row in rows(folder / "gsm8k_train.jsonl")]
    vectors = meaning.embed(train)
    sets = {
        "math": [row["problem"] for row in rows(folder / "benchmarks_math.jsonl")],
        "gsm8k": list(dict.fromkeys(row["question"] for row in rows(folder / "gsm8k_traces_6b.jsonl"))),
    }
    titles = {"math": "AIME and HMMT", "gsm8k": "GSM8K test (the same kind of problem as the others)"}
    for name, items in sets.items():
        compare(titles[name], items, [row for row in told if row["set"] == name], train, vectors)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
