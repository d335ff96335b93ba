"""A whole `regenerate` over recorded traces: seconds a stage, time a row, peak memory, bytes on disk.

    python tests/benchmarks/bench_scale.py --rows 100000 --rows 1000000 [--seed-traces FILE] [--claims all]
    python tests/benchmarks/bench_scale.py --rows 50000 --kilobytes 100

Traces of about 2 KB (`--kilobytes`) are made from real ones where `--seed-traces` names a JSONL file with
`question`, `gold_solution` (ending in "A: 18") and `solution`, else from generated sums: each is a solution of its
problem behind sentences of other solutions with other numbers, eight samples a problem; one in twenty repeats
another sample of its problem almost word for word.

Memory is the sum of PSS (each process's own pages and its share of those it shares) over the command and all its
descendants, Prefect's server and the worker processes among them, sampled four times a second; `own` is anonymous
memory, `mapped` are pages of mapped files, which the system takes back when it needs them. A stage's seconds run
from the last file of the stage before it, or its own first file where they overlap, to its last file: judges work
side by side, so theirs sum to more than the whole.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import orjson
import psutil

SEED, SAMPLES_EACH, REPEATS = 20, 8, 0.05
_NUMBER = re.compile(r"\d+")


@dataclass
class Measured:
    """One run."""

    rows: int
    seconds: float
    cpu: float
    peak: int
    again: float
    phases: dict[str, int] = field(default_factory=dict)

    @property
    def microseconds(self) -> float:
        return self.seconds / self.rows * 1e6


def seeds(file: Path | None) -> list[tuple[str, str, str]]:
    """(question, answer, solution), real or generated."""
    if file is None:
        rng = random.Random(SEED)
        numbers = [(rng.randint(10, 999), rng.randint(10, 999), rng.choice("abcdefgh")) for _ in range(2000)]
        return [
            (
                f"Shelf {c} holds {a} books and gets {b} more. How many are there?",
                str(a + b),
                f"There are {a} books on shelf {c} at first\nThen {b} come to shelf {c}, so {a} + {b} = {a + b}\n",
            )
            for a, b, c in numbers
        ]
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    return [(r["question"], r["gold_solution"].rpartition("A: ")[2].strip(), r["solution"]) for r in rows]


def traces(count: int, size: int, file: Path | None) -> Iterator[dict[str, str]]:
    """`count` rows, each of about `size` characters."""
    rng = random.Random(SEED)
    known = seeds(file)
    lines = [line for _, _, text in known for line in text.split("\n") if len(line) > 20 and "A: " not in line]
    for number in range(-(-count // SAMPLES_EACH)):
        question, answer, _ = known[rng.randrange(len(known))]
        responses: list[str] = []
        for _ in range(min(SAMPLES_EACH, count - number * SAMPLES_EACH)):
            if responses and rng.random() < REPEATS:
                responses.append(responses[0].replace(" the ", " that ", 1))
            else:
                responses.append(_response(rng, known, lines, answer, size))
        for response in responses:
            prompt = f"{question} (Sheet {number + 1}.)"
            yield {"prompt": prompt, "answer": answer, "response": response, "license": "mit"}


def _response(rng: random.Random, known: list[tuple[str, str, str]], lines: list[str], answer: str, size: int) -> str:
    own = known[rng.randrange(len(known))][2].partition("A: ")[0]
    parts, length = [], len(own)
    shift = rng.randint(1, 500)
    while length < size:
        line = lines[rng.randrange(len(lines))]
        if rng.random() < 0.5:
            line = _NUMBER.sub(lambda found: str(int(found[0][:9]) + shift), line)
        parts.append(line)
        length += len(line) + 1
    said = answer if rng.random() < 0.6 else str(rng.randint(1, 999))
    return "\n".join([*parts, own]) + f"\nThe answer is \\boxed{{{said}}}."


class Sample(NamedTuple):
    """Memory at one moment: seconds since the start, and by kind of process (own, mapped) bytes."""

    at: float
    kinds: dict[str, tuple[int, int]]

    @property
    def total(self) -> int:
        return sum(own + mapped for own, mapped in self.kinds.values())


class Watch:
    """PSS of a process and its descendants over time, by kind of process."""

    def __init__(self, pid: int) -> None:
        self.root = psutil.Process(pid)
        self.began = time.time()
        self.samples: list[Sample] = []
        self._kinds: dict[int, str] = {}

    def look(self) -> None:
        kinds: dict[str, tuple[int, int]] = {}
        for process in self._all():
            try:
                kind = self._kinds.get(process.pid) or _kind(process)
                own, mapped = _pss(process.pid)
            except (psutil.Error, OSError):
                continue
            if kind != "main" or process.pid == self.root.pid:  # a child that has not become what it will be
                self._kinds[process.pid] = kind
            before = kinds.get(kind, (0, 0))
            kinds[kind] = (before[0] + own, before[1] + mapped)
        self.samples.append(Sample(time.time() - self.began, kinds))

    def peak(self, first: float = 0.0, last: float = math.inf) -> Sample:
        """The moment of the largest sum, between two moments."""
        inside = [sample for sample in self.samples if first <= sample.at <= last]
        return max(inside, key=lambda sample: sample.total, default=Sample(0.0, {}))

    def main(self, first: float, last: float) -> tuple[int, int]:
        """The largest (own, mapped) bytes of the main process between two moments."""
        inside = [
            sample.kinds["main"] for sample in self.samples if first <= sample.at <= last and "main" in sample.kinds
        ]
        return max(inside, key=sum, default=(0, 0))

    def _all(self) -> list[psutil.Process]:
        try:
            return [self.root, *self.root.children(recursive=True)]
        except psutil.Error:
            return []


def _pss(pid: int) -> tuple[int, int]:
    """Bytes of anonymous memory and of mapped files, shared ones by their share."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    sizes = {line.split(":")[0]: int(line.split()[1]) << 10 for line in lines[1:]}
    return sizes["Pss_Anon"], sizes["Pss"] - sizes["Pss_Anon"]


def _kind(process: psutil.Process) -> str:
    line = " ".join(process.cmdline())
    found = re.search(r'"function": "[\w.]*?([\w]+:\w+)"', line)
    return found[1] if found else "server" if "uvicorn" in line else "main"


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def run(rows: int, args: argparse.Namespace, scratch: Path) -> Measured:
    """Makes the traces, runs the command twice, prints what came of it."""
    source = scratch / f"traces-{rows}.jsonl"
    with source.open("wb") as file:
        file.writelines(
            orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)
            for row in traces(rows, args.kilobytes * 1000, args.seed_traces)
        )
    home = scratch / f"home-{rows}"
    shutil.rmtree(home, ignore_errors=True)
    recipe = scratch / "scale.yaml"
    sampler = {"engine": {"kind": "replay", "files": [str(source)]}}
    recipe.write_text(json.dumps({"name": "scale", "samplers": [sampler], "claims": {"scope": args.claims}}))
    command = [sys.executable, "-m", "proofmill.flows.cli", "regenerate", str(recipe), "--home", str(home)]
    before = os.times()
    process = subprocess.Popen(command, stdout=None if args.verbose else subprocess.DEVNULL)
    watch = Watch(process.pid)
    while process.poll() is None:
        watch.look()
        time.sleep(0.25)
    seconds, after = time.time() - watch.began, os.times()
    if process.returncode:
        sys.exit(f"the run failed with status {process.returncode}")
    started = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    measured = Measured(rows, seconds, cpu, watch.peak().total, time.monotonic() - started)
    say(f"{rows:,} traces, {source.stat().st_size / 2**30:.2f} GiB of JSONL")
    measured.phases = report(measured, watch, home)
    if not args.keep:
        shutil.rmtree(home)
        source.unlink()
    return measured


def report(measured: Measured, watch: Watch, home: Path) -> dict[str, int]:
    """Prints a run; gives the main process's own bytes by stage."""
    spent = f"{measured.seconds:.0f} s ({measured.cpu:.0f} s of CPU), {measured.microseconds:.0f} us a row"
    say(f"  {spent}; again: {measured.again:.1f} s")
    peak = watch.peak()
    kinds = ", ".join(f"{k} {_mib(own)} own + {_mib(mapped)}" for k, (own, mapped) in sorted(peak.kinds.items()))
    say(f"  peak {peak.total / 1e9:.2f} GB PSS at {peak.at:.0f} s, in MiB: {kinds} mapped")
    say("  stage              from s    to s    MiB on disk   B/row   peak MiB of all   of main: own + mapped")
    found = {}
    for name, (first, last, size) in stages(home, watch).items():
        own, mapped = watch.main(first, last)
        found[name] = own
        say(
            f"  {name:16} {first:8.1f} {last:7.1f} {_mib(size):14} {size / measured.rows:7.0f}"
            f" {_mib(watch.peak(first, last).total):17} {_mib(own):14} + {_mib(mapped)}"
        )
    for name in ("runs", "datasets"):
        say(f"  {name:16} {_mib(_disk(home / name))} MiB on disk")
    return found


def stages(home: Path, watch: Watch) -> dict[str, tuple[float, float, int]]:
    """By stage, in the order of their ends: seconds from and to, and bytes on disk."""
    folders = {path.parent for path in (home / "runs" / "scale").glob("*/*.*") if path.suffix != ".jsonl"}
    times = {folder: [path.stat().st_mtime - watch.began for path in folder.iterdir()] for folder in folders}
    found, ended = {}, 0.0
    for folder in sorted(folders, key=lambda folder: max(times[folder])):
        first, last = min(times[folder]), max(times[folder])
        before = max((max(t) for t in times.values() if max(t) <= first), default=0.0)
        found[folder.name] = (before, last, _disk(folder))
        ended = last
    return found | {"publish": (ended, watch.samples[-1].at, _disk(home / "datasets"))}


def _mib(size: int) -> int:
    return size >> 20


def _disk(folder: Path) -> int:
    return sum((Path(at) / name).stat().st_size for at, _, names in os.walk(folder) for name in names)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, action="append", help="once a run; 100,000 and 1,000,000 by default")
    parser.add_argument("--kilobytes", type=int, default=2, help="characters of a trace, in thousands")
    parser.add_argument("--seed-traces", type=Path, help="JSONL of real traces")
    parser.add_argument("--claims", default="none", choices=("none", "accepted", "all"), help="the recipe's scope")
    parser.add_argument("--scratch", type=Path, help="folder on a disk with room; a temporary one by default")
    parser.add_argument("--keep", action="store_true", help="leave the traces and HOME there")
    parser.add_argument("--verbose", action="store_true", help="show what the command prints")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="scale-") as folder:
        scratch = args.scratch or Path(folder)
        scratch.mkdir(parents=True, exist_ok=True)
        done = [run(rows, args, scratch) for rows in args.rows or (100_000, 1_000_000)]
    for first, second in pairwise(done):
        ratio = second.microseconds / first.microseconds
        say(f"time a row, {second.rows:,} over {first.rows:,}: {ratio:.2f}")
        more = second.rows - first.rows
        grown = {name: (size - first.phases.get(name, 0)) / more for name, size in second.phases.items()}
        say(f"peak of all: {(second.peak - first.peak) / more:.0f} bytes for each further row; main's own memory:")
        say("  " + ", ".join(f"{name} {size:.0f}" for name, size in grown.items()))


if __name__ == "__main__":
    main()
