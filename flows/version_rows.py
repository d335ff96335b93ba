"""The rows that each shard gives to the configs of a version, made in tasks, here or elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from proofmill.data.files import SEEN_SECONDS, dumps_canonical, existing
from proofmill.data.run import WorkerRun
from proofmill.data.schemas import CLAIMS, EXPANSION, MESSAGES, PASS_RATES, RL, ROUTES, STEP_LABELS, pairs, sft
from proofmill.data.tables import conform, from_rows, read_table
from proofmill.data.version_files import Rows, RowWriter
from proofmill.filters.base import ProblemFilter
from proofmill.filters.catalog import FILTERS, problem_schema, trace_schema
from proofmill.filters.curriculum import REWRITTEN, SAMPLE
from proofmill.filters.domains import find_domain
from proofmill.filters.model_judge import proven_by
from proofmill.filters.near_duplicates.duplicates import NEAR_DUPLICATES, SIGNATURES
from proofmill.filters.reasoning import split_final
from proofmill.filters.reliability import KIND, weight
from proofmill.filters.rewards import mgpo_weight
from proofmill.filters.routing import Route
from proofmill.filters.runner import FilterWorkers
from proofmill.filters.selection import pass_rates, problem_rates
from proofmill.filters.verification import VERDICTS, VerifyOptions
from proofmill.flows.context import RunContext, RunRequest, worker_context
from proofmill.flows.display import Progress
from proofmill.flows.pipeline import SELECTION
from proofmill.flows.preference_data import (
    JudgedShard,
    PairFile,
    PairLedger,
    pairs_in_order,
    step_rows,
    write_pairs,
)
from proofmill.flows.recipe import load as recipes
from proofmill.flows.rewriting import short_solutions
from proofmill.flows.routing import policy_of, routed_problems
from proofmill.flows.run_inputs import INDEX, index_schema
from proofmill.flows.shard_records import ShardRecord, columns, of_expansion
from proofmill.flows.topics import topics_of
from proofmill.generators import prompts
from proofmill.generators.problems.operators import OPERATORS
from proofmill.generators.prompts import Rendered, StudentView

TRAIN, VALIDATION = "train", "validation"
MGPO_GAMMA = 1.0
Row = dict[str, Any]


@dataclass(frozen=True)
class Place:
    """Where a run is: all that a process has to know to read it.

    Attributes:
        recipe: the resolved recipe, as JSON.
        home: HOME.
        limit: how many problems the run takes.
    """

    recipe: bytes
    home: str
    limit: int | None

    @classmethod
    def of(cls, run: RunContext) -> Place:
        """Return the place of an open run."""
        return cls(dumps_canonical(run.recipe.resolved()), str(run.home.absolute()), run.request.limit)


@dataclass(frozen=True)
class RowsTask:
    """A shard whose rows are wanted.

    Attributes:
        place: the run's.
        record: the shard.
        held_out: file of the problems of the validation split; None: there is none.
        prefix: path with which the files of rows begin.
    """

    place: Place
    record: ShardRecord
    held_out: Path | None
    prefix: Path


@dataclass(frozen=True)
class ShardRows:
    """The rows of a shard, which are on disk, and what the manifest says of them.

    Attributes:
        rows: of all configs but `pairs`.
        pairs: those, to be brought into one order with all others; None: there are none.
        ledger: where its wrong traces went.
        routed: domain and route of each of its problems.
        longest, longest_pair: tokens of the longest row, and of the longest pair.
        fates: why each new problem is left out after sampling, None where it is kept.
    """

    rows: Rows
    pairs: PairFile | None
    ledger: PairLedger
    routed: list[tuple[str, Route]]
    longest: int
    longest_pair: int
    fates: dict[str, str | None]


def write_rows(task: RowsTask) -> ShardRows:
    """Put the rows of a shard on disk.

    Raises:
        InputError: the student's template loses a completion, or rewrites a prompt.
    """
    run = _run_of(task)
    shard, writer = ShardTables(run, task.record), RowWriter(task.prefix, split_schemas(run))
    paired = None
    held_out = held_out_ids(task.held_out)
    for config, table in shard.tables():
        if config == "pairs":
            paired = write_pairs(task.prefix.with_suffix(".pairs"), table) if table.num_rows else None
            continue
        for split, part in splits(table, held_out):
            writer.append(f"{config}/{split}", part)
    longest, longest_pair = shard.view.longest, shard.pair_view.longest
    fates = shard.new_problem_fates()
    return ShardRows(writer.close(), paired, shard.ledger, shard.routed, longest, longest_pair, fates)


@dataclass(frozen=True)
class PairsTask:
    """Pairs to bring together.

    Attributes:
        files: of pairs.
        order: columns file and row.
        schemas: by config and split.
        held_out: as in `RowsTask`.
        prefix: path with which the files of rows begin.
    """

    files: Sequence[Path]
    order: pl.DataFrame
    schemas: Mapping[str, pa.Schema]
    held_out: Path | None
    prefix: Path


def order_pairs(task: PairsTask) -> Rows:
    """Put pairs on disk in their order."""
    writer, held_out = RowWriter(task.prefix, task.schemas), held_out_ids(task.held_out)
    for table in pairs_in_order(task.files, task.order):
        for split, part in splits(table, held_out):
            writer.append(f"pairs/{split}", part)
    return writer.close()


# The runs that this process has open: its own tasks use their models and files.
_OPEN: dict[Place, RunContext] = {}


@contextmanager
def open_here(run: RunContext) -> Iterator[Place]:
    """Provide the place of a run whose tasks may be done in this process."""
    place = Place.of(run)
    _OPEN[place] = run
    try:
        yield place
    finally:
        del _OPEN[place]


def _run_of(task: RowsTask) -> RunContext:
    if own := _OPEN.get(task.place):
        return own
    run, record = _opened(task.place), task.record
    shards = (record.problems, record.samples, *record.outputs.values())
    return replace(run, store=WorkerRun(run.home, run.recipe.name, shards, SEEN_SECONDS))


@lru_cache(1)
def _opened(place: Place) -> RunContext:
    """Return the context of a run in a process that has only tasks of it."""
    recipe, stack = recipes.parse(orjson.loads(place.recipe)), ExitStack()
    request = RunRequest(recipe, Path(place.home), place.limit)
    store = WorkerRun(request.home, recipe.name, (), 0.0)
    workers = FilterWorkers(recipe.options(VERDICTS), stack)
    return worker_context(request, store, workers, Progress(), stack)


def held_out_ids(path: Path | None) -> pa.Array | None:
    """Return the problems of the validation split that stand in a file."""
    return None if path is None else read_table(existing(path), ["id"])["id"].combine_chunks()


def config_schemas(run: RunContext) -> dict[str, pa.Schema]:
    """Return the columns of each config of a version."""
    render = run.recipe.publish.render
    own = tuple(active.filter for active in run.filters if active.filter not in FILTERS)
    filters = (*FILTERS, *own)  # a column whose filter was not asked for is null, so that every version has it
    return {
        "traces": trace_schema(filters),
        "problems": problem_schema(filters),
        "pass_rates": PASS_RATES,
        "sft_stage1": sft(render),
        "sft_stage2": sft(render),
        "rl": RL,
        "pairs": pairs(render),
        "step_labels": STEP_LABELS,
        "messages": MESSAGES,
        "routes": ROUTES,
        "expansion": EXPANSION,
        "claims": CLAIMS,
        INDEX: index_schema(run.recipe.options(NEAR_DUPLICATES)),
    }


def split_schemas(run: RunContext) -> dict[str, pa.Schema]:
    """Return the columns by config and split."""
    return {f"{name}/{split}": schema for name, schema in config_schemas(run).items() for split in (TRAIN, VALIDATION)}


def splits(table: pa.Table, held_out: pa.Array | None) -> Iterator[tuple[str, pa.Table]]:
    """Yield a table's rows by split; the problem of a row decides."""
    if held_out is None:
        yield TRAIN, table
        return
    problem = table["problem_id" if "problem_id" in table.column_names else "id"]
    held = pc.is_in(problem, value_set=held_out)
    yield TRAIN, table.filter(pc.invert(held))
    part = table.filter(held)
    if "split" in part.column_names:
        split = pa.array([VALIDATION] * part.num_rows, pa.string())
        part = part.set_column(part.column_names.index("split"), "split", split)
    yield VALIDATION, part


class ShardTables:
    """The rows that one shard gives to each config."""

    def __init__(self, run: RunContext, record: ShardRecord) -> None:
        store, render = run.store, run.recipe.publish.render
        arguments = run.recipe.prompt.chat_template_args
        self.run, self.record, self.schemas = run, record, config_schemas(run)
        self.view, self.pair_view = (StudentView(run.models.student, render, arguments) for _ in range(2))
        self.ledger = PairLedger()
        self.routed: list[tuple[str, Route]] = []
        self.problem_table = store.read(record.problems)
        self.problems = {row["id"]: row for row in self.problem_table.to_pylist()}
        self.traces = self._all_columns()
        self.rates = pass_rates(self.traces)
        reference = getattr(run.recipe.curriculum, "reference", None) or run.recipe.small
        self.problem_rates = problem_rates(self.rates, reference)
        self.judged_problems = self._judged_problems()
        marked = pl.col("contaminated_by").is_not_null()
        self.contaminated = frozenset(self.judged_problems.filter(marked)["id"])
        self.expanded = of_expansion(run, record)

    def _all_columns(self) -> pl.DataFrame:
        """Return the samples with the columns of all filters except signatures, and with the selection."""
        run, record = self.run, self.record
        wanted = ("claims", "clr_claims", "final_start")
        filters = [item.filter for item in run.filters if not isinstance(item.filter, ProblemFilter)]
        added = [field.name for filter_ in filters for field in filter_.adds]
        added += [field.name for filter_ in filters for field in filter_.internal if field.name in wanted]
        frame = pl.DataFrame(run.store.read(record.samples))
        frame = frame.hstack(pl.DataFrame(columns(run, record, added)))
        fate = run.store.read(record.outputs[SELECTION.name], ["stage", "drop_reason", "short_form", "in_stage1"])
        frame = frame.hstack(pl.DataFrame(fate))
        absent = [name for name in ("clr_score", "clr_claims") if name not in frame.columns]
        return frame.with_columns(pl.lit(None).alias(name) for name in absent)

    def _judged_problems(self) -> pl.DataFrame:
        """Return the problems with the columns of the problem filters."""
        topics = topics_of(self.run, self.record)
        named = pl.Series("topic", [topics.get(name) for name in self.problems], pl.String)
        frame = pl.DataFrame(self.problem_table).with_columns(pl.lit(TRAIN).alias("split"), named)
        for active in self.run.filters:
            if isinstance(active.filter, ProblemFilter):
                frame = frame.hstack(pl.DataFrame(self.run.store.read(self.record.outputs[active.filter.name])))
        return frame

    @property
    def pseudo_in_rl(self) -> bool:
        """Whether `rl` may hold problems whose answer is a pseudo-label."""
        options = self.run.recipe.problems.pseudo_labels
        return options is not None and options.rl

    def tables(self) -> Iterator[tuple[str, pa.Table]]:
        """Yield (config, table) for each config; some tables have no rows."""
        yield "traces", self._traces()
        yield "problems", self._problems()
        yield "pass_rates", self._pass_rates()
        render = self.run.recipe.publish.render
        rows = self._sft_rows()
        for stage in (1, 2):
            yield f"sft_stage{stage}", from_rows([row for row in rows if row["stage"] == stage], sft(render))
        yield "claims", self._claims()
        yield INDEX, self._signatures()
        yield "rl", from_rows(self._rl_rows(), RL)
        yield from self._preferences()
        if policy := policy_of(self.run.recipe):
            waiting = self.record.samples.stats.get("waiting", {})
            routed = list(routed_problems(policy, self.traces, self.problems, waiting))
            self.routed += [(domain, route) for _, domain, route in routed]
            yield "routes", from_rows((row for row, _, _ in routed), ROUTES)
        if self.run.recipe.publish.messages:
            yield "messages", from_rows([_as_messages(row) for row in rows], MESSAGES)

    def _preferences(self) -> Iterator[tuple[str, pa.Table]]:
        options = self.run.recipe.publish
        shard = JudgedShard(self.traces, self.problems, self._doubtful(), self.problem_rates, self._prompt)
        if options.pairs:
            yield "pairs", from_rows(self.ledger.rows(shard, options.pairs, self.pair_view), self.schemas["pairs"])
        if options.step_labels:
            yield "step_labels", from_rows(step_rows(shard, options.step_labels), STEP_LABELS)

    def new_problem_fates(self) -> dict[str, str | None]:
        """Return why each problem that expansion made is left out after sampling, None where it is kept."""
        return {name: self._fate(problem) for name, problem in self.problems.items()} if self.expanded else {}

    def _fate(self, problem: Row) -> str | None:
        if problem["id"] in self.contaminated:  # as a model said after sampling
            return "contaminated"
        rate, _ = self.problem_rates.get(problem["id"], (None, 0))
        # Procedural tasks bring their own gold, and tests judge by themselves; every other new problem has an answer
        # only where its samples agree.
        operator = OPERATORS[problem["operator"]]
        if rate is None or (problem["answer"] is None and operator.reworded):
            return "no_agreement"
        if operator.tests:
            return None
        low, high = self.run.recipe.select.expanded_pass_rate
        return None if low <= rate <= high else "outside_band"

    def _traces(self) -> pa.Table:
        columns = self.traces.select("response", "final_start").iter_rows()
        tags = self.run.recipe.options(VERDICTS).reasoning_tags
        parts = [split_final(response, start, tags) for response, start in columns]
        parts_table = pl.DataFrame(
            {"reasoning": [p[0] for p in parts], "final": [p[1] for p in parts]},
            schema={"reasoning": pl.String, "final": pl.String},
        )
        return conform(self.traces.hstack(parts_table).to_arrow(), self.schemas["traces"])

    def _signatures(self) -> pa.Table:
        """Return what later runs need to find a repeat of the kept traces."""
        named = self.run.store.read(self.record.samples, ["id", "problem_id"])
        signed = self.run.store.read(self.record.outputs[SIGNATURES.name])
        for place, name in enumerate(named.column_names):
            signed = signed.add_column(place, name, named[name])
        return signed.filter(self.traces["drop_reason"].is_null().to_arrow())

    def _claims(self) -> pa.Table:
        """Return the claims that exact checks found, then those that the model named, whose step is null."""
        named = pl.lit(KIND).alias("kind"), pl.lit(None, pl.Int32).alias("step"), pl.lit(None).alias("in_final")
        checked, by_model = self._listed("claims"), self._listed("clr_claims").with_columns(*named)
        return pa.concat_tables([table.to_arrow().select(CLAIMS.names).cast(CLAIMS) for table in (checked, by_model)])

    def _listed(self, column: str) -> pl.DataFrame:
        if self.traces.schema[column] == pl.Null:  # nobody was asked
            return pl.DataFrame(CLAIMS.empty_table())
        claimed = self.traces.select(pl.col("id").alias("trace_id"), "problem_id", pl.col(column).alias("claims"))
        return claimed.filter(pl.col("claims").list.len() > 0).explode("claims").unnest("claims")

    def _problems(self) -> pa.Table:
        return conform(self.judged_problems.to_arrow(), self.schemas["problems"])

    def _pass_rates(self) -> pa.Table:
        models = self.traces.group_by("problem_id", "sampler").agg(
            pl.col("model").first(), pl.col("model_revision").first().alias("revision")
        )
        joined = self.rates.join(models, on=["problem_id", "sampler"], how="left", maintain_order="left")
        return conform(joined.to_arrow(), PASS_RATES)

    def _sft_rows(self) -> list[Row]:
        used = self.traces.filter(pl.col("in_stage1") | pl.col("short_form").is_not_null())
        condensed = short_solutions(self.run, self.record)
        rows = []
        for trace in used.iter_rows(named=True):
            problem = self.problems[trace["problem_id"]]
            rate, n = self.problem_rates.get(trace["problem_id"], (None, 0))
            if trace["in_stage1"]:
                rows.append(self._sft_row(trace, problem, 1, SAMPLE) | {"pass_rate": rate, "n_samples": n})
            if trace["short_form"]:
                if trace["short_form"] == REWRITTEN:
                    short = self._condensed(problem, condensed[problem["id"]])
                else:
                    short = self._sft_row(trace, problem, 2, trace["short_form"])
                rows.append(short | {"pass_rate": rate, "n_samples": n})
        exchanges = [(self._prompt(row["problem"], row["sampler"]), row["text"], row["trace"]) for row in rows]
        rendered = self.view.render(exchanges, counted=bool(rows))
        return [self._finish(row, view) for row, view in zip(rows, rendered, strict=True)]

    def _sft_row(self, trace: Row, problem: Row, stage: int, form: str) -> Row:
        return {
            "trace": trace["id"],
            "id": trace["id"] if form == SAMPLE else f"{trace['id']}-{form}",
            "problem": problem,
            "sampler": trace["sampler"],
            "text": completion_text(trace, problem, form, self.run.recipe.options(VERDICTS)),
            "problem_id": problem["id"],
            "domain": problem["domain"],
            "stage": stage,
            "form": form,
            "answer": problem["answer"],
            "completion_tokens": trace["completion_tokens"] if form == SAMPLE else None,
            "claim_score": trace["claim_score"],
            "weight": weight(trace["claim_score"], trace["clr_score"]),
            "model": trace["model"],
            "model_revision": trace["model_revision"],
            "verifier": proven_by(trace, problem),
            "source": problem["source"],
            "license": problem["license"],
        }

    def _condensed(self, problem: Row, short: Row) -> Row:
        """Return the row of a short solution, which stands for the trace that it was made of."""
        model = self.run.models.rewriter
        assert model is not None  # noqa: S101 (narrowing for the type checker)
        trace = self.traces.row(short["row"], named=True)
        return self._sft_row(trace, problem, 2, REWRITTEN) | {
            "text": short["text"],
            "completion_tokens": short["tokens"],
            "claim_score": short["claim_score"],
            "weight": weight(short["claim_score"], trace["clr_score"]),
            "model": model.model.name,
            "model_revision": model.model.revision,
        }

    def _prompt(self, problem: Row, sampler: str | None) -> list[prompts.Message]:
        return prompts.as_trained(self.run.models.styles(sampler), problem, self.run.recipe.prompt.train_as)

    def _finish(self, row: Row, view: Rendered) -> Row:
        return row | {
            "prompt": view.prompt,
            "completion": view.completion,
            "completion_tokens": row["completion_tokens"] if view.completion_tokens is None else view.completion_tokens,
            "total_tokens": view.total_tokens,
        }

    def _doubtful(self) -> set[str]:
        """Return the problems whose answer or tests can't be trusted to tell wrong from right, and leaked ones."""
        doubtful = pl.col("gold_suspect") | pl.col("weak_tests").fill_null(False)
        named = {*self.judged_problems.filter(doubtful)["id"], *self.contaminated}
        pseudo = {name for name, problem in self.problems.items() if problem.get("pseudo_label")}
        return named if self.pseudo_in_rl else named | pseudo

    def _rl_rows(self) -> Iterator[Row]:
        low, high = self.run.recipe.select.rl_pass_rate
        left_out = self._doubtful()
        guesses = dict(self.judged_problems.select("id", "guess_rate").iter_rows())
        for name, problem in self.problems.items():
            rate, _ = self.problem_rates.get(name, (None, 0))
            if rate is None or name in left_out or not low < rate < high:
                continue
            if self.expanded and self._fate(problem):
                continue
            yield problem | {
                "prompt": self._prompt(problem, None),
                "pass_rate": rate,
                "guess_rate": guesses[name],
                "initial_weight": mgpo_weight(rate, MGPO_GAMMA),
            }


def completion_text(trace: Row, problem: Row, form: str, judged: VerifyOptions) -> str:
    """Return what the student learns to write: the response, its final part, or the answer line.

    The text of a rewritten trace stands elsewhere.
    """
    if form in (SAMPLE, REWRITTEN):
        return str(trace["response"])
    line = find_domain(problem["verifier"], judged.verifiers).short_answer(problem["answer"], trace["extracted"])
    if form == "final" or line is None:
        return split_final(trace["response"], trace["final_start"], judged.reasoning_tags)[1]
    return line


def _as_messages(row: Row) -> Row:
    prompt = row["prompt"] if isinstance(row["prompt"], list) else [{"role": "user", "content": row["prompt"]}]
    return row | {"messages": [*prompt, {"role": "assistant", "content": row["text"]}]}
