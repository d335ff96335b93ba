"""What judging on a cluster costs: nodes on this machine, beside the same shards judged here.

    .venv/bin/python tests/benchmarks/bench_cluster.py            # 1, 2 and 4 nodes; a second of sleep stands for work
    .venv/bin/python tests/benchmarks/bench_cluster.py --nodes --engines 8       # only how fast one driver samples

The ratio of each line is the ideal time, all judges busy from the first second to the last, to the time measured; the
filters of the recipe run besides. The next line is without sleep: all nodes share this machine's cores, and its disk.
The last lines say how many samples of 2,000 characters the driver draws and records a second where engines cost
nothing, hosted in its own process and on nodes; a byte is a token, so no tokenizer counts.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from proofmill.data.tables import from_rows
from proofmill.flows.cluster import Judges, executor
from proofmill.flows.cluster_engines import NodeEngines
from proofmill.flows.context import RunRequest, open_run
from proofmill.flows.display import Progress
from proofmill.flows.ingest import ingest_problems
from proofmill.flows.pipeline import prepare
from proofmill.flows.recipe.load import parse
from proofmill.flows.recipe.schema import ClusterOptions, NodeEngineOptions
from proofmill.flows.sampling import SamplingStep
from proofmill.generators.engines.base import Engine
from proofmill.generators.engines.restarting import RestartingEngine
from proofmill.generators.models import Model
from proofmill.generators.problems.ingest import SHARD_PROBLEMS
from proofmill.generators.problems.problem import SourceDefaults, problem_row
from proofmill.generators.prompts import Message, PromptStyle
from proofmill.generators.sample_plan import SamplePlan
from proofmill.generators.sampler import Sampler
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


class PlainRenderer:
    """A chat template in one line; a byte is a token."""

    template_digest = "plain"

    def text(self, prompt: list[Message], arguments: dict[str, Any]) -> str:  # noqa: ARG002
        """Return the prompt's text."""
        return "".join(turn["content"] for turn in prompt)

    def tokens(self, text: str) -> list[int]:
        """Return a text's tokens."""
        return list(text.encode())


def sampled(home: Path, engine: Callable[[Progress], Engine], problems: int = 5120, n: int = 8) -> float:
    """Return how many samples a second a driver draws with an engine that costs nothing, once it is loaded."""
    style = PromptStyle(None, {"math": "{problem} Think step by step, and put the answer into a box."}, {}, {})
    model = Model("free", Path("nowhere"), "r1", "weights", "mit")
    plan = SamplePlan("free", model, PlainRenderer(), style, {}, {}, n, 0, None)  # type: ignore[arg-type]
    shards = []
    for start in range(0, problems, 512):
        rows = [{"prompt": f"How much is {number} + 1?", "answer": str(number)} for number in range(start, start + 512)]
        made = [problem_row(row, SourceDefaults("math", "s", "mit")) for row in rows]
        shards.append((f"{start:06}", from_rows((row for row in made if isinstance(row, dict)), SHARD_PROBLEMS)))
    progress = Progress()
    restarting = RestartingEngine(lambda: engine(progress), progress)
    try:
        restarting.ready()
        time.sleep(2.0 if progress.cluster.engines_wanted else 0.0)
        while progress.cluster.engines_up < progress.cluster.engines_wanted:
            restarting.poll(0.5)
        with plan.store(home) as store:
            started = time.perf_counter()
            for _ in Sampler(plan, store, lambda: restarting).run(iter(shards)):
                pass
            return problems * n / (time.perf_counter() - started)
    finally:
        restarting.close()


def sample_rates(nodes: ray_nodes.Nodes, folder: Path, count: int) -> Iterator[str]:
    """Yield what one driver samples a second with an engine beside it, and with engines on nodes."""
    free = partial(ray_nodes.FreeEngine, window=256, size=2000)
    yield f"{sampled(folder / 'own', lambda _: free()):,.0f} samples/s with an engine in the driver's process"
    nodes.add(engines=count)
    options = ClusterOptions(address=nodes.address, engines=NodeEngineOptions(cpus=1))
    rate = sampled(folder / "there", lambda progress: NodeEngines(options, free, 0, progress))
    yield f"{rate:,.0f} samples/s with {count} engines as actors on a node"


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, nargs="*", default=[1, 2, 4])
    parser.add_argument("--seconds", type=float, default=1.0, help="of sleep in each shard")
    parser.add_argument("--engines", type=int, default=8, help="that cost nothing")
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
        if given.nodes:
            ray_nodes.slow(0)
            nodes_seconds, shards = judged(samples, Path(folder) / "nodes", section, alive)
            here, count = judged(samples, Path(folder) / "here", {}, 1)
            there, here = nodes_seconds * alive / shards, here / count
            told = f"a judge takes {1000 * there:.0f} ms a shard on {alive} nodes, this process {1000 * here:.0f}"
            sys.stdout.write(f"without work: {told}\n")
        for line in sample_rates(nodes, Path(folder), given.engines):
            sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    main()
