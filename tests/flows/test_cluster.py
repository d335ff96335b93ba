"""Engines and filters on a real Ray cluster of several nodes: the bytes of one machine, whatever nodes do meanwhile."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import pytest

from proofmill.data import files
from proofmill.data.errors import UsageError, VerifierError
from proofmill.data.files import sweep
from proofmill.data.versions import find
from proofmill.filters.near_duplicates import duplicates, signed_parts
from proofmill.flows import cluster, cluster_judge
from proofmill.flows.cluster_engines import NodeEngines
from proofmill.flows.context import RunRequest, open_run
from proofmill.flows.display import Progress
from proofmill.flows.doctor import checks
from proofmill.flows.ingest import ingest_problems
from proofmill.flows.recipe import load as recipes
from proofmill.flows.recipe.schema import ClusterOptions, NodeEngineOptions
from proofmill.flows.sampling import SamplingStep
from proofmill.flows.up_to_date import up_to_date_version
from proofmill.generators.engines.base import Completion, Request, stream_completions
from proofmill.generators.engines.restarting import RestartingEngine
from support import crash, ray_nodes
from support.samples import replay_recipe, sums, write_jsonl

pytest.importorskip("ray", reason="Ray is not installed: pip install 'proofmill[cluster]'")
pytestmark = [pytest.mark.cluster, pytest.mark.slow]

Row = dict[str, Any]
Run = Callable[..., Row]
SHARDS = 8


@pytest.fixture(scope="module")
def nodes() -> Iterator[ray_nodes.Nodes]:
    """A cluster of two nodes for judges, and a head that has none."""
    with ray_nodes.nodes() as found:
        found.add()
        found.add()
        yield found


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recorded samples for eight shards."""
    return write_jsonl(tmp_path_factory.mktemp("cluster") / "samples.jsonl", sums(40))


@pytest.fixture
def recipe(nodes: ray_nodes.Nodes, samples: Path) -> Callable[..., Row]:
    """Makes a recipe of the cluster; `kills` is a text whose judge dies."""

    def made(kills: str = "", **options: Any) -> Row:
        section = {"address": nodes.address, "judges": {"memory_gb": ray_nodes.JUDGE_GB}} | options
        return replay_recipe(samples, cluster=section, filters=[{"use": "support.ray_nodes:SLOW", "kills": kills}])

    ray_nodes.slow(0)
    return made


@pytest.fixture(scope="module")
def whole(regenerate: Run, samples: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """HOME after a run on this machine alone."""
    home = tmp_path_factory.mktemp("whole") / "home"
    regenerate(replay_recipe(samples, filters=[{"use": "support.ray_nodes:SLOW", "kills": ""}]), home)
    return home


def same(home: Path, whole: Path) -> None:
    """Assert that both hold the same version, and that nothing is left over."""
    assert find(home, "replayed").data_digests() == find(whole, "replayed").data_digests()
    assert [*home.rglob("*.tmp"), *(home / ".cluster").iterdir()] == []


def times(files: Iterable[Path]) -> dict[Path, int]:
    """When each file was written."""
    return {path: path.stat().st_mtime_ns for path in files}


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own that holds few files."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2g,nr_inodes=64", "none", str(folder)]
    if os.getuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a file system of its own can't be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def judged(home: Path) -> int:
    """Shards that have gone through the slow filter, which comes last."""
    return len(list((home / "runs" / "replayed" / "slow").glob("*.parquet")))


@pytest.fixture
def tasks_done(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Which kinds of tasks over files the nodes get, once near-duplicates of few rows are looked for in many tasks."""
    sizes = {signed_parts: {"PART_ROWS": 100}, duplicates: {"RANGE_ROWS": 100, "RANGE_RECORDS": 2000}}
    for module, values in sizes.items():
        for name, value in values.items():
            monkeypatch.setattr(module, name, value)
    done: set[str] = set()
    send = cluster.Judges._send

    def sent(judges: cluster.Judges, work: cluster._Work, *others: Any) -> None:
        done.add(work.kind)
        send(judges, work, *others)

    monkeypatch.setattr(cluster.Judges, "_send", sent)
    return done


def test_a_killed_driver_is_replaced_elsewhere_and_a_home_moves_freely(
    prefect_server: str,
    regenerate: Run,
    recipe: Callable[..., Row],
    whole: Path,
    tasks_done: set[str],
    tmp_path: Path,
) -> None:
    """A driver dies on a host where HOME has another path; one of the cluster goes on, then one without a cluster."""
    home, mounted = tmp_path / "shared" / "home", tmp_path / "mounted"
    home.parent.mkdir()
    mounted.symlink_to(home.parent)
    elsewhere = ["unshare", "--uts", "sh", "-c", 'hostname elsewhere && exec "$@"', "sh"]
    allowed = not subprocess.run([*elsewhere, "true"], capture_output=True, check=False).returncode
    driver = crash.Driver(prefect_server, recipe(), tmp_path, inside=elsewhere if allowed else [])
    try:
        ray_nodes.slow(0.5)
        running = driver.start(mounted / "home")
        while judged(home) < 2:
            time.sleep(0.05)
        os.kill(running, signal.SIGKILL)
        assert driver.wait(running) == crash.KILLED
    finally:
        driver.close()
    ray_nodes.slow(0)
    assert judged(home) < SHARDS
    before = times(crash.committed(home, "replayed"))
    regenerate(recipe(), home)
    assert find(home, "replayed").data_digests() == find(whole, "replayed").data_digests()
    assert times(list(before)) == before, "what was committed is not made again"
    gathered = {"write_part", "rank_range", "find_candidates", "name_rows"}
    assert {"annotate", *gathered, "write_rows", "write_file"} <= tasks_done
    here = recipes.parse(recipe() | {"cluster": {}})
    assert up_to_date_version(RunRequest(here, home)), "on one machine nothing is left to do"
    shutil.rmtree(home / "datasets")
    before = times((home / "runs").rglob("*.parquet"))
    regenerate(recipe() | {"cluster": {}}, home)
    assert find(home, "replayed").data_digests() == find(whole, "replayed").data_digests()
    assert times((home / "runs").rglob("*.parquet")) == before


def test_a_node_is_killed_one_freezes_and_one_with_other_code_is_refused_by_its_name(
    regenerate: Run, nodes: ray_nodes.Nodes, recipe: Callable[..., Row], whole: Path, tmp_path: Path
) -> None:
    home, theirs = tmp_path / "home", tmp_path / "theirs"
    shutil.copytree(Path(ray_nodes.__file__).parent, theirs / "support")
    with (theirs / "support" / "ray_nodes.py").open("a") as file:
        file.write("# another version\n")
    dying, freezing, other = nodes.add(), nodes.add(), nodes.add({"PYTHONPATH": str(theirs)})
    frozen: list[psutil.Process] = []

    def harm() -> None:
        while judged(home) < 1:
            time.sleep(0.05)
        nodes.kill(dying)
        frozen.extend(ray_nodes.freeze(freezing))

    harming = threading.Thread(target=harm, daemon=True)
    harming.start()
    try:
        ray_nodes.slow(1)
        regenerate(recipe(silence_s=2, overdue=1), home)
    finally:
        harming.join(10)
        for process in frozen:
            process.resume()
        nodes.kill(freezing)
        nodes.kill(other)
    assert frozen
    sweep(home)  # as the next run does with what the dead were writing
    same(home, whole)
    log = (home / "runs" / "replayed" / "run.log").read_text()
    assert f"({dying.node_id[:6]})" in log
    assert "is late on" in log
    assert f"({other.node_id[:6]}) judges nothing: the code of support.ray_nodes is " in log


def test_a_node_whose_scratch_disk_is_full_is_named_and_its_shards_go_elsewhere(
    scratch: Path,
    regenerate: Run,
    nodes: ray_nodes.Nodes,
    recipe: Callable[..., Row],
    whole: Path,
    tmp_path: Path,
) -> None:
    home = tmp_path / "home"
    full = nodes.add({"TMPDIR": str(scratch)})

    def fill() -> None:
        while judged(home) < 1:
            time.sleep(0.02)
        with suppress(OSError):
            for number in range(64):
                (scratch / str(number)).touch()

    threading.Thread(target=fill, daemon=True).start()
    ray_nodes.slow(0.5)
    try:
        regenerate(recipe(), home)
    finally:
        nodes.kill(full)
    same(home, whole)
    log = (home / "runs" / "replayed" / "run.log").read_text()
    assert f"({full.node_id[:6]}) judges nothing more, and its shards go elsewhere: The folder for temporary" in log


def test_a_shard_that_kills_its_judges_is_named_once_all_others_are_judged(
    regenerate: Run, recipe: Callable[..., Row], tmp_path: Path
) -> None:
    home = tmp_path / "home"
    with pytest.raises(VerifierError, match="A shard brings down every node") as caught:
        regenerate(recipe("How much is 11 + 5?"), home)
    assert caught.value.where.startswith("shard 0")
    assert judged(home) == SHARDS - 1


def test_doctor_names_each_node(recipe: Callable[..., Row], tmp_path: Path) -> None:
    found = list(checks.cluster_checks(checks.Place(recipes.parse(recipe()), tmp_path / "home")))
    assert [(check.status, check.found) for check in found] == [(checks.OK, "can judge")] * 2


def test_a_run_that_ends_early_leaves_no_thread_behind_and_a_node_that_joins_gets_shards(
    nodes: ray_nodes.Nodes, recipe: Callable[..., Row], tmp_path: Path
) -> None:
    """Threads that wait for a judge end before the connection does: without one, Ray starts a cluster of its own."""
    import ray

    ray_nodes.slow(300)
    errors: list[BaseException] = []
    with open_run(RunRequest(recipes.parse(recipe()), tmp_path / "home")) as run:
        pairs = [*SamplingStep(run, ingest_problems(run).shards).finished_shards()]

        def annotate(judges: cluster.Executor, pair: Any) -> None:
            try:
                judges.annotate(*pair)
            except VerifierError as error:
                errors.append(error)

        with pytest.raises(KeyboardInterrupt), cluster.executor(run) as judges:
            threads = [threading.Thread(target=annotate, args=(judges, pair), daemon=True) for pair in pairs]
            for thread in threads:
                thread.start()
            wait_until(lambda: len(run.progress.cluster.open) == 2)
            joined = nodes.add()
            try:
                wait_until(lambda: len(run.progress.cluster.open) == 3)
                assert judges.ahead == 6
            finally:
                nodes.kill(joined)
            raise KeyboardInterrupt
        assert not ray.is_initialized()
        wait_until(lambda: len(errors) == SHARDS)
    assert [str(error).splitlines()[0] for error in errors] == ["The run has ended."] * SHARDS


def wait_until(holds: Callable[[], bool]) -> None:
    """Wait, for two minutes at most."""
    deadline = time.monotonic() + 120
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.05)


def test_where_no_node_can_judge_the_run_says_why(regenerate: Run, recipe: Callable[..., Row], tmp_path: Path) -> None:
    with pytest.raises(VerifierError, match="No node of the cluster can judge") as caught:
        regenerate(recipe(judges={"memory_gb": 10_000}), tmp_path / "home")
    assert "no node with enough room" in caught.value.where
    assert "cluster.judges" in caught.value.remedy


def test_a_cluster_that_is_not_there_is_none_that_is_started(
    regenerate: Run, recipe: Callable[..., Row], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="There is no Ray cluster to join") as caught:
        regenerate(recipe(address="127.0.0.1:1"), tmp_path / "home")
    assert caught.value.where == "--cluster 127.0.0.1:1"


def test_a_home_that_is_not_shared_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "SEEN_SECONDS", 0.1)
    (fault,) = cluster_judge.home_faults(tmp_path / "elsewhere" / "token")
    assert fault.startswith("HOME is not shared")
    token = tmp_path / "token"
    token.touch()
    assert list(cluster_judge.home_faults(token)) == []


def test_engines_that_are_killed_or_frozen_lose_nothing_and_a_new_node_gets_one(nodes: ray_nodes.Nodes) -> None:
    options = ClusterOptions(address=nodes.address, silence_s=1, engines=NodeEngineOptions(gpus=0, cpus=1))
    seen = Progress()
    engine = partial(ray_nodes.FreeEngine, rate=40)
    engines = RestartingEngine(lambda: NodeEngines(options, engine, 5, seen), seen)
    sent: list[Request] = []
    answers: list[Completion] = []
    frozen: list[psutil.Process] = []
    joined = None

    def requests() -> Iterator[Request]:
        while not any("has said nothing" in warning for warning in seen.warnings):
            sent.append(Request(f"s/{len(sent)}", (len(sent), 1), len(sent)))
            yield sent[-1]

    try:
        for answer in stream_completions(engines, requests()):
            answers.append(answer)
            if joined is None and seen.cluster.engines_up == 2:
                nodes.engine_hosts("")[0].kill()
                joined = nodes.add()
            if joined and not frozen and seen.cluster.engines_up == 3:
                frozen = ray_nodes.freeze(joined)
    finally:
        engines.close()
        for process in frozen:
            process.resume()
        if joined:
            nodes.kill(joined)
    expected = {request.id: engine().text(request) for request in sent}
    assert {answer.id: answer.text for answer in answers} == expected
    assert len(answers) == len(sent)
    assert seen.retries >= 2 * engine().ready().window, "what both had was sent again"


# Not marked as one that loads the model: its file would wait for all others that do.
@pytest.mark.skipif(find_spec("vllm") is None, reason="the engine is not installed: pip install 'proofmill[cpu]'")
def test_the_real_engine_on_two_nodes_of_which_one_loses_it(
    regenerate: Run, nodes: ray_nodes.Nodes, tmp_path: Path
) -> None:
    """What was under way is drawn by the other one, and one machine publishes the same of these samples."""
    home, alone = tmp_path / "home", tmp_path / "alone"
    here = recipes.load("quickstart", ["samplers.0.sampling.n=4", "samplers.0.sampling.max_tokens=32"])
    recipe = here.model_dump(mode="json")
    recipe["samplers"][0]["engine"]["window"] = 4
    section = {"address": nodes.address, "judges": {"memory_gb": ray_nodes.JUDGE_GB}, "engines": {"gpus": 0, "cpus": 1}}
    log = home / "runs" / "quickstart" / "run.log"
    killed: list[int] = []

    def harm() -> None:
        while not crash.recorded(home):
            time.sleep(0.1)
        (loaded, *_) = re.findall(r"engine \d+ on \S+ \((\w+)\) is loaded", log.read_text())
        for host in nodes.engine_hosts(loaded):
            host.kill()
            killed.append(host.pid)

    harming = threading.Thread(target=harm, daemon=True)
    harming.start()
    regenerate(recipe | {"cluster": section}, home, limit=6)
    assert killed
    assert "is gone: " in log.read_text()
    recorded = crash.recorded(home)
    assert len({(row["prompt_digest"], row["sample_index"]) for row in recorded}) == len(recorded) == 24
    shutil.copytree(home / "samples", alone / "samples")
    regenerate(recipe, alone, limit=6)
    assert not list((alone / "runs" / "quickstart").glob("engine-*.json")), "recorded samples need no engine"
    crash.same_as(home, alone, "quickstart")
