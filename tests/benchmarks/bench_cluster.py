"""What judging on a cluster costs: nodes on this machine, beside the same shards judged here.

    .venv/bin/python tests/benchmarks/bench_cluster.py            # 1, 2 and 4 nodes; a second of sleep stands for work

The ratio of each line is the ideal time, all judges busy from the first second to the last, to the time measured; the
filters of the recipe run besides. The last line is without sleep: all nodes share this machine's cores, and its disk.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from proofmill.flows.cluster import Judges, executor
from proofmill.flows.context import RunRequest, open_run
from proofmill.flows.ingest import ingest_problems
from proofmill.flows.pipeline import prepare
from proofmill.flows.recipe.load import parse
from proofmill.flows.sampling import SamplingStep
from support import ray_nodes
from support.samples import replay_recipe, sums, write_jsonl


def judged(samples: Path, home: Path, cluster: dict[str, Any], seats: int) -> tuple[float, int]:
    """Return the seconds that the shards take once all judges have begun, and their number."""
    slow = [{"use": "support.ray_nodes:SLOW"}]
    recipe = parse(replay_recipe(samples, cluster=cluster, filters=slow))
    with open_run(RunRequest(recipe, home)) as run, executor(run) as judges, ExitStack() as stack:
        prepare(run)
        pairs = list(SamplingStep(run, ingest_problems(run).shards).finished_shards())
        pool = stack.enter_context(ThreadPoolExecutor(4 * seats))
        while isinstance(judges, Judges) and len(judges._idle) < seats:  # until every node has passed its check
            time.sleep(0.1)
        list(pool.map(lambda pair: judges.annotate(*pair), pairs[:seats]))  # starts each judge's worker processes
        started = time.perf_counter()
        list(pool.map(lambda pair: judges.annotate(*pair), pairs[seats:]))
        return time.perf_counter() - started, len(pairs) - seats


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--seconds", type=float, default=1.0, help="of sleep in each shard")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ray_nodes.nodes() as nodes:
        samples = write_jsonl(Path(folder) / "samples.jsonl", sums(40))
        section = {"address": nodes.address, "judges": {"memory_gb": ray_nodes.JUDGE_GB}, "silence_s": 600}
        alive = 0
        for count in given.nodes:
            while alive < count:
                nodes.add()
                alive += 1
            ray_nodes.slow(given.seconds)
            seconds, shards = judged(samples, Path(folder) / f"home-{count}", section, count)
            ideal = given.seconds * -(-shards // count)
            ratio = ideal / seconds
            sys.stdout.write(
                f"{count} nodes: {shards} shards in {seconds:.2f} s, {ratio:.2f} of the ideal {ideal:g} s\n"
            )
        ray_nodes.slow(0)
        nodes_seconds, shards = judged(samples, Path(folder) / "nodes", section, alive)
        here, count = judged(samples, Path(folder) / "here", {}, 1)
        there, here = nodes_seconds * alive / shards, here / count
        told = f"a judge takes {1000 * there:.0f} ms a shard on {alive} nodes, this process {1000 * here:.0f}"
        sys.stdout.write(f"without work: {told}\n")


if __name__ == "__main__":
    main()
