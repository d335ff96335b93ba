"""Near-duplicate marks of many real texts: the same as an earlier commit's `mark`, at what cost beside it.

    python tests/benchmarks/bench_marks.py --rows 1000000 --against 3ad600a    # earlier commits: marks, time, memory
    python tests/benchmarks/bench_marks.py --rows 100000                       # this one alone

Rows are windows of real responses, eight to a problem. Some problems are crowded with edited copies of one text, some
rows repeat a row of another problem, 30 % are boilerplate from three texts, half of it edited; an eighth of the rows is
an earlier version, of which a fifth comes again under its id. Each side is a process of its own, with its workers.

Until 3ad600a a caller left out rows of earlier versions that come again; here that is done for such a side.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from watch import Watch

from proofmill.filters.near_duplicates.duplicates import marks
from proofmill.filters.near_duplicates.minhash import DedupOptions, signatures
from proofmill.filters.workers import WorkerPool

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "data"
FILE_ROWS = 8192
BOILERPLATE, CROWDED, EARLIER, AGAIN = 0.3, 0.02, 0.125, 0.2
OPTIONS = DedupOptions()


def real_texts() -> list[list[str]]:
    """Return the words of real responses."""
    texts = [json.loads(line)["solution"] for line in (SHARED / "gsm8k_traces_6b.jsonl").open()]
    for path in sorted((SHARED / "real").glob("*.jsonl.gz")):
        with gzip.open(path, "rt") as file:
            texts += [json.loads(line).get("response", "") for line in file]
    return [words for text in texts if text and len(words := text.split()) > 40]


def rows_of(count: int, texts: list[list[str]], rng: random.Random) -> Iterator[dict[str, Any]]:
    """Yield rows, all of a problem one after the other."""
    boilerplate = [_window(texts, rng) for _ in range(3)]
    recent: list[list[str]] = []
    made = number = 0
    while made < count:
        crowded = rng.random() < CROWDED * 8 / 300
        base = _window(texts, rng)
        for _ in range(300 if crowded else 8):
            kind = rng.random()
            if kind < BOILERPLATE:
                words = rng.choice(boilerplate)
                words = words if rng.random() < 0.5 else _edited(words, 0.01, rng)
            elif crowded or kind < BOILERPLATE + 0.1:
                words = _edited(base, rng.choice((0.0, 0.005, 0.02, 0.05)), rng)
            elif kind < BOILERPLATE + 0.15 and recent:
                words = _edited(rng.choice(recent), rng.choice((0.0, 0.005, 0.01, 0.05)), rng)
            else:
                words = _window(texts, rng)
            recent.append(words)
            yield {
                "id": f"{number:08}-{made:09}",
                "problem_id": f"p{number}",
                "text": " ".join(words),
                "verified": rng.random() < 0.7,
                "claim_score": rng.choice((None, 1.0, rng.random())),
            }
            made += 1
        recent = recent[-5000:]
        number += 1


def _window(texts: list[list[str]], rng: random.Random) -> list[str]:
    words = rng.choice(texts)
    start = rng.randrange(max(1, len(words) - 40))
    return words[start : start + rng.randrange(40, 200)]


def _edited(words: list[str], rate: float, rng: random.Random) -> list[str]:
    return [rng.choice(words) if rng.random() < rate else word for word in words]


def sign(chunk: tuple[list[dict[str, Any]], Path]) -> None:
    """Write the signature file of some rows. Runs inside a worker."""
    rows, path = chunk
    table = signatures([row["text"] for row in rows], OPTIONS)
    for name, kind in (
        ("id", pa.string()),
        ("problem_id", pa.string()),
        ("verified", pa.bool_()),
        ("claim_score", pa.float32()),
    ):
        table = table.append_column(name, pa.array([row[name] for row in rows], kind))
    pq.write_table(table.append_column("length", pa.array([len(row["text"]) for row in rows], pa.int64())), path)


def write_rows(count: int, folder: Path) -> None:
    """Write signature files: of the rows, and of an earlier version."""
    rng = random.Random(1)
    rows = rows_of(count, real_texts(), rng)
    earlier = int(count * EARLIER)
    chunks: list[tuple[list[dict[str, Any]], Path]] = []
    again: list[dict[str, Any]] = []
    with WorkerPool(
        f"{__name__ if __name__ != '__main__' else 'bench_marks'}:sign", cpu_seconds=600, memory_mb=8192
    ) as pool:
        for start in range(0, count, FILE_ROWS):
            size = min(FILE_ROWS, count - start)
            part = [next(rows) for _ in range(size)]
            old = start < earlier
            if old:
                again += [row for row in part if rng.random() < AGAIN]
            else:
                part, again = again + part, []
            chunks.append((part, folder / f"{'old' if old else 'new'}-{start:010}.parquet"))
            if len(chunks) == 16:
                pool.map(chunks)
                chunks = []
        pool.map(chunks)


def own_side(folder: Path, out: Path, workers: int) -> None:
    """Mark with this program."""
    new, old = sorted(folder.glob("new-*")), sorted(folder.glob("old-*"))
    with WorkerPool("proofmill.filters.workers:call", workers=workers, cpu_seconds=3600, memory_mb=1 << 20) as pool:
        tasks = (lambda function, items: pool.map([(function, item) for item in items])) if workers > 1 else None
        found = marks(new, OPTIONS, previous=old, scratch=out.parent, **({"tasks": tasks} if tasks else {}))
        pq.write_table(pa.concat_tables(found), out)


def former_side(folder: Path, out: Path, commit: str) -> None:
    """Mark with the `mark` of an earlier commit."""
    new, old = sorted(folder.glob("new-*")), sorted(folder.glob("old-*"))
    ids = pa.chunked_array([chunk for path in new for chunk in pq.read_table(path, columns=["id"])["id"].chunks])

    def previous() -> Iterator[pa.Table]:
        for path in old:
            table = pq.read_table(path)
            yield table.filter(pc.invert(pc.is_in(table["id"], value_set=ids)))

    for name in ("signature_join", "duplicates"):
        place = f"filters/near_duplicates/{name}.py"
        command = ["git", "-C", str(ROOT), "show", f"{commit}:{place}"]
        source = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        source = source.split("\ndef annotate(")[0].replace(
            "proofmill.filters.near_duplicates.signature_join", "former_signature_join"
        )
        module = types.ModuleType(f"former_{name}")
        sys.modules[module.__name__] = module
        exec(compile(source, place, "exec"), vars(module))  # noqa: S102 (this project's own code)
    pq.write_table(module.mark(new, OPTIONS, previous=previous(), scratch=out.parent), out)


def timed(side: str, folder: Path, *arguments: str) -> pa.Table:
    """Return the marks of a side, and print what it took."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        out = Path(scratch) / "marks.parquet"
        begin, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [sys.executable, __file__, "--side", side, str(folder), str(out), *arguments]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            watch = Watch(process.pid, out)
            said, _ = process.communicate()
        seconds, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
        watch.join()
        if process.returncode:
            raise SystemExit(f"{side} failed")
        used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        table = pq.read_table(out)
    files = watch.peaks[2] * 2**20 / len(table)
    say(f"{side} {' '.join(arguments)}: {seconds:.1f} s, {used:.1f} processor seconds; {said.strip()}")
    say(f"    temporary files: {files:.0f} bytes a row at their peak")
    return table


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--against", help="an earlier commit")
    parser.add_argument("--keep", type=Path, help="folder for the signature files, used again")
    parser.add_argument(
        "--side", nargs=4, metavar=("SIDE", "IN", "OUT", "ARGUMENT"), help="run one side in this process"
    )
    given = parser.parse_args()
    if given.side:
        run_side(*given.side)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.keep or Path(temporary) / "signed"
        folder.mkdir(exist_ok=True)
        if not any(folder.iterdir()):
            write_rows(given.rows, folder)
        own = timed("own", folder, str(given.workers))
        repeats, again = len(own) - own["duplicate_of"].null_count, pc.sum(own["in_previous"]).as_py()
        say(f"{len(own):,} rows, {repeats:,} repeat another, {again:,} of them one of an earlier version")
        if given.against:
            say(f"marks equal: {own.equals(timed('former', folder, given.against))}")


def run_side(side: str, folder: str, out: str, argument: str) -> None:
    """Run a side in this process, and print its memory."""
    before = _peak()
    if side == "own":
        own_side(Path(folder), Path(out), int(argument))
    else:
        former_side(Path(folder), Path(out), argument)
    say(f"{_peak():.0f} MiB in the process that decides, {before:.0f} of them before it began")


def _peak() -> float:
    """Return the most memory that this process has had, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def say(text: str) -> None:
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
