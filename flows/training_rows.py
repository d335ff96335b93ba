"""The rows that a stage of a training sees: a version's, as tokens of the student.

They are tokenised in batches and held in Arrow alone: as objects of Python, tokens take many times the memory.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from proofmill.data.errors import InputError
from proofmill.data.files import DIGEST_CHARS, dumps_canonical
from proofmill.data.versions import Version
from proofmill.flows.display import Progress
from proofmill.flows.recipe.training import RlStage, Stage, TrainOptions
from proofmill.generators.prompts import Renderer, StudentView
from proofmill.generators.trainer import IGNORED

_ROWS = pa.schema(
    {"input_ids": pa.list_(pa.int32()), "labels": pa.list_(pa.int32()), "loss_weights": pa.list_(pa.float32())}
)
_RL_COLUMNS = ("prompt", "answer", "info", "domain", "verifier", "pass_rate")
_ENOUGH = 2  # rows: a step on one row alone is no training
_AT_ONCE = 128  # rows that are Python objects at a time: traces may have tens of thousands of tokens


@dataclass(frozen=True)
class StageRows:
    """What one stage trains on.

    Attributes:
        stage: which one.
        train, validation: tables as the process that trains reads them.
        weighted: whether a row has another weight than 1.
        longest: tokens of the longest row.
        learned: completion tokens.
    """

    stage: Stage
    train: pa.Table
    validation: pa.Table
    weighted: bool = False
    longest: int = 0
    learned: int = 0


def stage_rows(data: Version, stage: Stage, student: Path, options: TrainOptions, progress: Progress) -> StageRows:
    """Return the rows of a stage as tokens of the student, whose folder it gets.

    Raises:
        InputError: too few rows for one batch; a student without a chat template.
    """
    wanted = pl.lit(True) if options.domains is None else pl.col("domain").is_in(list(options.domains))
    parts = {split: _split(data, stage, split).filter(wanted) for split in ("train", "validation")}
    if stage == "rl":
        rows = _rl_rows(parts["train"], options.rl)
        _check_count(data, stage, rows.num_rows, options.rl.prompts, options, "train.rl.prompts")
        return StageRows(stage, rows, rows.slice(0, 0))
    arguments = data.manifest.recipe.get("prompt", {}).get("chat_template_args", {})
    renderer = Renderer(student)
    tables = {split: _tokens(frame, renderer, arguments, options.max_length) for split, frame in parts.items()}
    train = tables["train"]
    left_out = parts["train"].height - train.num_rows
    if left_out:
        progress.warn(f"{stage}: {left_out} rows are longer than {options.max_length} tokens and left out")
    _check_count(data, stage, train.num_rows, options.batch, options, "train.batch")
    longest = pc.max(pc.list_value_length(train["input_ids"])).as_py()
    learned = pc.sum(pc.not_equal(pc.list_flatten(train["labels"]), IGNORED)).as_py()
    differ = pc.any(pc.not_equal(pc.list_flatten(train["loss_weights"]), 1.0)).as_py()
    return StageRows(stage, train, tables["validation"], options.weighted and differ, longest, learned)


def content(table: pa.Table) -> str:
    """Return the digest of a table's rows, however they lie in chunks."""
    hashed = hashlib.blake2b(digest_size=DIGEST_CHARS // 2)
    for name, column in zip(table.column_names, table.columns, strict=True):
        hashed.update(dumps_canonical([name, str(column.type), len(column)]))
        if pa.types.is_list(column.type) and pa.types.is_primitive(column.type.value_type):
            for numbers in (pc.list_value_length(column), pc.list_flatten(column)):
                for chunk in numbers.chunks:
                    hashed.update(chunk.to_numpy())
        else:
            for value in column:
                hashed.update(dumps_canonical(value.as_py()))
    return hashed.hexdigest()


def _split(data: Version, config: str, split: str) -> pl.DataFrame:
    files = [path for path in data.files(config) if path.name.startswith(f"{split}-")]
    return pl.concat([pl.read_parquet(path) for path in files]) if files else pl.DataFrame(schema={"domain": pl.String})


def _check_count(data: Version, stage: str, count: int, batch: int, options: TrainOptions, key: str) -> None:
    if count >= max(batch, _ENOUGH):
        return
    of = f" of {', '.join(options.domains)}" if options.domains else ""
    raise InputError(
        f"{stage} of {data.label} has {count} rows{of}, fewer than one batch of {batch}.",
        where=str(data.folder),
        remedy=f"set {key} to {count} or less, leave the stage out (train.stages), or grow the data set"
        if count >= _ENOUGH
        else "leave the stage out (train.stages), or grow the data set",
    )


def _tokens(frame: pl.DataFrame, renderer: Renderer, arguments: Mapping[str, Any], longest: int | None) -> pa.Table:
    """Rows as tokens: the prompt's ignored, the completion's to be learned, each with its row's weight."""
    view = StudentView(renderer, "text", arguments)
    batches = [_batch(part, view, renderer, longest) for part in frame.iter_slices(_AT_ONCE)]
    return pa.Table.from_batches(batches, _ROWS)


def _batch(frame: pl.DataFrame, view: StudentView, renderer: Renderer, longest: int | None) -> pa.RecordBatch:
    rows = list(frame.select("id", "prompt", "completion", "weight").iter_rows(named=True))
    if isinstance(rows[0]["prompt"], str):
        pairs = [(str(row["prompt"]), str(row["completion"])) for row in rows]
    else:
        rendered = view.render([(row["prompt"], row["completion"][-1]["content"], row["id"]) for row in rows])
        pairs = [(str(one.prompt), str(one.completion)) for one in rendered]
    heads = [len(tokens) for tokens in renderer.tokens_of([head for head, _ in pairs])]
    wholes = renderer.tokens_of([head + tail for head, tail in pairs])
    kept = [number for number, tokens in enumerate(wholes) if longest is None or len(tokens) <= longest]
    weights = [1.0 if row["weight"] is None else float(row["weight"]) for row in rows]
    columns = (
        [wholes[n] for n in kept],
        [[IGNORED] * heads[n] + wholes[n][heads[n] :] for n in kept],
        [[weights[n]] * len(wholes[n]) for n in kept],
    )
    arrays = [pa.array(values, kind) for values, kind in zip(columns, _ROWS.types, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=_ROWS)


def _rl_rows(frame: pl.DataFrame, options: RlStage) -> pa.Table:
    """Prompts with a pass rate in the band; of each domain as many, by repeating those of the smaller ones."""
    low, high = options.pass_rate
    if not frame.height:
        return pa.table({"prompt": pa.array([], pa.string())})
    kept = frame.filter(pl.col("pass_rate").is_between(low, high)).select(_RL_COLUMNS)
    parts = kept.partition_by("domain", maintain_order=True)
    most = max((part.height for part in parts), default=0)
    if options.balance:
        parts = [pl.concat([part] * math.ceil(most / part.height)).head(most) for part in parts]
    return pl.concat(parts).to_arrow() if parts else pa.table({"prompt": pa.array([], pa.string())})
