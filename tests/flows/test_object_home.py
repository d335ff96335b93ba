"""The main job with HOME in an object store: the bytes of a folder's, whoever goes on with it, and on which machine."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from rich.console import Console

from proofmill.data.errors import StoreError, UsageError
from proofmill.data.files import write_json
from proofmill.data.objects import mirror, mirror_name
from proofmill.data.samples import QUARANTINED
from proofmill.data.versions import Version, check_files, find, versions
from proofmill.flows.commands.regenerate import run
from proofmill.flows.context import RunRequest, home_folder, open_run
from proofmill.flows.doctor.checks import FAIL, OK, Place, cluster_checks, storage_checks
from proofmill.flows.dry_run import report
from proofmill.flows.ingest import ingest_problems
from proofmill.flows.recipe.load import parse
from proofmill.flows.sampling import SamplingStep
from proofmill.generators.sample_plan import rendered
from support import crash
from support.s3 import BUCKET, forgetful_store
from support.samples import SAMPLES, sums, write_jsonl

Row = dict[str, Any]
NAME = "stored"
KILLS = 2


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    with crash.sum_server(SAMPLES) as found:
        yield found


@pytest.fixture(scope="module")
def driver(prefect_server: str, server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("stored")
    problems = [{"prompt": row["prompt"], "answer": row["answer"]} for row in sums(12, SAMPLES[:1])]
    source = {"kind": "file", "path": str(write_jsonl(folder / "problems.jsonl", problems)), "license": "mit"}
    engine = {"kind": "openai", "endpoints": [server.url], "api": "chat", "window": 2, "wait_s": 20}
    recipe = {
        "name": NAME,
        "problems": {"sources": [source]},
        "samplers": [{"model": "bundled", "engine": engine, "sampling": {"n": 4, "max_tokens": 64}}],
        "verify": {"workers": 1},
    }
    modules = ("transformers.models.auto.tokenization_auto",)
    found = crash.Driver(prefect_server, recipe, folder, modules=modules)
    yield found
    found.close()


@pytest.fixture(scope="module")
def whole(driver: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Version, int]:
    """The version of an undisturbed run in a folder, and how many calls made a change lasting."""
    home = tmp_path_factory.mktemp("whole") / "home"
    calls = driver.finished(home)["calls"]
    return find(home, NAME), calls


class Home:
    """A HOME in the object store, and machines that share nothing but it."""

    def __init__(self, driver: Any, s3: dict[str, str], folder: Path) -> None:
        self.driver, self.s3, self.folder = driver, s3, folder
        self.address = f"s3://{BUCKET}/{folder.name}"

    def on(self, machine: str) -> Row:
        """Return what a run on a machine is started with."""
        return {"environment": self.s3 | {"PROOFMILL_SCRATCH": str(self.folder / machine)}, "to": machine}

    def start(self, machine: str, **fault: Any) -> int:
        return int(self.driver.start(self.address, **self.on(machine), **fault))

    def run(self, machine: str, **fault: Any) -> int:
        return int(self.driver.wait(self.start(machine, **fault)))

    def mirror(self, machine: str) -> Path:
        """Return the mirror of a machine that has not seen this HOME before."""
        return mirror(self.address, self.folder / machine / mirror_name(self.address)).root

    def same_as(self, whole: Version) -> None:
        home = self.mirror("reader")
        (found,) = versions(home, NAME)
        check_files(found)
        assert found.data_digests() == whole.data_digests()
        assert found.manifest.stages == whole.manifest.stages


@pytest.fixture
def stored(driver: Any, s3: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    for name, value in s3.items():
        monkeypatch.setenv(name, value)
    return Home(driver, s3, tmp_path)


@pytest.mark.slow
def test_killed_again_and_again_and_resumed_elsewhere_it_ends_with_the_bytes_of_a_folder(
    stored: Home, server: Any, whole: tuple[Version, int]
) -> None:
    """Each time on a machine that has nothing but the address."""
    rng = random.Random(11)
    for number in range(KILLS):
        at = rng.randint(1, whole[1] // 3)
        assert stored.run(f"killed-{number}", at=at) == crash.KILLED, stored.driver.said(f"killed-{number}")
    assert stored.run("last") == 0, stored.driver.said("last")
    stored.same_as(whole[0])


@pytest.mark.slow
def test_killed_while_it_samples_it_draws_no_committed_sample_again(
    stored: Home, server: Any, whole: tuple[Version, int]
) -> None:
    server.delay = 0.4  # rows are written after two seconds, long before a shard is complete
    pid = stored.start("killed")
    store_root = stored.mirror("watcher")
    store = mirror(stored.address, store_root)
    while not any(stored_.size for path, stored_ in store.list(store_root / "samples").items() if _in_journal(path)):
        time.sleep(0.05)
    os.kill(pid, signal.SIGKILL)
    assert stored.driver.wait(pid) == crash.KILLED
    store.pull(store_root / "samples")
    kept = crash.recorded(store_root)
    assert kept
    server.delay = 0.0
    server.drawn.clear()
    assert stored.run("last") == 0, stored.driver.said("last")
    assert not {row["seed"] for row in kept} & set(server.drawn), "what is committed is not drawn again"
    stored.same_as(whole[0])


def _in_journal(path: Path) -> bool:
    return path.parent.parent.name.startswith("journals-")


@pytest.mark.slow
def test_a_dry_run_elsewhere_stops_nobody(
    stored: Home, whole: tuple[Version, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frozen = stored.start("frozen", at=whole[1] // 2, signal="SIGSTOP")
    stopped(frozen)
    monkeypatch.setenv("PROOFMILL_SCRATCH", str(tmp_path / "elsewhere"))
    request = RunRequest(parse(stored.driver.recipe), home_folder(stored.address), dry_run=True)
    with open_run(request) as looking:
        assert any("samples are still to be drawn" in line for line in report(looking))
    os.kill(frozen, signal.SIGCONT)
    assert stored.driver.wait(frozen) == 0, stored.driver.said("frozen")
    stored.same_as(whole[0])


def stopped(pid: int) -> None:
    """Waits until a process has stopped itself."""
    deadline = time.monotonic() + 120
    while psutil.Process(pid).status() != psutil.STATUS_STOPPED and time.monotonic() < deadline:
        time.sleep(0.05)


@pytest.mark.slow
def test_a_driver_that_was_replaced_stops(stored: Home, whole: tuple[Version, int]) -> None:
    frozen = stored.start("frozen", at=whole[1] // 2, signal="SIGSTOP")
    stopped(frozen)
    assert stored.run("newer") == 0, stored.driver.said("newer")
    os.kill(frozen, signal.SIGCONT)
    assert stored.driver.wait(frozen) == 1, stored.driver.said("frozen")
    assert "Another process has taken over" in stored.driver.said("frozen")["error"]
    assert stored.address in stored.driver.said("frozen")["error"]
    stored.same_as(whole[0])


def test_models_need_a_folder() -> None:
    with pytest.raises(UsageError, match="`proofmill train` needs a HOME in a folder") as caught:
        home_folder("s3://bucket/home", "train")
    assert caught.value.where == "s3://bucket/home"


@pytest.fixture
def scratch(s3: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of a HOME that this process has no mirror of."""
    for name, value in (s3 | {"PROOFMILL_SCRATCH": str(tmp_path)}).items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/{tmp_path.name}"


def test_a_cluster_can_not_work_on_it_yet(scratch: str) -> None:
    recipe = parse({"name": "any", "cluster": {"address": "auto"}, "problems": {"sources": [TASK]}})
    home = home_folder(scratch)
    with pytest.raises(UsageError, match="can't work on a HOME in an object store"), open_run(RunRequest(recipe, home)):
        pass
    (found,) = cluster_checks(Place(recipe, home))
    assert found.status == FAIL
    assert scratch in found.found


@pytest.mark.slow
def test_a_prompt_that_kills_the_engine_is_known_elsewhere(scratch: str, tmp_path: Path) -> None:
    engine = {"kind": "openai", "endpoints": ["http://127.0.0.1:9/v1"], "api": "chat"}
    sampler = {"model": "bundled", "engine": engine, "sampling": {"n": 1, "max_tokens": 8}}
    source = {"kind": "file", "path": str(write_jsonl(tmp_path / "p.jsonl", sums(2, SAMPLES[:1]))), "license": "mit"}
    recipe = parse({"name": "killed", "problems": {"sources": [source]}, "samplers": [sampler]})
    for machine in ("one", "other"):
        with open_run(RunRequest(recipe, mirror(scratch, tmp_path / machine).root)) as run:
            shards, (plan,) = ingest_problems(run).shards, run.models.plans
            if machine == "one":
                with run.models.store(plan) as store:
                    journal = store.journal("0")
                    for prompt, _ in rendered(plan, run.store.read(shards[0].problems)).values():
                        journal.append(_unanswered(prompt))
                    store.seal("0", journal)
                write_json(plan.quarantine(run.home), [])
                list(SamplingStep(run, shards).finished_shards())
            assert all(SamplingStep(run, shards).done.values())


def _unanswered(prompt: str) -> Row:
    counts = {"sample_index": 0, "seed": 0, "prompt_tokens": 1, "completion_tokens": 0}
    return {"prompt_digest": prompt, "response": "", "finish_reason": QUARANTINED} | counts


def test_doctor_and_each_run_try_whether_the_store_creates_once(scratch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = parse({"name": "any", "problems": {"sources": [TASK]}})
    found = {check.name: check for check in storage_checks(Place(recipe, home_folder(scratch)))}
    assert found["object store"].status == OK
    with forgetful_store() as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        found = {check.name: check for check in storage_checks(Place(recipe, home_folder(f"{scratch}/bad")))}
        with pytest.raises(StoreError, match="creates an object twice"):
            run(recipe, f"{scratch}/bad", None, False, Console())
    assert found["object store"].status == FAIL
    assert "creates an object twice" in found["object store"].found
    assert address in found["object store"].found


TASK = {"kind": "procedural", "task": "basic_arithmetic"}
