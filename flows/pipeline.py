"""The steps of a run between sampling and publishing, in order: the filters of the recipe, and what asks a model.

The dry run walks the same steps over a read-only store, so it can't differ from what the run does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from proofmill.data.files import scratch_folder
from proofmill.data.run import Shard, ShardStats, Step
from proofmill.data.tables import from_rows
from proofmill.filters import caps, selection
from proofmill.filters.base import GatherContext, GatherFilter, MapFilter, ProblemFilter, SharedFile
from proofmill.filters.caps import HELD_OUT, held_out, join_families
from proofmill.filters.catalog import reasons
from proofmill.filters.claim_checks import by_length
from proofmill.filters.contamination import CONTAMINATION
from proofmill.filters.near_duplicates.duplicates import NEAR_DUPLICATES, SIGNATURES, clusters
from proofmill.filters.near_duplicates.minhash import DedupOptions
from proofmill.filters.reliability import RELIABILITY
from proofmill.filters.repetition import QUALITY
from proofmill.filters.verdicts import CORRECT, UNPARSED, WRONG
from proofmill.filters.verification import VERDICTS
from proofmill.flows import run_inputs
from proofmill.flows.context import RunContext
from proofmill.flows.model_filters import (
    CLR_JUDGED,
    CLR_NAMED,
    JUDGE_ASKED,
    MODEL_JUDGED,
    SCORES,
    add_judgements,
    add_reliability,
    add_scores,
)
from proofmill.flows.near_items import NEAR_ASKED, NEAR_PROBLEMS, NEAR_TRACES, add_near_judgements
from proofmill.flows.recipe.schema import ActiveFilter
from proofmill.flows.rewriting import REWRITE_ASKED, SHORT_SOLUTIONS, TO_REWRITE, rewritten, short_solutions
from proofmill.flows.shard_records import (
    PROBLEM,
    ShardRecord,
    columns,
    contents,
    is_banded,
    of_expansion,
    problem_rows,
    rows,
    rows_by_problem,
    shard_columns,
)
from proofmill.flows.topics import TOPIC_ASKED, TOPICS, add_topics, topics_of
from proofmill.flows.voting import LABELLED, LABELS, VOTES, add_votes

SELECTION = Step("selection", 3, ("polars",), selection.SELECTION)
CAPS = Step("caps", 1, ("polars",), caps.CAPS)
BALANCE = Step("balance", 1, ("polars",), selection.SELECTION)
PROMPT_SIGNATURES = Step("prompt_signatures", 1)
HOLDOUT = Step("holdout", 1, ("polars",), HELD_OUT)

Records = Sequence[ShardRecord]
Output = Callable[[RunContext, ShardRecord, ActiveFilter], Shard]


# --- filters that look at one shard ------------------------------------------------------------------------


def annotate_shard(run: RunContext, problems: Shard, samples: Shard, output: Output | None = None) -> ShardRecord:
    """Return a shard's record with the output of each map and problem filter, in order.

    Args:
        run: the run.
        problems, samples: the shard.
        output: returns the output of one filter; None: `filter_output`.
    """
    record = ShardRecord(problems, samples)
    for active in run.filters:
        if isinstance(active.filter, MapFilter | ProblemFilter):
            record = record.with_output(active.filter.name, (output or filter_output)(run, record, active))
    run.progress.advance("shards judged")
    return record


def filter_output(run: RunContext, record: ShardRecord, active: ActiveFilter) -> Shard:
    """Return a map or problem filter's output for a shard; make it unless it is committed."""
    filter_, options = active.filter, active.options
    assert isinstance(filter_, MapFilter | ProblemFilter)  # noqa: S101 (narrowing for the type checker)
    shared = shared_file(run, filter_.shared, options) if filter_.shared else None
    columns_read = [*filter_.reads, *filter_.optional] if isinstance(filter_, MapFilter) else [PROBLEM, *filter_.reads]
    key = filter_.key(options, contents(run, record, columns_read), shared and shared.content)
    make = partial(
        _annotate_rows if isinstance(filter_, MapFilter) else _annotate_problems, run, record, active, shared
    )
    shard = run.store.once(filter_.step, record.name, key, make)
    if "verdicts" in shard.stats:  # whether made now or by an earlier run, the display counts them
        _report_verdicts(run, shard)
    return shard


def _annotate_rows(
    run: RunContext, record: ShardRecord, active: ActiveFilter, shared: Shard | None
) -> tuple[pa.Table, ShardStats]:
    filter_, path = active.filter, run.store.path(shared) if shared else None
    result = run.workers.annotate(active.place, active.options, rows(run, record, filter_), path)
    if isinstance(filter_, MapFilter) and filter_.check is not None:
        filter_.check(result.table, active.options)
    stats: ShardStats = {}
    if result.faults:
        stats["faults"] = result.faults
        count = sum(result.faults.values())
        run.progress.warn(f"{filter_.name}, shard {record.name}: {count} rows could not be judged; {result.shown}")
    if "verdict" in result.table.column_names:
        stats["verdicts"] = dict(Counter(result.table["verdict"].to_pylist()))
        stats["seconds"] = result.seconds
    return result.table, stats


def _annotate_problems(
    run: RunContext, record: ShardRecord, active: ActiveFilter, shared: Shard | None
) -> tuple[pa.Table, ShardStats]:
    filter_, path = active.filter, run.store.path(shared) if shared else None
    assert isinstance(filter_, ProblemFilter)  # noqa: S101 (as above)
    problems = problem_rows(run, record)
    annotated = filter_.annotate(problems, rows_by_problem(run, record, filter_), active.options, path)
    table = from_rows(list(annotated), filter_.schema)
    suspect = table["gold_suspect"] if "gold_suspect" in table.column_names else None
    return table, {} if suspect is None else {"gold_suspect": pc.sum(suspect).as_py() or 0}


def _report_verdicts(run: RunContext, shard: Shard) -> None:
    counts = shard.stats["verdicts"]
    run.progress.verdicts(counts.get(CORRECT, 0), shard.rows)
    if shard.rows and max(counts.get(WRONG, 0), counts.get(UNPARSED, 0)) == shard.rows:
        run.progress.warn(f"shard {shard.name}: all {shard.rows} verdicts are {next(iter(counts))}")


def shared_file(run: RunContext, shared: SharedFile[Any], options: Any) -> Shard:
    """Return the file that a filter's workers read; make it unless it is committed."""
    key = shared.step.key(shared.identity(options))
    if found := run.store.find(shared.step, key):
        return found
    run.progress.note(f"preparing {shared.step.name}")
    path = run.store.folder / shared.step.name / f"{key}.index"
    built = dict(shared.build(options, path))
    return run.store.commit(shared.step, "all", key, path, built.pop("rows", 0), built)  # type: ignore[arg-type]


def prepare(run: RunContext) -> None:
    """Make the files that filters share, so that a missing benchmark fails the run before anything is sampled."""
    for active in run.filters:
        if isinstance(active.filter, MapFilter | ProblemFilter) and active.filter.shared:
            shared_file(run, active.filter.shared, active.options)


# --- steps over all shards -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class LaterStep:
    """A step that begins when all shards are annotated.

    Attributes:
        names: of its outputs in the records, in order.
        add: returns the records with its outputs.
    """

    names: tuple[str, ...]
    add: Callable[[RunContext, Records], list[ShardRecord]]


def later_steps(run: RunContext) -> Iterator[LaterStep]:
    """Yield the steps of this recipe over all shards, in order."""
    model, labels = run.recipe.options(RELIABILITY).model, run.recipe.problems.pseudo_labels
    if run.recipe.options(VERDICTS).judge:
        yield LaterStep((JUDGE_ASKED.name, MODEL_JUDGED.name), add_judgements)
    if run.models.near_judge:
        yield LaterStep((NEAR_ASKED.name, NEAR_PROBLEMS.name, NEAR_TRACES.name), add_near_judgements)
    if model:
        yield LaterStep((CLR_NAMED.name, CLR_JUDGED.name, RELIABILITY.name), add_reliability)
    if labels or (model and model.scope == "all"):
        yield LaterStep((VOTES.name, *((LABELS.name, LABELLED.name) if labels else ())), add_votes)
    if run.models.scorer:
        yield LaterStep((SCORES.name, "nll"), add_scores)
    for active in run.filters:
        if isinstance(active.filter, GatherFilter):
            yield LaterStep((active.filter.name,), partial(_gather, active=active))
    if run.models.topic_namer:
        yield LaterStep((TOPIC_ASKED.name, TOPICS.name), add_topics)
    if run.models.rewriter:
        yield LaterStep((TO_REWRITE.name, REWRITE_ASKED.name, SHORT_SOLUTIONS.name), add_rewritings)
    capped = run.recipe.run_caps.any
    yield LaterStep((SELECTION.name, *((CAPS.name, BALANCE.name) if capped else ())), add_selection)


def _gather(run: RunContext, records: Records, active: ActiveFilter) -> list[ShardRecord]:
    """Return the records with the output of a gather filter, which looks at all of them."""
    filter_, options = active.filter, active.options
    assert isinstance(filter_, GatherFilter)  # noqa: S101 (as above)
    prior = run.prior if filter_ is NEAR_DUPLICATES else ()
    inputs = [contents(run, record, [*filter_.reads, *filter_.optional]) for record in records]
    key = filter_.key(options, inputs, run_inputs.version_digests(prior))
    wanted = [*filter_.reads, *filter_.optional]

    def make() -> Iterator[tuple[pa.Table, ShardStats]]:
        run.progress.note(f"looking at all shards: {filter_.name}")
        parts = [shard_columns(run, record, wanted) for record in records]
        known = [path.absolute() for version in prior for path in version.files(run_inputs.INDEX)]
        with scratch_folder(run.store.folder.absolute()) as scratch:
            for table in filter_.gather(parts, options, GatherContext(scratch, known, run.tasks)):
                marked = table.select(filter_.schema.names).cast(filter_.schema)
                yield marked, {"counts": dict(filter_.tally(marked))}

    outputs = run.store.once_each(filter_.step, [record.name for record in records], key, make)
    return [record.with_output(filter_.name, output) for record, output in zip(records, outputs, strict=True)]


# --- selection -----------------------------------------------------------------------------------------------


def add_selection(run: RunContext, records: Records) -> list[ShardRecord]:
    """Return the records with the selection: the rules of all filters, then the caps of the whole run."""
    offers = [_preselected(run, record) for record in records]
    limits = _run_caps(run, offers)
    chosen = [_capped(run, offer, limits) for offer in offers] if limits else offers
    return [record.with_output(SELECTION.name, choice) for record, choice in zip(records, chosen, strict=True)]


def add_rewritings(run: RunContext, records: Records) -> list[ShardRecord]:
    """Return the records with short solutions that a model made of some of their traces."""
    return rewritten(run, records, [_to_rewrite(run, record) for record in records])


def _to_rewrite(run: RunContext, record: ShardRecord) -> Shard:
    """Return the places of the traces that a model is to condense."""
    judged = [record.outputs[name].content for name in (VERDICTS.name, QUALITY.name, CONTAMINATION.name)]

    def make() -> tuple[pa.Table, ShardStats]:
        places = selection.to_rewrite(_small_columns(run, record))
        return pa.table({"row": places.cast(pl.Int32).to_arrow()}, TO_REWRITE.schema), {}

    return run.store.once(TO_REWRITE, record.name, TO_REWRITE.key(record.samples.content, judged), make)


def _rules(run: RunContext) -> list[tuple[str, pl.Expr]]:
    rules = [(rule, active) for active in run.filters for rule in active.filter.rules]
    return [(rule.reason, rule.when(active.options)) for rule, active in rules]


def _decides(run: RunContext, record: ShardRecord) -> list[Any]:
    """Return all that decides a shard's selection by the rules alone."""
    outputs = {name: output.content for name, output in record.outputs.items()}
    asked = [(reason, str(when)) for reason, when in _rules(run)]
    select = run.recipe.select.model_dump(mode="json", exclude={*selection.DECIDED_LATER})
    # What a model wrote stands among the outputs; how it was asked decides nothing more.
    curriculum = run.recipe.curriculum.model_dump(mode="json", exclude={"rewriting"})
    return [record.samples.content, outputs, asked, [select, curriculum], run.recipe.small]


def _preselected(run: RunContext, record: ShardRecord) -> Shard:
    """Return a shard's selection by the rules alone: what is kept for which stage, and why the rest is dropped."""
    small = run.recipe.small
    teachers = [teacher.sampler for teacher in run.recipe.route.teachers] if run.recipe.route else []
    key = SELECTION.key(*_decides(run, record), teachers)

    def make() -> tuple[pa.Table, ShardStats]:
        frame = _small_columns(run, record)
        chosen = selection.preselect(frame, _rules(run), run.recipe.select, run.recipe.curriculum, small, teachers)
        table = chosen.to_arrow().cast(selection.SELECTION)
        dropped = table["drop_reason"].to_pylist()
        return table, {"ledger": selection.ledger(dropped, reasons_of(run)), "claims": by_length(frame, dropped)}

    return run.store.once(SELECTION, record.name, key, make)


def reasons_of(run: RunContext) -> tuple[str, ...]:
    """Return every drop reason of this run, in the order in which they are tried."""
    return reasons(tuple(active.filter for active in run.filters))


def _small_columns(run: RunContext, record: ShardRecord) -> pl.DataFrame:
    """Return all columns of a shard that rules may use: those of the filters, without lists and signatures."""
    filters = [active.filter for active in run.filters if not isinstance(active.filter, ProblemFilter)]
    added = [field.name for filter_ in filters for field in filter_.schema if _is_small(field.type)]
    table = columns(run, record, [*selection.RULE_COLUMNS, *added, "response"])
    length = pc.coalesce(table["completion_tokens"], pc.cast(pc.utf8_length(table["response"]), pa.int32()))
    frame = pl.DataFrame(table.drop_columns("response").replace_schema_metadata(None))
    absent = [pl.lit(None, pl.Float32).alias(name) for name in ("clr_score", "nll") if name not in frame.columns]
    absent += [pl.lit(None, pl.Boolean).alias("preferred")] if "preferred" not in frame.columns else []
    absent += [pl.lit(value=is_banded(run, record)).alias("expanded")]
    topics, condensed = topics_of(run, record), short_solutions(run, record)
    return frame.with_columns(
        pl.Series("length", length.to_numpy(zero_copy_only=False)),
        pl.Series("topic", [topics.get(name) for name in frame["problem_id"]], pl.String),
        pl.Series("rewritten", [name in condensed for name in frame["problem_id"]], pl.Boolean),
        *absent,
    )


def _is_small(kind: pa.DataType) -> bool:
    return not (pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_fixed_size_binary(kind))


def _run_caps(run: RunContext, offers: Sequence[Shard]) -> Shard | None:
    """Return the cuts of the caps of the whole run, one row a domain; None where there are no such caps."""
    options = run.recipe.run_caps
    if not options.any:
        return None

    def make() -> tuple[pa.Table, ShardStats]:
        cuts = caps.caps([partial(_kept, run, shard) for shard in offers], options)
        return cuts.to_arrow().cast(caps.CAPS), {}

    shard = run.store.once(CAPS, "all", CAPS.key([offer.content for offer in offers], repr(options)), make)
    present = set(run.store.read(shard, ["domain"])["domain"].to_pylist())
    if absent := sorted(name for name, share in options.mix if share and name not in present):
        run.progress.warn(f"select.mix names domains without a kept trace: {', '.join(absent)}")
    return shard


def _kept(run: RunContext, offer: Shard) -> pl.DataFrame:
    """Return the small columns of a shard's kept traces."""
    frame = pl.DataFrame(run.store.read(offer, [*caps.CANDIDATES.names, "drop_reason"]))
    return frame.filter(pl.col("drop_reason").is_null()).select(caps.CANDIDATES.names)


def _capped(run: RunContext, offer: Shard, limits: Shard) -> Shard:
    """Return a shard's selection under the caps of the whole run."""

    def make() -> tuple[pa.Table, ShardStats]:
        offered, cuts = (pl.DataFrame(run.store.read(shard)) for shard in (offer, limits))
        table = selection.apply_run_caps(offered, cuts).to_arrow().cast(selection.SELECTION)
        return table, {
            "claims": offer.stats["claims"],
            "ledger": selection.ledger(table["drop_reason"].to_pylist(), reasons_of(run)),
        }

    return run.store.once(BALANCE, offer.name, BALANCE.key(offer.content, limits.content), make)


def held_out_problems(run: RunContext, records: Records) -> Shard | None:
    """Return the problems of the validation split; None where none is asked for."""
    section = run.recipe.select
    if not section.holdout:
        return None
    options = DedupOptions(threshold_across=section.holdout_threshold)
    prompts = [_signed_prompts(run, record, options) for record in records]

    def make() -> tuple[pa.Table, ShardStats]:
        sources = [run.store.path(shard).absolute() for shard in prompts]
        with scratch_folder(run.store.folder.absolute()) as scratch:
            clustered = pl.DataFrame(clusters(sources, options, scratch=scratch, tasks=run.tasks))
        families = [_parents(run, record) for record in records if of_expansion(run, record)]
        if families:
            clustered = join_families(clustered, pl.concat(families))
        out = held_out(clustered, section.holdout, run.recipe.seed)
        return out.to_arrow().cast(HELD_OUT), {"clusters": clustered["cluster_id"].n_unique()}

    decided = (section.holdout, section.holdout_threshold, run.recipe.seed)
    shard = run.store.once(HOLDOUT, "all", HOLDOUT.key([shard.content for shard in prompts], decided), make)
    if not shard.rows:
        run.progress.warn("select.holdout: no cluster of problems was drawn, so there is no validation split")
    return shard


def _parents(run: RunContext, record: ShardRecord) -> pl.DataFrame:
    """Return a row for each new problem and parent of a shard."""
    table = pl.DataFrame(run.store.read(record.problems, ["id", "parents"]))
    return table.explode("parents").drop_nulls().select("id", pl.col("parents").alias("parent"))


def _signed_prompts(run: RunContext, record: ShardRecord, options: DedupOptions) -> Shard:
    def make() -> tuple[pa.Table, ShardStats]:
        table = run.store.read(record.problems, ["id", "prompt"])
        asked = [{"response": prompt} for prompt in table["prompt"].to_pylist()]
        signed = run.workers.annotate(SIGNATURES.name, options, asked).table
        return signed.add_column(0, table.schema.field("id"), table["id"]), {}

    key = PROMPT_SIGNATURES.key(record.problems.content, SIGNATURES.key(options))
    return run.store.once(PROMPT_SIGNATURES, record.name, key, make)
