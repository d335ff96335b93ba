"""A version onto the hub and back, over HTTP, with the real client and `datasets`; only the server is ours."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import orjson
import pytest

from proofmill.data.errors import HubError, InputError, StoreError
from proofmill.data.hub import Hub, PushPlan, local_files, plan, push
from proofmill.data.versions import Version, find
from support.hub import TOKEN, Blob, Fault
from support.samples import replay_recipe, sums, write_jsonl

REPO = "me/sums"


@pytest.fixture(scope="module")
def published(regenerate: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A HOME with two versions: v2 has more problems and no `rl` rows."""
    folder = tmp_path_factory.mktemp("published")
    recipe = replay_recipe(write_jsonl(folder / "samples.jsonl", sums(6)))
    regenerate(recipe, folder / "home")
    write_jsonl(folder / "samples.jsonl", sums(9))
    regenerate(recipe | {"select": {"rl_pass_rate": [0.9, 1.0]}}, folder / "home")
    assert find(folder / "home", "replayed").number == 2
    return folder / "home"


class Pusher:
    """Pushes in this process, and remembers what was said."""

    def __init__(self, home: Path, hub: Any, token: str) -> None:
        self.home, self.hub, self.token = home, hub, token
        self.said: list[str] = []

    def client(self) -> Hub:
        return Hub(REPO, token=self.token, endpoint=self.hub.url, say=self.said.append)

    def version(self, number: int) -> Version:
        return find(self.home, f"replayed@v{number}")

    def push(self, number: int, *, public: bool = False) -> PushPlan:
        version = self.version(number)
        return push(version, local_files(version), self.client(), public=public)

    def plan(self, number: int, *, public: bool = False) -> PushPlan:
        version = self.version(number)
        return plan(version, local_files(version), self.client(), public=public)

    def held(self, revision: str) -> dict[str, bytes]:
        """What the hub holds, by path."""
        tree = self.hub.tree(REPO, revision)
        return {path: blob.data for path, blob in tree.items() if path != ".gitattributes"}

    def own(self, number: int) -> dict[str, bytes]:
        folder = self.version(number).folder
        return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def pusher(published: Path, hub: Any) -> Pusher:
    return Pusher(published, hub, TOKEN)


# --- the whole path -------------------------------------------------------------------------------


def test_the_very_files_arrive_privately_and_are_tagged(pusher: Pusher) -> None:
    pusher.push(1)
    assert pusher.hub.repos[REPO].private
    assert pusher.held("v1") == pusher.held("main") == pusher.own(1)
    assert pusher.hub.repos[REPO].tags == {"v1": pusher.hub.repos[REPO].branches["main"]}


def test_a_new_version_removes_what_it_does_not_have_in_one_commit(pusher: Pusher) -> None:
    pusher.push(1)
    before = len(pusher.hub.repos[REPO].messages)
    done = pusher.push(2)
    assert done.remove == [name for name in pusher.own(1) if name.startswith("rl/")]
    assert pusher.hub.repos[REPO].messages[before:] == ["replayed@v2"]
    assert pusher.held("main") == pusher.held("v2") == pusher.own(2)
    assert pusher.held("v1") == pusher.own(1)


def test_again_does_nothing(pusher: Pusher) -> None:
    pusher.push(1)
    commits = len(pusher.hub.repos[REPO].commits)
    assert pusher.push(1).tagged
    assert len(pusher.hub.repos[REPO].commits) == commits


def test_an_older_version_does_not_take_mains_place(pusher: Pusher) -> None:
    pusher.push(2)
    pusher.push(1)
    assert pusher.held("main") == pusher.own(2)
    assert pusher.held("v1") == pusher.own(1)
    assert set(pusher.hub.repos[REPO].branches) == {"main"}


def test_a_plan_sends_nothing(pusher: Pusher) -> None:
    todo = pusher.plan(1)
    assert {file.name for file in todo.add} == set(pusher.own(1))
    assert pusher.hub.repos == {}
    pusher.push(1)
    assert pusher.plan(1).tagged


def test_datasets_reads_every_config_back(pusher: Pusher, tmp_path: Path) -> None:
    """In a process of its own: the client reads HF_ENDPOINT once."""
    pusher.push(1)
    pusher.push(2)
    version = pusher.version(1)
    script = (
        "import sys, json, datasets\n"
        f"names = datasets.get_dataset_config_names({REPO!r}, revision='v1')\n"
        f"rows = {{n: datasets.load_dataset({REPO!r}, n, split='train', revision='v1').to_list() for n in names}}\n"
        f"first = next(iter(datasets.load_dataset({REPO!r}, 'sft_stage1', split='train', streaming=True)))\n"
        "json.dump([rows, first], sys.stdout, default=str)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment(pusher, tmp_path),
        stdout=subprocess.PIPE,
        check=True,
        timeout=120,
    )
    rows, first = orjson.loads(done.stdout)
    here = {
        config: datasets.load_dataset(str(version.folder), config, split="train", cache_dir=str(tmp_path)).to_list()
        for config in datasets.get_dataset_config_names(str(version.folder))
    }
    assert rows == here
    assert set(first) == set(here["sft_stage1"][0])


def environment(pusher: Pusher, tmp_path: Path) -> dict[str, str]:
    place = {"HF_ENDPOINT": pusher.hub.url, "HF_TOKEN": pusher.token, "HF_HOME": str(tmp_path / "hf")}
    return os.environ | place | {"HF_HUB_DISABLE_XET": "1", "PROOFMILL_HOME": str(pusher.home), "COLUMNS": "200"}


# --- faults of the way ----------------------------------------------------------------------------


def test_a_cut_connection_a_rate_limit_and_a_fault_are_waited_out(pusher: Pusher) -> None:

    pusher.hub.faults += [
        Fault("PUT /lfs/", after_bytes=500),
        Fault("PUT /lfs/", status=503),
        Fault("POST .*/batch", status=429, headers={"Retry-After": "0"}),
        Fault("POST .*/commit/", status=500),
        Fault("POST .*/tag/", status=429, headers={"Retry-After": "1"}),
        Fault("GET .*/tree/", status=502),
        Fault("POST .*/repos/create"),
    ]
    pusher.push(1)
    assert pusher.held("v1") == pusher.own(1)
    assert not any(f.times for f in pusher.hub.faults)
    assert any(("429" in line and "again in 1 s" in line) or "again in 2 s" in line for line in pusher.said)
    assert not any(pusher.token in line or "http" in line for line in pusher.said)


def test_a_step_whose_answer_was_lost_is_not_done_twice(pusher: Pusher) -> None:
    pusher.hub.faults += [Fault(f"POST .*/{step}/", lost=True) for step in ("commit", "tag")]
    pusher.push(1)
    assert pusher.hub.repos[REPO].messages == ["initial commit", "replayed@v1"]
    assert pusher.held("v1") == pusher.own(1)


def test_a_killed_push_goes_on_with_what_is_missing(pusher: Pusher, tmp_path: Path) -> None:
    command = [str(Path(sys.executable).with_name("proofmill")), "push", "replayed@v1", "--repo", REPO]
    last = max(file.sha256 for file in pusher.version(1).manifest.files if file.rows)
    pusher.hub.faults.append(Fault(f"PUT /lfs/{REPO}/{last}", status=503, times=100))
    with subprocess.Popen(command, env=environment(pusher, tmp_path), stdout=subprocess.PIPE) as process:
        deadline = time.monotonic() + 60
        wanted = {file.sha256 for file in pusher.version(1).manifest.files if file.rows} - {last}
        while set(pusher.hub.uploaded) < wanted and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    assert set(pusher.hub.uploaded) == wanted
    assert pusher.hub.repos[REPO].tags == {}
    pusher.hub.faults.clear()
    pusher.hub.uploaded.clear()
    done = subprocess.run(command, env=environment(pusher, tmp_path), capture_output=True, text=True, check=True)
    assert pusher.hub.uploaded == [last]
    assert pusher.held("v1") == pusher.own(1)
    assert "every hash was compared there" in done.stdout
    assert pusher.token not in done.stdout + done.stderr
    again = subprocess.run(command, env=environment(pusher, tmp_path), capture_output=True, text=True, check=True)
    assert "nothing to do" in again.stdout


# --- what is refused ------------------------------------------------------------------------------


def test_no_tag_where_the_hub_holds_something_else(pusher: Pusher) -> None:
    pusher.hub.tampered["README.md"] = b"changed on the way"
    with pytest.raises(HubError, match=r"v1 was not set: README\.md"):
        pusher.push(1)
    assert pusher.hub.repos[REPO].tags == {}
    pusher.hub.tampered.clear()
    pusher.push(1)
    assert pusher.held("v1") == pusher.own(1)


def test_a_tag_is_never_moved(pusher: Pusher) -> None:
    pusher.push(1)
    repo = pusher.hub.repos[REPO]
    other = repo.commit({**repo.commits[repo.tags["v1"]], "README.md": Blob(b"", False)}, "main")
    repo.tags["v1"] = other
    with pytest.raises(HubError, match=r"never moved: README\.md"):
        pusher.push(1)
    assert repo.tags["v1"] == other


def test_only_the_times_differ_is_already_there(pusher: Pusher, tmp_path: Path) -> None:
    pusher.push(1)
    version = pusher.version(1)
    changed = version.manifest.replaced(created="another day")
    other = tmp_path / "datasets" / "replayed" / "v0001"
    other.parent.mkdir(parents=True)
    other.symlink_to(version.folder)
    files = [f for f in local_files(version) if f.name != "manifest.json"]
    assert push(Version("replayed", 1, other, changed), files, pusher.client(), public=False).tagged


def test_a_public_repository_needs_to_be_asked_for(pusher: Pusher) -> None:
    pusher.push(1, public=True)
    assert not pusher.hub.repos[REPO].private
    with pytest.raises(HubError, match="--public was not given"):
        pusher.push(2)
    pusher.push(2, public=True)
    assert pusher.held("v2") == pusher.own(2)


def test_what_is_not_ours_is_left_alone(pusher: Pusher) -> None:
    pusher.client().create(private=True)
    repo = pusher.hub.repos[REPO]
    repo.commit({"train.csv": Blob(b"a,b\n", False)}, "main")
    with pytest.raises(HubError, match=r"already holds something else: train\.csv"):
        pusher.push(1)
    repo.commit({"manifest.json": Blob(b'{"name": "theirs", "files": []}', False)}, "main")
    with pytest.raises(HubError, match="another data set: theirs"):
        pusher.push(1)


def test_a_damaged_file_never_leaves_the_machine(pusher: Pusher, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(pusher.home, tmp_path / "copy")
    pusher.home = tmp_path / "copy"
    with next((tmp_path / "copy").rglob("traces/*.parquet")).open("ab") as file:
        file.write(b"!")
    with pytest.raises(StoreError, match="not what was published"):
        pusher.push(1)
    assert pusher.hub.seen == []


def test_a_licence_that_was_not_allowed_stays_here(pusher: Pusher) -> None:
    version = pusher.version(1)
    restrictive = Version(version.name, 1, version.folder, version.manifest.replaced(licenses=["cc-by-nc-4.0"]))
    with pytest.raises(InputError, match="cc-by-nc"):
        local_files(restrictive)


def test_a_refused_token_is_explained_and_not_shown(pusher: Pusher) -> None:
    pusher.token = "hf_wrong"  # noqa: S105 (wrong on purpose)
    with pytest.raises(HubError) as caught:
        pusher.push(1)
    assert "settings/tokens" in caught.value.remedy
    assert "hf_wrong" not in str(caught.value)


def test_the_command_says_what_it_would_do(pusher: Pusher, tmp_path: Path) -> None:
    command = [str(Path(sys.executable).with_name("proofmill")), "push", "replayed", "--repo", REPO, "--dry-run"]
    done = subprocess.run(command, env=environment(pusher, tmp_path), capture_output=True, text=True, check=True)
    assert "replayed@v2 to a new private repository me/sums" in done.stdout
    assert "Nothing was sent" in done.stdout
    assert pusher.hub.repos == {}
    tokenless = environment(pusher, tmp_path) | {"HF_TOKEN": ""}
    done = subprocess.run(command, env=tokenless, capture_output=True, text=True, check=True)
    assert "There is no token for the hub" in done.stdout
    assert "+ traces/train-00000-of-00001.parquet" in done.stdout
    assert "Nothing was sent" in done.stdout


@pytest.mark.skipif("HF_TOKEN_TEST" not in os.environ, reason="needs the real hub and a token in HF_TOKEN_TEST")
def test_the_real_hub_takes_it_by_xet(published: Path) -> None:
    """Opt-in: pushes to a private repository of the token's owner, reads back, and removes it."""
    token = os.environ["HF_TOKEN_TEST"]
    script = (
        "import sys\nfrom pathlib import Path\nfrom huggingface_hub import HfApi\n"
        "from proofmill.data.hub import Hub\nfrom proofmill.data.hub import local_files, push\n"
        "from proofmill.data.versions import find\n"
        "home, token = Path(sys.argv[1]), sys.argv[2]\napi = HfApi(token=token)\n"
        "repo = api.whoami()['name'] + '/proofmill-test'\n"
        "version = find(home, 'replayed@v1')\n"
        "try:\n    push(version, local_files(version), Hub(repo, token=token), public=False)\n"
        "    print(sorted(t.name for t in api.list_repo_refs(repo, repo_type='dataset').tags))\n"
        "finally:\n    api.delete_repo(repo, repo_type='dataset', missing_ok=True)\n"
    )
    clean = {key: value for key, value in os.environ.items() if key != "HF_HUB_DISABLE_XET"}
    done = subprocess.run(
        [sys.executable, "-c", script, str(published), token], env=clean, capture_output=True, text=True, check=True
    )
    assert "['v1']" in done.stdout
