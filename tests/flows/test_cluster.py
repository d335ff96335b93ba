"""The filters on a real Ray cluster of several nodes: the same bytes as on one machine, whatever nodes do meanwhile."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from proofmill.data.errors import UsageError, VerifierError
from proofmill.data.versions import find
from proofmill.flows import cluster
from proofmill.flows.context import RunRequest
from proofmill.flows.doctor import checks
from proofmill.flows.recipe import load as recipes
from proofmill.flows.up_to_date import up_to_date_version
from support import ray_nodes
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


def judged(home: Path) -> int:
    """Shards that have gone through the slow filter, which comes last."""
    return len(list((home / "runs" / "replayed" / "slow").glob("*.parquet")))


def test_the_same_bytes_and_a_home_that_moves_freely(
    regenerate: Run, recipe: Callable[..., Row], whole: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    regenerate(recipe(), home)
    same(home, whole)
    here = recipes.parse(recipe() | {"cluster": {}})
    assert up_to_date_version(RunRequest(here, home)), "on one machine nothing is left to do"
    shutil.rmtree(home / "datasets")
    before = {path: path.stat().st_mtime_ns for path in (home / "runs").rglob("*.parquet")}
    regenerate(recipe() | {"cluster": {}}, home)
    same(home, whole)
    assert {path: path.stat().st_mtime_ns for path in (home / "runs").rglob("*.parquet")} == before


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
    same(home, whole)
    log = (home / "runs" / "replayed" / "run.log").read_text()
    assert f"({dying.node_id[:6]})" in log
    assert "is late on" in log
    assert f"({other.node_id[:6]}) judges nothing: the code of support.ray_nodes is " in log


def test_a_shard_that_kills_its_judges_is_named_once_all_others_are_judged(
    regenerate: Run, recipe: Callable[..., Row], tmp_path: Path
) -> None:
    home = tmp_path / "home"
    with pytest.raises(VerifierError, match="1 shards bring down the nodes") as caught:
        regenerate(recipe("How much is 11 + 5?"), home)
    assert caught.value.where.startswith("shard 0")
    assert judged(home) == SHARDS - 1


def test_doctor_names_each_node(recipe: Callable[..., Row], tmp_path: Path) -> None:
    found = list(checks.cluster_checks(checks.Place(recipes.parse(recipe()), tmp_path / "home")))
    assert [(check.status, check.found) for check in found] == [(checks.OK, "can judge")] * 2


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
    monkeypatch.setattr(cluster, "_SEEN_SECONDS", 0.1)
    (fault,) = cluster._home_faults(tmp_path / "elsewhere" / "token")
    assert fault.startswith("HOME is not shared")
    token = tmp_path / "token"
    token.touch()
    assert list(cluster._home_faults(token)) == []
