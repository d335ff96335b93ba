"""What the repository promises about itself."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("data", "filters", "flows", "generators")
MAX_LINES = 600
PACKAGES = sorted(
    {path.parent.relative_to(ROOT).as_posix() for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")}
)


@pytest.fixture(scope="module")
def setuptools() -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    return found


@pytest.mark.parametrize("folder", PACKAGES)
def test_every_folder_of_code_is_installed(setuptools: dict[str, dict[str, str]], folder: str) -> None:
    name = "proofmill." + folder.replace("/", ".")
    assert name in setuptools["packages"]
    assert setuptools["package-dir"][name] == folder
    assert (ROOT / folder / "__init__.py").exists()


def test_nothing_is_installed_that_is_not_there(setuptools: dict[str, dict[str, str]]) -> None:
    assert sorted(setuptools["package-dir"].values()) == PACKAGES


def test_files_are_short() -> None:
    lengths = {path: len(path.read_text().splitlines()) for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")}
    assert {str(path.relative_to(ROOT)): count for path, count in lengths.items() if count > MAX_LINES} == {}


def test_the_name_resolves_for_type_checkers() -> None:
    assert (ROOT / ".types" / "proofmill" / "data" / "errors.py").samefile(ROOT / "data" / "errors.py")


def test_the_code_runs_without_assertions() -> None:
    """`assert` is no check of input; where one narrows a type it says so."""
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*.py")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if line.strip().startswith("assert ") and "noqa" not in line
    ]
    assert found == []
