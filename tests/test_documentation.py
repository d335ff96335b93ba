"""Everything that a user may type stands in the README or in `--help`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import click
import pytest
import typer.main
from pydantic import BaseModel

from proofmill.data import errors
from proofmill.filters.selection import REASONS
from proofmill.flows import cli
from proofmill.flows.recipe.schema import Recipe

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
EXAMPLES = "\n".join(re.findall(r"```yaml\n(.*?)```", README, re.DOTALL))
COMMANDS: dict[str, click.Command] = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]


def models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The recipe's sections in a type, however deep."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        for field in annotation.model_fields.values():
            yield from models(field.annotation)
    for part in get_args(annotation):
        yield from models(part)


KEYS = sorted({(model.__name__, name) for model in models(Recipe) for name in model.model_fields})


@pytest.mark.parametrize(("section", "key"), KEYS)
def test_every_recipe_key_stands_in_the_example(section: str, key: str) -> None:
    words = re.findall(r"[A-Za-z_]\w*", EXAMPLES)
    assert key in words, f"{key} of {section} is not in the README's recipe"


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_and_option_says_what_it_does(name: str) -> None:
    assert f"proofmill {name}" in README
    command = COMMANDS[name]
    assert command.help
    silent = [p.name for p in command.params if p.name != "help" and not getattr(p, "help", None)]
    assert silent == []


def test_every_drop_reason_and_exit_code_is_explained() -> None:
    assert [reason for reason in REASONS if f"`{reason}`" not in README] == []
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and hasattr(kind, "exit_code")]
    line = README[README.index("Exit codes:") :].split("\n\n")[0]
    assert [code for code in {0, *(kind.exit_code for kind in kinds)} if f"{code} " not in line] == []
