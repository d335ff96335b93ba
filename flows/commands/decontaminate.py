"""`proofmill decontaminate`: rows of a file, or a version, beside benchmarks; a model may judge what is only near.

Where meaning counts, the rows are read twice: first for the prompts that are near an item, then to be marked. In
between a judge is asked about each of them as a run asks (`flows/near_items.py`), with the same planted pairs. Its
answers are recorded under HOME, so a command that was stopped asks nothing twice.
"""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
from rich.console import Console
from rich.table import Table
from rich.text import Text

from proofmill.data.errors import UsageError
from proofmill.data.files import digest, write_json
from proofmill.data.rows_io import Row, check_out, open_rows
from proofmill.data.tables import batches
from proofmill.data.versions import Version, find
from proofmill.filters.contamination import (
    CONTAMINATION,
    DecontaminateOptions,
    Index,
    build_index,
    items,
    overlap_columns,
)
from proofmill.filters.near_prompts import DECIDED_CONTAMINATION, DecidedPrompts, NearPrompt, near_prompts
from proofmill.flows.commands.filters import checked_options, run_filter
from proofmill.flows.context import RunContext, RunRequest, open_run
from proofmill.flows.display import Progress, shown
from proofmill.flows.filter_rows import RowOptions, check_first, prepared
from proofmill.flows.models import judge_named
from proofmill.flows.near_items import SAME, compare, prompt_records
from proofmill.flows.recipe.load import override, parse
from proofmill.flows.recipe.schema import ActiveFilter, Recipe
from proofmill.flows.row_chunks import Source, chunks, first_row, views


def options_of(
    given: Mapping[str, Any], judge: str | None, overrides: Sequence[str], home: Path
) -> DecontaminateOptions:
    """Return the options that a command line gives.

    Args:
        given: those of the section `decontaminate`.
        judge: the model that judges near prompts, as `proofmill eval` names one; None: nobody does.
        overrides: `option=value` of the judge's section each.
        home: HOME, where trained models are.

    Raises:
        UsageError: one does not fit.
        RecipeError: an override is none.
    """
    options: dict[str, Any] = dict(given)
    if overrides and judge is None:
        raise UsageError("--set is about the judge, and there is none.", where="--set", remedy="add --judge MODEL")
    if judge is not None:
        section = judge_named(judge, home)
        for item in overrides:
            override(section, item)
        options["meaning"] = {**(options.get("meaning") or {}), "judge": section}
    return checked_options(DecontaminateOptions, options)


def run(
    home: Path,
    source: Source,
    options: DecontaminateOptions,
    out: Path | None,
    workers: int | None,
    console: Console,
    *,
    dry_run: bool = False,
) -> None:
    """Mark the rows of a file, or list those of a version.

    Raises:
        UsageError: no file to write is given.
        VerifierError: the judge calls planted different problems the same.
    """
    judged = options.meaning is not None and options.meaning.judge is not None
    if dry_run and not judged:
        raise UsageError(
            "Nothing would be asked.", where="--dry-run", remedy="it tells what a judge costs: add --judge"
        )
    if out is not None:
        check_out(out)
    if is_version(source.name):
        would_remove(home, source.name, out, options, console, dry_run=dry_run)
        return
    if out is None and not dry_run:
        raise UsageError("No file to write is given.", where="--out", remedy="pass --out FILE")
    if options.meaning is None:
        assert out is not None  # noqa: S101 (narrowing for the type checker)
        active = ActiveFilter(CONTAMINATION, options, CONTAMINATION.name)
        run_filter("decontaminate", active, source, out, workers, console)
        return
    _check_source(source)
    with tempfile.TemporaryDirectory(prefix="proofmill-") as folder:
        path, marks = Path(folder) / "index", Path(folder) / "marks"
        index = build_index(items(options.benchmarks), path, options.n, options.meaning)
        near = _near_in_file(source, options, index, console)
        decided = _decided(home, source.name, options, near, console, dry_run=dry_run)
        if out is None or dry_run:
            return
        write_json(marks, decided)
        active = ActiveFilter(DECIDED_CONTAMINATION, options, f"{near_prompts.__module__}:DECIDED_CONTAMINATION")
        run_filter("decontaminate", active, source, out, workers, console, DecidedPrompts(path, marks))


def _check_source(source: Source) -> None:
    """Raise where the first row lacks what is read, before a model is loaded."""
    for chunk in chunks(source):
        if first := first_row(chunk, source.fields):
            check_first(*first, CONTAMINATION, RowOptions(source.domain))
            return


# --- prompts near an item, and a model that judges them ----------------------------------------------------------


def _near_in_file(
    source: Source, options: DecontaminateOptions, index: Index, console: Console
) -> dict[str, NearPrompt]:
    """Return the prompts of a file that mean an item, near enough or for a model to say, by the whole prompt."""
    progress, rows = Progress(), RowOptions(source.domain)
    near: dict[str, NearPrompt] = {}
    with shown(progress, "proofmill decontaminate: prompts near an item", console):
        for chunk in chunks(source):
            seen = [view for view in views(chunk, source.fields, frozenset(), as_lines=False) if view.fault is None]
            usable = [row for view in seen if not isinstance(row := prepared(view.row, CONTAMINATION, rows), str)]
            near |= near_prompts(usable, options, index)
            progress.advance("rows", len(seen))
    return near


def _near_in_version(version: Version, options: DecontaminateOptions, index: Index) -> dict[str, NearPrompt]:
    """Return the same of a version's problems."""
    near: dict[str, NearPrompt] = {}
    for path in version.files("problems"):
        for table in batches(path, ["prompt"], rows=1024):
            rows = [{"system": None, "prompt": prompt or ""} for prompt in table["prompt"].to_pylist()]
            near |= near_prompts(rows, options, index)
    return near


def _decided(
    home: Path,
    name: str,
    options: DecontaminateOptions,
    near: Mapping[str, NearPrompt],
    console: Console,
    *,
    dry_run: bool,
) -> dict[str, Row]:
    """Return the marks of each prompt that means an item, near enough or as the judge says; say what it said."""
    assert options.meaning is not None  # noqa: S101 (narrowing for the type checker)
    threshold = options.meaning.threshold
    marks = {prompt: found.columns() for prompt, found in near.items() if found.nearness >= threshold}
    if options.meaning.judge is None:
        return marks
    undecided = {prompt: found for prompt, found in near.items() if prompt not in marks}
    questions = {found.question: found for found in undecided.values()}  # system messages are not compared
    with _judging(home, name, options, console, dry_run=dry_run) as run:
        records = prompt_records(run, list(questions.values()))
        if dry_run:
            from proofmill.flows.dry_run import near_judge_cost

            told = f"{len(marks):,} prompts mean an item, {len(questions):,} more are near one"
            for line in (told, *near_judge_cost(run, records, ())):
                console.print(line, highlight=False, markup=False, soft_wrap=True)
            return {}
        verdicts: dict[str, str] = {}
        for asked, answers in compare(run, records):
            verdicts |= asked.verdicts(answers)
        judge = run.models.near_judge.model.name if run.models.near_judge else "nobody"
    of_prompt = {prompt: verdicts.get(digest(found.question), "too_long") for prompt, found in undecided.items()}
    counts = ", ".join(f"{verdict} {count:,}" for verdict, count in sorted(Counter(of_prompt.values()).items()))
    console.print(f"prompts near a benchmark's item, by {judge}: {counts or 'none was near'}", highlight=False)
    same = (prompt for prompt, verdict in of_prompt.items() if verdict == SAME)
    return marks | {prompt: undecided[prompt].columns("by a model, ") for prompt in same}


@contextmanager
def _judging(
    home: Path, name: str, options: DecontaminateOptions, console: Console, *, dry_run: bool
) -> Iterator[RunContext]:
    """Open a run that asks the judge and nothing else; its answers are kept under HOME as those of any run."""
    section = options.model_dump(mode="json")
    recipe: Recipe = parse(
        {
            "name": f"decontaminate-{digest(name, section)[:12]}",
            "samplers": [{"engine": "replay"}],
            "decontaminate": section,
        }
    )
    progress = Progress()
    request = RunRequest(recipe, home, dry_run=dry_run)
    with shown(progress, "proofmill decontaminate: near prompts", console), open_run(request, progress) as run:
        yield run


# --- what benchmarks that were added later would remove from a version -----------------------------------------

_LABEL = re.compile(r"[\w.-]+@v\d+\Z")
_LISTED = pa.schema(
    dict.fromkeys(("config", "id", "problem_id", "found_in", "contaminated_by", "contaminated_span"), pa.string())
)
_SHOWN = 20
_SHOWN_CHARACTERS = 200


def is_version(traces: str) -> bool:
    """Return whether a text means a version, `NAME@vN`, and not a file."""
    return bool(_LABEL.match(traces)) and not Path(traces).exists()


def would_remove(
    home: Path, label: str, out: Path | None, options: DecontaminateOptions, console: Console, *, dry_run: bool = False
) -> None:
    """List the rows of a version that its decontamination would have dropped, had it known these benchmarks."""
    version = find(home, label)
    with tempfile.TemporaryDirectory(prefix="proofmill-") as folder:
        index = build_index(items(options.benchmarks), Path(folder) / "index", options.n, options.meaning)
        decided: dict[str, Row] = {}
        if options.meaning is not None:
            near = _near_in_version(version, options, index)
            decided = _decided(home, label, options, near, console, dry_run=dry_run)
        if dry_run:
            return
        overlaps = list(_overlaps(version, index, decided))
    counts = Counter((row["contaminated_by"].partition("/")[0], row["config"]) for row in overlaps)
    table = Table("benchmark", "config", "rows", title=f"{version.label}: what would go", title_justify="left")
    for (benchmark, config), count in sorted(counts.items()):
        table.add_row(benchmark, config, f"{count:,}")
    console.print(table if overlaps else f"Nothing of {version.label} overlaps with these benchmarks.")
    for row in overlaps[:_SHOWN]:
        span = row["contaminated_span"][:_SHOWN_CHARACTERS]
        told = f"{row['config']} {row['id']}  {row['contaminated_by']}  {row['found_in']}: {span}"
        console.print(Text(told), soft_wrap=True)
    if len(overlaps) > _SHOWN:
        console.print(f"and {len(overlaps) - _SHOWN:,} more" + ("" if out else "; --out FILE writes all of them"))
    if out is not None:
        with open_rows(out, _LISTED) as writer:
            writer.write_rows(overlaps)
        console.print(f"written: {out}", markup=False, soft_wrap=True)
    if overlaps:
        console.print(
            "next: name the benchmarks in the recipe's decontaminate section, then [bold]proofmill regenerate[/]",
            soft_wrap=True,
        )


def _overlaps(version: Version, index: Index, decided: Mapping[str, Row]) -> Iterator[Row]:
    """Yield published traces and reinforcement-learning prompts that overlap, each with the evidence."""
    prompts = dict(_marked(version, "problems", "prompt", index, decided))
    traces = dict(_marked(version, "traces", "response", index, {}))
    for config, key in (("rl", "id"), ("sft_stage1", "problem_id"), ("sft_stage2", "problem_id")):
        for path in version.files(config):
            for table in batches(path, sorted({"id", key})):
                for row in table.to_pylist():
                    by_prompt = prompts.get(row[key])
                    by_trace = traces.get(row["id"].partition("-")[0])  # behind it stands the form of the answer
                    if evidence := by_prompt or by_trace:
                        found_in = "prompt" if by_prompt else "response"
                        yield {
                            "config": config,
                            "id": row["id"],
                            "problem_id": row[key],
                            "found_in": found_in,
                        } | evidence


def _marked(
    version: Version, config: str, column: str, index: Index, decided: Mapping[str, Row]
) -> Iterator[tuple[str, Row]]:
    """Yield id and marks of each row of a config that overlaps by its words, or is decided to mean an item."""
    for path in version.files(config):
        for table in batches(path, ["id", column], rows=1024):
            texts = [text or "" for text in table[column].to_pylist()]
            for row_id, text, match in zip(table["id"].to_pylist(), texts, index.find_many(texts), strict=True):
                if marks := overlap_columns(match) or decided.get(text):
                    yield row_id, marks
