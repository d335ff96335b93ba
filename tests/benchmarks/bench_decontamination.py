"""Recall of planted overlaps and false matches of the overlap index, on real problems.

Run as `python tests/benchmarks/bench_decontamination.py DATA`; DATA is a folder with benchmarks_math.jsonl,
HumanEval.jsonl.gz and gsm8k_train.jsonl. Every benchmark item is planted in real solutions in five disguises; an
item counts where ten of its words in a row are kept. The peer is a plain search for the untouched text.
"""

from __future__ import annotations

import random
import re
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from proofmill.data.rows_io import Located, read
from proofmill.filters.contamination import Benchmark, Index, build_index, items
from proofmill.filters.overlap_index import words_of

Disguise = Callable[[str, random.Random], str]
_MARKS = ("", ",", " --", "!", ";", " (", "**")


def every_other_case(text: str, _: random.Random) -> str:
    return "".join(sign.upper() if place % 2 else sign.lower() for place, sign in enumerate(text))


def punctuated(text: str, rng: random.Random) -> str:
    return " ".join(word + rng.choice(_MARKS) for word in re.sub(r"[$,.?!]", " ", text).split())


def some_changed(text: str, rng: random.Random) -> str:
    words = text.split(" ")
    for place in range(rng.randrange(10, 14), len(words), rng.randrange(11, 15)):
        words[place] = "otherwise"
    return " ".join(words)


DISGUISES: dict[str, Disguise] = {
    "verbatim": lambda text, _: text,
    "re-cased": every_other_case,
    "re-punctuated": punctuated,
    "words changed": some_changed,
    "all of it": lambda text, rng: every_other_case(punctuated(some_changed(text, rng), rng), rng),
}


def keeps_a_run(text: str, copy: str) -> bool:
    words, kept = words_of(text), words_of(copy)
    runs = {tuple(words[at : at + 10]) for at in range(len(words) - 9)}
    return any(tuple(kept[at : at + 10]) in runs for at in range(len(kept) - 9))


def planted(index: Index, texts: list[str], hosts: list[str], disguise: Disguise) -> tuple[int, int, int]:
    """Planted, found, and found by a plain search."""
    rng = random.Random(7)
    count = found = plain = 0
    for text in texts:
        copy = disguise(text, rng)
        if not keeps_a_run(text, copy):
            continue
        host = rng.choice(hosts)
        cut = rng.randrange(len(host))
        whole = f"{host[:cut]} {copy} {host[cut:]}"
        count, found, plain = count + 1, found + (index.find(whole) is not None), plain + (text in whole)
    return count, found, plain


def main(data: Path) -> None:
    benchmarks = [Benchmark(str(data / name)) for name in ("benchmarks_math.jsonl", "HumanEval.jsonl.gz")]
    known = list(items(benchmarks))
    rows = [found.row for found in read(str(data / "gsm8k_train.jsonl")) if isinstance(found, Located)]
    texts = [row[key] for row in rows for key in ("question", "answer")]
    with tempfile.TemporaryDirectory() as folder:
        index = build_index(known, Path(folder) / "index")
        for name, disguise in DISGUISES.items():
            count, found, plain = planted(index, [text for *_, text in known], texts[1::2], disguise)
            print(f"{name}: {found} of {count} found, {found / count:.2%}; a plain search {plain}")  # noqa: T201
        start = time.perf_counter()
        matches = [match for match in index.find_many(texts) if match]
        seconds = time.perf_counter() - start
        print(f"false matches: {len(matches)} of {len(texts):,} texts, {len(matches) / len(texts):.3%}")  # noqa: T201
        print(f"{len(texts) / seconds:,.0f} texts/s in one process")  # noqa: T201
        for match in matches:
            print(f"  {match.label}: {match.span!r}")  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]))
