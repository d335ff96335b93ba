"""What a model said of claims stays said: another k, scope or verdict asks about what is new alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from proofmill.data.versions import find
from proofmill.flows.changes.outlook import outlook
from proofmill.flows.recipe import file as recipes
from proofmill.flows.run.session import Session

pytestmark = pytest.mark.slow
Row = dict[str, Any]
PROBLEMS = 3


@pytest.fixture
def server(crash: Any, kit: Any) -> Iterator[Any]:
    """An endpoint that keeps what it was asked, as text."""
    with crash.endpoint(kit.SAMPLES) as found:
        answer, found.asked = found.answer, []

        def heard(body: Row) -> Row:
            if "structured_outputs" in body:
                found.asked.append(json.dumps(body, sort_keys=True))
            return dict(answer(body))

        found.answer = heard
        yield found


def still_asked(recipe: Row, home: Path) -> list[str]:
    with Session(recipes.parse(recipe), home).opened() as session:
        return [line for line in outlook(session) if line.startswith("verifier")]


def test_another_k_asks_about_the_new_traces_alone(
    regenerate: Callable[..., Row], kit: Any, server: Any, tmp_path: Path
) -> None:
    file = kit.write_jsonl(tmp_path / "samples.jsonl", kit.sums(PROBLEMS, kit.CORRECT))
    engine = {"kind": "openai", "endpoints": [server.url], "api": "chat"}

    def recipe(**options: Any) -> Row:
        return kit.replay_recipe(file, claims={"model": {"model": "bundled", "engine": engine, "m": 2, **options}})

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
