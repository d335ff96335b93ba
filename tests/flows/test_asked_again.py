"""What a model said of claims stays said: another k, scope or verdict asks about what is new alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from proofmill.data.versions import find
from proofmill.flows.context import RunRequest, open_run
from proofmill.flows.dry_run import report
from proofmill.flows.recipe import load as recipes
from support import crash
from support.samples import CORRECT, SAMPLES, replay_recipe, sums, write_jsonl

pytestmark = pytest.mark.slow
Row = dict[str, Any]
PROBLEMS = 3


@pytest.fixture
def server() -> Iterator[Any]:
    """An endpoint that keeps what it was asked, as text."""
    with crash.sum_server(SAMPLES) as found:
        answer, found.asked = found.answer, []

        def heard(body: Row) -> Row:
            if "structured_outputs" in body:
                found.asked.append(json.dumps(body, sort_keys=True))
            return dict(answer(body))

        found.answer = heard
        yield found


def still_asked(recipe: Row, home: Path) -> list[str]:
    with open_run(RunRequest(recipes.parse(recipe), home)) as run:
        return [line for line in report(run) if line.startswith("verifier")]


def test_another_k_asks_about_the_new_traces_alone(regenerate: Callable[..., Row], server: Any, tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "samples.jsonl", sums(PROBLEMS, CORRECT))
    engine = {"kind": "openai", "endpoints": [server.url], "api": "chat"}

    def recipe(**options: Any) -> Row:
        return replay_recipe(file, claims={"model": {"model": "bundled", "engine": engine, "m": 2, **options}})

    def asked(home: Path, **options: Any) -> list[str]:
        server.asked.clear()
        regenerate(recipe(**options), home)
        return list(server.asked)

    home = tmp_path / "home"
    first = asked(home, k=1)
    assert len(first) > PROBLEMS, "claims were named, and judged"
    (line,) = still_asked(recipe(k=2), home)
    assert f": {PROBLEMS} traces and about" in line
    more = asked(home, k=2)
    assert not set(first) & set(more)
    whole = asked(tmp_path / "fresh", k=2)
    assert {*first, *more} == {*whole}
    assert find(home, "replayed").data_digests() == find(tmp_path / "fresh", "replayed").data_digests()
    assert still_asked(recipe(k=1, scope="accepted"), home) == []
    assert asked(home, k=1, scope="accepted") == []
    assert asked(home, k=2, m=1), "another question is asked"


def test_what_failed_is_asked_again_by_the_next_run_and_nothing_else(
    regenerate: Callable[..., Row], server: Any, tmp_path: Path
) -> None:
    """A sample and a judgement that the server gives up on; with them the run is not finished, without them it is."""
    file = write_jsonl(tmp_path / "sums.jsonl", sums(PROBLEMS, SAMPLES[:1]))
    engine = {"kind": "openai", "endpoints": [server.url], "api": "chat", "retries": 0}
    recipe = {
        "name": "again",
        "problems": {"sources": [{"kind": "file", "path": str(file), "license": "mit"}]},
        "samplers": [{"model": "bundled", "engine": engine, "sampling": {"n": 4, "max_tokens": 64}}],
        "claims": {"model": {"m": 2, "k": 4, "sampler": "self"}},
    }
    answer, failing = server.answer, {"sample": 2, "judge": 2}  # the kind's second request, and all that is said of it
    broken: dict[str, str] = {}

    def broke(body: Row) -> Row:
        kind, asked = "judge" if "structured_outputs" in body else "sample", json.dumps(body, sort_keys=True)
        if body["max_tokens"] > 1 and failing.get(kind, 0):
            failing[kind] -= 1
            if not failing[kind]:
                broken[kind] = asked
        if asked in broken.values() and failing:
            raise ConnectionResetError
        return dict(answer(body))

    server.answer = broke
    regenerate(recipe, tmp_path / "home")
    assert set(broken) == {"sample", "judge"}
    failing.clear()
    server.drawn.clear()
    server.asked.clear()
    regenerate(recipe, tmp_path / "home")
    assert server.drawn == [json.loads(broken["sample"])["seed"]]
    assert broken["judge"] in server.asked
    # Besides it and its claims, what is asked of the new sample, and of one that was in flight when the server gave up.
    assert len(server.asked) <= 3 * (1 + 2)
    server.asked.clear()
    assert not regenerate(recipe, tmp_path / "home")["new"]
    assert (server.drawn, server.asked) == ([json.loads(broken["sample"])["seed"]], [])
