"""Runs that are killed: who starts them, what a power cut leaves, and what must be there in the end."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from proofmill.data.schemas import SAMPLES
from proofmill.data.segments import read_rows
from proofmill.data.versions import check_files, find, versions
from support import samples
from support.endpoints import Endpoint, Reply, serving

Row = dict[str, Any]
KILLED = -signal.SIGKILL


class Driver:
    """Starts runs of one recipe in forked children of a warm process.

    Args:
        server: address of the Prefect server.
        recipe: what is run.
        folder: for what the runs say.
        inside: a command that starts the process elsewhere, such as in a namespace of its own.
        modules: imported once, instead of by each run.
    """

    def __init__(
        self, server: str, recipe: Row, folder: Path, inside: Sequence[str] = (), modules: Sequence[str] = ()
    ) -> None:
        self.recipe, self.folder = recipe, folder
        self.process = subprocess.Popen(
            [*inside, sys.executable, str(Path(__file__).with_name("crash_driver.py")), *modules],
            env=os.environ | {"PREFECT_API_URL": server, "PREFECT_LOGGING_LEVEL": "CRITICAL"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def _ask(self, **order: Any) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def start(self, home: Path, *, to: str = "said", **fault: Any) -> int:
        """Begin a run; return its process id."""
        said = self.folder / f"{to}.json"
        said.unlink(missing_ok=True)
        return self._ask(op="start", recipe=self.recipe, home=str(home), said=str(said), **fault)

    def wait(self, pid: int) -> int:
        """Return the exit status of a run, negative where a signal ended it."""
        return self._ask(op="wait", pid=pid)

    def run(self, home: Path, **fault: Any) -> int:
        """Run to the end, or to the fault."""
        return self.wait(self.start(home, **fault))

    def finished(self, home: Path) -> Row:
        """Run undisturbed to the end; return what the run printed."""
        status = self.run(home)
        assert status == 0, self.said()
        return self.said()

    def said(self, to: str = "said") -> Row:
        """Return the last run's result: its version or its error, and how many calls it made."""
        return dict(json.loads((self.folder / f"{to}.json").read_text()))

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(30)


def same_as(home: Path, whole: Path, name: str) -> None:
    """Assert that there is one version with the same bytes as in the undisturbed HOME, and nothing left over."""
    assert [version.number for version in versions(home, name)] == [1]
    found, wanted = find(home, name), find(whole, name)
    check_files(found)
    assert found.data_digests() == wanted.data_digests()
    assert found.manifest.stages == wanted.manifest.stages
    left = [*home.rglob("*.tmp"), *home.rglob("*.answers"), *home.glob("samples/*/*journals-*/*/")]
    assert left == [], left


def committed(home: Path, name: str) -> list[Path]:
    """Return the files that a complete manifest line names; any other file is made again."""
    run = home / "runs" / name
    return [run / row["file"] for path in run.glob("manifest-*/*.jsonl") for row in read_rows(path)]


def recorded(home: Path) -> list[Row]:
    """Return the samples that are safe: rows of sealed files, and complete lines of journals."""
    rows: list[Row] = []
    for path in sorted(home.glob("samples/*/*.parquet")):
        rows += pq.read_table(path).to_pylist()
    for path in journals(home):
        rows += read_rows(path, SAMPLES.names)
    return rows


def journals(home: Path) -> list[Path]:
    """Return the files of the journals of samples."""
    return sorted(home.glob("samples/*/*journals-*/*/*.jsonl"))


def forget(home: Path, name: str, step: str) -> None:
    """Remove a step's outputs and their manifest lines, as if it had not run."""
    run = home / "runs" / name
    shutil.rmtree(run / step, ignore_errors=True)
    for path in run.glob("manifest-*/*.jsonl"):
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(line for line in lines if json.loads(line)["step"] != step))


def tear(paths: Sequence[Path], rng: random.Random) -> None:
    """Cut the end off files that grow, as a power cut does, in the middle of a line or of a letter."""
    for path in paths:
        size = path.stat().st_size
        os.truncate(path, size - rng.randint(0, min(size, 300)))


DIGITS = re.compile(r"ANSWER\n\d+\nEND")


class SumServer(Endpoint):
    """A server whose answers are a function of the request alone: a killed run and a whole one get the same.

    Args:
        forms: answers to a sum of a and b, as templates.
    """

    def __init__(self, forms: Sequence[str]) -> None:
        super().__init__()
        self.forms, self.delay = forms, 0.0
        self.drawn: list[int] = []  # seeds of the samples that were asked for
        self.asked: list[str] = []  # what a judge was asked for, as text
        self._guard = threading.Lock()

    def reply(self, body: Row) -> Reply:
        """Return the reply of `answer`, which a test may replace."""
        return 200, {}, self.answer(body)

    def answer(self, body: Row) -> Row:
        """Return the content of the answer to one request."""
        if "prompt_logprobs" in body:
            scores = [{str(token): {"logprob": -(token % 97) / 30}} for token in body["prompt"]]
            return {"choices": [{"text": "", "prompt_logprobs": [None, *scores[1:]], "finish_reason": "stop"}]}
        said = body["messages"][-1]["content"]
        key = answer_key(body)
        if "structured_outputs" in body:
            asked = body["structured_outputs"]["json"]["properties"]
            says: Row = {
                "claims": {"claims": [f"claim {key % 9} – {number}" for number in range(1 + key % 3)]},
                # of the planted pairs, those of the Dutch and the parallels are the same
                "same": {
                    "same": "Dutch" in said or "parallel" in said or (key % 3 > 0 and DIGITS.search(said) is not None)
                },
            }
            unless = {"check": "so", "claim_is_true": key % 4 > 0}
            text = json.dumps(next((says[name] for name in says if name in asked), unless))
        else:
            self._count(body)
            a, b = (int(found) for found in [*re.findall(r"\d+", said), 1, 1][:2])
            text = self.forms[key % len(self.forms)].format(a=a, b=b, sum=a + b, off=a + b + 1) + "·ß𝟘" * (key % 3)
        choice = {"message": {"content": text}, "finish_reason": "stop"}
        return {"choices": [choice], "usage": {"completion_tokens": len(text.split())}}

    def _count(self, body: Row) -> None:
        time.sleep(self.delay)
        with self._guard:
            if body["max_tokens"] > 1:  # one token is a look whether the server works
                self.drawn.append(body["seed"])


def answer_key(body: Row) -> int:
    """Return a number that a request alone decides."""
    said = body["messages"][-1]["content"]
    return int(hashlib.sha256(f"{said} {body['seed']}".encode()).hexdigest()[:8], 16)


@contextmanager
def sum_server(forms: Sequence[str] = samples.SAMPLES) -> Iterator[SumServer]:
    """Serve such answers while the block runs."""
    with serving(SumServer(forms)) as (server,):
        yield server
