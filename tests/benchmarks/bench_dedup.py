"""Near-duplicates: a JSONL file in, a marked JSONL file out, against datasketch, text-dedup and datatrove.

    python tests/benchmarks/bench_dedup.py                                        # recall, precision, ratios
    python tests/benchmarks/bench_dedup.py --rows 100000 --skip-truth             # ratios
    python tests/benchmarks/bench_dedup.py --rows 100000 --flat 1000000 --only proofmill --repeat 1

Texts are real GSM8K sentences recombined, a part of them copied with words exchanged at several
rates. Every side is a process of its own, timed from start to exit, at equal threshold, permutations
and shingles: ours, a straightforward script with datasketch's `MinHash.bulk` and `MinHashLSH`,
text-dedup's MinHash command, and datatrove's MinHash pipeline with our bands (both on all processors;
`--peer-python` and `--datatrove-python` name interpreters of environments that have them). Ours runs
twice: with a worker a core, and held to one core, which is what the datasketch script uses. Printed are
texts/s, peak memory, the ratios, and our recall and precision against the exact Jaccard similarity of
all pairs. `--flat` prints how cost and memory a text change with the number of texts.

Of memory are told apart: what all processes of a side hold for themselves (anonymous), the pages of files that
they have mapped, programs among them, and temporary files; each at its peak, looked at twenty times a second.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import orjson
from watch import Watch

SEED, THRESHOLD, PERMUTATIONS, SHINGLE = 20, 0.8, 128, 5
EDIT_RATES = (0.0, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2)
GSM8K = Path(__file__).parents[2].parent / "shared" / "data" / "gsm8k_train.jsonl"
PEERS = {"text-dedup": ("text_dedup", "PEER_PYTHON"), "datatrove": ("datatrove", "DATATROVE_PYTHON")}
"""Module of a peer, and the variable that names an interpreter which has it."""


def make_texts(count: int) -> list[str]:
    """Half of the texts are new recombinations of about 100 words, the others edited copies of them."""
    rng = random.Random(SEED)
    lines = GSM8K.read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    sentences = [s for r in rows for s in re.split(r"(?<=[.?!\n])\s+", f"{r['question']} {r['answer']}") if s]
    texts: list[str] = []
    while len(texts) < count:
        base: list[str] = []
        while len(base) < 100:
            base += rng.choice(sentences).split()
        copies = rng.choice((0, 0, 0, 1, 1, 4))
        texts += [" ".join(_edited(base, rate, rng)) for rate in (0.0, *rng.choices(EDIT_RATES, k=copies))]
    rng.shuffle(texts)
    return texts[:count]


def _edited(words: list[str], rate: float, rng: random.Random) -> list[str]:
    return [rng.choice(words) if rng.random() < rate else word for word in words]


def side_datasketch(source: Path, out: Path) -> None:
    """The script one writes with datasketch's documentation at hand."""
    from datasketch import MinHash, MinHashLSH

    rows = [json.loads(line) for line in source.read_text().splitlines()]
    shingles = []
    for row in rows:
        words = row["text"].lower().split()
        count = max(len(words) - SHINGLE + 1, 1)
        shingles.append({" ".join(words[i : i + SHINGLE]).encode() for i in range(count)})
    lsh = MinHashLSH(threshold=THRESHOLD, num_perm=PERMUTATIONS)
    with out.open("w") as file:
        for row, signature in zip(rows, MinHash.bulk(shingles, num_perm=PERMUTATIONS), strict=True):
            near = lsh.query(signature)
            row["duplicate_of"] = near[0] if near else None
            if not near:
                lsh.insert(row["id"], signature, check_duplication=False)
            file.write(json.dumps(row) + "\n")


def side_text_dedup(source: Path, out: Path) -> None:
    """text-dedup's own command; it writes the kept rows as a `datasets` folder."""
    options = {
        "--path": "json", "--data_files": source, "--split": "train", "--cache_dir": out / "cache",
        "--output": out / "kept", "--column": "text", "--batch_size": 10_000, "--threshold": THRESHOLD,
        "--num_perm": PERMUTATIONS, "--ngram": SHINGLE, "--hash_func": "xxh3", "--num_proc": os.cpu_count(),
    }  # fmt: skip
    flat = [str(part) for pair in options.items() for part in pair]
    subprocess.run([os.environ["PEER_PYTHON"], "-m", "text_dedup.minhash", *flat], check=True, stderr=subprocess.PIPE)


def side_datatrove(source: Path, out: Path) -> None:
    """datatrove's pipeline, cut into our bands; it confirms no candidate."""
    from proofmill.filters.near_duplicates.signed_parts import PairRule

    script = str(Path(__file__).with_name("datatrove_minhash.py"))
    numbers = [str(number) for number in (*PairRule(THRESHOLD, None).bands(PERMUTATIONS), SHINGLE)]
    command = [os.environ["DATATROVE_PYTHON"], script, str(source), str(out), *numbers]
    subprocess.run(command, check=True, capture_output=True)


def side_proofmill(source: Path, out: Path) -> None:
    """The command, as a user types it."""
    program = str(Path(sys.executable).with_name("proofmill"))
    options = {
        "--out": out, "--text": "text", "--threshold": THRESHOLD, "--permutations": PERMUTATIONS,
        "--shingle-size": SHINGLE,
    }  # fmt: skip
    flat = [str(part) for pair in options.items() for part in pair]
    subprocess.run([program, "dedup", str(source), *flat], check=True, stdout=subprocess.DEVNULL)


def side_one_core(source: Path, out: Path) -> None:
    """The same, held to one core."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    side_proofmill(source, out)


SIDES = {
    "proofmill": side_proofmill,
    "proofmill, one core": side_one_core,
    "datasketch": side_datasketch,
    "text-dedup": side_text_dedup,
    "datatrove": side_datatrove,
}


def exact_pairs(texts: list[str]) -> set[tuple[int, int]]:
    """All pairs (i < j) with a Jaccard similarity of at least the threshold, by an inverted index."""
    holders: dict[str, list[int]] = collections.defaultdict(list)
    sizes: list[int] = []
    pairs: set[tuple[int, int]] = set()
    for j, text in enumerate(texts):
        words = text.lower().split()
        shingles = {" ".join(words[i : i + SHINGLE]) for i in range(max(len(words) - SHINGLE + 1, 1))}
        shared: collections.Counter[int] = collections.Counter()
        for shingle in shingles:
            shared.update(holders[shingle])
            holders[shingle].append(j)
        sizes.append(len(shingles))
        pairs |= {(i, j) for i, n in shared.items() if n >= THRESHOLD * (sizes[i] + sizes[j] - n)}
    return pairs


def report_truth(texts: list[str], out: Path) -> None:
    """Recall: exact pairs of which at most one row is kept. Precision: marks that are exact pairs."""
    marks = [int(m) if (m := orjson.loads(line)["duplicate_of"]) is not None else None for line in out.open("rb")]
    pairs = exact_pairs(texts)
    missed = sum(marks[i] is None and marks[j] is None for i, j in pairs)
    given = [(min(i, m), max(i, m)) for i, m in enumerate(marks) if m is not None]
    right = sum(pair in pairs for pair in given)
    say(f"exact pairs {len(pairs)}, marks {len(given)}")
    say(f"recall {1 - missed / len(pairs):.4f}  precision {right / len(given):.4f}")


def timed(side: str, source: Path, folder: Path) -> tuple[Cost, Path]:
    """What a whole process took, with all its children."""
    out = Path(tempfile.mkdtemp(dir=folder)) / "out.jsonl"
    begin, used = time.perf_counter(), _processor_seconds()
    command = [sys.executable, __file__, "--side", side, str(source), str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        watch = Watch(process.pid, out)
        said, _ = process.communicate()
    seconds = time.perf_counter() - begin
    watch.join()
    if process.returncode:
        raise SystemExit(f"{side} failed")
    return Cost(seconds, _processor_seconds() - used, float(said.split()[-1]), *watch.peaks), out


class Cost(NamedTuple):
    """What one run took.

    Attributes:
        clock: seconds.
        processor: seconds of all processors.
        peak: memory of its largest process, MiB.
        anonymous: memory that all its processes hold for themselves, MiB.
        mapped: pages of files that they have mapped, MiB.
        scratch: temporary files, MiB.
    """

    clock: float
    processor: float
    peak: float
    anonymous: float
    mapped: float
    scratch: float


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def sides() -> Iterator[str]:
    yield from ("proofmill", "proofmill, one core", "datasketch")
    for name, (module, variable) in PEERS.items():
        command = [os.environ[variable], "-c", f"import {module}"]
        if subprocess.run(command, stderr=subprocess.DEVNULL).returncode:
            say(f"{name} isn't installed: not compared")
        else:
            yield name


def say(text: str) -> None:
    sys.stdout.write(text + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--skip-truth", action="store_true", help="no comparison with all exact pairs")
    parser.add_argument("--only", help="run one side only")
    parser.add_argument("--flat", type=int, help="also ours on this many texts: cost and memory a text")
    for option, (name, (_, variable)) in zip(("--peer-python", "--datatrove-python"), PEERS.items(), strict=True):
        known = os.environ.get(variable, sys.executable)
        parser.add_argument(option, dest=variable, default=known, help=f"an interpreter that has {name}")
    parser.add_argument("--side", nargs=3, metavar=("SIDE", "IN", "OUT"), help="run one side in this process")
    options = parser.parse_args()
    if options.side:
        name, source, out = options.side
        SIDES[name](Path(source), Path(out))
        whose = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        say(f"peak MiB {max(resource.getrusage(who).ru_maxrss / 1024 for who in whose)}")
        return
    for _, variable in PEERS.values():  # for the sides, which are processes of their own
        os.environ[variable] = getattr(options, variable)
    with tempfile.TemporaryDirectory() as folder:
        compare(options, Path(folder))


def compare(options: argparse.Namespace, folder: Path) -> None:
    """Runs the sides in turn, `repeat` times, and prints the best time of each."""
    texts = make_texts(options.rows)
    source = write_texts(texts, folder)
    best: dict[str, Cost] = {}
    names = [side for side in sides() if options.only in (None, side)]
    for side in names * options.repeat:
        cost, out = timed(side, source, folder)
        best[side] = Cost(*map(min, zip(cost, best.get(side, cost), strict=True)))
        if side == "proofmill":
            ours = out
    for side in names:
        report_cost(side, best[side], options.rows)
    for side in names:
        if not side.startswith("proofmill"):
            report_ratios(side, best)
    if options.flat:
        report_flatness(options, best["proofmill"], folder)
    if not options.skip_truth:
        report_truth(texts, ours)


def write_texts(texts: list[str], folder: Path) -> Path:
    source = folder / f"texts-{len(texts)}.jsonl"
    with source.open("wb") as file:
        file.writelines(orjson.dumps({"id": str(i), "text": t}) + b"\n" for i, t in enumerate(texts))
    return source


def report_cost(side: str, cost: Cost, rows: int) -> None:
    say(
        f"{side:20} {cost.clock:7.2f} s {rows / cost.clock:9.0f} texts/s {cost.processor:7.2f} processor seconds"
        f" {cost.peak:7.0f} MiB in its largest process"
    )
    if side.startswith("proofmill"):
        apart = zip(("anonymous", "mapped", "temporary files"), cost[3:], strict=True)
        say(" " * 21 + "bytes a text: " + ", ".join(f"{mib * 2**20 / rows:.0f} {kind}" for kind, mib in apart))


def report_ratios(side: str, best: dict[str, Cost]) -> None:
    for mine in (name for name in best if name.startswith("proofmill")):
        clock, processor = (theirs / our for theirs, our in zip(best[side][:2], best[mine][:2], strict=True))
        say(f"{mine} is {clock:.1f} x as fast as {side}, {processor:.1f} x by processor time")


def report_flatness(options: argparse.Namespace, small: Cost, folder: Path) -> None:
    """Ours on more texts: what a text costs, beside what it costs in the smaller file; memory that each one adds."""
    big, _ = timed("proofmill", write_texts(make_texts(options.flat), folder), folder)
    clock, processor = (b / options.flat / (s / options.rows) for s, b in zip(small[:2], big[:2], strict=True))
    added = [(b - s) * 2**20 / (options.flat - options.rows) for s, b in zip(small[3:], big[3:], strict=True)]
    report_cost("proofmill", big, options.flat)
    say(
        f"a text costs {clock:.2f} of the time at {options.rows}, {processor:.2f} of the processor's; every further"
        f" text adds {added[0]:.0f} bytes of memory, {added[1]:.0f} of mapped files, {added[2]:.0f} of temporary files"
    )


if __name__ == "__main__":
    main()
