"""`dataset_info` of a card: columns, rows and bytes of every config, so that the hub and `load_dataset` need not look.

`load_dataset` compares the number of rows that it reads with it, and takes the columns from it when it streams.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

_NAMES = {"float": "float32", "double": "float64"}  # of Arrow's types that `datasets` calls otherwise


@dataclass(frozen=True, slots=True)
class Contents:
    """What one split of a config holds.

    Attributes:
        schema: its columns.
        rows: their number.
        memory: bytes as Arrow tables, which is what `datasets` writes into its cache.
    """

    schema: pa.Schema
    rows: int
    memory: int


def dataset_info(contents: Mapping[str, Contents], files: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The block of the card, by config in the order given.

    Args:
        contents: by config and split (`sft_stage1/train`).
        files: path and bytes of every published file.
    """
    configs: dict[str, dict[str, Contents]] = {}
    for name, content in contents.items():
        config, _, split = name.partition("/")
        configs.setdefault(config, {})[split] = content
    return [_entry(config, splits, files) for config, splits in configs.items()]


def _entry(config: str, splits: Mapping[str, Contents], files: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "config_name": config,
        "features": features(next(iter(splits.values())).schema),
        "splits": [
            {"name": split, "num_bytes": content.memory, "num_examples": content.rows}
            for split, content in sorted(splits.items())
        ],
        "download_size": sum(item["bytes"] for item in files if item["path"].startswith(f"{config}/")),
        "dataset_size": sum(content.memory for content in splits.values()),
    }


def features(schema: pa.Schema) -> list[dict[str, Any]]:
    """Columns as the card's YAML has them: the form that `datasets.Features` reads and writes."""
    return [{"name": field.name, **_feature(field.type)} for field in schema]


def _feature(kind: pa.DataType) -> dict[str, Any]:
    if pa.types.is_list(kind):
        inner = _feature(kind.value_type)
        return {"list": inner.get("struct") or inner.get("dtype") or inner}
    if pa.types.is_struct(kind):
        return {"struct": [{"name": field.name, **_feature(field.type)} for field in kind]}
    return {"dtype": _NAMES.get(str(kind), str(kind))}
