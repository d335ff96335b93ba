"""What the tests of all packages share: a fresh HOME, recorded samples of a known kind, a real Prefect server."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from proofmill.flows.run.server import configure, server

# The local hub speaks the large-file protocol that every hub does; Xet needs the real one.
os.environ.setdefault("HF_HUB_DISABLE_XET", "1")

Row = dict[str, Any]

CORRECT = (
    "First I look at the two numbers, {a} and {b}. Counting up from {a} by {b} single steps brings me past every "
    "number between them, and the last one that I touch is {sum}. As a check I go back down by {b} and land on {a} "
    "once more, so nothing was skipped. The answer is \\boxed{{{sum}}}.",
    "Let me split the second term: {b} is made of ones, and each of those ones pushes the first term higher. "
    "When they are used up, the total stands at {sum}; there is no carry to worry about here. "
    "The answer is \\boxed{{{sum}}}.",
    "Both terms are small, so I add them at once. Thus \\boxed{{{sum}}}.",
)
WRONG = "I believe that both terms together make one too many, hence the answer is \\boxed{{{off}}}."
CUT = "<think>The first term is {a} and the second one is {b}, so if I now begin to"
NOTHING = "I would rather talk about the weather over the sea, and about boats."
SAMPLES = (*CORRECT, WRONG, CUT, NOTHING)
"""Of each problem: three correct samples from long to short, a wrong one, a cut one, one without an answer."""


def sums(problems: int = 6, samples: Iterable[str] = SAMPLES) -> list[Row]:
    """Recorded samples of `problems` sums; each row has what the replay engine needs."""
    rows = []
    for number in range(problems):
        a, b = 11 + 3 * number, 5 + number
        for text in samples:
            response = text.format(a=a, b=b, sum=a + b, off=a + b + 1)
            finish = "length" if text is CUT else "stop"
            question = {"prompt": f"How much is {a} + {b}?", "answer": str(a + b)}
            rows.append(question | {"response": response, "finish_reason": finish, "license": "mit"})
    return rows


def write_jsonl(path: Path, rows: Iterable[Row]) -> Path:
    path.write_bytes(b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows))
    return path


def replay_recipe(file: Path, **sections: Any) -> Row:
    """A recipe that replays one file."""
    return {"name": "replayed", "samplers": [{"engine": {"kind": "replay", "files": [str(file)]}}]} | sections


@pytest.fixture(scope="session")
def kit() -> Any:
    """The makers above; test modules are imported one by one and can't import this file."""
    from types import SimpleNamespace

    return SimpleNamespace(
        sums=sums, write_jsonl=write_jsonl, replay_recipe=replay_recipe, CORRECT=CORRECT, SAMPLES=SAMPLES
    )


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An empty HOME."""
    return tmp_path / "home"


@pytest.fixture
def replay_file(tmp_path: Path) -> Path:
    """Six problems with six recorded samples each."""
    return write_jsonl(tmp_path / "samples.jsonl", sums())


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real Prefect server that lives as long as the tests."""
    home = tmp_path_factory.mktemp("prefect")
    before = {name: os.environ.pop(name, None) for name in ("PREFECT_API_URL", "PREFECT_HOME")}
    configure(home, debug=False)
    with server(home):
        yield os.environ["PREFECT_API_URL"]
    os.environ.update({name: value for name, value in before.items() if value is not None})


@pytest.fixture(scope="session")
def regenerate(prefect_server: str) -> Iterator[Callable[..., Row]]:
    """The flow, run in this process against the real server."""
    from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    from proofmill.flows.regenerate import regenerate as flow

    def run(recipe: Row, home: Path, **options: Any) -> Row:
        result: Row = flow(recipe=recipe, home=str(home), **options)
        return result

    # A heart that beats in a thread makes every flow wait for the end of its second.
    with temporary_settings({PREFECT_API_URL: prefect_server, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield run


@pytest.fixture(scope="session")
def hub_server() -> Any:
    """The module of the local hub."""
    return _module(Path(__file__).with_name("hub_server.py"))


@pytest.fixture(scope="session")
def crash() -> Any:
    """The module that starts runs, kills them, and compares what they leave."""
    return _module(Path(__file__).with_name("flows") / "crash.py")


@pytest.fixture(scope="session")
def false_sums() -> Any:
    """The benchmarks' own detector of false sums."""
    return _module(Path(__file__).with_name("benchmarks") / "false_sums.py")


def _module(path: Path) -> Any:
    """A module that tests share; they can't import one another by name."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(path.name)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def hub(hub_server: Any) -> Iterator[Any]:
    """A hub without repositories, over HTTP."""
    server = hub_server.Hub()
    yield server
    server.close()
