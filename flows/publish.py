"""The publish step: a run's columns become the configs of a version, shard by shard."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from proofmill.data import card
from proofmill.data.errors import NothingKeptError
from proofmill.data.files import atomic_folder, scratch_folder, write_json
from proofmill.data.manifest import MANIFEST, REPORT, FileEntry, Manifest
from proofmill.data.report import page as report
from proofmill.data.run import Shard
from proofmill.data.schemas import CLAIMS, EXPANSION, MESSAGES, PASS_RATES, RL, ROUTES, STEP_LABELS, pairs, sft
from proofmill.data.tables import conform, from_rows
from proofmill.data.versions import Version, VersionWriter, next_number, versions
from proofmill.filters.base import ProblemFilter
from proofmill.filters.catalog import FILTERS, problem_schema, trace_schema
from proofmill.filters.curriculum import REWRITTEN, SAMPLE
from proofmill.filters.domains import find_domain
from proofmill.filters.model_judge import proven_by
from proofmill.filters.near_duplicates.duplicates import NEAR_DUPLICATES, SIGNATURES
from proofmill.filters.reasoning import split_final
from proofmill.filters.reliability import KIND, weight
from proofmill.filters.rewards import mgpo_weight
from proofmill.filters.selection import add_ledgers, pass_rates, problem_rates
from proofmill.filters.verification import VERDICTS, VerifyOptions
from proofmill.flows.context import RunContext
from proofmill.flows.expansion import ExpansionLedger, seed_shard
from proofmill.flows.ingest import RunProblems
from proofmill.flows.manifest import manifest_of, model_facts
from proofmill.flows.pipeline import SELECTION, reasons_of
from proofmill.flows.preference_data import JudgedShard, PairLedger, hard_first, step_rows
from proofmill.flows.rewriting import short_solutions
from proofmill.flows.routing import POLICY, RouteLedger, policy_of
from proofmill.flows.run_inputs import INDEX, index_schema
from proofmill.flows.shard_records import ShardRecord, columns, of_expansion
from proofmill.flows.topics import topics_of
from proofmill.generators import prompts
from proofmill.generators.problems.operators import OPERATORS
from proofmill.generators.prompts import Rendered, StudentView

TRAIN, VALIDATION = "train", "validation"
MGPO_GAMMA = 1.0
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
            where=f"{ledger['in']} traces; dropped: {ledger['dropped']}",
            remedy="look at the traces in the run's folder; more samples, an easier source or a better prompt may help",
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
        run.store.flush(claim=True)  # one that was replaced while it wrote publishes nothing
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
    render = run.recipe.publish.render
    own = tuple(active.filter for active in run.filters if active.filter not in FILTERS)
    filters = (*FILTERS, *own)  # a column whose filter was not asked for is null, so that every version has it
    schemas = {
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
    out = VersionWriter(folder, {f"{name}/{split}": s for name, s in schemas.items() for split in (TRAIN, VALIDATION)})
    held = held_out and run.store.read(held_out)["id"].combine_chunks()
    view, paired = (StudentView(run.models.student, render, run.recipe.prompt.chat_template_args) for _ in range(2))
    ledger, policy = PairLedger(paired), policy_of(run.recipe)
    routes = RouteLedger(policy) if policy else None
    expansion = ExpansionLedger(run, {shard.name: shard for shard in problems.candidates})
    shards = (_ShardTables(run, record, view, schemas, ledger, routes) for record in records)
    with scratch_folder(run.store.folder) as scratch:
        for config, table in hard_first(_tables(run, shards, expansion), scratch / "pairs.arrow"):
            for split, part in _splits(table, held):
                out.append(f"{config}/{split}", part)
    files = out.close()
    facts = manifest_of(run, problems, records, out, view)
    if run.models.scorer:
        facts["learning_student"] = model_facts(run.models.scorer)
    facts["held_out_problems"] = held_out.rows if held_out else 0
    if run.recipe.publish.pairs:
        facts["pairs"] = ledger.to_json()
        facts["tokens"]["longest_pair"] = paired.longest
    if problems.candidates:
        facts["expansion"] = expansion.to_json()
        facts["stages"] = {"problems": facts["stages"]["problems"], "expansion": expansion.ledger(), **facts["stages"]}
    if routes:
        facts["route"] = routes.to_json()
        write_json(folder / POLICY, routes.policy_file(run.recipe.name))
        files.append(FileEntry.of(folder, folder / POLICY, None))
    for config in ("pairs", "step_labels"):
        if getattr(run.recipe.publish, config) and not facts["stages"]["publish"]["rows"].get(config):
            run.progress.warn(f"publish.{config}: not one row could be made" + _why_none(config, ledger))
    manifest = Manifest.model_validate(facts | {"files": files})
    (folder / "README.md").write_text(card.render(manifest, out.contents()), encoding="utf-8")
    return manifest.replaced(files=[*files, FileEntry.of(folder, folder / "README.md", None)])


def _tables(
    run: RunContext, shards: Iterable[_ShardTables], expansion: ExpansionLedger
) -> Iterator[tuple[str, pa.Table]]:
    """Yield (config, table) of all shards, in the order of their names: new problems come behind their seeds."""
    for family, members in groupby(shards, key=lambda shard: seed_shard(shard.record.name)):
        fates: dict[str, str | None] = {}
        for shard in members:
            fates |= shard.new_problem_fates()
            yield from shard.tables()
            run.progress.advance("shards published")
        yield "expansion", expansion.table(family, fates)
    for rest in list(expansion.candidates):  # nothing of them was sampled
        yield "expansion", expansion.table(rest, {})


def _why_none(config: str, ledger: PairLedger) -> str:
    if config == "step_labels":
        return "; no step of these traces is decided by a checked claim, a verdict or a model"
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in ledger.to_json()["dropped"].items())
    return f" of {ledger.entered:,} wrong traces" + (f"; left out: {reasons}" if reasons else "")


def _splits(table: pa.Table, held_out: pa.Array | None) -> Iterator[tuple[str, pa.Table]]:
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


class _ShardTables:
    """The rows that one shard gives to each config."""

    def __init__(
        self,
        run: RunContext,
        record: ShardRecord,
        view: StudentView,
        schemas: Mapping[str, pa.Schema],
        ledger: PairLedger,
        routes: RouteLedger | None,
    ) -> None:
        store = run.store
        self.run, self.record, self.view, self.schemas = run, record, view, schemas
        self.ledger, self.routes = ledger, routes
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
        if self.routes:
            yield "routes", from_rows(self.routes.rows(self.traces, self.problems), ROUTES)
        if self.run.recipe.publish.messages:
            yield "messages", from_rows([_as_messages(row) for row in rows], MESSAGES)

    def _preferences(self) -> Iterator[tuple[str, pa.Table]]:
        options = self.run.recipe.publish
        shard = JudgedShard(self.traces, self.problems, self._doubtful(), self.problem_rates, self._prompt)
        if options.pairs:
            yield "pairs", from_rows(self.ledger.rows(shard, options.pairs), self.schemas["pairs"])
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
