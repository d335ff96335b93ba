"""The reference pages say what the code says, and leave nothing out."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydantic import BaseModel

from proofmill.data.manifest import Manifest
from proofmill.data.schemas import description
from proofmill.filters.catalog import FILTERS
from proofmill.flows import reference
from proofmill.flows.recipe.schema import Recipe


def test_no_page_is_stale() -> None:
    assert reference.stale() == [], "run `make reference`"


@pytest.mark.parametrize("config", reference.configs())
def test_every_column_says_what_it_holds(config: str) -> None:
    assert [field.name for field in reference.configs()[config] if not description(field)] == []


def undescribed(model: type[BaseModel], base: type[BaseModel], at: str = "") -> Iterator[str]:
    """Keys without a description; a section may say what it is in its docstring."""
    for name, field in model.model_fields.items():
        inner = reference.models_in(field.annotation, base)
        if not field.description and name not in reference.CHOICES and not any(one.__doc__ for one in inner):
            yield f"{at}{name}"
        for one in inner:
            yield from undescribed(one, base, f"{at}{name}.")


def test_every_key_of_a_recipe_and_field_of_a_manifest_says_what_it_is() -> None:
    assert list(undescribed(Recipe, BaseModel)) == []
    assert list(undescribed(Manifest, BaseModel)) == []


def test_every_drop_reason_is_explained_in_a_row_of_its_own() -> None:
    table = reference.drop_reasons()
    for one in FILTERS:
        for rule in one.rules:
            assert rule.means
            assert table.count(f"| `{rule.reason}` |") == 1


def test_only_what_stands_between_the_marks_is_written() -> None:
    page = "# Mine\n<!-- reference: manifest -->\nwhat it said before\n<!-- end of reference -->\nMine too\n"
    written = reference.filled(page)
    assert written.startswith("# Mine\n<!-- reference: manifest -->\n")
    assert written.endswith("<!-- end of reference -->\nMine too\n")
    assert "what it said before" not in written
    assert "`recipe_digest`" in written
    assert reference.filled(written) == written
