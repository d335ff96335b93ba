"""Kills between two steps that belong together, one by one: a step's file and its line, a journal and its file.

The samples come from a server whose answers are a function of the request, so a killed run must end with the bytes of
a whole one although it draws samples anew.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from proofmill.data.versions import find
from proofmill.flows import expansion, ingest, near_items
from proofmill.flows.up_to_date import step_versions
from support import crash
from support.samples import SAMPLES, write_jsonl

pytestmark = pytest.mark.slow
Row = dict[str, Any]
NAME = "points"


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    with crash.sum_server(SAMPLES) as found:
        yield found


@pytest.fixture(scope="module")
def driver(prefect_server: str, server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Starts runs of a recipe with every step."""
    folder = tmp_path_factory.mktemp("points")
    sums = [{"prompt": f"How much is {n + 4} + {n % 7 + 2}?", "answer": str(n + n % 7 + 6)} for n in range(12)]
    labelled = [row if number % 4 else {"prompt": row["prompt"]} for number, row in enumerate(sums)]
    in_words = {"prompt": "Ann has 9 apples and Ben has 4. Who has more?", "answer": "the one named first"}
    problems = write_jsonl(folder / "problems.jsonl", [*labelled, in_words])
    bench = write_jsonl(folder / "bench.jsonl", [{"question": sums[1]["prompt"]}])
    modules = ("transformers.models.auto.tokenization_auto",)
    found = crash.Driver(prefect_server, recipe(problems, bench, server.url), folder, modules=modules)
    yield found
    found.close()


def recipe(problems: Path, bench: Path, url: str) -> Row:
    engine = {"kind": "openai", "endpoints": [url], "api": "chat", "window": 2, "wait_s": 20}
    sampling = {"n": 3, "accept_target": 2, "max_samples": 12, "max_tokens": 64, "max_total_tokens": 50_000}
    return {
        "name": NAME,
        "problems": {
            "sources": [{"kind": "file", "path": str(problems), "license": "mit"}],
            "pseudo_labels": {"by": "clr", "min_votes": 2, "min_share": 0.3},
            "topics": {"labels": ["small sums", "big sums"]},
        },
        "samplers": [{"model": "bundled", "engine": engine, "sampling": sampling}],
        "verify": {"workers": 1, "judge": {}},
        "claims": {"model": {"k": 3, "m": 2}},
        "quality": {"learning": {"min_tokens": 2}},
        "decontaminate": {"against": [str(bench)], "n": 5},
        "curriculum": {"short_forms": ["rewritten", "sample", "answer"]},
        "select": {"holdout": 0.3, "mix": {"math": 0.9}, "max_total_tokens": 2000},
    }


@pytest.fixture(scope="module")
def whole(driver: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """HOME after an undisturbed run."""
    home = tmp_path_factory.mktemp("whole") / "home"
    driver.finished(home)
    manifest = find(home, NAME).manifest.to_json()
    assert manifest["held_out_problems"]
    assert manifest["answer_judge"]["share"], "rules leave something to the judge"
    assert manifest["rounds"]["self"]["later"], "samples of more than one round"
    assert {path.name for path in (home / "runs" / NAME).iterdir()} >= {*STEPS}, "every step has something to do"
    return home


# Expansion is killed in test_expansion.py, and what asks about problems near a benchmark in test_contamination.py.
NEAR = (near_items.NEAR_ASKED, near_items.NEAR_PROBLEMS, near_items.NEAR_TRACES, ingest.LEFT)
OTHERS = {"publish", *(step.name for step in (*expansion.STEPS, *NEAR))}
STEPS = [name for name in step_versions() if name not in OTHERS and " of " not in name]


def renamed(step: str) -> Row:
    return {"call": "rename", "path": f"/runs/{NAME}/{step}/", "after": True}


def named(step: str) -> Row:
    return {"call": "fsync", "path": "/manifest-[^/]*/", "line": f'"step":"{step}"', "after": True}


@pytest.mark.parametrize(
    ("point", "steps"),
    [(renamed, STEPS[::2]), (named, STEPS[1::2])],
    ids=["before its manifest line", "after its manifest line"],
)
def test_killed_at_each_step_once_its_file_is_there(
    driver: Any, whole: Path, tmp_path: Path, point: Callable[[str], Row], steps: list[str]
) -> None:
    """In the order of the run, in one HOME; what a step has made by then is lost, so that it is made again.

    Every step goes through the same function, so each is killed once: half of them here, the others there.
    """
    home = tmp_path / "home"
    for step in steps:
        crash.forget(home, NAME, step)
        assert driver.run(home, **point(step)) == crash.KILLED, (step, driver.said())
    driver.finished(home)
    crash.same_as(home, whole, NAME)


def inside_a_letter(path: Path, _: random.Random) -> None:
    """A letter of several bytes is left in its middle; of a journal that has none, the last row."""
    content = path.read_bytes()
    inner = (place for place, byte in enumerate(content) if byte & 0xC0 == 0x80)
    os.truncate(path, max(inner, default=len(content) - 3))


def garbage(path: Path, rng: random.Random) -> None:
    """Blocks that were never written hold whatever was there before, whole lines too."""
    with path.open("ab") as file:
        file.write(rng.randbytes(50) + b"\n{}\n\0\0\n" + b'{"prompt_digest": "')


@pytest.mark.parametrize("tear", [inside_a_letter, garbage])
def test_a_torn_journal_costs_its_torn_rows_alone(
    driver: Any, server: Any, whole: Path, tmp_path: Path, tear: Callable[[Path, random.Random], None]
) -> None:
    home, rng = tmp_path / "home", random.Random(5)
    server.drawn.clear()
    server.delay = 0.5  # rows are flushed after a second, long before a shard is whole and its journal is sealed
    pid = driver.start(home)
    while not (journals := [path for path in crash.journals(home) if path.stat().st_size]):
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    assert driver.wait(pid) == crash.KILLED
    server.delay = 0.0
    for path in journals:
        tear(path, rng)
    kept = crash.recorded(home)
    assert kept or tear is not garbage
    server.drawn.clear()
    driver.finished(home)
    assert not {row["seed"] for row in kept} & set(server.drawn), "what is recorded is not drawn again"
    final = {(row["prompt_digest"], row["sample_index"]): row for row in crash.recorded(home)}
    assert all(final[row["prompt_digest"], row["sample_index"]] == row for row in kept)
    assert len(final) == len(crash.recorded(home)), "no sample is recorded twice"
    crash.same_as(home, whole, NAME)


def test_killed_while_a_journal_is_sealed(driver: Any, server: Any, whole: Path, tmp_path: Path) -> None:
    """When its Parquet file is there; then, in the run that seals it again, before the journal goes, and after."""
    home = tmp_path / "home"
    sealed = {"call": "rename", "path": r"/home/samples/[0-9a-f]+/[^/]+\.parquet$", "after": True}
    goes = {"call": "rename", "path": r"journals-\d+(/\.[^/]*)?\.[^/]*\.tmp$"}
    for point in (sealed, goes, goes | {"after": True}):
        assert driver.run(home, **point) == crash.KILLED, driver.said()
        assert crash.recorded(home)
    kept = crash.recorded(home)
    server.drawn.clear()
    driver.finished(home)
    assert not {row["seed"] for row in kept} & set(server.drawn), "what is recorded is not drawn again"
    crash.same_as(home, whole, NAME)
