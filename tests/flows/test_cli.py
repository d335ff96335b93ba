"""The console script as a user meets it: exit codes, what is said, and what is left alone."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import typer.main
import yaml

from proofmill.data.run import RunStore
from proofmill.flows import cli
from proofmill.flows.recipe import load as recipe_file
from support.samples import replay_recipe, sums, write_jsonl

Shown = tuple[int, str, str]
COMMANDS = sorted(typer.main.get_command(cli.app).commands)  # type: ignore[attr-defined]


@pytest.fixture
def shown(
    home: Path, prefect_server: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., Shown]:
    """Runs the command in this process: exit code, standard output, standard error."""

    def run(*arguments: str) -> Shown:
        monkeypatch.setenv("PREFECT_API_URL", prefect_server)
        monkeypatch.setenv("PROOFMILL_HOME", str(home))
        monkeypatch.setenv("COLUMNS", "200")
        monkeypatch.setattr(sys, "argv", ["proofmill", *arguments])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        told = capfd.readouterr()
        return int(stop.value.code or 0), told.out, told.err

    return run


@pytest.fixture
def recipe(tmp_path: Path, replay_file: Path) -> str:
    """A recipe file that replays six problems."""
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(replay_recipe(replay_file)))
    return str(path)


def process(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs the installed console script, with nothing set that this process set for Prefect."""
    script = Path(sys.executable).with_name("proofmill")
    return subprocess.run(
        [str(script), *arguments],
        cwd=cwd,
        env={name: value for name, value in os.environ.items() if not name.startswith(("PREFECT", "PROOFMILL"))}
        | {"COLUMNS": "200", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def tells(text: str) -> bool:
    """What, where and what to do next, and no traceback."""
    return bool(re.search(r"error: \S.*\n(  where: \S.*\n)?  next:  \S", text)) and "Traceback" not in text


# --- help -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_shows_an_example(shown: Callable[..., Shown], name: str) -> None:
    code, out, _ = shown(name, "--help")
    assert code == 0
    assert "Example" in out
    assert f"proofmill {name}" in out


def test_the_reference_knows_every_command() -> None:
    page = (Path(__file__).parents[2] / "flows" / "COMMANDS.md").read_text()
    assert [name for name in COMMANDS if f"proofmill {name}" not in page] == []


# --- exit codes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["regenerate", "quikstart"], "did you mean 'quickstart'"),
        (["regenerate", "quickstart", "--set", "select.max_per_probem=1"], "did you mean 'max_per_problem'"),
        (["regenerate", "quickstart", "--set", "nonsense"], "--set takes a.b=value"),
        (["regenerate", "--set", "samplers.0.engine=[x]"], "samplers.0.engine"),
        (["regenerate", "quickstart", "--probe", "2", "--dry-run"], "--probe with --dry-run or --resample"),
        (["regenerate", "quickstart", "--probe", "2", "--resample"], "--probe with --dry-run or --resample"),
        (["show", "nothing@v1"], "no version 'nothing@v1'"),
    ],
)
def test_wrong_usage_is_code_2_and_tells_what_to_do(
    shown: Callable[..., Shown], home: Path, arguments: list[str], says: str
) -> None:
    code, _, err = shown(*arguments)
    assert code == 2
    assert tells(err), err
    assert says in err
    assert not (home / "runs").exists()


@pytest.mark.parametrize("arguments", [["regenerate", "--limit", "0"], ["regenerate", "--no-such"], ["regenrate"], []])
def test_wrong_options_are_code_2(shown: Callable[..., Shown], arguments: list[str]) -> None:
    code, out, err = shown(*arguments)
    assert code == 2
    assert "Usage" in out + err
    assert "Traceback" not in err


def test_a_home_that_is_a_file_is_code_2(shown: Callable[..., Shown], tmp_path: Path, recipe: str) -> None:
    (tmp_path / "file").write_text("")
    code, _, err = shown("regenerate", recipe, "--home", str(tmp_path / "file"))
    assert code == 2
    assert tells(err)


def test_a_missing_input_is_code_1(shown: Callable[..., Shown], recipe: str) -> None:
    code, _, err = shown("regenerate", recipe, "--set", "samplers.0.engine.files=[nowhere.jsonl]")
    assert code == 1
    assert tells(err)
    assert "nowhere.jsonl" in err


def test_a_run_that_is_going_on_is_code_1(shown: Callable[..., Shown], home: Path, recipe: str) -> None:
    with RunStore(home, "replayed", {}).opened():
        code, _, err = shown("regenerate", recipe)
    assert code == 1
    assert tells(err)
    assert "already going on" in err


def test_nothing_kept_is_code_3(shown: Callable[..., Shown], home: Path, tmp_path: Path) -> None:
    rows = [row | {"response": "No idea, [/] really."} for row in sums(2)]
    file = write_jsonl(tmp_path / "bad.jsonl", rows)
    path = tmp_path / "bad.yaml"
    path.write_text(yaml.safe_dump(replay_recipe(file)))
    code, _, err = shown("regenerate", str(path))
    assert code == 3
    assert tells(err)
    assert "unparsed" in err
    assert not list(home.glob("datasets/*/v*"))


def test_a_fault_of_ours_is_code_1_and_says_so(
    shown: Callable[..., Shown], recipe: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(*_: object) -> None:
        raise RuntimeError("brackets [/] and [red]colours")

    monkeypatch.setattr(recipe_file, "load", fault)
    code, _, err = shown("regenerate", recipe)
    assert code == 1
    assert tells(err)
    assert "brackets [/] and [red]colours" in err
    assert "--debug" in err


def test_debug_shows_where_it_happened(shown: Callable[..., Shown]) -> None:
    code, _, err = shown("regenerate", "quikstart", "--debug")
    assert code == 2
    assert "Traceback" in err


# --- the main job ---------------------------------------------------------------------------------


def test_the_main_job_from_dry_run_to_show(shown: Callable[..., Shown], home: Path, recipe: str) -> None:
    code, out, _ = shown("regenerate", recipe, "--dry-run")
    assert code == 0
    assert "6 problems" in out
    assert "36 recorded samples" in out
    assert not (home / "datasets").exists()
    assert not (home / "runs" / "replayed" / "verdicts").exists()

    code, out, err = shown("regenerate", recipe)
    assert (code, err) == (0, "")
    assert "published replayed@v1" in out
    assert "wrong 6, unparsed 6, truncated 6" in out
    assert "next: proofmill show replayed@v1" in out

    code, out, _ = shown("regenerate", recipe)
    assert code == 0
    assert "Nothing to do: replayed@v1" in out

    code, out, _ = shown("regenerate", recipe, "--dry-run")
    assert "Nothing would be done" in out

    code, out, _ = shown("regenerate", recipe, "--dry-run", "--set", "select.max_per_problem=1")
    assert "select.max_per_problem: 4 -> 1" in out

    code, out, _ = shown("regenerate", recipe, "--set", "verify.cpu_seconds=6")
    assert code == 0
    assert "unchanged" in out or "published replayed@v2" in out

    code, out, _ = shown("show")
    assert code == 0
    assert "replayed@v1" in out

    code, out, _ = shown("show", "replayed@v1", "--samples", "1")
    assert code == 0
    assert all(verdict in out for verdict in ("correct", "wrong", "unparsed"))
    assert "The answer is \\boxed{" in out


def test_show_of_nothing_says_what_to_type(shown: Callable[..., Shown]) -> None:
    code, out, _ = shown("show")
    assert code == 0
    assert "proofmill regenerate" in out


def test_a_dry_run_of_a_live_sampler_samples_nothing(shown: Callable[..., Shown], home: Path) -> None:
    code, out, _ = shown("regenerate", "quickstart", "--dry-run", "--limit", "4")
    assert code == 0
    assert "32 of 32 samples are still to be drawn" in out
    assert not list(home.glob("samples/*/*.parquet"))
    assert not (home / "datasets").exists()


# --- the installed script -------------------------------------------------------------------------


@pytest.mark.slow
def test_alone_the_command_brings_its_own_server_and_ends_it(tmp_path: Path, recipe: str) -> None:
    """In an empty folder, with a verifier of the user's beside it, and no PREFECT_API_URL."""
    (tmp_path / "own_verifier.py").write_text(
        "from proofmill.filters.verdicts import CORRECT, Verdict\n"
        "class Trusting:\n    version, ask = '1', ''\n    def quick(self, problem, text):\n"
        "        return Verdict(CORRECT, text, 'trust', final_start=len(text))\n    verify = quick\n"
    )
    done = process("regenerate", recipe, "--set", "verify.verifiers={math: 'own_verifier:Trusting'}", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert "published replayed@v1" in done.stdout
    assert "correct" not in done.stdout.partition("verdicts")[2].partition("selection")[0]
    assert (tmp_path / "proofmill-home" / "datasets" / "replayed" / "v0001" / "manifest.json").exists()
    left = [p for p in psutil.process_iter() if str(tmp_path) in _words(p)]
    assert left == []


def _words(process: psutil.Process) -> str:
    try:
        return " ".join([*process.cmdline(), process.environ().get("PREFECT_HOME", "")])
    except psutil.Error:
        return ""


def test_the_script_ends_with_its_codes(tmp_path: Path) -> None:
    done = process("regenerate", "quikstart", cwd=tmp_path)
    assert done.returncode == 2
    assert tells(done.stderr)
    assert not (tmp_path / "proofmill-home").exists()


def test_the_command_says_which_proofmill_it_is(shown: Callable[..., Shown]) -> None:
    code, out, _ = shown("--version")
    assert (code, out.split()[0]) == (0, "proofmill")
    assert out.split()[1][0].isdigit()
