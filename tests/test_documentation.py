"""What a page tells a user to type is there, and what is there is told on a page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import click
import pytest
import typer.main
import yaml
from pydantic import BaseModel

from proofmill.data import errors
from proofmill.flows import cli
from proofmill.flows.recipe.schema import Recipe

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS_PAGE = (ROOT / "flows" / "COMMANDS.md").read_text(encoding="utf-8")
PAGES = README + COMMANDS_PAGE + "".join(page.read_text(encoding="utf-8") for page in ROOT.glob("*/README.md"))
EXAMPLES: list[str] = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
COMMANDS: dict[str, click.Command] = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]


def paths(model: type[BaseModel], at: str = "") -> Iterator[str]:
    """Every key of a section as a dotted path, `*` for an item of a list; below a free mapping, nothing."""
    for name, field in model.model_fields.items():
        yield f"{at}{name}"
        for section, item in sections(field.annotation):
            yield from paths(section, f"{at}{name}.{'*.' if item else ''}")


def sections(annotation: Any, item: bool = False) -> Iterator[tuple[type[BaseModel], bool]]:
    """The sections that a type allows, and whether they are items of a list."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation, item
    for part in get_args(annotation):
        yield from sections(part, item or get_origin(annotation) is tuple)


def free(model: type[BaseModel], at: str = "") -> Iterator[str]:
    """Paths of mappings whose keys are the user's own."""
    for name, field in model.model_fields.items():
        if any(get_origin(part) is dict for part in (field.annotation, *get_args(field.annotation))):
            yield f"{at}{name}"
        for section, item in sections(field.annotation):
            yield from free(section, f"{at}{name}.{'*.' if item else ''}")


def written(node: yaml.Node, at: str = "") -> Iterator[tuple[int, str]]:
    """(line, path) of every key of a YAML text, in order."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield key.start_mark.line, f"{at}{key.value}"
            yield from written(value, f"{at}{key.value}.")
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from written(value, f"{at}*.")


BLOCKS = [text for text in EXAMPLES if set(yaml.safe_load(text)) <= set(Recipe.model_fields)]
KEYS = set(paths(Recipe))
WRITTEN = {path for text in BLOCKS for _, path in written(yaml.compose(text))}


def test_the_example_holds_no_key_that_there_is_not() -> None:
    own = tuple(f"{path}." for path in free(Recipe))
    assert sorted(path for path in WRITTEN - KEYS if not path.startswith(own)) == []
    assert BLOCKS


def options(name: str) -> set[str]:
    return {option for p in COMMANDS[name].params for option in p.opts if option.startswith("--")}


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_and_option_says_what_it_does(name: str) -> None:
    command = COMMANDS[name]
    assert command.help
    silent = [p.name for p in command.params if p.name != "help" and not getattr(p, "help", None)]
    assert silent == []


def test_no_page_types_an_option_that_there_is_not() -> None:
    typed = re.findall(r"proofmill (\w+)((?: [^\n`|]*)?)", PAGES)
    unknown = [
        (name, option)
        for name, rest in typed
        if name in COMMANDS
        for option in re.findall(r"(?<= )--[\w-]+", rest.partition("#")[0])
        if option not in options(name)
    ]
    assert unknown == []
    assert {name for name, _ in typed} >= set(COMMANDS)


def test_every_exit_code_is_explained() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and hasattr(kind, "exit_code")]
    line = COMMANDS_PAGE[COMMANDS_PAGE.index("Exit codes:") :].split("\n\n")[0]
    assert [code for code in {0, *(kind.exit_code for kind in kinds)} if f"{code} " not in line] == []
