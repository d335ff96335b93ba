"""What it costs to read published versions again: `show`, `diff`, `report` and their kind, by number of traces.

    python tests/benchmarks/bench_versions.py --rows 50000 --times 4 --times 20

The traces of `bench_scale.py` are published twice: version 1, and version 2 with another cap. `--times` measures both
again with every row so many times, under other ids: reading does not mind where they come from. Memory
is the peak of anonymous pages of the command, sampled fifty times a second, and beside it its largest resident set,
which also counts pages of the files it reads: the system takes those back when it needs them.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from bench_scale import say, traces
from watch import resident

from proofmill.data.files import write_json
from proofmill.data.manifest import MANIFEST, FileEntry
from proofmill.data.tables import batches, write_groups, writer
from proofmill.data.versions import find

NAME = "scale"
IDS = ("id", "problem_id", "trace_id", "duplicate_of")
COMMANDS = {
    "show": ["show", f"{NAME}@v1"],
    "show --samples 2": ["show", f"{NAME}@v1", "--samples", "2"],
    "show --refuted 5": ["show", f"{NAME}@v1", "--refuted", "5"],
    "show --dropped all": ["show", f"{NAME}@v1", "--dropped", "all", "--samples", "2"],
    "show --check": ["show", f"{NAME}@v1", "--check"],
    "diff": ["diff", f"{NAME}@v1", f"{NAME}@v2", "--rows", "3"],
    "diff, same": ["diff", f"{NAME}@v1", f"{NAME}@v1"],
    "report": ["report", f"{NAME}@v1", "--out", "report.html"],
}


class Cost(NamedTuple):
    """One command: seconds, peak anonymous and peak resident bytes."""

    seconds: float
    own: int
    resident: int


def proofmill(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "proofmill.flows.cli", *arguments]


def publish(rows: int, claims: str, scratch: Path) -> Path:
    """A HOME with two versions of one data set."""
    home, source, recipe = scratch / f"home-{rows}", scratch / f"traces-{rows}.jsonl", scratch / f"{rows}.yaml"
    if not source.exists():
        with source.open("wb") as file:
            file.writelines(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in traces(rows, 2000, None))
    sampler = {"engine": {"kind": "replay", "files": [str(source)]}}
    recipe.write_bytes(orjson.dumps({"name": NAME, "samplers": [sampler], "claims": {"scope": claims}}))
    for number, cap in enumerate((4, 2), start=1):
        if not (home / "datasets" / NAME / f"v{number:04d}" / "manifest.json").exists():
            command = proofmill(
                "regenerate", str(recipe), "--home", str(home), "--set", f"select.max_per_problem={cap}"
            )
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return home


def repeated(home: Path, times: int, scratch: Path) -> Path:
    """A HOME with the same versions, every row `times` times under other ids."""
    larger = scratch / f"{home.name}-times-{times}"
    for number in (1, 2):
        version = find(home, f"{NAME}@v{number}")
        folder = larger / "datasets" / NAME / version.folder.name
        if (folder / "manifest.json").exists():
            continue
        files = []
        for path in sorted(version.folder.rglob("*.parquet")):
            target = folder / path.relative_to(version.folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            rows = 0
            with writer(target, pq.read_schema(path)) as file:
                for turn in range(times):
                    for batch in batches(path):
                        write_groups(file, _renamed(batch, turn))
                        rows += batch.num_rows
            files.append(FileEntry.of(folder, target, rows))
        write_json(folder / MANIFEST, version.manifest.replaced(files=files).to_json())
    return larger


def _renamed(table: pa.Table, turn: int) -> pa.Table:
    for place, name in enumerate(table.column_names):
        if name in IDS:
            ids = pc.binary_join_element_wise(table[name], f"-{turn}", "")
            table = table.set_column(place, table.schema.field(place), ids)
    return table


def measure(arguments: list[str], home: Path, scratch: Path) -> Cost:
    """Runs one command to its end."""
    began, own = time.monotonic(), 0
    command = proofmill(*arguments, "--home", str(home))
    process = subprocess.Popen(command, cwd=scratch, stdout=subprocess.DEVNULL)
    while True:
        own = max(own, resident(process.pid)[0])
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            break
        time.sleep(0.02)
    if status:
        sys.exit(f"{' '.join(arguments)} failed with status {status}")
    return Cost(time.monotonic() - began, own, usage.ru_maxrss << 10)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=50_000, help="traces that are published")
    parser.add_argument("--times", type=int, action="append", help="also with every row so often; 20 by default")
    parser.add_argument("--claims", default="none", choices=("none", "accepted", "all"), help="the recipe's scope")
    parser.add_argument("--scratch", type=Path, help="folder to keep versions in; a temporary one by default")
    args = parser.parse_args()
    found: dict[int, dict[str, Cost]] = {}
    with tempfile.TemporaryDirectory(prefix="versions-") as folder:
        scratch = (args.scratch or Path(folder)).absolute()
        scratch.mkdir(parents=True, exist_ok=True)
        home = publish(args.rows, args.claims, scratch)
        for times in (1, *(args.times or [20])):
            mine = home if times == 1 else repeated(home, times, scratch)
            say(f"{times * args.rows:,} traces\n  command              seconds   own MiB   resident MiB")
            found[times * args.rows] = {}
            for name, arguments in COMMANDS.items():
                cost = found[times * args.rows][name] = measure(arguments, mine, scratch)
                say(f"  {name:19} {cost.seconds:8.1f} {cost.own >> 20:9} {cost.resident >> 20:14}")
    for (small, before), (large, after) in pairwise(found.items()):
        say(f"bytes of own memory for each trace from {small:,} to {large:,}:")
        each = {name: (cost.own - before[name].own) / (large - small) for name, cost in after.items()}
        say("  " + ", ".join(f"{name} {size:.0f}" for name, size in each.items()))


if __name__ == "__main__":
    main()
