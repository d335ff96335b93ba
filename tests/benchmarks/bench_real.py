"""Verdicts on labelled outputs of real models: agreement, right rows lost, false `correct`, by file.

    python tests/benchmarks/bench_real.py DATA [--only math] [--every 5] [--show 10] [--peer]

DATA is a folder (searched with its folders) of JSONL files, or one file. Rows are what `proofmill verify` reads,
with the true verdict beside it: `label` (`correct`, anything else is not), or `expect` (a verdict, a list of
verdicts, or `not correct`). Files without either are left out. The verdicts are those of the command `proofmill
verify` itself. With `--peer`, rows of mathematics are judged by math-verify in the same run, in worker processes
that are killed where it hangs. `--show N` prints N disagreements of each kind, to be read: a label can be wrong.
"""

from __future__ import annotations

import argparse
import gzip
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

PEER_SECONDS = 5.0  # of one row
TAIL = 300  # characters of a response that are shown


@dataclass(frozen=True)
class Row:
    """One labelled row: what was given, what it should be judged, what it was judged."""

    given: dict[str, Any]
    right: bool
    agrees: bool
    verdict: str
    detail: str
    extracted: str


def read(path: Path, every: int) -> list[dict[str, Any]]:
    """Every so-manieth labelled row of a file; none where the file has no labels."""
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as lines:
        rows = [orjson.loads(line) for index, line in enumerate(lines) if index % every == 0 and line.strip()]
    return [row for row in rows if isinstance(row, dict) and ("label" in row or "expect" in row) and "response" in row]


def wanted(row: dict[str, Any]) -> tuple[bool, Any]:
    """Whether a row is right, and the verdicts that agree with its label; None for anything but `correct`."""
    expected = row["expect"] if "expect" in row else row["label"]
    if isinstance(expected, list):
        return expected == ["correct"], expected
    if "expect" in row and expected != "not correct":
        return expected == "correct", [expected]
    return expected == "correct", ["correct"] if expected == "correct" else None


def judge(rows: list[dict[str, Any]], folder: Path) -> tuple[list[Row], float]:
    """The rows with the verdicts of `proofmill verify`, and the seconds it took."""
    source, judged = folder / "rows.jsonl", folder / "judged.jsonl"
    source.write_bytes(b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows))
    began = time.perf_counter()
    command = [str(Path(sys.executable).with_name("proofmill")), "verify", str(source), "--out", str(judged)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - began
    if not judged.exists():
        sys.exit(done.stderr[-2000:] or done.stdout[-2000:])
    out = []
    for given, line in zip(rows, judged.read_bytes().splitlines(), strict=True):
        said = orjson.loads(line)
        right, accepted = wanted(given)
        verdict = said["verdict"]
        agrees = verdict in accepted if accepted is not None else verdict != "correct"
        out.append(
            Row(given, right, agrees, verdict, str(said.get("verdict_detail")), str(said.get("extracted"))[:200])
        )
    return out, seconds


def peer_verdict(job: tuple[str, str]) -> bool:
    """math-verify's verdict on a gold answer and a response, both as they stand."""
    import logging

    from math_verify import parse, verify  # type: ignore[import-untyped]

    logging.disable(logging.WARNING)  # it warns that its alarms are off, which is meant
    gold, response = job
    readings = [parse(gold, parsing_timeout=None), parse(f"${gold}$", parsing_timeout=None)]
    answer = parse(response, parsing_timeout=None)
    return any(verify(reading, answer, timeout_seconds=None) for reading in readings)


def peer(rows: list[Row]) -> list[bool]:
    """Whether math-verify accepts each row; a row on which it hangs or fails is not accepted."""
    from proofmill.filters.workers import Fault, WorkerPool

    jobs = [(str(row.given.get("answer") or ""), str(row.given["response"])) for row in rows]
    sys.path.insert(0, str(Path(__file__).parent))
    with WorkerPool("bench_real:peer_verdict", workers=2, cpu_seconds=PEER_SECONDS) as pool:
        return [False if isinstance(said, Fault) else bool(said) for said in pool.map(jobs)]


def share(part: int, whole: int) -> str:
    return f"{100 * part / whole:6.2f}%" if whole else "      –"


def table_line(name: str, rows: list[Row], seconds: float, accepted: list[bool] | None) -> str:
    right = sum(row.right for row in rows)
    lost = sum(row.right and not row.agrees for row in rows)
    false = sum(not row.right and row.verdict == "correct" for row in rows)
    line = (
        f"{name[:34]:34} {len(rows):6} rows  agree {share(sum(row.agrees for row in rows), len(rows))}  "
        f"right found {share(right - lost, right)} ({lost:4} lost)  false correct {false:4}  {seconds:5.0f} s"
    )
    if accepted is None:
        return line
    agree = sum(said == row.right for said, row in zip(accepted, rows, strict=True))
    wrong = sum(said and not row.right for said, row in zip(accepted, rows, strict=True))
    return f"{line} | math-verify agree {share(agree, len(rows))}, false correct {wrong:4}"


def shown(rows: list[Row], count: int) -> Iterator[str]:
    """The disagreements by what went wrong, and the first ones of each kind."""
    kinds: dict[str, list[Row]] = {}
    for row in rows:
        if not row.agrees:
            kind = row.given.get("kind")
            what = "lost" if row.right else "false" if row.verdict == "correct" else "other"
            kinds.setdefault(f"{what}: {row.verdict}/{row.detail[:40]}" + (f" {kind}" if kind else ""), []).append(row)
    for kind, members in sorted(kinds.items(), key=lambda item: -len(item[1])):
        yield f"  {len(members):5} {kind}"
        for row in members[:count]:
            tail = " ".join(str(row.given["response"]).split())[-TAIL:]
            gold = str(row.given.get("answer"))[:80]
            yield f"        {row.given.get('id')} gold {gold!r} extracted {row.extracted!r}\n          … {tail}"


def files_of(data: Path) -> list[Path]:
    if data.is_file():
        return [data]
    return sorted(path for pattern in ("*.jsonl", "*.jsonl.gz") for path in data.rglob(pattern))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a file or a folder of labelled files")
    parser.add_argument("--only", default="", help="files whose name holds this text")
    parser.add_argument("--every", type=int, default=1, help="judge every so-manieth row")
    parser.add_argument("--show", type=int, default=0, help="disagreements of each kind to print")
    parser.add_argument("--peer", action="store_true", help="judge rows of mathematics by math-verify too")
    options = parser.parse_args()
    found: Counter[str] = Counter()
    for path in files_of(options.data):
        rows = read(path, options.every) if options.only in path.name else []
        by_domain: dict[str, list[dict[str, Any]]] = {}
        for row in rows:
            by_domain.setdefault(str(row.get("domain")), []).append(row)
        for domain, members in by_domain.items():
            with tempfile.TemporaryDirectory() as folder:
                judged, seconds = judge(members, Path(folder))
            name = path.name.partition(".")[0] + (f" ({domain})" if len(by_domain) > 1 else "")
            accepted = peer(judged) if options.peer and domain == "math" else None
            sys.stdout.write(table_line(name, judged, seconds, accepted) + "\n")
            if options.show:
                sys.stdout.writelines(f"{line}\n" for line in shown(judged, options.show))
            sys.stdout.flush()
            found.update(agree=sum(row.agrees for row in judged), rows=len(judged))
    if not found:
        sys.exit(f"{options.data}: no file with labelled rows")
    sys.stdout.write(f"{'all':34} {found['rows']:6} rows  agree {share(found['agree'], found['rows'])}\n")


if __name__ == "__main__":
    main()
