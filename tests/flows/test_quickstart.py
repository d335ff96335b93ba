"""The main job with the real model and the real engine, at small size, as a user types it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

pytestmark = [pytest.mark.model, pytest.mark.slow]

MARK = "PROOFMILL_TEST_HOME"
SMALL = ["--limit", "6", "--set", "samplers.0.sampling.n=8", "--set", "samplers.0.sampling.max_tokens=48"]
SMALL += ["--set", "samplers.0.engine.window=6"]  # in waves, so that a run can be stopped between two of them


def command(home: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "proofmill.flows.cli", "regenerate", "--home", str(home), *SMALL, *arguments]


def environment(home: Path) -> dict[str, str]:
    """Marks all that a run on this HOME starts."""
    return {**os.environ, MARK: str(home)}


def engines(home: Path) -> list[psutil.Process]:
    """Engine processes that runs on this HOME have started; other runs on the machine have their own."""
    module, found = "proofmill.generators.engines.vllm_worker", []
    for process in psutil.process_iter(["cmdline"]):
        try:
            if module in (process.info["cmdline"] or []) and process.environ().get(MARK) == str(home):
                found.append(process)
        except psutil.Error:  # it ended meanwhile, or is another user's
            continue
    return found


def recorded(home: Path) -> int:
    """Samples that are safe on disk: sealed files and whole journal lines."""
    import pyarrow.parquet as pq

    files = [pq.read_metadata(path).num_rows for path in home.glob("samples/*/*.parquet")]
    journals = [path.read_bytes().count(b"\n") for path in home.glob("samples/*/*.journal")]
    return sum(files) + sum(journals)


def wait_for_samples(home: Path, running: subprocess.Popen[str], count: int = 2) -> None:
    deadline = time.monotonic() + 300
    while recorded(home) < count:
        assert running.poll() is None, running.communicate()
        assert time.monotonic() < deadline, "no sample was recorded in five minutes"
        time.sleep(0.2)


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A HOME whose first run was stopped by Ctrl-C in the middle of sampling."""
    home = tmp_path_factory.mktemp("quickstart") / "home"
    running = subprocess.Popen(
        command(home),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=environment(home),
    )
    wait_for_samples(home, running)
    assert engines(home), "the mark finds the engine while it runs"
    os.killpg(running.pid, signal.SIGINT)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 1
    assert "What is done is kept" in said
    assert "proofmill" in said.splitlines()[-1]
    return home


def test_interrupt_leaves_nothing_running_and_keeps_samples(interrupted: Path) -> None:
    assert recorded(interrupted) >= 2
    assert engines(interrupted) == []


def test_an_interrupted_run_goes_on_and_publishes(interrupted: Path) -> None:
    done = subprocess.run(
        command(interrupted), capture_output=True, text=True, timeout=600, env=environment(interrupted)
    )
    assert done.returncode in (0, 3), done.stderr
    if done.returncode == 0:
        manifest = json.loads((interrupted / "datasets/quickstart/v0001/manifest.json").read_text())
        assert manifest["stages"]["samples"] == {"in": 48, "kept": 48, "dropped": {}}
        for step in manifest["stages"].values():
            assert step["in"] == step["kept"] + sum(step["dropped"].values())
    assert recorded(interrupted) == 48, "samples were drawn twice or lost"
    assert engines(interrupted) == []


def test_raising_n_draws_only_the_difference(interrupted: Path) -> None:
    more = command(interrupted, "--set", "samplers.0.sampling.n=9", "--dry-run")
    said = subprocess.run(more, capture_output=True, text=True, timeout=120)
    assert "6 of 54 samples are still to be drawn" in said.stdout, said.stdout + said.stderr
