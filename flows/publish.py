"""The publish step: a run's columns become the configs of a version, shard by shard and file by file, in tasks.

The rows of each shard are put on disk (`version_rows`), then each final file is written; this process plans the files,
and writes the card, the report and, last, the manifest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa

from proofmill.data import card
from proofmill.data.errors import NothingKeptError
from proofmill.data.files import address, atomic_folder, put_folder, write_json
from proofmill.data.manifest import MANIFEST, REPORT, FileEntry, Manifest
from proofmill.data.report import page as report
from proofmill.data.run import Shard
from proofmill.data.tasks import TaskMap, run_here
from proofmill.data.version_files import VersionWriter
from proofmill.data.versions import Version, next_number, versions
from proofmill.filters.selection import add_ledgers
from proofmill.flows.context import RunContext
from proofmill.flows.display import listed
from proofmill.flows.expansion import ExpansionLedger, seed_shard
from proofmill.flows.ingest import RunProblems
from proofmill.flows.manifest import manifest_of, model_facts
from proofmill.flows.pipeline import SELECTION, reasons_of
from proofmill.flows.preference_data import PAIRS_TOGETHER, PairFile, PairLedger, hard_first
from proofmill.flows.routing import POLICY, RouteLedger, policy_of
from proofmill.flows.shard_records import ShardRecord
from proofmill.flows.version_rows import (
    PairsTask,
    RowsTask,
    ShardRows,
    held_out_ids,
    open_here,
    order_pairs,
    split_schemas,
    splits,
    write_rows,
)

POOLED_ROWS = 50_000  # traces from which worker processes pay
Row = dict[str, Any]


def publish(
    run: RunContext, problems: RunProblems, records: Sequence[ShardRecord], held_out: Shard | None
) -> dict[str, Any]:
    """Write the next version unless the last one has the same bytes.

    Returns:
        `version` (its label), `folder`, `new` (whether it was written now) and the manifest.

    Raises:
        NothingKeptError: no trace survived, so there is nothing to publish.
    """
    ledger = add_ledgers([record.outputs[SELECTION.name].stats["ledger"] for record in records], reasons_of(run))
    if not ledger["kept"]:
        raise NothingKeptError(
            "Not one trace survived, so there is no version to publish.",
            where=f"{address(run.store.folder)}: {ledger['in']:,} traces; dropped: {listed(ledger['dropped'])}",
            remedy="look at the traces in that folder; more samples, an easier source or a better prompt may help",
        )
    run.progress.note("publishing")
    published = versions(run.home, run.recipe.name)
    parent = published[-1] if published else None
    number = next_number(run.home, run.recipe.name)
    folder = run.home / "datasets" / run.recipe.name / f"v{number:04d}"
    with _Attempt() as attempt, atomic_folder(folder) as temporary:
        manifest = _write(run, temporary, problems, records, held_out)
        manifest = manifest.replaced(version=number, parent=parent.number if parent else None)
        if parent and {file.path: file.sha256 for file in manifest.files} == parent.data_digests():
            attempt.discard(parent)
        page = temporary / REPORT
        page.write_text(report.render(Version(run.recipe.name, number, temporary, manifest)), encoding="utf-8")
        manifest = manifest.replaced(files=[*manifest.files, FileEntry.of(temporary, page, None)])
        write_json(temporary / MANIFEST, manifest.to_json())
        # One that was replaced while it wrote publishes nothing.
        put_folder(temporary, folder, last=MANIFEST, ready=partial(run.store.flush, claim=True))
    if attempt.parent:
        return _result(attempt.parent, new=False)
    return _result(Version(run.recipe.name, number, folder, manifest), new=True)


class _EqualsParent(Exception):  # noqa: N818 (an event: `atomic_folder` then removes the folder being written)
    """The version being written equals the last one."""


class _Attempt:
    """Swallows the event that discards a version equal to its parent."""

    parent: Version | None = None

    def discard(self, parent: Version) -> None:
        self.parent = parent
        raise _EqualsParent

    def __enter__(self) -> _Attempt:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        return kind is _EqualsParent


def _result(version: Version, *, new: bool) -> dict[str, Any]:
    return {"version": version.label, "folder": str(version.folder), "new": new, "manifest": version.manifest}


def _write(
    run: RunContext,
    folder: Path,
    problems: RunProblems,
    records: Sequence[ShardRecord],
    held_out: Shard | None,
) -> Manifest:
    out = VersionWriter(folder.absolute(), split_schemas(run))
    made = _write_rows(run, out, problems, records, held_out)
    files = out.close(made.tasks)
    facts = manifest_of(run, problems, records, out, made.longest)
    if run.models.scorer:
        facts["learning_student"] = model_facts(run.models.scorer)
    facts["held_out_problems"] = held_out.rows if held_out else 0
    if run.recipe.publish.pairs:
        facts["pairs"] = made.ledger.to_json()
        facts["tokens"]["longest_pair"] = made.longest_pair
    if problems.candidates:
        facts["expansion"] = made.expansion.to_json()
        ledger = made.expansion.ledger()
        facts["stages"] = {"problems": facts["stages"]["problems"], "expansion": ledger, **facts["stages"]}
    if made.routes:
        facts["route"] = made.routes.to_json()
        write_json(folder / POLICY, made.routes.policy_file(run.recipe.name))
        files.append(FileEntry.of(folder, folder / POLICY, None))
    for config in ("pairs", "step_labels"):
        if getattr(run.recipe.publish, config) and not facts["stages"]["publish"]["rows"].get(config):
            run.progress.warn(f"publish.{config}: not one row could be made" + _why_none(config, made.ledger))
    manifest = Manifest.model_validate(facts | {"files": files})
    (folder / "README.md").write_text(card.render(manifest, out.contents()), encoding="utf-8")
    return manifest.replaced(files=[*files, FileEntry.of(folder, folder / "README.md", None)])


@dataclass
class _Made:
    """What the rows of all shards come to.

    Attributes:
        expansion: what became of new problems.
        routes: which models answer; None: nothing is routed.
        tasks: runs the tasks of publishing.
        ledger: where wrong traces went.
        longest, longest_pair: tokens of the longest row, and of the longest pair.
        pairs: of the shards.
    """

    expansion: ExpansionLedger
    routes: RouteLedger | None
    tasks: TaskMap
    ledger: PairLedger = field(default_factory=PairLedger)
    longest: int = 0
    longest_pair: int = 0
    pairs: list[PairFile] = field(default_factory=list)

    def add(self, shard: ShardRows) -> None:
        """Take note of a shard."""
        self.ledger.add(shard.ledger)
        self.longest, self.longest_pair = max(self.longest, shard.longest), max(self.longest_pair, shard.longest_pair)
        self.pairs += [shard.pairs] if shard.pairs else []
        if self.routes:
            for domain, route in shard.routed:
                self.routes.count(domain, route)


def _write_rows(
    run: RunContext, out: VersionWriter, problems: RunProblems, records: Sequence[ShardRecord], held_out: Shard | None
) -> _Made:
    """Put all rows on disk, a task a shard: in the order of the shards' names, new problems behind their seeds."""
    held = run.store.path(held_out).absolute() if held_out else None
    policy = policy_of(run.recipe)
    expansion = ExpansionLedger(run, {shard.name: shard for shard in problems.candidates})
    # A worker takes seconds to load what it needs, longer than a few rows take here.
    few = run.recipe.cluster.address is None and sum(record.samples.rows for record in records) < POOLED_ROWS
    made = _Made(expansion, RouteLedger(policy) if policy else None, run_here if few else run.tasks)
    with open_here(run) as place:
        folder = out.rows_folder
        tasks = [RowsTask(place, record, held, folder / f"{number:06}") for number, record in enumerate(records)]
        shards = zip(records, made.tasks(write_rows, tasks), strict=True)
        for family, members in groupby(shards, key=lambda pair: seed_shard(pair[0].name)):
            fates: dict[str, str | None] = {}
            for _, shard in members:
                made.add(shard)
                out.add(shard.rows)
                fates |= shard.fates
                run.progress.advance("shards published")
            _append_expansion(out, expansion.table(family, fates), held)
    for rest in list(expansion.candidates):  # nothing of them was sampled
        _append_expansion(out, expansion.table(rest, {}), held)
    for rows in made.tasks(order_pairs, _pair_tasks(made.pairs, out, held)) if made.pairs else ():
        out.add(rows)
    return made


def _append_expansion(out: VersionWriter, table: pa.Table, held_out: Path | None) -> None:
    for split, part in splits(table, held_out_ids(held_out)) if table.num_rows else ():
        out.append(f"expansion/{split}", part)


def _pair_tasks(files: Sequence[PairFile], out: VersionWriter, held_out: Path | None) -> list[PairsTask]:
    """Return tasks that bring the pairs of all shards into one order."""
    order, paths = hard_first(files), [file.path for file in files]
    size = 64 * PAIRS_TOGETHER
    return [
        PairsTask(paths, order.slice(start, size), out.schemas, held_out, out.rows_folder / f"pairs-{start}")
        for start in range(0, order.height, size)
    ]


def _why_none(config: str, ledger: PairLedger) -> str:
    if config == "step_labels":
        return "; no step of these traces is decided by a checked claim, a verdict or a model"
    reasons = listed(ledger.to_json()["dropped"])
    return f" of {ledger.entered:,} wrong traces" + (f"; left out: {reasons}" if reasons else "")
