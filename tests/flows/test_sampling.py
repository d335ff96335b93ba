"""What the samplers draw of a run's shards, from an endpoint: after an interruption, and where nothing may be drawn."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proofmill.flows.context import RunRequest, open_run
from proofmill.flows.ingest import ingest_problems
from proofmill.flows.recipe import load as recipes
from proofmill.flows.sampling import SamplingStep
from support import crash
from support.samples import SAMPLES, sums, write_jsonl

Row = dict[str, Any]


@pytest.fixture
def server() -> Iterator[Any]:
    with crash.sum_server(SAMPLES) as found:
        yield found


def recipe(file: Path, server: Any, **sampling: Any) -> Row:
    engine = {"kind": "openai", "endpoints": [server.url], "window": 1, "api": "chat"}
    return {
        "name": "drawn",
        "problems": {"sources": [{"kind": "file", "path": str(file), "license": "mit"}]},
        "samplers": [{"model": "bundled", "engine": engine, "sampling": {"max_tokens": 64, **sampling}}],
    }


def drawn(recipe: Row, home: Path, *, shards: int | None = None, sample: bool = True) -> list[str]:
    """Ids of the traces of a run, or of its first shards where it is interrupted after them."""
    with open_run(RunRequest(recipes.parse(recipe), home, sample=sample)) as run:
        found: list[str] = []
        drawing: Any = SamplingStep(run, ingest_problems(run).shards).finished_shards()
        for number, (_, samples) in enumerate(drawing, 1):
            found += run.store.read(samples)["id"].to_pylist()
            if number == shards:
                drawing.close()
        return sorted(found)


@pytest.mark.slow
def test_a_prompt_of_two_problems_is_spent_once_before_and_after_an_interruption(server: Any, tmp_path: Path) -> None:
    rows = [
        {"prompt": f"How much is {number} + 4?", "answer": str(number + wrong)}
        for number in range(30)
        for wrong in (4, 5)
    ]
    given = recipe(write_jsonl(tmp_path / "two.jsonl", rows), server, n=1, max_total_tokens=1200)
    whole = drawn(given, tmp_path / "whole")
    first = drawn(given, tmp_path / "cut", shards=2)
    assert 0 < len(first) < len(whole) < len(rows)
    assert drawn(given, tmp_path / "cut") == whole


@pytest.mark.slow
def test_without_sampling_the_rounds_that_were_drawn_are_all_there(server: Any, tmp_path: Path) -> None:
    given = recipe(
        write_jsonl(tmp_path / "sums.jsonl", sums(3, SAMPLES[:1])),
        server,
        n=2,
        accept_target=3,
        max_samples=8,
    )
    whole = drawn(given, tmp_path / "home")
    assert len(whole) > 2 * 3, "there were later rounds"
    assert drawn(given | {"verify": {"cpu_seconds": 7}}, tmp_path / "home", sample=False) == whole
