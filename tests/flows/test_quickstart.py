"""The main job with the real model and the real engine, at small size, as a user types it: stopped, killed, resumed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from proofmill.flows.recipe import load as recipes
from proofmill.generators.sample_plan import sample_seed
from support import crash

pytestmark = [pytest.mark.model, pytest.mark.slow]

MARK = "PROOFMILL_TEST_HOME"
N, SEED = 6, 0
SETTINGS = [f"samplers.0.sampling.n={N}", "samplers.0.sampling.max_tokens=40"]
SETTINGS += ["samplers.0.engine.window=6"]  # in waves, so that a run can be stopped between two of them
SMALL = ["--limit", "6", *(word for setting in SETTINGS for word in ("--set", setting))]


def command(home: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "proofmill.flows.cli", "regenerate", "--home", str(home), *SMALL, *arguments]


def environment(home: Path) -> dict[str, str]:
    """Marks all that a run on this HOME starts."""
    return {**os.environ, MARK: str(home)}


def started(home: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(home), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env=environment(home),
    )  # fmt: skip


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


def recorded(home: Path) -> dict[tuple[str, int], dict[str, Any]]:
    """Samples that are safe on disk, by prompt and number."""
    rows = crash.recorded(home)
    found = {(row["prompt_digest"], row["sample_index"]): row for row in rows}
    assert len(found) == len(rows), "no sample is recorded twice"
    return found


def wait_until(what: Callable[[], object], running: subprocess.Popen[str] | None = None) -> None:
    deadline = time.monotonic() + 300
    while not what():
        assert running is None or running.poll() is None, running.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.5)


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A HOME whose first run was stopped by Ctrl-C in the middle of sampling."""
    home = tmp_path_factory.mktemp("quickstart") / "home"
    running = started(home)
    wait_until(lambda: len(recorded(home)) >= 2, running)
    assert engines(home), "the mark finds the engine while it runs"
    os.killpg(running.pid, signal.SIGINT)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 1
    assert "What is done is kept" in said
    assert "proofmill" in said.splitlines()[-1]
    return home


def test_interrupt_leaves_nothing_running_and_keeps_samples(interrupted: Path) -> None:
    assert 2 <= len(recorded(interrupted)) < 6 * N
    assert engines(interrupted) == []


def test_the_engine_ends_with_a_run_that_is_killed(interrupted: Path) -> None:
    running = started(interrupted)
    wait_until(lambda: engines(interrupted), running)
    running.kill()
    running.communicate()
    wait_until(lambda: not engines(interrupted))


def test_a_run_whose_engine_is_killed_goes_on_and_publishes(
    regenerate: Callable[..., Any], interrupted: Path, tmp_path: Path
) -> None:
    """Nothing that was recorded is drawn again, and the version has the bytes of a run that nobody disturbed."""
    before, running = recorded(interrupted), started(interrupted)
    wait_until(lambda: len(recorded(interrupted)) > len(before), running)
    engines(interrupted)[0].kill()
    at_the_kill = recorded(interrupted)
    _, said = running.communicate(timeout=600)
    assert running.returncode == 0, said
    assert engines(interrupted) == []
    log = (interrupted / "runs" / "quickstart" / "run.log").read_text()
    assert "ended by SIGKILL" in log
    assert "unfinished requests are sent again" in log
    assert "The engine is started again" in log

    sampled = recorded(interrupted)
    prompts = {prompt for prompt, _ in sampled}
    assert len(prompts) == 6
    assert set(sampled) == {(prompt, index) for prompt in prompts for index in range(N)}
    assert {row["seed"] for row in sampled.values()} == {sample_seed(SEED, *key) for key in sampled}
    for kept in (before, at_the_kill):
        assert {key: sampled[key] for key in kept} == kept
    manifest = json.loads((interrupted / "datasets/quickstart/v0001/manifest.json").read_text())
    assert manifest["stages"]["samples"] == {"in": 6 * N, "kept": 6 * N, "dropped": {}}
    for step in manifest["stages"].values():
        assert step["in"] == step["kept"] + sum(step["dropped"].values())

    whole = tmp_path / "whole"
    shutil.copytree(interrupted / "samples", whole / "samples")
    regenerate(recipes.load("quickstart", SETTINGS).model_dump(mode="json"), whole, limit=6)
    assert not list((whole / "runs" / "quickstart").glob("engine-*.json")), "recorded samples need no engine"
    crash.same_as(interrupted, whole, "quickstart")


def test_raising_n_draws_only_the_difference(interrupted: Path) -> None:
    more = command(interrupted, "--set", f"samplers.0.sampling.n={N + 1}", "--dry-run")
    said = subprocess.run(more, capture_output=True, text=True, timeout=120)
    assert f"6 of {6 * (N + 1)} samples are still to be drawn" in said.stdout, said.stdout + said.stderr
