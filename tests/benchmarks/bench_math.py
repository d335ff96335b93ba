"""Speed of the mathematics verifier on two workers against math-verify in one process.

    python tests/benchmarks/bench_math.py [rows]

Each set repeats its problems with several samples, as a run does: right, wrong and differently written
answers. Both sides judge the same rows in the same run; workers and imports are warm on both sides.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from math_verify import parse, verify  # type: ignore[import-untyped]

from proofmill.filters.domains.math import VERIFIER
from proofmill.filters.verdicts import Problem
from proofmill.filters.workers import WorkerPool

Row = tuple[str, str]  # gold, trace

_EXPRESSIONS = [
    (r"\frac{\sqrt{3}}{2}", r"\sqrt{3}/2", r"\frac{\sqrt{2}}{2}"),
    (r"9\sqrt{15}", r"\sqrt{1215}", r"9\sqrt{5}"),
    (r"1-\frac{2}{\pi}", r"\frac{\pi-2}{\pi}", r"1-\frac{\pi}{2}"),
    (r"(x+1)^2", r"x^2+2x+1", r"x^2+2x-1"),
    (r"\{1,2,3\}", r"\{3,2,1\}", r"\{1,2,4\}"),
    (r"(-\infty,2]", r"x \le 2", r"(-\infty,2)"),
    (
        r"\frac{-1+\sqrt{17}}{2}, \frac{-1-\sqrt{17}}{2}",
        r"\frac{-1\pm\sqrt{17}}{2}",
        r"\frac{1\pm\sqrt{17}}{2}",
    ),
    (r"(3,\frac{\pi}{2})", r"\left(3,\frac{\pi}{2}\right)", r"(3,\pi)"),
    (r"\ln 2", r"\frac{1}{2}\ln 4", r"\ln 3"),
    (r"2^{25}\cdot 26!", r"26!\cdot 2^{25}", r"2^{24}\cdot 26!"),
]


def _integers(count: int, rng: random.Random) -> list[Row]:
    golds = [str(rng.randrange(2000)) for _ in range(max(1, count // 8))]
    return [(gold, _trace(gold if rng.random() < 0.5 else str(rng.randrange(2000)))) for gold in _repeat(golds, count)]


def _fractions(count: int, rng: random.Random) -> list[Row]:
    golds = [(rng.randrange(1, 60), rng.randrange(2, 60)) for _ in range(max(1, count // 8))]
    rows = []
    for upper, lower in _repeat(golds, count):
        factor = rng.choice([1, 1, 2, 3])
        stated = (upper * factor, lower * factor) if rng.random() < 0.5 else (upper, lower + 1)
        rows.append((rf"\frac{{{upper}}}{{{lower}}}", _trace(rf"\frac{{{stated[0]}}}{{{stated[1]}}}")))
    return rows


def _expressions(count: int, rng: random.Random) -> list[Row]:
    """No fast path: each problem has its own numbers, so that nothing is cached across problems."""
    rows = []
    for index in range(count):
        gold, right, wrong = _EXPRESSIONS[index // 8 % len(_EXPRESSIONS)]
        shift = f"+{index // 80 + 11}" if gold[0] not in "({" and "," not in gold and gold[:2] != r"\{" else ""
        rows.append((gold + shift, _trace((right if rng.random() < 0.5 else wrong) + shift)))
    return rows


def _repeat(golds: list, count: int) -> list:  # type: ignore[type-arg]
    return [golds[index // 8 % len(golds)] for index in range(count)]


def _trace(answer: str) -> str:
    return f"Let us think step by step. First we simplify, then we add. So we get $\\boxed{{{answer}}}$."


def _peer(rows: list[Row]) -> list[bool]:
    return [bool(verify(parse(f"${gold}$"), parse(text))) for gold, text in rows]


def _ours(pool: WorkerPool) -> Callable[[list[Row]], list[bool]]:
    def judge(rows: list[Row]) -> list[bool]:
        verdicts = [VERIFIER.quick(Problem("math", "", gold), text) for gold, text in rows]
        slow = [index for index, verdict in enumerate(verdicts) if verdict is None]
        for index, verdict in zip(slow, pool.map([rows[index] for index in slow]), strict=True):
            verdicts[index] = verdict
        return [verdict is not None and verdict.verdict == "correct" for verdict in verdicts]

    return judge


def _seconds(judge: Callable[[list[Row]], list[bool]], rows: list[Row]) -> tuple[float, list[bool]]:
    began = time.perf_counter()
    verdicts = judge(rows)
    return time.perf_counter() - began, verdicts


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    rng = random.Random(0)
    mixed = (
        _integers(count * 35 // 100, rng) + _fractions(count * 35 // 100, rng) + _expressions(count * 30 // 100, rng)
    )
    sets = {"integers": _integers(count, rng), "70 % simple": mixed, "no fast path": _expressions(count, rng)}
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "bench_judge.py").write_text(
            "from proofmill.filters.domains.math import VERIFIER\n"
            "from proofmill.filters.verdicts import Problem\n"
            "def judge(row):\n    return VERIFIER.verify(Problem('math', '', row[0]), row[1])\n"
        )
        sys.path.insert(0, folder)
        with WorkerPool("bench_judge:judge", workers=2) as pool:
            pool.map([(r"\sqrt{2}", _trace(r"\sqrt{3}"))] * 64)
            _peer([(r"\sqrt{2}", _trace(r"\sqrt{3}"))])
            for name, rows in sets.items():
                ours, mine = _seconds(_ours(pool), rows)
                peer, theirs = _seconds(_peer, rows)
                agree = sum(a == b for a, b in zip(mine, theirs, strict=True))
                sys.stdout.write(
                    f"{name:>14}: {len(rows) / ours:9,.0f} rows/s, "
                    f"math-verify {len(rows) / peer:6,.0f} rows/s, "
                    f"ratio {peer / ours:6.1f}, same verdict {agree}/{len(rows)}\n"
                )


if __name__ == "__main__":
    main()
