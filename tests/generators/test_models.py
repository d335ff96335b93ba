"""A model is found by name and known by its content, wherever it lies."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from proofmill.data.errors import EngineError, InputError
from proofmill.generators import models


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "model"
    place.mkdir()
    (place / "model.safetensors").write_bytes(b"weights")
    (place / "tokenizer.json").write_text("{}")
    (place / "config.json").write_text('{"license": "MIT"}')
    return place


def test_a_folder_is_known_by_its_content(folder: Path, tmp_path: Path) -> None:
    found = models.resolve(str(folder))
    shutil.copytree(folder, tmp_path / "moved")
    (tmp_path / "moved" / "notes.md").write_text("not a part of the model")
    moved = models.resolve(str(tmp_path / "moved"))
    assert (moved.digest, moved.revision, moved.license) == (found.digest, found.revision, "mit")
    (tmp_path / "moved" / "model.safetensors").write_bytes(b"trained")
    assert models.resolve(str(tmp_path / "moved")).digest != found.digest
    (folder / "tokenizer.json").write_text('{"other": 1}')
    assert models.resolve(str(folder)).digest != found.digest


@pytest.mark.parametrize(("missing", "says"), [("tokenizer.json", "no tokenizer"), ("model.safetensors", "no weights")])
def test_a_folder_that_lacks_something_says_what(folder: Path, missing: str, says: str) -> None:
    (folder / missing).unlink()
    with pytest.raises(InputError, match=says) as caught:
        models.resolve(str(folder))
    assert str(folder) in caught.value.where
    assert "save_pretrained" in caught.value.remedy


@pytest.mark.parametrize("name", ["no-such-folder", "./no/such", "/no/such/folder", "a/b/c", "bundle"])
def test_a_name_that_is_nothing_says_what_would_be(name: str) -> None:
    with pytest.raises((InputError, EngineError)) as caught:
        models.resolve(name)
    assert "bundled" in caught.value.remedy


def test_the_licence_comes_from_the_card_first(folder: Path) -> None:
    (folder / "README.md").write_text('---\nlicense: "Apache-2.0"\n---\n')
    assert models.resolve(str(folder)).license == "apache-2.0"


def test_the_embedded_model_is_prepared_once() -> None:
    said: list[str] = []
    first = models.resolve("bundled")
    assert models.resolve("bundled", notice=said.append) == first
    assert said == []
    assert (first.path / "model.safetensors").exists()
