"""The doctor finds what would break a run, and says what to do about it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import huggingface_hub
import orjson
import pytest

from proofmill.flows.doctor import checks
from proofmill.flows.doctor import models as model
from proofmill.flows.doctor.checks import FAIL, OK, SKIP, WARN, Check, Place, run
from proofmill.flows.recipe import load as recipe_file
from proofmill.generators import models
from proofmill.generators.prompts import Renderer
from support.hub import TOKEN

QUICKSTART = recipe_file.load("quickstart")


@pytest.fixture
def place(home: Path) -> Place:
    return Place(QUICKSTART, home)


def only(checks: Any) -> Check:
    (check,) = checks
    return check  # type: ignore[no-any-return]


# --- the command ----------------------------------------------------------------------------------


def command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    script = Path(sys.executable).with_name("proofmill")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT", "HF_TOKEN", "REDIS"))}
    return subprocess.run(
        [str(script), "doctor", *arguments], env=clean | environment, capture_output=True, text=True, timeout=60
    )


@pytest.mark.slow
def test_a_sound_machine_is_found_sound(home: Path, hub: Any) -> None:
    done = command("--json", "--home", str(home), HF_ENDPOINT=hub.url, HF_TOKEN=TOKEN)
    found = json.loads(done.stdout)
    assert (done.returncode, found["ok"], found["recipe"]) == (0, True, "quickstart"), found
    names = {check["name"]: check for check in found["checks"]}
    assert {"libraries", "engine", "torchvision", "processor", "chat template", "disk", "Prefect"} <= set(names)
    assert names["hub token"]["status"] == OK
    assert names["hub token"]["found"] == "of me, may write"
    assert all(check["remedy"] for check in found["checks"] if check["status"] in (WARN, FAIL))
    assert TOKEN not in done.stdout + done.stderr
    assert not home.exists()


@pytest.mark.slow
def test_what_fails_is_said_with_a_remedy_and_by_the_exit_code(home: Path) -> None:
    done = command("--home", str(home), PREFECT_API_URL="http://127.0.0.1:9/api", COLUMNS="200")
    assert done.returncode == 1
    assert "✗  Prefect" in done.stdout
    assert "→ start it (`prefect server start`), or unset PREFECT_API_URL" in done.stdout
    assert "1 would break a run of 'quickstart'" in done.stdout


def test_a_recipe_that_can_not_be_read_is_wrong_usage(home: Path) -> None:
    assert command("nowhere.yaml", "--home", str(home)).returncode == 2


def test_a_broken_look_hides_nothing(place: Place) -> None:
    def broken(_: Place) -> list[Check]:
        raise RuntimeError("no such thing")

    found = run([broken, checks.storage_checks], place)
    assert found[0].status == FAIL
    assert "no such thing" in found[0].found
    assert {check.name for check in found[1:]} == {"disk space", "disk"}


# --- libraries ------------------------------------------------------------------------------------


def installed(folder: Path, name: str, version: str, *needs: str) -> None:
    """A distribution as pip leaves it, with nothing in it."""
    place = folder / f"{name}-{version}.dist-info"
    place.mkdir(parents=True)
    lines = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}", *(f"Requires-Dist: {need}" for need in needs)]
    (place / "METADATA").write_text("\n".join(lines) + "\n")


def test_versions_that_do_not_live_together_are_named(
    tmp_path: Path, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(
        tmp_path, "proofmill", "0.1.0", "prefect<3.8,>=3.7.7", "polars>=2.0", 'trl>=9; extra == "dev"', "absent>=1"
    )
    installed(tmp_path, "prefect", "3.9.0", "fastapi>=0.139")
    installed(tmp_path, "fastapi", "0.136.3")
    installed(tmp_path, "polars", "2.1.0")
    monkeypatch.syspath_prepend(str(tmp_path))
    check = next(checks.library_checks(place))
    assert check.status == FAIL
    assert "proofmill needs prefect<3.8,>=3.7.7, here is 3.9.0" in check.found
    assert "proofmill needs absent>=1, which is not installed" in check.found
    assert "prefect needs fastapi>=0.139, here is 0.136.3" in check.found
    assert "polars" not in check.found.split("needs prefect")[0]
    assert "trl" not in check.found


def test_a_base_install_is_told_how_to_get_the_engine(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "_ENGINES", ("no-such-engine",))
    check = list(checks.library_checks(place))[1]
    assert (check.status, check.name) == (WARN, "engine")
    assert "proofmill[cpu]" in check.remedy


def test_a_torchvision_of_another_torch_is_found(tmp_path: Path, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torchvision").mkdir()
    error = "operator torchvision::nms does not exist"
    (tmp_path / "torchvision" / "__init__.py").write_text(f"raise RuntimeError({error!r})\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    check = list(checks.library_checks(place))[2]
    assert (check.status, check.remedy) == (FAIL, "pip uninstall -y torchvision torchaudio torchcodec")
    assert error in check.found


# --- machine --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bundled() -> Path:
    return models.resolve("bundled").path


def test_memory_is_counted_from_the_models_own_numbers(bundled: Path) -> None:
    """SmolLM2-135M: 30 layers, 3 key-value heads of 64, tied to bfloat16 on disk."""
    half, full = (checks.needs(bundled, dtype, 1000, 1 << 20) for dtype in ("bfloat16", "float32"))
    assert full.weights == 2 * half.weights
    assert 260e6 < half.weights < 275e6
    assert half.cache == 2 * 30 * 3 * 64 * 2 * 1000


@pytest.mark.parametrize(
    ("mib", "status", "says"), [(80_000, OK, "at once in"), (900, WARN, "at once in"), (300, FAIL, "does not fit")]
)
def test_a_model_is_held_against_the_card(
    bundled: Path, tmp_path: Path, place: Place, monkeypatch: pytest.MonkeyPatch, mib: int, status: str, says: str
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\necho 'A card, of a kind, {mib}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    check = list(checks.machine_checks(place))[-1]
    assert (check.name, check.status) == ("memory for self", status)
    assert says in check.found
    assert "A card, of a kind" in check.found


# --- model ----------------------------------------------------------------------------------------


def with_template(bundled: Path, folder: Path, template: str) -> Renderer:
    for path in (*bundled.glob("*token*"), bundled / "config.json"):
        shutil.copy(path, folder)
    (folder / "chat_template.jinja").write_text(template)
    return Renderer(folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "survives"), [("deepseek_r1_distill", False), ("qwen2_5", True), ("qwen3", True), ("chatml", True)]
)
def test_templates_of_known_families(bundled: Path, tmp_path: Path, family: str, survives: bool) -> None:
    """What is said of a template is what TRL would train on: its own preparation of a plain row is asked."""
    chatml = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    chatml += "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    known = files("trl") / "chat_templates" / f"{family}.jinja"
    student = with_template(bundled, tmp_path, known.read_text() if family != "chatml" else chatml)
    assert (model.lost(student, "messages", {}) == "") is survives
    assert (trained_on(tmp_path) == model.REASONED) is survives
    assert model.lost(student, "text", {}) == ""
    check = model.template_check(student, "messages", {})
    assert check.status == (OK if survives else FAIL)
    assert survives or check.remedy == "set publish.render: text; with that, nothing is lost"


def trained_on(folder: Path) -> str:
    """The completion that a plain row becomes in TRL, as far as the model wrote it."""
    from transformers import AutoTokenizer
    from trl import apply_chat_template

    row = {"prompt": model._ASK, "completion": [{"role": "assistant", "content": model.REASONED}]}
    completion = str(apply_chat_template(row, AutoTokenizer.from_pretrained(folder))["completion"])
    return model.REASONED if model.REASONED in completion else completion


@pytest.mark.slow
def test_a_tokenizer_that_changes_text_is_seen(bundled: Path, tmp_path: Path) -> None:
    template = (bundled / "chat_template.jinja").read_text()
    assert model.tokenizer_check(with_template(bundled, tmp_path, template)).status == OK
    file = tmp_path / "tokenizer.json"
    content = orjson.loads(file.read_bytes())
    content["normalizer"] = {"type": "Lowercase"}
    file.write_bytes(orjson.dumps(content))
    assert model.tokenizer_check(Renderer(tmp_path)).status == WARN


@pytest.mark.parametrize(("name", "status"), [("./no-such-folder", FAIL), ("somebody/no-such-model", WARN)])
def test_a_model_that_is_not_here(home: Path, name: str, status: str) -> None:
    found = list(model.model_checks(Place(recipe_file.load("quickstart", [f"samplers.0.model={name}"]), home)))
    assert found[0].status == status
    assert found[0].remedy


@pytest.mark.parametrize("place", ["verify.judge", "problems.topics", "claims.model", "quality.learning"])
def test_a_model_that_a_section_asks_is_looked_for(home: Path, place: str) -> None:
    given = [
        f"{place}.model=somebody/no-such-judge",
        *(["problems.topics.labels=[sums,letters]"] if "topics" in place else []),
    ]
    found = model.model_checks(Place(recipe_file.load("quickstart", given), home))
    assert [check.status for check in found if check.name == "model somebody/no-such-judge"] == [WARN]


# --- storage and services -------------------------------------------------------------------------


def test_nothing_is_left_on_the_disk(home: Path, place: Place) -> None:
    found = list(checks.storage_checks(place))
    assert [check.status for check in found if check.name == "disk"] == [OK]
    assert list(home.parent.iterdir()) == []


def test_little_room_is_a_warning_and_none_a_failure(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def disk(free: int) -> Callable[[Path], Any]:
        return lambda _: shutil._ntuple_diskusage(1 << 40, (1 << 40) - free, free)  # type: ignore[attr-defined]

    for free, status in ((5 << 30, WARN), (1 << 20, FAIL), (1 << 39, OK)):
        monkeypatch.setattr(shutil, "disk_usage", disk(free))
        assert next(iter(checks.storage_checks(place))).status == status


@pytest.mark.parametrize(
    ("token", "status"),
    [
        ({"role": "write"}, OK),
        ({"role": "read"}, WARN),
        ({"role": "fineGrained", "fineGrained": {"scoped": [{"permissions": ["repo.write"]}]}}, OK),
        ({"role": "fineGrained", "fineGrained": {"scoped": [{"permissions": ["repo.content.read"]}]}}, WARN),
    ],
)
def test_the_tokens_scope(token: Any, status: str) -> None:
    assert checks._scope({"name": "me", "auth": {"accessToken": token}}).status == status


def test_offline_is_no_fault(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_TOKEN", "hf_x")
    check = only(checks.hub_checks(place))
    assert check.status == SKIP
    assert "http://127.0.0.1:9 is out of reach" in check.found


def test_prefect_answers_or_not(place: Place, prefect_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", prefect_server)
    assert only(checks.prefect_checks(place)).status == OK
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    assert only(checks.prefect_checks(place)).status == FAIL


def test_redis_is_optional(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REDIS_URL", raising=False)
    assert only(checks.redis_checks(place)).status == SKIP
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:9/0")
    assert only(checks.redis_checks(place)).status == FAIL
