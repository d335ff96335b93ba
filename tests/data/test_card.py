"""The card: what the hub and its clients read of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets.info import DatasetInfosDict
from huggingface_hub import DatasetCard

from proofmill.data import card
from proofmill.data.card import features
from proofmill.data.manifest import Manifest
from proofmill.data.schemas import CLAIMS, MESSAGES, PASS_RATES, PROBLEMS, RL, ROUTES, STEP_LABELS, pairs, sft
from proofmill.data.version_files import Contents
from proofmill.filters.catalog import trace_schema

STORED = Path(__file__).parent / "stored" / "datasets" / "stored" / "v0001"


def made(**changes: Any) -> DatasetCard:
    stored = Manifest.parse((STORED / "manifest.json").read_bytes(), "stored")
    manifest = stored.replaced(**{"terms": [["rl", "here", "mit", 1]]} | changes)
    files = [file for file in manifest.files if file.config]
    tables = {f"{file.config}/train": pq.read_table(STORED / file.path, partitioning=None) for file in files}
    contents = {name: Contents(table.schema, table.num_rows, table.nbytes) for name, table in tables.items()}
    return DatasetCard(card.render(manifest, contents))


def test_the_hubs_client_reads_its_head() -> None:
    data = made().data.to_dict()
    assert (data["license"], data["size_categories"]) == ("mit", ["n<1K"])
    paths = {config["config_name"]: config["data_files"][0]["path"] for config in data["configs"]}
    assert paths["sft_stage1"] == "sft_stage1/train-*.parquet"
    assert [config["config_name"] for config in data["configs"] if config.get("default")] == ["sft_stage1"]


def test_the_recipe_of_a_replay_shows_no_sampling_that_never_was() -> None:
    sampling = {"n": 8, "temperature": 0.75}
    samplers = [
        {"name": "live", "engine": {"kind": "vllm"}, "model": "bundled", "sampling": sampling},
        {"name": "recorded", "engine": {"kind": "replay"}, "model": "bundled", "sampling": {"temperature": 0.25}},
    ]
    text = made(recipe={"name": "mixed", "samplers": samplers}).content
    assert "temperature: 0.75" in text
    assert "temperature: 0.25" not in text
    assert text.count("model: bundled") == 1


def test_a_replay_says_that_nothing_was_sampled() -> None:
    said = "No model was sampled for this version"
    model = {"sampler": "self", "model": "org/small"}
    assert said in made(models=[], recorded_models=["org/large"]).content
    assert said not in made(models=[model], recorded_models=["org/large"]).content


def test_several_licences_are_all_named() -> None:
    data = made(licenses=["mit", None, "cc-by-4.0"]).data.to_dict()
    assert (data["license"], data["license_name"]) == ("other", "cc-by-4.0-and-mit-and-unknown")


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("Apache-2.0", {"license": "apache-2.0"}),
        ("Our Terms (2026)", {"license": "other", "license_name": "our-terms-2026"}),
        (None, {"license": "unknown"}),
    ],
)
def test_a_licence_has_the_hubs_name_or_an_id_of_its_own(name: str | None, head: dict[str, str]) -> None:
    """The hub refuses a card with a licence that it doesn't know."""
    data = made(licenses=[name]).data.to_dict()
    assert {key: value for key, value in data.items() if key.startswith("license")} == head


def test_rows_are_counted_by_licence_and_source() -> None:
    text = made(terms=[["problems", "b", "mit", 2], ["sft_stage1", "b", "mit", 1500], ["problems", "a", None, 3]]).text
    assert "| licence | source | `sft_stage1` | `problems` |" in text
    assert "| mit | b | 1,500 | 2 |" in text
    assert "| unknown | a | 0 | 3 |" in text


def test_datasets_reads_what_every_config_holds() -> None:
    infos = DatasetInfosDict.from_dataset_card_data(made().data)
    for config, info in infos.items():
        table = pq.read_table(STORED / config)
        assert info.features == datasets.Features.from_arrow_schema(table.schema)
        assert info.splits["train"].num_examples == table.num_rows
        assert info.download_size == sum(path.stat().st_size for path in (STORED / config).iterdir())
        assert info.dataset_size == info.splits["train"].num_bytes == table.nbytes
    assert set(infos) == {config["config_name"] for config in made().data.to_dict()["configs"]}


@pytest.mark.parametrize(
    "schema",
    [
        sft("messages"),
        sft("text"),
        RL,
        pairs("text"),
        STEP_LABELS,
        ROUTES,
        trace_schema(),
        PROBLEMS,
        PASS_RATES,
        CLAIMS,
        MESSAGES,
    ],
)
def test_columns_are_written_as_datasets_itself_writes_them(schema: pa.Schema) -> None:
    assert features(schema) == datasets.Features.from_arrow_schema(schema)._to_yaml_list()


@pytest.mark.parametrize(
    ("rows", "size"), [(0, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (5_000_000, "1M<n<10M"), (10**8, "n>10M")]
)
def test_its_size_is_that_of_its_training_rows(rows: int, size: str) -> None:
    stages = orjson.loads((STORED / "manifest.json").read_bytes())["stages"]
    stages["publish"]["rows"] = dict.fromkeys(stages["publish"]["rows"], 0) | {"rl": rows, "traces": 10**9}
    assert made(stages=stages).data.to_dict()["size_categories"] == [size]


def test_it_holds_no_date() -> None:
    assert made(created="2031-01-01T00:00:00").content == made().content
