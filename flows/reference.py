"""The reference pages, written from the code: columns, manifest fields, filters, commands, every key of a recipe.

`make reference` (`python -m proofmill.flows.reference`) rewrites them, and a test says when one is stale. In a page
that is written by hand only what stands between `<!-- reference: NAME -->` and `<!-- end of reference -->` is
replaced.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pyarrow as pa
import typer.main
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from proofmill.data import schemas
from proofmill.data.manifest import Manifest, Record
from proofmill.data.sections import Needs
from proofmill.filters.base import ProblemFilter
from proofmill.filters.catalog import FILTERS, problem_schema, trace_schema
from proofmill.filters.new_problems import EXPANSION_REASONS
from proofmill.filters.selection import RULES
from proofmill.flows import cli
from proofmill.flows.recipe.schema import Recipe
from proofmill.generators.problems.operators import OPERATORS

ROOT = Path(__file__).parents[1]
_BLOCK = re.compile(r"(<!-- reference: ([\w-]+) -->\n).*?(<!-- end of reference -->)", re.DOTALL)
_PLAIN = {str: "text", int: "whole number", float: "number", bool: "true or false", dict: "mapping", list: "list"}
CHOICES = ("kind", "strategy")
"""Keys that say which of several sections stands in a place."""
_LIMITS = (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<"))


# --- columns ------------------------------------------------------------------------------------------


def configs() -> dict[str, pa.Schema]:
    """Return the columns of every config of a version, in the order in which the card lists them."""
    return {
        "sft_stage1 and sft_stage2": schemas.sft("messages"),
        "rl": schemas.RL,
        "pairs": schemas.pairs("messages"),
        "step_labels": schemas.STEP_LABELS,
        "messages": schemas.MESSAGES,
        "traces": trace_schema(),
        "problems": problem_schema(),
        "pass_rates": schemas.PASS_RATES,
        "routes": schemas.ROUTES,
        "expansion": schemas.EXPANSION,
        "claims": schemas.CLAIMS,
    }


def columns() -> str:
    """Return one Markdown table for each config: column, type, meaning."""
    return "\n\n".join(
        f"### {name}\n\n{_table(('column', 'type', 'what it holds'), _columns_of(schema))}"
        for name, schema in configs().items()
    )


def _columns_of(schema: pa.Schema) -> list[tuple[str, str, str]]:
    return [(f"`{field.name}`", _arrow_type(field.type), schemas.description(field)) for field in schema]


def _arrow_type(kind: pa.DataType) -> str:
    if pa.types.is_list(kind):
        return f"list of {_arrow_type(kind.value_type)}"
    if pa.types.is_struct(kind):
        return "{" + ", ".join(field.name for field in kind) + "}"
    return str(kind)


# --- filters ------------------------------------------------------------------------------------------


def drop_reasons() -> str:
    """Return a table of the drop reasons, in the order in which they are tried."""
    rules = [(filter_.name, rule) for filter_ in FILTERS for rule in filter_.rules] + [
        ("select", rule) for rule in RULES
    ]
    rows = [
        (f"`{rule.reason}`", f"`{name}`", rule.means, _names(rule.hangs_on), _names(rule.evidence))
        for name, rule in rules
    ]
    return _table(("reason", "filter", "what it means", "options", "columns that show why"), rows)


def filter_table() -> str:
    """Return a table of the filters in their order: what each reads and adds, and its section of the recipe."""
    rows = [
        (
            f"`{filter_.name}`",
            str(filter_.version),
            f"`{filter_.section}`" if filter_.section else "",
            _names(filter_.reads),
            _names(filter_.adds.names)
            + (" (of problems)" if isinstance(filter_, ProblemFilter) and filter_.adds.names else ""),
        )
        for filter_ in FILTERS
    ]
    return _table(("filter", "version", "section", "reads", "adds"), rows)


def operator_table() -> str:
    """Return a table of the operators that make new problems."""
    rows = [
        (f"`{found.name}`", found.means, str(found.count) if not found.levels else f"{found.count} a source")
        for found in OPERATORS.values()
    ]
    return _table(("operator", "makes", "new problems a seed"), rows)


def expansion_reasons() -> str:
    """Return a table of the reasons why a new problem is left out, in the order of the checks."""
    return _table(("reason", "what it means"), [(f"`{name}`", means) for name, means in EXPANSION_REASONS.items()])


def _names(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" if name else "all of the section" for name in names)


# --- the manifest -------------------------------------------------------------------------------------


def manifest_fields() -> str:
    """Return a table of the manifest's fields, then one of each part."""
    return "\n\n".join(
        f"### {_anchor(model)}\n\n{_table(('field', 'type', 'what it says'), _fields_of(model))}"
        for model in _parts(Manifest)
    )


def _parts(model: type[Record]) -> Iterator[type[Record]]:
    """Yield a record and those inside it, each once, as a reader meets them."""
    pending, seen = [model], set()
    while pending:
        one = pending.pop(0)
        if one not in seen:
            seen.add(one)
            yield one
            pending += [kind for field in one.model_fields.values() for kind in models_in(field.annotation, Record)]


def _fields_of(model: type[Record]) -> list[tuple[str, str, str]]:
    return [
        (f"`{field.alias or name}`", type_in_words(field.annotation), field.description or "")
        for name, field in model.model_fields.items()
    ]


def _anchor(model: type[BaseModel]) -> str:
    """Return the heading of a part: its class's name as words."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", model.__name__).capitalize()


# --- the recipe ---------------------------------------------------------------------------------------


def recipe() -> str:
    """Return the page of the recipe: one table for each section, with the type, default and meaning of its keys."""
    head = (
        "# The recipe\n\n"
        "One YAML file says what a run does. Every key has a default unless it is marked *required*; an unknown key "
        "is an error that names the nearest known one. `--set a.b=c` sets a key from the command line, and "
        "`proofmill regenerate RECIPE --dry-run` shows the recipe with all defaults.\n\n"
        "This page is written from the code by `make reference`.\n\n"
    )
    return head + "\n\n".join(_section("", Recipe, {})) + "\n"


def _section(path: str, model: type[BaseModel], described: dict[type[BaseModel], str]) -> Iterator[str]:
    """Yield the table of a section's keys, then its inner sections; one described before is only named."""
    if model in described:
        yield f"## {path}\n\nThe same keys as `{described[model]}`."
        return
    described[model] = path
    rows, inside = [], []
    for name, field in model.model_fields.items():
        if name in CHOICES:
            continue  # stands in the title
        models = models_in(field.annotation, BaseModel)
        inside += [(_titled(f"{path.partition(',')[0]}.{name}".lstrip("."), field, kind), kind) for kind in models]
        meaning = field.description or (_summary(models[0]) if len(models) == 1 else "")
        for needs in (item for item in field.metadata if isinstance(item, Needs)):
            meaning = f"{meaning.rstrip('.')}; only with {needs.other}"
        rows.append((f"`{field.alias or name}`", type_in_words(field), _default(field), meaning))
    body = f"## {path or 'Top level'}\n\n{_summary(model)}"
    yield f"{body}\n\n{_table(('key', 'type', 'default', 'meaning'), rows)}" if rows else body.rstrip()
    for inner, kind in inside:
        yield from _section(inner, kind, described)


def _titled(path: str, field: FieldInfo, model: type[BaseModel]) -> str:
    """Return where a section stands, and for which `kind` (or `strategy`) it is one of several."""
    listed = "[]" if get_origin(_stripped(field.annotation)) in (tuple, list) else ""
    chosen = [(name, get_args(model.model_fields[name].annotation)) for name in CHOICES if name in model.model_fields]
    return f"{path}{listed}" + "".join(f", {name}: {values[0]}" for name, values in chosen)


def _summary(model: type[BaseModel]) -> str:
    """Return the first paragraph of a section's docstring."""
    return " ".join((model.__doc__ or "").split("\n\n")[0].split())


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "*required*"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel) or value is PydanticUndefined:
        return "its own defaults"
    if isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
        return "one with its own defaults"
    if value is None:
        return "null"
    return "`" + re.sub(r"[()]", lambda match: "[" if match[0] == "(" else "]", _shown(value)) + "`"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return value or '""'
    if isinstance(value, (tuple, list, frozenset, set)):
        return "[" + ", ".join(_shown(item) for item in value) + "]"
    return str(value)


# --- commands -----------------------------------------------------------------------------------------


def commands() -> str:
    """Return the page of the commands: what each does, its arguments and options, and examples."""
    head = (
        "# The commands\n\n"
        "What `--help` says, in one page. TRACES is a `.jsonl` (`.gz`, `.zst`) or `.parquet` file, or "
        "`hf://user/name`.\n\nExit codes: 0 done, 1 failed and can be run again, 2 wrong usage or recipe, 3 ran "
        "through and nothing was left to publish.\n\nThis page is written from the code by `make reference`.\n\n"
    )
    group: Any = typer.main.get_command(cli.app)
    return head + "\n\n".join(_command(name, command) for name, command in group.commands.items()) + "\n"


def _command(name: str, command: Any) -> str:
    """Return the page of one command: its docstring, options and examples."""
    rows = [
        (_parameter(one), "*required*" if one.required else _parameter_default(one), one.help or "")
        for one in command.params
        if one.name not in ("help", "debug")
    ]
    examples = "\n".join(re.findall(r"`(proofmill [^`]*)`", command.epilog or ""))
    return (
        f"## {name}\n\n{command.help}\n\n```\n{examples}\n```\n\n"
        f"{_table(('argument or option', 'default', 'meaning'), rows)}"
    )


def _parameter(one: Any) -> str:
    if not one.opts[0].startswith("-"):
        return f"`{one.metavar or one.name.upper()}`"
    return ", ".join(f"`{option}`" for option in one.opts) + (f" {one.metavar}" if one.metavar else "")


def _parameter_default(one: Any) -> str:
    return "" if one.default in (None, False) else f"`{one.default}`"


# --- types in words -----------------------------------------------------------------------------------


def type_in_words(kind: Any) -> str:
    """Return a type in words for readers of YAML or JSON, with its checked limits."""
    if isinstance(kind, FieldInfo):
        words, limits = type_in_words(kind.annotation), _limits(kind.metadata)
        if limits and words.endswith(" or null"):
            return f"{words.removesuffix(' or null')}{limits}, or null"
        return words + limits
    if get_origin(kind) is Annotated:
        inner, *metadata = get_args(kind)
        return type_in_words(inner) + _limits(metadata)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return _anchor(kind).lower() if issubclass(kind, Record) else "section"
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        choices = dict.fromkeys(type_in_words(item) for item in inner if item is not NoneType)
        return " or ".join(choices) + (" or null" if NoneType in inner else "")
    if origin is Literal:
        return " or ".join(f"`{item}`" for item in inner)
    if origin is tuple and Ellipsis not in inner:
        return "[" + ", ".join(type_in_words(item) for item in inner) + "]"
    if origin in (tuple, list, Sequence):
        return f"list of {type_in_words(inner[0])}"
    if origin in (dict, Mapping):
        return f"mapping to {type_in_words(inner[1])}"
    return _PLAIN.get(kind, "any" if kind is Any else getattr(kind, "__name__", str(kind)).lower())


def _limits(metadata: Sequence[Any]) -> str:
    """Return the limits that pydantic checks of a number: `, ≥ 0, ≤ 1`."""
    items = [item for entry in metadata for item in (entry.metadata if isinstance(entry, FieldInfo) else (entry,))]
    limits = [
        f"{sign} {limit:g}"
        for name, sign in _LIMITS
        for item in items
        if (limit := getattr(item, name, None)) is not None
    ]
    return f" {', '.join(limits)}" if limits else ""


def _stripped(kind: Any) -> Any:
    """Return a type without `Annotated` and without `None` beside it."""
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if get_origin(kind) in (Union, UnionType):
        inner = [item for item in get_args(kind) if item is not NoneType]
        return _stripped(inner[0]) if len(inner) == 1 else kind
    return kind


def models_in(kind: Any, base: type[BaseModel]) -> list[Any]:
    """Return the models of a kind inside a type, in their order."""
    if isinstance(kind, type) and issubclass(kind, base):
        return [kind]
    return [model for inner in get_args(kind) if inner is not Ellipsis for model in models_in(inner, base)]


# --- pages --------------------------------------------------------------------------------------------

BLOCKS: dict[str, Callable[[], str]] = {
    "columns": columns,
    "manifest": manifest_fields,
    "filters": filter_table,
    "drop-reasons": drop_reasons,
    "operators": operator_table,
    "expansion-reasons": expansion_reasons,
}
"""What a page may hold between its marks."""


def pages() -> dict[Path, str]:
    """Return every reference page as it should be, by path."""
    result = {ROOT / "flows" / "RECIPE.md": recipe(), ROOT / "flows" / "COMMANDS.md": commands()}
    for page in (ROOT / folder / "README.md" for folder in ("data", "filters", "generators")):
        if page.exists():
            result[page] = filled(page.read_text(encoding="utf-8"))
    return result


def stale() -> list[str]:
    """Return the names of the pages that differ from the code."""
    return [
        path.relative_to(ROOT).as_posix()
        for path, text in pages().items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]


def filled(page: str) -> str:
    """Return a page with what its marks name written between them."""
    return _BLOCK.sub(lambda match: f"{match[1]}\n{BLOCKS[match[2]]()}\n\n{match[3]}", page)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows])


def main() -> None:
    """Write the stale pages and print their names."""
    for name in stale():
        sys.stdout.write(f"{name}\n")
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
