"""The card: what the hub and its clients read of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from huggingface_hub import DatasetCard

from proofmill.data import card

STORED = Path(__file__).parent / "stored" / "datasets" / "stored" / "v0001"


def made(**changes: Any) -> DatasetCard:
    manifest = orjson.loads((STORED / "manifest.json").read_bytes()) | changes
    files = [item for item in manifest["files"] if item["path"].endswith(".parquet")]
    return DatasetCard(card.render("stored", manifest, files))


def test_the_hubs_client_reads_its_head() -> None:
    data = made().data.to_dict()
    assert (data["license"], data["size_categories"]) == ("mit", ["n<1K"])
    paths = {config["config_name"]: config["data_files"][0]["path"] for config in data["configs"]}
    assert paths["sft_stage1"] == "sft_stage1/train-*.parquet"
    assert [config["config_name"] for config in data["configs"] if config.get("default")] == ["sft_stage1"]


def test_several_licences_are_all_named() -> None:
    data = made(licenses=["mit", None, "cc-by-4.0"]).data.to_dict()
    assert (data["license"], data["license_name"]) == ("other", "cc-by-4.0 and mit and unknown")


@pytest.mark.parametrize(
    ("rows", "size"), [(0, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (5_000_000, "1M<n<10M"), (10**8, "n>10M")]
)
def test_its_size_is_one_of_the_hubs_words(rows: int, size: str) -> None:
    stages = orjson.loads((STORED / "manifest.json").read_bytes())["stages"]
    stages["publish"]["rows"] = {"traces": rows, **{name: 0 for name in stages["publish"]["rows"] if name != "traces"}}
    assert made(stages=stages).data.to_dict()["size_categories"] == [size]


def test_it_holds_no_date() -> None:
    assert made(created="2031-01-01T00:00:00").content == made().content
