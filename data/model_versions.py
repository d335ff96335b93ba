"""HOME/models/NAME/vNNNN: trained models, each a folder that transformers and vLLM load by path.

Beside weights and tokenizer stand the card, the losses, and what the model was trained on: the data versions, and a
digest of every question in them, so that an evaluation can leave out what the model has seen wherever it is. The folder
is written under another name, its manifest last, and renamed: a folder without a manifest is none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import Field

from proofmill.data.errors import UsageError
from proofmill.data.files import digest
from proofmill.data.manifest import MANIFEST, FileEntry, Record, parsed
from proofmill.data.tables import read_table, write_table

QUESTIONS = "questions.parquet"
_TOKEN = re.compile(r"\w+|[^\w\s]")


class StageRecord(Record):
    """One stage of a training."""

    name: str = Field(description="sft_stage1, sft_stage2 or rl.")
    rows: int = Field(description="Rows that it trained on.")
    steps: int = Field(description="Steps of the optimizer.")
    tokens: int = Field(0, description="Completion tokens that were learned from, epochs counted.")
    seconds: float = Field(0.0, description="Time that the steps took.")
    first_loss: float | None = Field(None, description="Loss of the first step.")
    last_loss: float | None = Field(None, description="Loss of the last step.")
    validation_loss: float | None = Field(None, description="On the version's holdout split; null where it has none.")


class DataRecord(Record):
    """A data version that a model was trained on."""

    label: str = Field(description="NAME@vN, or the name of a hub data set with its revision.")
    manifest: str = Field(description="SHA-256 of the version's manifest.")


class BaseRecord(Record):
    """The model that a training began from."""

    name: str = Field(description="Hub id, folder name, or NAME@vN.")
    revision: str | None = Field(None, description="Commit of the hub, or the start of the weight digest.")
    weights: str = Field(description="Digest of the weights.")
    license: str | None = Field(None, description="Licence of the model, where it is known.")


class ModelManifest(Record):
    """What a trained model says of itself."""

    schema_version: int = Field(1, description="Raised when a field changes its meaning.")
    name: str = Field(description="Name of the model.")
    version: int = Field(description="1, 2, …")
    created: str = Field(description="When it was written, UTC.")
    key: str = Field(description="Digest of all that decided it: base, data, options, stages, seed.")
    bases: list[BaseRecord] = Field(description="What it began from; several where weights were averaged.")
    data: list[DataRecord] = Field([], description="All that it and its bases were trained on.")
    weights: list[float] = Field([], description="Shares of the bases in an average; empty for a training.")
    options: dict[str, Any] = Field({}, description="The resolved section `train`.")
    stages: list[StageRecord] = Field([], description="In the order in which they ran.")
    chosen: dict[str, Any] | None = Field(None, description="How the checkpoint was chosen, where one was.")
    code_version: str = Field("", description="Version of proofmill.")
    libraries: dict[str, str] = Field({}, description="Versions of torch, transformers and trl.")
    files: list[FileEntry] = Field([], description="Every file with its size and SHA-256.")


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One trained model.

    Attributes:
        name, number: NAME@vN.
        folder: where it is; a model folder as any other.
        manifest: what it says of itself.
    """

    name: str
    number: int
    folder: Path
    manifest: ModelManifest

    @property
    def label(self) -> str:
        """`NAME@vN`."""
        return f"{self.name}@v{self.number}"

    def questions(self) -> set[str]:
        """Digests of all questions that it, or what it began from, was trained on."""
        path = self.folder / QUESTIONS
        return set(read_table(path)["question"].to_pylist()) if path.exists() else set()


def model_versions(home: Path, name: str) -> list[ModelVersion]:
    """Return the versions of a trained model, oldest first; a folder without a manifest is none.

    Raises:
        StoreError: a manifest can't be read.
    """
    found = []
    for folder in (home / "models" / name).glob("v[0-9]*"):
        path = folder / MANIFEST
        if re.fullmatch(r"v\d+", folder.name) and path.exists():
            found.append(ModelVersion(name, int(folder.name[1:]), folder, _manifest(path)))
    return sorted(found, key=lambda version: version.number)


def _manifest(path: Path) -> ModelManifest:
    return parsed(ModelManifest, path.read_bytes(), str(path), "A model's manifest")


def next_model_number(home: Path, name: str) -> int:
    """Return the number of the next version: past every folder that is there, so that none is written over."""
    folders = (home / "models" / name).glob("v[0-9]*")
    return max((int(folder.name[1:]) for folder in folders if folder.name[1:].isdigit()), default=0) + 1


def trained_models(home: Path) -> list[str]:
    """Return the names of the trained models under HOME."""
    folders = sorted(path for path in (home / "models").glob("*") if path.is_dir())
    return [folder.name for folder in folders if model_versions(home, folder.name)]


def find_model(home: Path, label: str) -> ModelVersion | None:
    """Return the trained model `NAME@vN`, or the newest of `NAME`; None where HOME has no model of that name.

    Raises:
        UsageError: there are models of the name, and not this version; or NAME@vN names nothing.
    """
    name, _, number = label.partition("@v")
    if not re.fullmatch(r"[\w.-]+", name):
        return None
    known = model_versions(home, name)
    chosen = [version for version in known if not number or str(version.number) == number.lstrip("0")]
    if chosen:
        return chosen[-1]
    if known or (number.isdigit() and "/" not in name):
        have = ", ".join(version.label for version in known) or ", ".join(trained_models(home)) or "none yet"
        raise UsageError(
            f"There is no trained model {label!r}.", where=str(home / "models"), remedy=f"there are: {have}"
        )
    return None


def question_digest(prompt: str) -> str:
    """Return what a question is known by again: its words and signs, whatever their case and spacing."""
    return digest("question", _TOKEN.findall(prompt.casefold()))


def write_questions(folder: Path, digests: Iterable[str]) -> None:
    """Write the questions of a model's training beside its weights."""
    write_table(folder / QUESTIONS, pa.table({"question": pa.array(sorted(set(digests)), pa.string())}))
