"""The deployments of prefect.yaml with a real Prefect server and a real process worker, as their user sets them up."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from support.samples import replay_recipe, sums, write_jsonl

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
WAIT = 180.0


class Prefect:
    """A server with a work pool, the project's deployments and a worker."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.home = folder / "home"
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT", "PROOFMILL"))}
        self.env = clean | {
            "PREFECT_API_URL": f"http://127.0.0.1:{self.port}/api",
            "PREFECT_HOME": str(folder / "prefect"),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "5",
            "PROOFMILL_HOME": str(self.home),
        }
        self.client = httpx.Client(base_url=self.env["PREFECT_API_URL"], timeout=60)  # making one takes 30 ms
        self.log = (folder / "processes.log").open("ab")
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, *words: str) -> None:
        command = [sys.executable, "-m", "prefect", *words]
        self.processes.append(
            subprocess.Popen(command, cwd=ROOT, env=self.env, stdout=self.log, stderr=self.log, start_new_session=True)
        )

    def run(self, *words: str) -> str:
        command = [sys.executable, "-m", "prefect", "--no-prompt", *words]
        done = subprocess.run(command, cwd=ROOT, env=self.env, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def api(self, method: str, path: str, body: Any = None) -> Any:
        for _ in range(20):
            answer = self.client.request(method, path, json=body)
            if answer.status_code != 503:  # the server's database is busy
                break
            time.sleep(1.0)
        answer.raise_for_status()
        return answer.json()

    def deployment(self, name: str) -> Any:
        return self.api("GET", f"/deployments/name/regenerate/{name}")

    def create_run(self, name: str, **parameters: Any) -> str:
        made = self.api(
            "POST", f"/deployments/{self.deployment(name)['id']}/create_flow_run", {"parameters": parameters}
        )
        return str(made["id"])

    def runs(self, deployment: str) -> list[Any]:
        query = {"deployments": {"name": {"any_": [deployment]}}, "sort": "EXPECTED_START_TIME_ASC"}
        return list(self.api("POST", "/flow_runs/filter", query))

    def state(self, run: str) -> str:
        return str(self.api("GET", f"/flow_runs/{run}")["state"]["name"])

    def wait(self, until: Callable[[], Any], what: str) -> Any:
        deadline = time.monotonic() + WAIT
        while not (found := until()):
            assert time.monotonic() < deadline, f"waited in vain for {what}; see {self.log.name}"
            time.sleep(0.25)
        return found

    def wait_for(self, run: str, *states: str) -> None:
        self.wait(lambda: self.state(run) in states, f"{states}, but it is {self.state(run)}")

    def healthy(self) -> bool:
        try:
            return bool(self.client.get("/health", timeout=5).json())
        except httpx.HTTPError:
            return False

    def stop(self) -> None:
        for process in reversed(self.processes):
            for child in psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []:
                child.kill()
            process.kill()
            process.wait()
        self.log.close()
        self.client.close()


@pytest.fixture(scope="module")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prefect]:
    found = Prefect(tmp_path_factory.mktemp("deployments"))
    try:
        found.start("server", "start", "--host", "127.0.0.1", "--port", str(found.port), "--no-ui")
        found.wait(found.healthy, "the server")
        found.run("work-pool", "create", "proofmill", "--type", "process")
        found.run("work-pool", "set-concurrency-limit", "proofmill", "1")
        found.run("deploy", "--all")
        found.start("worker", "start", "--pool", "proofmill", "--name", "machine")
        yield found
    finally:
        found.stop()


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A recipe that replays enough problems for a run to be interrupted."""
    file = write_jsonl(tmp_path_factory.mktemp("recorded") / "samples.jsonl", sums(100))
    return replay_recipe(file)


def version(home: Path, name: str = "replayed", number: int = 1) -> Any:
    return json.loads((home / f"datasets/{name}/v{number:04d}/manifest.json").read_text())


def test_the_form_is_made_from_the_recipe(prefect: Prefect) -> None:
    schema = prefect.deployment("one-off")["parameter_openapi_schema"]
    kinds = schema["properties"]["recipe"]["anyOf"]
    assert {"$ref": "#/definitions/Recipe"} in kinds
    assert {"samplers", "select", "publish"} <= set(schema["definitions"]["Recipe"]["properties"])
    assert schema["properties"]["recipe"]["description"].startswith("a bundled name")


def test_the_loop_is_deployed_with_the_same_form(prefect: Prefect) -> None:
    found = prefect.api("GET", "/deployments/name/improve/loop")
    assert {"$ref": "#/definitions/Recipe"} in found["parameter_openapi_schema"]["properties"]["recipe"]["anyOf"]
    assert found["parameters"] == {"recipe": "improve-quickstart"}


def test_one_run_at_a_time(prefect: Prefect) -> None:
    assert prefect.api("GET", "/work_pools/proofmill")["concurrency_limit"] == 1
    limits = [
        prefect.deployment(name)["global_concurrency_limit"]["limit"] for name in ("nightly", "one-off", "republish")
    ]
    assert limits == [1, 1, 1]


def test_a_killed_run_is_retried_and_resumes(prefect: Prefect, recipe: Any) -> None:
    run = prefect.create_run("one-off", recipe=recipe)
    folder = prefect.home / "runs/replayed"

    def committed() -> int:
        return sum(path.read_bytes().count(b"\n") for path in folder.glob("manifest-*/*.jsonl"))

    process = prefect.wait(lambda: running(run), "the run's process")
    prefect.wait(lambda: committed() >= 4, "some committed shards")
    os.kill(process, signal.SIGKILL)
    before = committed()
    prefect.wait_for(run, "Crashed", "Failed")
    assert not (prefect.home / "datasets/replayed/v0001").exists(), "it was killed too late"
    prefect.run("flow-run", "retry", run)
    prefect.wait_for(run, "Completed")
    assert committed() > before
    stages = version(prefect.home)["stages"]
    assert stages["samples"]["kept"] == 100 * 6
    assert all(step["in"] == step["kept"] + sum(step["dropped"].values()) for step in stages.values())


def running(run: str) -> int:
    """The process that runs a flow run, 0 where there is none: the run's id stands in its environment."""
    for process in psutil.process_iter():
        try:
            environment = process.environ()
            words = " ".join(process.cmdline())
        except psutil.Error:
            continue
        if environment.get("PREFECT__FLOW_RUN_ID", "").replace("-", "") == run.replace("-", "") and "prefect" in words:
            return process.pid
    return 0


def test_artifacts_hold_the_funnel_and_the_report(prefect: Prefect) -> None:
    found = prefect.api("POST", "/artifacts/filter", {})
    tables = [json.loads(item["data"]) for item in found if item["type"] == "table"]
    assert any({"step", "in", "kept"} <= set(table[0]) for table in tables if table)
    links = [str(item["data"]) for item in found if item["key"] == "report-replayed"]
    assert links == [f"[replayed@v1]({(prefect.home / 'datasets/replayed/v0001/report.html').as_uri()})"]
    assert any("report.html" in str(item["data"]) for item in found if item["key"] == "version-replayed")
    assert any(item["type"] == "progress" for item in found)


def test_a_republication_samples_nothing_and_its_failure_calls_the_webhook(prefect: Prefect) -> None:
    """Nothing is recorded, so nothing can be published: the run fails and draws nothing."""
    said: list[dict[str, Any]] = []

    class Listener(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            said.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            pass

    listener = HTTPServer(("127.0.0.1", 0), Listener)
    threading.Thread(target=listener.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{listener.server_port}/"
    command = [sys.executable, "-m", "proofmill.flows.notify", url]
    subprocess.run(command, env=prefect.env, check=True, timeout=60)
    subprocess.run(command, env=prefect.env, check=True, timeout=60)  # again: still one automation
    assert len(prefect.api("POST", "/automations/filter", {})) == 1
    source = {"kind": "procedural", "task": "basic_arithmetic", "domain": "math", "count": 4}
    run = prefect.create_run("republish", recipe={"name": "unsampled", "problems": {"sources": [source]}})
    prefect.wait_for(run, "Failed")
    assert list(prefect.home.glob("samples/*/*.parquet")) == []
    prefect.wait(lambda: said, "the webhook")
    assert "of republish is Failed" in said[0]["text"]
    listener.shutdown()


def test_without_a_server_or_an_address_nothing_is_notified(prefect: Prefect) -> None:
    for url, env, told in (
        ("https://chat.example/hook", {"PREFECT_API_URL": "http://127.0.0.1:9/api"}, "127.0.0.1:9/api"),
        ("chat.example", {}, "is no address"),
    ):
        command = [sys.executable, "-m", "proofmill.flows.notify", url]
        done = subprocess.run(command, env=prefect.env | env, capture_output=True, text=True, timeout=120)
        assert (done.returncode, done.stderr.count("\n  next:")) == (1, 1)
        assert done.stderr.startswith("error: ")
        assert told in done.stderr


def test_a_schedule_fires_and_nothing_is_done_twice(prefect: Prefect, recipe: Any) -> None:
    path = prefect.home.parent / "recipe.yaml"
    path.write_text(json.dumps(recipe))  # JSON is YAML
    prefect.run("deploy", "--name", "nightly", "--param", f"recipe={path}", "--interval", "30")
    run = prefect.wait(
        lambda: [r for r in prefect.runs("nightly") if r["state"]["name"] == "Completed"], "the scheduled run"
    )[0]
    assert run["auto_scheduled"]
    assert sorted(item.name for item in (prefect.home / "datasets/replayed").glob("v*")) == ["v0001"]
