"""Tokens a second of the whole pipeline beside vLLM alone, on the same prompts, seeds and settings.

    python tests/benchmarks/bench_sampling.py [PROBLEMS]

Both sides run in processes of their own, one after the other, each timed from its first request to its last
token: the pipeline as `proofmill regenerate quickstart --limit PROBLEMS` in a fresh HOME, vLLM as one call of
`LLM.chat` that is given all prompts at once.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from proofmill.flows.context import RunRequest, open_run
from proofmill.flows.ingest import ingest_problems
from proofmill.flows.recipe.load import load

_BARE = """
import json, sys, time
job = json.loads(sys.stdin.read())
from vllm import LLM, SamplingParams
llm = LLM(**job["engine"])
params = [SamplingParams(**job["sampling"], seed=seed) for seed in job["seeds"]]
started = time.monotonic()
outputs = llm.chat(job["prompts"], params, use_tqdm=False)
seconds = time.monotonic() - started
print(json.dumps({"tokens": sum(len(o.outputs[0].token_ids) for o in outputs), "seconds": seconds}))
"""


def pipeline(home: Path, problems: int) -> dict[str, float]:
    """Runs the main job and reads what it says of its own rate."""
    subprocess.run(
        [sys.executable, "-m", "proofmill.flows.cli", "regenerate", "--home", str(home), "--limit", str(problems)],
        check=True,
    )
    rates: dict[str, dict[str, float]] = json.loads((home / "runs" / "quickstart" / "rates.json").read_text())[
        "samplers"
    ]
    (rate,) = rates.values()
    return rate


def bare(home: Path, problems: int) -> dict[str, float]:
    """Gives vLLM all prompts of that run at once, with the same engine arguments."""
    from proofmill.generators.prompts import messages
    from proofmill.generators.sample_plan import rendered, sample_seed

    with open_run(RunRequest(load("quickstart"), home, problems)) as run:
        (plan,) = run.models.plans
        prompts, seeds = [], []
        for shard in ingest_problems(run).shards:
            table = run.store.read(shard.problems)
            digests = rendered(plan, table)
            for problem in table.to_pylist():
                for index in range(plan.n if problem["id"] in digests else 0):
                    prompts.append(messages(plan.style, problem))
                    seeds.append(sample_seed(plan.seed, digests[problem["id"]][0], index))
        engine = run.models.engine_facts()[plan.name]["details"] | {"model": str(plan.model.path)}
    job = {"prompts": prompts, "seeds": seeds, "engine": engine, "sampling": dict(plan.sampling)}
    settings = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "OMP_NUM_THREADS": str(os.cpu_count())}
    done = subprocess.run(
        [sys.executable, "-c", _BARE],
        input=json.dumps(job),
        env={"VLLM_CPU_KVCACHE_SPACE": "4", **os.environ, **settings},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    result: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def main() -> None:
    """Prints both rates and their ratio."""
    problems = int(sys.argv[1]) if len(sys.argv) > 1 else 48
    with tempfile.TemporaryDirectory() as folder:
        ours = pipeline(Path(folder), problems)
        theirs = bare(Path(folder), problems)
    rate = theirs["tokens"] / theirs["seconds"]
    sys.stdout.write(
        f"pipeline {ours['tokens_per_second']:.1f} tokens/s ({ours['tokens']:.0f} tokens), "
        f"LLM.chat {rate:.1f} tokens/s ({theirs['tokens']} tokens), "
        f"ratio {ours['tokens_per_second'] / rate:.3f}\n"
    )


if __name__ == "__main__":
    main()
