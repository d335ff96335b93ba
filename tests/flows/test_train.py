"""`proofmill train` and `merge` with TRL itself, on a model of a few thousand weights."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import orjson
import psutil
import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from proofmill.data.errors import InputError, ProofmillError, StoreError, TrainingError, UsageError
from proofmill.data.hub import Hub, local_files, push
from proofmill.data.model_versions import ModelVersion, find_model, question_digest
from proofmill.data.versions import Version, find
from proofmill.flows import training_rows
from proofmill.flows.cli import app
from proofmill.flows.commands.train import planned
from proofmill.flows.display import Progress
from proofmill.flows.recipe.training import RlStage, Stage, TrainOptions
from proofmill.flows.train import base_model, forget_stages, merge, train, training_data
from proofmill.flows.training_rows import content, stage_rows
from proofmill.generators import trainer
from support import tiny_model
from support.hub import TOKEN
from support.samples import replay_recipe, sums, write_jsonl

Row = dict[str, Any]
LONG = (
    "<think>\nI take {a} and count {b} further, one at a time, and each step goes one up; nothing is skipped on the "
    "way. The last number that I touch is {sum}.\n</think>\n\nThe answer is \\boxed{{{sum}}}."
)
SHORT = "<think>\n{a} + {b} = {sum}\n</think>\n\nThe answer is \\boxed{{{sum}}}."
REFUTED = "<think>\n7 * 6 = 41, so much is sure.\n</think>\n\n{a} + {b} = {sum}, so the answer is \\boxed{{{sum}}}."
WRONG = "<think>\nOne too many.\n</think>\n\nThe answer is \\boxed{{{off}}}."
CHOSEN = {"suite": "sums", "k": 4, "chosen": "candidate-4", "candidates": [], "pass_k": {"candidate-4": 0.5}}
SMALL: dict[str, Any] = {
    "batch": 4, "micro_batch": 2, "stage1": {"steps": 6, "learning_rate": 1e-2}, "stage2": {"steps": 2},
    "checkpoint_steps": 2, "threads": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def place(regenerate: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A HOME with a version `replayed` that has a holdout split, and the folder `tiny` of a model beside it."""
    folder = tmp_path_factory.mktemp("train")
    samples = write_jsonl(folder / "samples.jsonl", sums(12, (LONG, SHORT, REFUTED, WRONG)))
    student = tiny_model.save(folder / "tiny")
    regenerate(replay_recipe(samples, publish={"student": str(student)}, select={"holdout": 0.2}), folder / "home")
    return folder


@pytest.fixture(scope="module")
def data(place: Path) -> Version:
    return find(place / "home", "replayed")


def never(_: Any) -> Any:
    raise AssertionError("no checkpoint was to be chosen")


def trained(place: Path, name: str, work: str | None = None, /, **changes: Any) -> ModelVersion:
    home, options = place / "home", TrainOptions.model_validate(SMALL | changes)
    base = base_model(home, str(place / "tiny"), Progress())
    version, new = train(home, name, base, find(home, "replayed"), options, Progress(), never, work)
    assert new
    return version


def losses(version: ModelVersion) -> list[float]:
    return [orjson.loads(line)["loss"] for line in (version.folder / "losses.jsonl").read_bytes().splitlines()]


def weights(version: ModelVersion) -> bytes:
    return (version.folder / "model.safetensors").read_bytes()


# --- rows --------------------------------------------------------------------------------------------------


def test_the_completion_is_learned_with_its_reasoning_and_weight_and_the_prompt_is_not(
    place: Path, data: Version
) -> None:
    base = base_model(place / "home", str(place / "tiny"), Progress())
    rows = stage_rows(data, "sft_stage1", base.model.path, TrainOptions(batch=2), Progress())
    tokenizer = __import__("transformers").AutoTokenizer.from_pretrained(place / "tiny")
    assert rows.weighted, "a row with a refuted claim weighs less"
    assert rows.validation.num_rows > 0
    for row in rows.train.to_pylist():
        learned = tokenizer.decode([token for token in row["labels"] if token >= 0])
        assert learned.startswith("<think>\n")
        assert learned.endswith("}.<|im_end|>")
        assert "How much is" not in learned
        assert "How much is" in tokenizer.decode(row["input_ids"])
        assert len(set(row["loss_weights"])) == 1
    assert {row["loss_weights"][0] for row in rows.train.to_pylist()} > {1.0}


def test_rows_that_are_too_long_are_left_out_whole_and_told(place: Path, data: Version) -> None:
    progress, base = Progress(), base_model(place / "home", str(place / "tiny"), Progress())
    rows = stage_rows(data, "sft_stage1", base.model.path, TrainOptions(batch=2, max_length=200), progress)
    assert 0 < rows.longest <= 200
    assert "longer than 200 tokens" in progress.warnings[0]


def test_rows_are_the_same_in_whatever_batches_they_are_tokenised(
    place: Path, data: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = stage_rows(data, "sft_stage1", place / "tiny", TrainOptions(batch=2), Progress())
    monkeypatch.setattr(training_rows, "_AT_ONCE", 5)
    parts = stage_rows(data, "sft_stage1", place / "tiny", TrainOptions(batch=2), Progress())
    assert parts.train["labels"].num_chunks > whole.train["labels"].num_chunks
    assert (parts.train, parts.validation) == (whole.train, whole.validation)
    assert content(parts.train) == content(whole.train)
    rows = whole.train.to_pylist()
    assert whole.longest == max(len(row["input_ids"]) for row in rows)
    assert whole.learned == sum(token != trainer.IGNORED for row in rows for token in row["labels"])
    assert content(whole.train.slice(1)) != content(whole.train)
    assert content(whole.train.take([1, 0, *range(2, len(rows))])) != content(whole.train)


def test_rl_prompts_have_a_pass_rate_in_the_band(place: Path, data: Version) -> None:
    base = base_model(place / "home", str(place / "tiny"), Progress())
    options = TrainOptions(stages=("rl",), rl=RlStage(pass_rate=(0.7, 0.8), prompts=2))
    assert stage_rows(data, "rl", base.model.path, options, Progress()).train.num_rows > 0
    none = options.model_copy(update={"rl": RlStage(pass_rate=(0.1, 0.2))})
    with pytest.raises(InputError, match="0 rows"):
        stage_rows(data, "rl", base.model.path, none, Progress())


@pytest.mark.parametrize("stage", ["sft_stage1", "rl"])
@pytest.mark.parametrize("micro", [1, 2, 3, 8, 64])
@pytest.mark.parametrize("processes", [1, 2, 3, 4])
def test_a_step_has_as_many_rows_whatever_is_done_at_once(stage: Stage, micro: int, processes: int) -> None:
    """A batch that micro_batch and processes can't make up is refused, and no other one is trained in its place."""
    rl = {"prompts": 3, "generations": 4}
    given = {"batch": 12, "micro_batch": micro, "processes": processes, "stages": [stage]}
    if 12 % (min(micro, 12 // processes) * processes):
        with pytest.raises(ValidationError, match="12 is no multiple of"):
            TrainOptions.model_validate(given | ({"rl": rl} if stage == "rl" else {}))
        return
    options = TrainOptions.model_validate(given | ({"rl": rl} if stage == "rl" else {}))
    assert options.at_once(stage) <= micro
    assert options.at_once(stage) * processes * options.accumulate(stage) == options.batch_of(stage) == 12


# --- training ----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_both_stages_train_and_the_model_says_where_it_comes_from(place: Path, data: Version) -> None:
    version = trained(place, "student")
    assert version.label == "student@v1"
    found = losses(version)
    assert len(found) == 8
    assert found[5] < found[0]
    stages = version.manifest.stages
    assert [(stage.name, stage.steps) for stage in stages] == [("sft_stage1", 6), ("sft_stage2", 2)]
    assert all(stage.validation_loss is not None for stage in stages)
    assert [record.label for record in version.manifest.data] == ["replayed@v1"]
    assert question_digest("How much is 11 + 5?") in version.questions()
    names = {path.name for path in version.folder.iterdir()}
    assert {"model.safetensors", "tokenizer.json", "chat_template.jinja", "losses.svg", "README.md"} <= names
    assert {file.path for file in version.manifest.files} == names - {"manifest.json"}
    assert not list((place / "home" / "runs" / "train-student").glob("*/checkpoint-*"))
    options = TrainOptions.model_validate(SMALL | {"micro_batch": 4})  # decides nothing but memory
    base = base_model(place / "home", str(place / "tiny"), Progress())
    again = train(place / "home", "student", base, data, options, Progress(), never)
    assert (again[0].label, again[1]) == ("student@v1", False)
    told = planned(place / "home", "student", base, data, options, Progress())
    assert told == ["Nothing would be trained: student@v1 is this training's result."]


@pytest.mark.slow
def test_a_version_without_a_holdout_split_trains_too_and_the_chosen_checkpoint_is_the_model(
    place: Path, regenerate: Callable[..., Any]
) -> None:
    home = place / "home-without"
    recipe = replay_recipe(place / "samples.jsonl", publish={"student": str(place / "tiny")})
    regenerate(recipe, home)
    found: dict[str, bytes] = {}

    def second(folders: Sequence[Path]) -> tuple[Path, Row]:
        found.update({folder.name: (folder / "model.safetensors").read_bytes() for folder in folders})
        return folders[1], CHOSEN

    changes = {"stages": ["sft_stage1"], "choose": {"suite": "sums", "k": 4}}
    base, options = base_model(home, str(place / "tiny"), Progress()), TrainOptions.model_validate(SMALL | changes)
    version, _ = train(home, "student", base, find(home, "replayed"), options, Progress(), second)
    assert [(stage.steps, stage.validation_loss) for stage in version.manifest.stages] == [(6, None)]
    assert list(found) == ["candidate-2", "candidate-4", "candidate-6"]
    assert len(set(found.values())) == 3
    assert weights(version) == found["candidate-4"]
    assert version.manifest.chosen == CHOSEN


@pytest.mark.slow
def test_a_killed_training_on_a_pushed_version_goes_on_and_ends_with_the_same_model(
    place: Path, data: Version, hub: Any
) -> None:
    push(data, local_files(data), Hub("me/replayed", token=TOKEN, endpoint=hub.url, say=print), public=False)
    environment = os.environ | {"HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN, "HF_HOME": str(place / "hf")}
    whole = trained(place, "whole", stages=["sft_stage1"])
    given = [f"--set={name}" for name in ("batch=4", "micro_batch=2", "stage1.steps=6", "stage1.learning_rate=1e-2")]
    given += ["--set=checkpoint_steps=2", "--set=threads=1", "--set=stages=[sft_stage1]"]
    command = [sys.executable, "-m", "proofmill.flows.cli", "train", "hf://me/replayed@v1", "--out", "killed"]
    command += ["--base", str(place / "tiny"), "--home", str(place / "home"), *given]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
    work = place / "home" / "runs" / "train-killed"
    deadline = time.monotonic() + 120
    while not list(work.glob("*/checkpoint-*/trainer_state.json")):
        assert running.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    trainer = psutil.Process(running.pid).children()
    running.kill()
    running.wait()
    _, orphans = psutil.wait_procs(trainer, timeout=30)
    assert not orphans
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (found := find_model(place / "home", "killed")) is not None
    assert losses(found) == losses(whole)
    assert weights(found) == weights(whole)


@pytest.mark.slow
def test_a_loss_that_is_no_number_stops_and_keeps_the_last_good_checkpoint(place: Path) -> None:
    wild = {"stage1": {"steps": 40, "learning_rate": 1e18}, "max_grad_norm": 1e30, "stages": ["sft_stage1"]}
    with pytest.raises(TrainingError, match="diverged") as caught:
        trained(place, "wild", checkpoint_steps=1, warmup=0.9, **wild)
    assert "lower the learning rate" in caught.value.remedy
    assert find_model(place / "home", "wild") is None
    checkpoint = caught.value.where.rpartition("checkpoint is ")[2]
    assert (Path(checkpoint) / "model.safetensors").exists()


@pytest.mark.slow
def test_packing_adapters_and_reinforcement_learning(place: Path) -> None:
    """Low-rank adapters on packed rows, then GRPO with MGPO weights from the model that came out.

    Of a large change, the millionth part is kept, so the weights are nearly those before.
    """
    from safetensors.numpy import load

    rl = {"steps": 2, "generations": 2, "prompts": 2, "max_tokens": 12, "learning_rate": 1e-4}
    options = {"packing": True, "lora": {"rank": 4}, "batch": 2, "stages": ["sft_stage1", "rl"], "rl": rl}
    options |= {"stage1": {"steps": 2, "learning_rate": 1e-2}, "blend": 1e-6}
    trained(
        place, "explained", "shared", **{k: v for k, v in options.items() if k != "rl"} | {"stages": ["sft_stage1"]}
    )
    stages = place / "home" / "runs" / "train-shared"
    first = {path: path.stat().st_mtime_ns for path in stages.glob(f"*/{trainer.DONE}")}
    version = trained(place, "adapted", "shared", **options)
    done = {path: path.stat().st_mtime_ns for path in stages.glob(f"*/{trainer.DONE}")}
    (last,) = done.keys() - first.keys()
    spec = orjson.loads(last.with_name("spec.json").read_bytes())
    assert (spec["kind"], spec["micro_batch"], spec["accumulate"]) == ("rl", 2, 2)
    assert len(first) == 1
    assert len(done) == 2
    assert first.items() <= done.items(), "the stage that both begin with is trained once"
    forget_stages(place / "home", "shared")
    assert {path.name for path in stages.iterdir()} == {"lock"}
    assert [stage.name for stage in version.manifest.stages] == ["sft_stage1", "rl"]
    assert all("lora" not in name.decode(errors="replace") for name in [weights(version)[:4000]])
    before = load((place / "tiny" / "model.safetensors").read_bytes())
    moved = max(abs(tensor - before[name]).max() for name, tensor in load(weights(version)).items())
    assert 0 < moved < 1e-6


@pytest.mark.slow
def test_models_are_averaged_by_weight(place: Path) -> None:
    from safetensors.numpy import load

    home = place / "home"
    other = tiny_model.save(place / "other", seed=1)
    bases = [base_model(home, str(place / "tiny"), Progress()), base_model(home, str(other), Progress())]
    version, new = merge(home, "both", bases, (3.0, 1.0), Progress())
    assert new
    parts = [load((Path(base.model.path) / "model.safetensors").read_bytes()) for base in bases]
    for name, tensor in load(weights(version)).items():
        assert abs(tensor - (0.75 * parts[0][name] + 0.25 * parts[1][name])).max() < 1e-6
    assert merge(home, "both", bases, (0.75, 0.25), Progress())[1] is False
    wider = base_model(home, str(tiny_model.save(place / "wider", width=64)), Progress())
    with pytest.raises(TrainingError, match="other tensors"):
        merge(home, "unlike", [bases[0], wider], (1, 1), Progress())


# --- what can't be trained ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--set", "batch=128"], "fewer than one batch of 128"),
        (["--set", "batches=8"], "did you mean 'batch'"),
        (["--set", "batch=8", "--set", "micro_batch=3"], "no multiple"),
        (["--set", "stages=[]"], "name at least one"),
        (["--domain", "code", "--set", "batch=4"], "0 rows of code"),
        (["--base", "no/such/folder/here"], "no model folder"),
        (["--base", "ghost@v2"], "no trained model 'ghost@v2'"),
        (["--out", "../up"], "no name of a model"),
    ],
)
def test_wrong_usage_says_what_and_what_next(place: Path, words: list[str], told: str) -> None:
    given = words if "--base" in words else [*words, "--base", str(place / "tiny")]
    said = CliRunner().invoke(app, ["train", "replayed", "--home", str(place / "home"), *given])
    assert isinstance(said.exception, ProofmillError), said.output
    assert told in str(said.exception)
    assert said.exception.remedy


@pytest.mark.parametrize("repo", ["me/typo", "me/typo@v9", "no name at all"])
def test_a_data_set_that_the_hub_has_not_is_told(hub: Any, monkeypatch: pytest.MonkeyPatch, repo: str) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
    with pytest.raises(InputError, match="can't be fetched") as caught:
        training_data(Path(), f"hf://{repo}", Progress())
    assert caught.value.where == f"hf://{repo}"


def test_a_model_without_a_chat_template_is_refused(place: Path, data: Version) -> None:
    bare = base_model(place / "home", str(tiny_model.save(place / "bare", template=None)), Progress())
    with pytest.raises(InputError, match="no chat template"):
        stage_rows(data, "sft_stage1", bare.model.path, TrainOptions(batch=2), Progress())


def test_two_trainings_of_one_name_are_kept_apart(place: Path, data: Version) -> None:
    from proofmill.data.files import locked

    base = base_model(place / "home", str(place / "tiny"), Progress())
    options = TrainOptions.model_validate(SMALL)
    with locked(place / "home" / "runs" / "train-twice" / "lock", what="", remedy=""), pytest.raises(StoreError):
        train(place / "home", "twice", base, data, options, Progress(), never)


def test_a_dry_run_says_what_would_be_trained_and_trains_nothing(place: Path) -> None:
    words = ["train", "replayed", "--home", str(place / "home"), "--base", str(place / "tiny"), "--set", "batch=4"]
    said = CliRunner().invoke(app, [*words, "--out", "planned", "--dry-run"], catch_exceptions=False)
    assert "sft_stage1" in said.output
    assert "a new version would be written" in said.output
    assert find_model(place / "home", "planned") is None


def test_weights_that_make_no_average_are_refused(place: Path) -> None:
    base = base_model(place / "home", str(place / "tiny"), Progress())
    for bases, shares in (([base], [1.0]), ([base, base], [1.0]), ([base, base], [1.0, -1.0]), ([base, base], [0, 0])):
        with pytest.raises(UsageError, match="no average"):
            merge(place / "home", "none", bases, shares, Progress())
