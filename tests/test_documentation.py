"""Everything that a user may type stands in a page or in `--help`, and no page names what there is not."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest
import typer.main
import yaml

from proofmill.data import errors
from proofmill.flows import cli
from proofmill.flows.recipe.load import parse
from proofmill.flows.recipe.schema import Recipe

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
FOLDERS = ("flows", "generators", "filters", "data")
PAGES = [*ROOT.glob("*.md"), *(path for name in FOLDERS for path in (ROOT / name).rglob("*.md"))]
COMMANDS: dict[str, click.Command] = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]


def recipes_in(page: Path) -> list[str]:
    """YAML examples of a page that are whole sections of a recipe."""
    found = re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    return [text for text in found if set(yaml.safe_load(text)) <= set(Recipe.model_fields)]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_recipe_in_a_page_is_one(page: Path) -> None:
    for text in recipes_in(page):
        example = {"name": "example"} | yaml.safe_load(text)
        live = any("kind" not in sampler.get("engine", {}) for sampler in example.get("samplers", [{}]))
        source = {"kind": "procedural", "task": "basic_arithmetic"}
        if live or "samplers" in example:
            example.setdefault("problems", {}).setdefault("sources", [source])
        parse(example)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
    local = [target for target in targets if "://" not in target]
    assert [target for target in local if not (page.parent / target).exists()] == []


def test_the_readme_is_short_and_has_a_table_of_contents() -> None:
    assert len(README.splitlines()) <= 200
    titles = re.findall(r"^## (.+)$", README, re.MULTILINE)
    anchors = ["#" + re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in titles]
    assert [anchor for anchor in anchors if f"({anchor})" not in README] == []


def options(name: str) -> set[str]:
    return {option for p in COMMANDS[name].params for option in p.opts if option.startswith("--")}


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_and_option_says_what_it_does(name: str) -> None:
    command = COMMANDS[name]
    assert command.help
    silent = [p.name for p in command.params if p.name != "help" and not getattr(p, "help", None)]
    assert silent == []


def test_the_commands_page_lists_every_command_with_its_options() -> None:
    page = (ROOT / "flows" / "COMMANDS.md").read_text(encoding="utf-8")
    for name in COMMANDS:
        section = page.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
        assert options(name) - {"--help", "--debug"} <= set(re.findall(r"(--[\w-]+)", section)), name


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_page_types_an_option_that_there_is_not(page: Path) -> None:
    typed = re.findall(r"proofmill (\w+)((?: [^\n`|]*)?)", page.read_text(encoding="utf-8"))
    unknown = [
        (name, option)
        for name, rest in typed
        if name in COMMANDS
        for option in re.findall(r"(?<= )--[\w-]+", rest.partition("#")[0])
        if option not in options(name)
    ]
    assert unknown == []


def test_every_exit_code_is_explained() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and hasattr(kind, "exit_code")]
    line = README[README.index("Exit codes:") :].split("\n\n")[0]
    assert [code for code in {0, *(kind.exit_code for kind in kinds)} if f"{code} " not in line] == []
