"""Items in other words: what is found by words alone, by the encoder alone, and by all signs together.

Run as `python tests/benchmarks/bench_meaning.py DATA [EVERY]`; DATA is a folder with benchmarks_math.jsonl (AIME,
HMMT), gsm8k_traces_6b.jsonl (problems of GSM8K's test split) and gsm8k_train.jsonl. `rewordings.jsonl` has 101 of the
items told in other words, by hand: reworded, with names and things changed that don't matter, or translated. The
weights of the signs and the threshold were chosen on every second one, from the first; the others say what they are
worth. A false mark is one on a problem of GSM8K's train split; those of its own test split that say the same count as
false here, too. The encoder takes some minutes for the train split; with EVERY, one problem in so many of it is taken.
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
from proofmill.filters.meaning import Items, Nearest

ALLOWED = 0.01  # of the train split marked, at most
THRESHOLDS = (1.2, 1.3, 1.4, 1.5, 1.55, 1.6, 1.65, 1.7, 1.8, 2.0)
COSINES = (0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9)
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


def curve(
    thresholds: Sequence[float], told: Sequence[Nearest], right: Sequence[int], others: Sequence[Nearest]
) -> None:
    for threshold in thresholds:
        found = [near.nearness >= threshold for near in told]
        own = share(hit and near.item == n for hit, near, n in zip(found, told, right, strict=True))
        false = share(near.nearness >= threshold for near in others)
        say(f"    {threshold:4.2f}  found {share(found):6.1%} (chosen on {share(found[::2]):4.0%}, others "
            f"{share(found[1::2]):4.0%})  by the right item {own:6.1%}  false {false:7.2%}"
              + ("  *" if share(found) >= 0.9 and false <= ALLOWED else ""))  # fmt: skip


def by_cosine(texts: Any, items: Any) -> list[Nearest]:
    cosines = texts @ items.T
    return [Nearest(int(place), float(cosines[row, place])) for row, place in enumerate(cosines.argmax(1))]


def compare(name: str, items: list[str], told: list[Row], train: list[str], train_vectors: Any) -> None:
    texts, right = [row["text"] for row in told], [row["item"] for row in told]
    say(f"{name}: {len(items)} items, {len(texts)} of them in other words, {len(train)} other problems")
    say(f"  by words alone: found {by_words(items, texts):.1%}, false {by_words(items, train):.2%}")
    vectors, asked = meaning.embed(items), meaning.embed(texts)
    say("  the encoder alone: cosine, found, false")
    curve(COSINES, by_cosine(asked, vectors), right, by_cosine(train_vectors, vectors))
    say("  all signs, as proofmill does: nearness, found, false")
    known = Items(vectors, meaning.crowding(vectors), items)
    near = [found for found in known.nearest(asked, texts) if found]
    curve(THRESHOLDS, near, right, [found for found in known.nearest(train_vectors, train) if found])
    default = meaning.MeaningOptions().threshold
    for kind in sorted({row["kind"] for row in told}):
        part = [found for found, row in zip(near, told, strict=True) if row["kind"] == kind]
        say(f"  at the default {default}, {kind}: {sum(i.nearness >= default for i in part)} of {len(part)}")


def main(folder: Path, every: int = 1) -> None:
    told = rows(Path(__file__).with_name("rewordings.jsonl"))
    train = [row["question"] for row in rows(folder / "gsm8k_train.jsonl")[::every]]
    vectors = meaning.embed(train)
    sets = {
        "math": [row["problem"] for row in rows(folder / "benchmarks_math.jsonl")],
        "gsm8k": list(dict.fromkeys(row["question"] for row in rows(folder / "gsm8k_traces_6b.jsonl"))),
    }
    titles = {"math": "AIME and HMMT", "gsm8k": "GSM8K test (the same kind of problem as the others)"}
    for name, items in sets.items():
        compare(titles[name], items, [row for row in told if row["set"] == name], train, vectors)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:3]))
