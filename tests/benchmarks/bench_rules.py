"""Rows a second, in one process, of the domains that are judged by rule.

Run as `python tests/benchmarks/bench_rules.py`. The peer is `str.split` on the same texts, so that figures
from different machines compare.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from proofmill.filters.domains.choice import VERIFIER as CHOICE
from proofmill.filters.domains.instruction import VERIFIER as INSTRUCTION
from proofmill.filters.verdicts import Problem

OPTIONS = ["London", "Paris", "Paris, Texas", "Rome"]
CONSTRAINTS: list[dict[str, Any]] = [
    {"kind": "length", "max": 150},
    {"kind": "keywords", "include": ["river"], "exclude": ["lake"]},
    {"kind": "items", "exactly": 2},
    {"kind": "format", "format": "no_commas"},
]
TEXT = "The town lies on a river that runs to the sea and has a tower. " * 7
CHOICE_TEXT = TEXT + "\nThe answer is (B) Paris."
INSTRUCTION_TEXT = TEXT + "\n- one\n- two"


def rate(work: Callable[[], object], seconds: float = 1.0) -> float:
    done, start = 0, time.perf_counter()
    while (spent := time.perf_counter() - start) < seconds:
        for _ in range(500):
            work()
        done += 500
    return done / spent


def main() -> None:
    choice = Problem("choice", "?", "B", {"options": OPTIONS})
    instruction = Problem("instruction", "?", None, {"constraints": CONSTRAINTS})
    peer = rate(lambda: CHOICE_TEXT.split())
    for name, work in {
        "choice": lambda: CHOICE.quick(choice, CHOICE_TEXT),
        "instruction (4 constraints)": lambda: INSTRUCTION.quick(instruction, INSTRUCTION_TEXT),
    }.items():
        found = rate(work)
        print(f"{name}: {found:,.0f} rows/s, {found / peer:.3f} x str.split on the same 100-word text")  # noqa: T201


if __name__ == "__main__":
    main()
