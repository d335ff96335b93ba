"""Training a model on a version: the curriculum's stages in turn, in a process of their own, then a model version.

A stage's folder is named by the digest of all that decides it: the model that it begins from, its rows, its options.
So a killed training goes on from the last checkpoint of the stage it was in, a finished stage is not trained again when
a later one changes, and a training that was done before says so. Rows are tokenised here, with the student's own
template and nothing lost (`training_rows.py`); the process that trains sees tokens alone.
"""

from __future__ import annotations

import datetime
import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import orjson

from proofmill.data.errors import InputError, UsageError
from proofmill.data.files import atomic_folder, cached_sha256, digest, locked, sweep, write_json
from proofmill.data.manifest import MANIFEST, FileEntry, Manifest
from proofmill.data.model_card import model_card
from proofmill.data.model_versions import (
    BaseRecord,
    DataRecord,
    ModelManifest,
    ModelVersion,
    StageRecord,
    find_model,
    model_versions,
    next_model_number,
    question_digest,
    write_questions,
)
from proofmill.data.report import plots
from proofmill.data.rows_io import HUB
from proofmill.data.run import library_version
from proofmill.data.sections import portable_name
from proofmill.data.tables import write_table
from proofmill.data.versions import Version, find
from proofmill.flows.display import Progress
from proofmill.flows.recipe.training import RlStage, SftStage, Stage, TrainOptions
from proofmill.flows.trainer_process import run_trainer
from proofmill.flows.training_rows import StageRows, content, stage_rows
from proofmill.generators import models, trainer
from proofmill.generators.prompts import Renderer

_DECIDE_NOTHING = frozenset({"threads", "micro_batch", "processes", "checkpoint_steps", "gradient_checkpointing"})
_LIBRARIES = ("torch", "transformers", "trl", "peft", "accelerate")
Choose = Callable[[Sequence[Path]], tuple[Path, dict[str, Any]]]
Row = dict[str, Any]


@dataclass(frozen=True)
class Base:
    """The model that a training begins from.

    Attributes:
        label: as it is called: NAME@vN, `bundled`, a hub id.
        model: where it is.
        trained: the model version that it is; None where it is none of ours.
    """

    label: str
    model: models.Model
    trained: ModelVersion | None

    @property
    def record(self) -> BaseRecord:
        """For the manifest."""
        return BaseRecord(
            name=portable_name(self.label),
            revision=self.model.revision,
            weights=self.model.digest,
            license=self.model.license,
        )


def base_model(home: Path, name: str, progress: Progress) -> Base:
    """Return a model to begin from, by any name that `proofmill eval` takes but a server's or a file's."""
    trained = None if Path(name).expanduser().is_dir() else find_model(home, name)
    place = str(trained.folder) if trained else name
    return Base(trained.label if trained else name, models.resolve(place, notice=progress.note), trained)


def training_data(home: Path, label: str, progress: Progress) -> Version:
    """Return the version that a label means: NAME[@vN] under HOME, or `hf://user/name[@revision]` as it was pushed.

    Raises:
        UsageError: there is no such version.
        InputError: the data set on the hub can't be fetched, or is none that proofmill has pushed.
    """
    if not label.startswith(HUB):
        return find(home, label)
    import httpx2
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    repo, _, revision = label.removeprefix(HUB).partition("@")
    progress.note(f"fetching {repo} from the hub")
    try:
        folder = Path(snapshot_download(repo, repo_type="dataset", revision=revision or None))
    except (OSError, HFValidationError, httpx2.TransportError) as error:
        raise InputError(
            f"The data set {repo!r} can't be fetched: {str(error).splitlines()[0]}",
            where=label,
            remedy="check name and revision, `hf auth login` for a private or gated one, and the network",
        ) from error
    if not (manifest := folder / MANIFEST).exists():
        raise InputError(
            f"{repo} has no {MANIFEST}, so it is no data set that proofmill has pushed.",
            where=label,
            remedy="name one that was pushed with `proofmill push`, or a version under HOME",
        )
    parsed = Manifest.parse(manifest.read_bytes(), str(manifest))
    return Version(repo.rpartition("/")[2], parsed.version or 1, folder, parsed)


def base_name(options: TrainOptions, data: Version) -> str:
    """Return the model that a training begins from where nobody names one.

    Raises:
        UsageError: the data name none: recorded samples of many models, and no student.
    """
    recipe = data.manifest.recipe
    samplers = [s for s in recipe.get("samplers", ()) if s.get("engine", {}).get("kind") != "replay"]
    named = (options.base, recipe.get("publish", {}).get("student"), *(sampler.get("model") for sampler in samplers))
    if found := next(filter(None, named), None):
        return str(found)
    raise UsageError(
        f"{data.label} doesn't say which model to train.", where="--base", remedy="name it: --base org/model"
    )


# --- stages ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class StagePlan:
    """One stage, ready to run.

    Attributes:
        rows: what it trains on.
        key: digest of all that decides its weights, the stages before it among them.
        folder: where it is worked on.
    """

    rows: StageRows
    key: str
    folder: Path


def plan_stages(
    home: Path, name: str, base: Base, data: Version, options: TrainOptions, progress: Progress
) -> list[StagePlan]:
    """Return the stages of a training. A stage is the same one whatever follows it."""
    check_installed(options)
    work = _folder(home, name)
    decides = options.model_dump(mode="json", exclude={"stages", "stage1", "stage2", "rl", "blend", *_DECIDE_NOTHING})
    key = digest("training", base.model.digest, decides)
    plans = []
    for stage in options.stages:
        rows = stage_rows(data, stage, base.model.path, options, progress)
        own = stage_options(options, stage).model_dump(mode="json")
        key = digest(key, stage, own, content(rows.train), content(rows.validation))
        plans.append(StagePlan(rows, key, work / key))
    return plans


def model_key(plans: Sequence[StagePlan], options: TrainOptions) -> str:
    """Return the digest of all that decides the model which these stages, the last one's among them, come to."""
    return digest("model", plans[-1].key, options.blend)


def stage_options(options: TrainOptions, stage: Stage) -> SftStage | RlStage:
    """Return the part of the section that is one stage's."""
    if stage == "rl":
        return options.rl
    return options.stage1 if stage == "sft_stage1" else options.stage2


def check_installed(options: TrainOptions) -> None:
    """Refuse to begin without the libraries that train.

    Raises:
        UsageError: one is not installed.
    """
    wanted = ("torch", "trl", "accelerate", *(("peft",) if options.lora else ()))
    if missing := [name for name in wanted if find_spec(name) is None]:
        raise UsageError(f"Training needs {', '.join(missing)}.", remedy="install them: pip install 'proofmill[train]'")


def train(
    home: Path,
    name: str,
    base: Base,
    data: Version,
    options: TrainOptions,
    progress: Progress,
    choose: Choose,
    work: str | None = None,
) -> tuple[ModelVersion, bool]:
    """Train what is not trained yet, and publish the model.

    Args:
        home: HOME.
        name: of the model.
        base: what it begins from.
        data: what it is trained on.
        options: how.
        progress: told of steps.
        choose: the best of several checkpoints, with what is to be said of the choice.
        work: what several trainings that begin with the same stages share: what is trained stays for the next of them,
            until `forget_stages`. None: it goes.

    Returns:
        The version, and whether it was written now.

    Raises:
        StoreError: another process trains a model of this name.
        TrainingError: the loss is no number any more, memory ran out, or the process died; whole checkpoints stay.
    """
    with _work(home, name, work or name):
        plans = plan_stages(home, work or name, base, data, options, progress)
        key = model_key(plans, options)
        if found := known_model(home, name, key):
            return found, False
        made = plans[-1].folder.with_name(key)
        folder, chosen = base.model.path, None
        waiting: dict[Path, str] = {}  # all that no choice has to be made before, with its counter
        for plan in plans:
            if not (plan.folder / trainer.DONE).exists():
                waiting[plan.folder] = _prepare_stage(plan, folder, base, options, data, progress)
            folder = plan.folder / trainer.MODEL
            if options.choose and plan.rows.stage != "rl":
                run_trainer(waiting, options, progress)
                waiting = {}
                folder, chosen = choose(_candidates(plan.folder))  # the last step is among them
        waiting |= _prepare_average(
            made, (base.model.path, folder), (1 - options.blend, options.blend), "model written"
        )
        run_trainer(waiting, options, progress)
        done = [(plan, orjson.loads((plan.folder / trainer.DONE).read_bytes())) for plan in plans]
        version = _publish(home, name, key, base, data, options, done, made / trainer.MODEL, chosen)
        for path in (made, *(() if work else (plan.folder for plan in plans))):
            shutil.rmtree(path, ignore_errors=True)
        return version, True


def forget_stages(home: Path, work: str) -> None:
    """Remove what trainings have shared."""
    with _work(home, work, work):
        for path in _folder(home, work).iterdir():
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)


def _folder(home: Path, work: str) -> Path:
    return home / "runs" / f"train-{work}"


@contextmanager
def _work(home: Path, name: str, work: str) -> Iterator[None]:
    lock = locked(
        _folder(home, work) / "lock",
        what=f"A training of the model '{name}' is already going on in another process.",
        remedy="wait for it or stop it; to train beside it, give this model another name with --out",
    )
    with lock:
        sweep(home / "models" / name)
        yield


def known_model(home: Path, name: str, key: str) -> ModelVersion | None:
    """Return the version of a model that has this key, or None."""
    return next((version for version in model_versions(home, name) if version.manifest.key == key), None)


def _candidates(folder: Path) -> list[Path]:
    return sorted(folder.glob("candidate-*"), key=lambda path: int(path.name.rpartition("-")[2]))


def _prepare_stage(
    plan: StagePlan, model: Path, base: Base, options: TrainOptions, data: Version, progress: Progress
) -> str:
    """Write what the process that trains reads of a stage, and return the counter of its steps."""
    plan.folder.mkdir(parents=True, exist_ok=True)
    rows, stage = plan.rows, plan.rows.stage
    write_table(plan.folder / "rows.parquet", rows.train)
    write_table(plan.folder / "validation.parquet", rows.validation)
    own = stage_options(options, stage)
    is_rl = isinstance(own, RlStage)
    batch = options.batch_of(stage)
    epochs = 1.0 if isinstance(own, RlStage) else own.epochs
    known_steps = own.steps or math.ceil(rows.train.num_rows / batch) * math.ceil(epochs)
    spec = {
        "kind": "rl" if is_rl else "sft",
        "stage": stage,
        "folder": str(plan.folder),
        "model": str(model),
        "base": str(base.model.path),
        "rows": str(plan.folder / "rows.parquet"),
        "validation": str(plan.folder / "validation.parquet") if rows.validation.num_rows else None,
        "options": options.model_dump(mode="json"),
        "learning_rate": own.learning_rate,
        "steps": own.steps or -1,
        "epochs": epochs,
        "micro_batch": options.at_once(stage),
        "accumulate": options.accumulate(stage),
        "max_length": options.max_length or rows.longest,
        "weighted": rows.weighted,
        "verifiers": dict(data.manifest.recipe.get("verify", {}).get("verifiers", {})),
        "candidates": options.choose is not None and not is_rl,
        "threads": options.threads,
        "precision": options.precision,
        "seed": options.seed,
    }
    write_json(plan.folder / "spec.json", spec)
    counter = f"steps of {stage}"
    progress.expect(counter, known_steps)
    return counter


def _number_format(folder: Path) -> str | None:
    """The number format of a model's weights, as its configuration says; None: float32."""
    config = folder / "config.json"
    said = orjson.loads(config.read_bytes()) if config.exists() else {}
    name = str(said.get("dtype") or said.get("torch_dtype") or "float32").removeprefix("torch.")
    return None if name == "float32" else name


# --- the model ---------------------------------------------------------------------------------------------


def _publish(
    home: Path,
    name: str,
    key: str,
    base: Base,
    data: Version,
    options: TrainOptions,
    done: Sequence[tuple[StagePlan, Row]],
    folder: Path,
    chosen: dict[str, Any] | None,
) -> ModelVersion:
    earlier = base.trained.manifest.data if base.trained else []
    label = DataRecord(label=data.label, manifest=cached_sha256(data.folder / MANIFEST))
    manifest = _manifest(name, key, [base], [*earlier, label], options) | {
        "stages": [_stage_record(plan, said, options) for plan, said in done],
        "chosen": chosen,
    }
    losses = [{"stage": plan.rows.stage, **entry} for plan, said in done for entry in said["losses"]]
    problems = data.scan("problems")
    prompts = problems.select("prompt").collect()["prompt"].to_list() if problems is not None else []
    questions = {question_digest(prompt) for prompt in prompts} | (base.trained.questions() if base.trained else set())
    return write_model(home, name, folder, manifest, losses, questions)


def _manifest(
    name: str, key: str, bases: Sequence[Base], data: Sequence[DataRecord], options: TrainOptions
) -> dict[str, Any]:
    once = {record.label: record for record in data}
    return {
        "name": name,
        "version": 0,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "key": key,
        "bases": [base.record for base in bases],
        "data": list(once.values()),
        "options": options.model_dump(mode="json"),
        "code_version": library_version("proofmill"),
        "libraries": {one: library_version(one) for one in _LIBRARIES if library_version(one) != "absent"},
    }


def _stage_record(plan: StagePlan, said: Row, options: TrainOptions) -> StageRecord:
    losses = [entry["loss"] for entry in said["losses"]]
    own = stage_options(options, plan.rows.stage)
    epochs = own.epochs if isinstance(own, SftStage) else 0
    steps = own.steps if isinstance(own, SftStage) else None
    passes = steps * options.batch / plan.rows.train.num_rows if steps else epochs
    return StageRecord(
        name=plan.rows.stage,
        rows=plan.rows.train.num_rows,
        steps=len(losses),
        tokens=round(plan.rows.learned * passes),
        seconds=said.get("seconds", 0.0),
        first_loss=losses[0] if losses else None,
        last_loss=losses[-1] if losses else None,
        validation_loss=said.get("validation_loss"),
    )


def write_model(
    home: Path,
    name: str,
    folder: Path,
    manifest: Mapping[str, Any],
    losses: Sequence[Row],
    questions: set[str],
) -> ModelVersion:
    """Write a model version: weights, tokenizer, questions, losses, card, the manifest last."""
    number = next_model_number(home, name)
    target = home / "models" / name / f"v{number:04d}"
    with atomic_folder(target) as temporary:
        for path in sorted(folder.iterdir()):
            if path.is_file() and path.name not in ("README.md", "training_args.bin"):
                shutil.copyfile(path, temporary / path.name)
        write_questions(temporary, questions)
        (temporary / "losses.jsonl").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in losses))
        (temporary / "losses.svg").write_text(_picture(losses), encoding="utf-8")
        parsed = ModelManifest.model_validate({**manifest, "version": number})
        (temporary / "README.md").write_text(model_card(parsed), encoding="utf-8")
        files = [FileEntry.of(temporary, path, None) for path in sorted(temporary.iterdir())]
        parsed = parsed.model_copy(update={"files": files})
        write_json(temporary / MANIFEST, parsed.model_dump(mode="json"))
    return ModelVersion(name, number, target, parsed)


def _picture(losses: Sequence[Row]) -> str:
    by_stage: dict[str, list[float]] = {}
    for entry in losses:
        by_stage.setdefault(entry["stage"], []).append(entry["loss"])
    return plots.curves(by_stage, "loss by step")


# --- averages ------------------------------------------------------------------------------------------------


def merge(
    home: Path, name: str, bases: Sequence[Base], shares: Sequence[float], progress: Progress
) -> tuple[ModelVersion, bool]:
    """Publish the weighted average of models, of specialists of one base for example.

    Raises:
        UsageError: fewer than two models, or other shares than models.
        InputError: the models have other tensors or tokenizers.
    """
    if len(bases) < 2 or len(shares) != len(bases) or sum(shares) <= 0 or min(shares) < 0:
        raise UsageError(
            f"{len(bases)} models and {len(shares)} weights make no average.",
            where="--weights",
            remedy="name two models or more, and one weight of at least 0 for each",
        )
    renderers = [Renderer(base.model.path) for base in bases]
    first = renderers[0]
    if any(one.tokens("1 + 1 = 2, über 漢字") != first.tokens("1 + 1 = 2, über 漢字") for one in renderers):
        what = "The models have other tokenizers, so their weights can't be averaged."
        raise InputError(what, remedy="merge models of one base")
    check_installed(TrainOptions())
    key = digest("merge", [(base.model.digest, share / sum(shares)) for base, share in zip(bases, shares, strict=True)])
    with _work(home, name, name):
        if found := known_model(home, name, key):
            return found, False
        folder = _folder(home, name) / key
        work = _prepare_average(folder, [base.model.path for base in bases], shares, "models merged")
        run_trainer(work, TrainOptions(), progress)
        data = [record for base in bases if base.trained for record in base.trained.manifest.data]
        manifest = _manifest(name, key, bases, data, TrainOptions()) | {
            "options": {},
            "weights": [share / sum(shares) for share in shares],
        }
        questions = set().union(*(base.trained.questions() for base in bases if base.trained))
        version = write_model(home, name, folder / trainer.MODEL, manifest, [], questions)
        shutil.rmtree(folder, ignore_errors=True)
        return version, True


def _prepare_average(folder: Path, models: Sequence[Path], shares: Sequence[float], counter: str) -> dict[Path, str]:
    """Write what the trainer reads to average models, in the first one's number format and with its tokenizer.

    Between a model before and after training lie models that have learned most of what was trained, and forgotten less
    of all else (WiSE-FT, Wortsman et al. 2022).

    Returns:
        The folder with its counter; nothing if it is done.
    """
    if (folder / trainer.DONE).exists():
        return {}
    folder.mkdir(parents=True, exist_ok=True)
    counted = [(str(model), share) for model, share in zip(models, shares, strict=True) if share]
    spec = {
        "kind": "merge", "folder": str(folder), "models": [model for model, _ in counted],
        "shares": [share for _, share in counted], "base": str(models[0]), "options": {"lora": None}, "threads": 0,
        "save_dtype": _number_format(models[0]), "precision": "float32", "seed": 0,
    }  # fmt: skip
    write_json(folder / "spec.json", spec)
    return {folder: counter}
