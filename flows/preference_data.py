"""The rows of `pairs` and `step_labels` that each shard gives, rendered as the student sees them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from proofmill.data.errors import InputError
from proofmill.data.files import existing, replacing, writing
from proofmill.filters.model_judge import proven_by
from proofmill.filters.pairs import PAIR_REASONS, Pair, PairOptions, pairs_of_problem
from proofmill.filters.selection import CHARACTERS_A_TOKEN
from proofmill.filters.step_labels import LabelledSteps, StepLabelOptions, labelled_steps
from proofmill.filters.verdicts import WRONG
from proofmill.generators.prompts import Message, Rendered, StudentView

Row = dict[str, Any]
_COLUMNS = (
    "id", "problem_id", "sampler", "response", "completion_tokens", "finish_reason", "model", "verdict",
    "verdict_detail", "extracted", "stage", "drop_reason", "quality_detail", "contaminated_by", "duplicate_of",
    "final_start", "claims", "clr_claims",
)  # fmt: skip


@dataclass(frozen=True)
class JudgedShard:
    """What a shard's rows are made of.

    Attributes:
        traces: its traces with the columns of all filters and the selection.
        problems: its problems by id.
        doubtful: problems whose gold or tests are in doubt, or that stand in a benchmark.
        rates: pass rate and number of samples by problem.
        prompt: a problem's messages as training sees them on a trace of the sampler named.
    """

    traces: pl.DataFrame
    problems: Mapping[str, Row]
    doubtful: Collection[str]
    rates: Mapping[str, tuple[float, int]]
    prompt: Callable[[Row, str], list[Message]]

    def by_problem(self) -> Iterator[tuple[Row, list[Row]]]:
        """Yield each problem with its traces."""
        present = [name for name in _COLUMNS if name in self.traces.columns]
        groups: dict[str, list[Row]] = {name: [] for name in self.problems}
        for row in self.traces.select(present).iter_rows(named=True):
            tokens = row["completion_tokens"]
            row["length"] = len(row["response"]) // CHARACTERS_A_TOKEN if tokens is None else tokens
            groups[row["problem_id"]].append(dict.fromkeys(_COLUMNS) | row)
        for name, rows in groups.items():
            yield self.problems[name], rows


@dataclass
class PairLedger:
    """Where wrong traces went.

    Attributes:
        entered: wrong traces.
        kept: those that stand in a pair.
        dropped: the others by reason.
    """

    entered: int = 0
    kept: int = 0
    dropped: Counter[str] = field(default_factory=Counter)

    def to_json(self) -> Row:
        """Return the ledger as the manifest has it."""
        dropped = {reason: self.dropped[reason] for reason in PAIR_REASONS if self.dropped[reason]}
        return {"in": self.entered, "kept": self.kept, "dropped": dropped}

    def add(self, other: PairLedger) -> None:
        """Count the traces of another ledger as well."""
        self.entered += other.entered
        self.kept += other.kept
        self.dropped += other.dropped

    def rows(self, shard: JudgedShard, options: PairOptions, view: StudentView) -> list[Row]:
        """Return a shard's rows of `pairs`, rendered by a view, and count its wrong traces."""
        rows = []
        for problem, traces in shard.by_problem():
            wrong = sum(trace["verdict"] == WRONG for trace in traces)
            self.entered += wrong
            if problem["id"] in shard.doubtful:
                self.dropped["doubtful_problem"] += wrong
                continue
            pairs, left_out = pairs_of_problem(traces, problem["answer"], options)
            self.dropped += left_out
            by_id = {trace["id"]: trace for trace in traces}
            rows += [row for pair in pairs if (row := self._row(shard, problem, by_id, pair, view))]
        self.kept += len(rows)
        return rows

    def _row(
        self, shard: JudgedShard, problem: Row, traces: Mapping[str, Row], pair: Pair, view: StudentView
    ) -> Row | None:
        chosen, rejected = traces[pair.chosen], traces[pair.rejected]
        prompt = shard.prompt(problem, chosen["sampler"])
        try:
            good, bad = view.render([(prompt, trace["response"], trace["id"]) for trace in (chosen, rejected)])
        except InputError:  # such a kept trace has stopped the run before, so it is the wrong one: left out, counted
            self.dropped["not_rendered"] += 1
            return None
        rate, _ = shard.rates.get(problem["id"], (None, 0))
        return {
            "prompt": good.prompt,
            "chosen": good.completion,
            "rejected": bad.completion,
            "problem_id": problem["id"],
            "domain": problem["domain"],
            "chosen_id": pair.chosen,
            "rejected_id": pair.rejected,
            "answer": problem["answer"],
            "rejected_answer": rejected["extracted"],
            "chosen_tokens": _tokens(good, chosen),
            "rejected_tokens": _tokens(bad, rejected),
            "pass_rate": rate,
            "rejected_share": pair.share,
            "model": chosen["model"],
            "rejected_model": rejected["model"],
            "verifier": proven_by(chosen, problem),
            "source": problem["source"],
            "license": problem["license"],
        }


def _tokens(view: Rendered, trace: Row) -> int | None:
    return trace["completion_tokens"] if view.completion_tokens is None else view.completion_tokens


# All pairs of a version stand in one order, hard ones first, whatever their shard: hard is a problem that was seldom
# solved, then a mistake that was often made. The pairs of each shard wait in a file; their places and what they are
# sorted by take 24 bytes each.

_HARDNESS = ("pass_rate", "rejected_share")
PAIRS_TOGETHER = 1024  # rows of all shards that are in memory at once


@dataclass(frozen=True)
class PairFile:
    """The pairs of a shard: a file, and what they are sorted by."""

    path: Path
    hardness: pl.DataFrame


def write_pairs(path: Path, table: pa.Table) -> PairFile:
    """Write the pairs of a shard into a file of which single rows can be read."""
    with (
        writing(path),
        replacing(path) as temporary,
        pa.OSFile(str(temporary), "wb") as raw,
        pa.ipc.new_file(raw, table.schema) as file,
    ):
        file.write_batch(table.combine_chunks().to_batches()[0])
    return PairFile(path, pl.DataFrame({name: pl.Series(table[name]).cast(pl.Float32) for name in _HARDNESS}))


def hard_first(files: Sequence[PairFile]) -> pl.DataFrame:
    """Return the order of all pairs: number of the file, and row in it."""
    keys = [
        file.hardness.with_columns(
            pl.lit(number, pl.Int32).alias("file"), pl.int_range(pl.len(), dtype=pl.Int32).alias("row")
        )
        for number, file in enumerate(files)
    ]
    # Stable, so that rows which are equally hard stay in the order of their shards.
    order = pl.concat(keys).sort(*_HARDNESS, descending=[False, True], nulls_last=True, maintain_order=True)
    return order.select("file", "row")


def pairs_in_order(files: Sequence[Path], order: pl.DataFrame) -> Iterator[pa.Table]:
    """Yield rows of some files in an order (columns file and row), some at a time."""
    for start in range(0, order.height, PAIRS_TOGETHER):
        part = order.slice(start, PAIRS_TOGETHER).with_row_index("place").sort("file", maintain_order=True)
        groups = part.group_by("file", maintain_order=True).agg("row")
        taken = [_taken(files[number], rows) for number, rows in groups.iter_rows()]
        back = np.argsort(part["place"].to_numpy())
        yield pa.Table.from_batches(taken).take(pa.array(back))


def _taken(path: Path, rows: list[int]) -> pa.RecordBatch:
    with pa.memory_map(str(existing(path))) as file:
        return pa.ipc.open_file(file).get_batch(0).take(pa.array(rows))


def step_rows(shard: JudgedShard, options: StepLabelOptions) -> Iterator[Row]:
    """Yield a shard's rows of `step_labels`; broken, repeated and leaking texts give none."""
    for problem, traces in shard.by_problem():
        if problem["id"] in shard.doubtful:
            continue
        labelled = [
            (steps, trace)
            for trace in traces
            if not (trace["quality_detail"] or trace["contaminated_by"] or trace["duplicate_of"])
            for steps in labelled_steps(trace, options)
        ]
        labelled.sort(key=lambda pair: (*pair[0].rank, pair[1]["id"]))
        # By turns, so that a hard problem does not give mistakes alone where it has something else to show.
        turns = [[pair for pair in labelled if pair[0].labels[-1] is right] for right in (False, True)]
        mixed = [pair for both in zip_longest(*turns) for pair in both if pair]
        for steps, trace in mixed[: options.max_per_problem]:
            asked = "\n\n".join(message["content"] for message in shard.prompt(problem, trace["sampler"]))
            yield _step_row(asked, problem, trace, steps)


def _step_row(asked: str, problem: Row, trace: Row, steps: LabelledSteps) -> Row:
    context = f"{asked}\n\n{steps.before}\n" if steps.before else f"{asked}\n\n"
    return {
        "prompt": context,
        "completions": list(steps.steps),
        "labels": list(steps.labels),
        "id": f"{trace['id']}-{steps.first}",
        "trace_id": trace["id"],
        "problem_id": problem["id"],
        "domain": problem["domain"],
        "first_step": steps.first,
        "decided_by": list(steps.decided_by),
        "verdict": trace["verdict"],
        "model": trace["model"],
        "source": problem["source"],
        "license": problem["license"],
    }
