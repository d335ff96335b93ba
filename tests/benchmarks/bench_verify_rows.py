"""`proofmill verify` over many trivial rows: rows/s, and the most memory all its processes held at once.

    python tests/benchmarks/bench_verify_rows.py [--rows 1000000] [--kind jsonl]

The peer is one process that reads every row with orjson, calls `math_verify.verify(parse, parse)` on it and
writes it, timed on a part of the rows in the same run.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import orjson
import psutil


def make_rows(path: Path, rows: int) -> None:
    """Sums with integer answers; every fifth is wrong."""
    with path.open("wb") as file:
        for i in range(rows):
            a, b = i, i * 7919 % 9973
            stated = a + b + (i % 5 == 0)
            row = {
                "id": str(i),
                "domain": "math",
                "prompt": f"How much is {a} + {b}?",
                "answer": str(a + b),
                "response": f"I add {a} and {b}, which gives {stated}. The answer is \\boxed{{{stated}}}.",
            }
            file.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))


def measured(command: list[str]) -> tuple[float, float, float]:
    """Seconds by the clock, processor seconds and the peak of the summed resident memory in MiB of a command."""
    began = time.perf_counter()
    process = psutil.Popen(command)
    peak, used = 0.0, 0.0
    while process.poll() is None:
        try:
            family = [process, *process.children(recursive=True)]
        except psutil.NoSuchProcess:
            break
        costs = [_cost(member) for member in family]
        peak = max(peak, sum(memory for memory, _ in costs) / 2**20)
        used = max(used, sum(seconds for _, seconds in costs))
        time.sleep(0.1)
    if process.wait():
        sys.exit(f"{' '.join(command)} failed")
    return time.perf_counter() - began, used, peak


def _cost(process: psutil.Process) -> tuple[float, float]:
    """Bytes of resident memory and processor seconds; nothing of a process that has just ended."""
    try:
        times = process.cpu_times()
        return process.memory_info().rss, times.user + times.system
    except psutil.Error:
        return 0.0, 0.0


def peer(source: Path, rows: int) -> float:
    """Rows/s of the plain script, over the first rows."""
    from math_verify import parse, verify  # type: ignore[import-untyped]

    began = time.perf_counter()
    with source.open("rb") as lines, source.with_suffix(".peer").open("wb") as out:
        for line, _ in zip(lines, range(rows), strict=False):
            row = orjson.loads(line)
            row["correct"] = verify(parse(row["answer"]), parse(row["response"]))
            out.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
    return rows / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--peer-rows", type=int, default=2000, help="how many of them the peer judges")
    parser.add_argument("--kind", default="jsonl", help="extension of the written file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder, "rows.jsonl"), Path(folder, f"judged.{options.kind}")
        make_rows(source, options.rows)
        theirs = peer(source, options.peer_rows)
        program = str(Path(sys.executable).with_name("proofmill"))
        seconds, used, peak = measured([program, "verify", str(source), "--out", str(out)])
        if options.kind == "jsonl":
            with out.open("rb") as lines:
                verdicts = Counter(orjson.loads(line)["verdict"] for line in lines)
            say(f"verdicts: {dict(verdicts)}")
        say(f"{options.rows / seconds:,.0f} rows/s ({seconds:.1f} s by the clock, {used:.1f} s of processor time)")
        say(f"peak resident memory of all processes together: {peak:,.0f} MiB")
        say(f"{options.rows / seconds / theirs:.0f} x math_verify in one process ({theirs:,.0f} rows/s)")


def say(text: str) -> None:
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
