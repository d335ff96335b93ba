"""Expansion: new problems from the seeds that the sources give, between reading them and sampling.

A model writes them shard by shard, its words recorded like all answers of models; they are then checked cheap things
first, and what is left is judged by a model. What was not left out becomes further shards of problems, which are
sampled like all others: agreement of the samples and the pass rate decide the rest. Every text that was written keeps
its reason in the config `expansion`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import pyarrow as pa

from proofmill.data.files import digest
from proofmill.data.run import Shard, ShardStats, Step
from proofmill.data.schemas import EXPANSION, LINEAGE, SHARD_TRACES, STRING
from proofmill.data.tables import batches, from_rows
from proofmill.data.versions import Version, find
from proofmill.filters import new_problems
from proofmill.filters.contamination import CONTAMINATED_PROBLEMS
from proofmill.filters.new_problems import EXPANSION_REASONS, JUDGE_SCHEMAS
from proofmill.filters.new_tests import BAD_SETUP
from proofmill.filters.verification import VERDICTS
from proofmill.flows import new_tests
from proofmill.flows.context import RunContext
from proofmill.flows.expansion_questions import REPLIES, Asker, Budget, Job, Task, Writer, check_domains
from proofmill.flows.ingest import (
    RECORDED,
    ProblemShard,
    RunProblems,
    leave_out,
    prepared_row,
    samples_per_problem,
)
from proofmill.flows.new_tests import ProvenPrograms
from proofmill.flows.pipeline import shared_file
from proofmill.flows.recipe.schema import ProceduralSource
from proofmill.generators.problems import operators, procedural
from proofmill.generators.problems.ingest import MAX_SHARD_ROWS, SHARD_PROBLEMS
from proofmill.generators.problems.operators import ExpandOptions, ExpandStep
from proofmill.generators.problems.problem import Row, SourceDefaults, problem_row

_FATE = pa.schema({"drop_reason": STRING, "detail": STRING})
_DRAFTS = pa.schema([*EXPANSION, *(pa.field(name, STRING) for name in ("system", "answer", "info", "verifier"))])
_NEW_PROBLEMS = pa.schema([*SHARD_PROBLEMS, *LINEAGE])

CONCEPTS, WRITTEN = Step("expansion_concepts", schema=REPLIES), Step("expansion_written", schema=REPLIES)
DRAFTS, JUDGED = (
    Step("expansion_drafts", 4, ("reasoning-gym",), schema=_DRAFTS),
    Step("expansion_judged", schema=REPLIES),
)
UNIQUE, CLEAN = Step("expansion_unique", 1, schema=_FATE), Step("expansion_clean", 1, schema=_FATE)
EXPANDED, NEW_PROBLEMS = Step("expansion", 1, schema=_DRAFTS), Step("expanded_problems", 2, schema=_NEW_PROBLEMS)
STEPS = (CONCEPTS, WRITTEN, DRAFTS, UNIQUE, CLEAN, JUDGED, EXPANDED, NEW_PROBLEMS)
TESTED = "tested_anew"  # why a seed is no problem of a run: it is one with more tests
_PROCEDURAL = "procedural"  # the shard of drafts that no model wrote


def expand_problems(run: RunContext, problems: RunProblems) -> RunProblems:
    """Return the problems with those that expansion adds; unchanged where the recipe asks for none.

    Raises:
        EngineError: the engine died; what it has written stays so.
    """
    options = run.recipe.problems.expand
    if options is None:
        return problems
    budget = Budget(options.max_total_tokens)
    seeds = [shard.problems for shard in problems.shards]
    drafts = [*_by_model(run, options, problems.shards, budget), *_procedural(run, options)]
    unique = _unique(run, options, seeds, drafts)
    clean = [_clean(run, *pair) for pair in zip(drafts, unique, strict=True)]
    asked = _judgements(run, options, list(zip(drafts, unique, clean, strict=True)), budget)
    judge = run.models.problem_judge is not None
    expanded = [
        _expanded(run, draft, fates, asked.get(draft.name, []), judge=judge)
        for draft, *fates in zip(drafts, unique, clean, strict=True)
    ]
    new = tuple(part for shard in expanded for part in _new_shards(run, shard))
    problems = _without_tested(run, problems, expanded)
    if budget.left_out:
        run.progress.warn(f"problems.expand: {budget.left_out:,} questions did not fit into max_total_tokens")
    return replace(problems, shards=problems.shards + new, candidates=tuple(expanded))


def questions_to_write(run: RunContext, problems: RunProblems) -> int:
    """Return how many new problems a model is asked for at most, those of earlier runs too."""
    options = run.recipe.problems.expand
    if options is None or not options.by_model:
        return 0
    writer = Writer(run, options, problems.shards)
    return sum(len(writer.groups(shard.problems, step)) for shard in problems.shards for step in writer.steps.values())


# --- drafts: what a model, or a procedural task, makes of the seeds ---


def _by_model(
    run: RunContext, options: ExpandOptions, shards: Sequence[ProblemShard], budget: Budget
) -> Iterator[Shard]:
    """Yield what a model made of the seeds of each shard."""
    plan = run.models.expander
    if plan is None:
        return
    writer = Writer(run, options, shards)
    check_domains(run, options, writer.seeds)
    writer.warn_of_untested()
    params = {"temperature": options.temperature, "top_p": options.top_p, "max_tokens": options.max_tokens}
    asker = Asker(run, plan, params | options.extra)
    concepts = asker.ask(CONCEPTS, writer.naming(), budget, "concepts named")
    writer.warn_of_unnamed(concepts)
    jobs = (job for name in writer.steps for job in writer.writing(name, concepts))
    answers = asker.ask(WRITTEN, jobs, budget, "problems written")
    written: dict[str, dict[str, list[Shard]]] = {}
    for job, replies in answers.items():
        seed_name, _, step_name = job.rpartition(".")
        written.setdefault(seed_name, {})[step_name] = replies
    for seed in writer.seeds:
        yield _drafts(run, options, writer, seed, written.get(seed.name, {}), concepts.get(seed.name, []))


def _drafts(
    run: RunContext,
    options: ExpandOptions,
    writer: Writer,
    seed: Shard,
    written: Mapping[str, Sequence[Shard]],
    concepts: Sequence[Shard],
) -> Shard:
    """Return the new problems of one shard's seeds, read and looked at one by one."""
    replies = {name: [shard.content for shard in shards] for name, shards in written.items()}
    named = [shard.content for shard in concepts]
    model = run.models.expander.model.name if run.models.expander else None
    proven = {name: programs.version.data_digests() for name, programs in writer.programs.items()}
    jail = run.recipe.options(VERDICTS).jail.model_dump(mode="json") if proven else None  # a package may be missing

    def make() -> tuple[pa.Table, ShardStats]:
        seeds = writer.parents(seed)
        rows: list[Row] = []
        for name, shards in written.items():
            step = writer.steps[name]
            answers = [row for shard in shards for row in run.store.read(shard).to_pylist()]
            if step.chosen.tests:
                rows += _tested(run, step, answers, seeds, writer.programs[name])
            for reply in () if step.chosen.tests else answers:
                rows.append(_draft(step, reply, [seeds[parent] for parent in reply["about"]], options.min_novelty))
        rows = [row | {"model": model} for row in rows]
        # Naming concepts belongs to no problem by itself, so it is shared out among those that were made of them.
        tokens = sum(shard.stats["completion_tokens"] for shard in concepts)
        users = [row for row in rows if operators.OPERATORS[row["operator"]].from_concepts]
        for place, row in enumerate(users):
            row["completion_tokens"] += tokens * (place + 1) // len(users) - tokens * place // len(users)
        return from_rows(rows, _DRAFTS), {}

    key = DRAFTS.key(seed.content, replies, named, model, options.min_novelty, proven, jail)
    return run.store.once(DRAFTS, seed.name, key, make)


def _tested(
    run: RunContext, step: ExpandStep, replies: Sequence[Row], seeds: Mapping[str, Row], programs: ProvenPrograms
) -> list[Row]:
    """Return the seeds with new tests, or why they have none."""
    counter = "seeds with new tests"
    run.progress.expect_more(counter, len(replies))
    done = partial(run.progress.advance, counter)
    rows = new_tests.drafts(step, replies, seeds, programs, run.workers.jail, done)
    faults = [row["detail"] for row in rows if row.get("drop_reason") == BAD_SETUP]
    if faults:
        run.progress.warn(
            f"problems.expand: no new tests for {len(faults):,} seeds, whose setup fails in the jail ({faults[0]}): "
            f"add the packages that it needs to verify.jail.packages"
        )
    return rows


def _draft(step: ExpandStep, reply: Row, parents: Sequence[Row], min_novelty: float) -> Row:
    first = parents[0]
    row = {
        "operator": step.operator,
        "parents": [parent["id"] for parent in parents],
        "domain": first["domain"],
        "completion_tokens": reply["completion_tokens"],
        "source": first["source"],
        "license": first["license"],
    }
    text, reason = new_problems.read_problem(reply["text"], reply["finish_reason"])
    if text is None:
        return row | {"reply": reply["text"], "drop_reason": reason}
    given: Row = {"prompt": text, "system": first["system"], "verifier": first["verifier"]}
    if first["domain"] == "choice":
        options = new_problems.read_options(reply["text"], reply["finish_reason"])
        if options is None:
            return row | {"reply": reply["text"], "drop_reason": "not_a_problem", "detail": "it has no usable options"}
        given |= {"prompt": new_problems.with_options(text, options), "info": {"options": options}}
    made = problem_row(
        given,
        SourceDefaults(first["domain"], first["source"], first["license"], unlabelled=True),
    )
    if isinstance(made, str):
        return row | {"reply": reply["text"], "drop_reason": "not_a_problem", "detail": made}
    row |= made
    if found := new_problems.fault(text):
        return row | {"drop_reason": "not_a_problem", "detail": found}
    new = new_problems.novelty(text, [parent["prompt"] for parent in parents])
    if new == 0 or (new < min_novelty and not step.chosen.keeps_text):
        return row | {"drop_reason": "repeats_parent", "detail": f"{new:.0%} of its runs of words are new"}
    return row


def _procedural(run: RunContext, options: ExpandOptions) -> Iterator[Shard]:
    """Yield one shard of problems that procedural tasks make on other levels; none where no step asks for it."""
    steps = [step for step in options.steps if step.chosen.levels]
    sources = [source for source in run.recipe.problems.sources if isinstance(source, ProceduralSource)]
    if not steps or not sources:
        if steps:
            run.progress.warn("problems.expand: harder and easier need a procedural source, and there is none")
        return
    made_of = [source.model_dump(mode="json") for source in sources]
    asked = [step.model_dump(mode="json") for step in steps]

    def make() -> tuple[pa.Table, ShardStats]:
        rows = [
            row
            for number, source in enumerate(sources)
            for step in steps
            for row in _moved(run, source, step, digest(run.recipe.seed, number, step.operator))
        ]
        return from_rows(rows, _DRAFTS), {}

    key = DRAFTS.key(_PROCEDURAL, made_of, asked, run.recipe.seed)
    yield run.store.once(DRAFTS, _PROCEDURAL, key, make)


def _moved(run: RunContext, source: ProceduralSource, step: ExpandStep, seed: str) -> Iterator[Row]:
    args = operators.moved(source.task, source.args, step.chosen.levels)
    if args is None:
        run.progress.warn(f"problems.expand: the task {source.task} has no level that is {step.operator}")
        return
    defaults = SourceDefaults(source.domain, f"reasoning-gym/{source.task}", source.license)
    for item in procedural.generate(source.task, args, step.each, int(seed[:7], 16), source.domain):
        made = prepared_row(source, item.row)
        problem = made if isinstance(made, str) else problem_row(made, defaults)
        if not isinstance(problem, str):  # held-out questions, as in the source itself
            yield problem | {"operator": step.operator, "parents": [], "completion_tokens": 0}


# --- repeats, benchmarks, a judge ----------------------------------------------------------------------------------


def _left(run: RunContext, draft: Shard, fates: Iterable[Shard]) -> list[tuple[int, Row]]:
    """Return the place and row of each draft that nothing has left out so far."""
    rows = list(enumerate(run.store.read(draft).to_pylist()))
    reasons = [run.store.read(fate)["drop_reason"].to_pylist() for fate in fates]
    return [(n, row) for n, row in rows if not row["drop_reason"] and not any(reason[n] for reason in reasons)]


def _fates(rows: int, found: Mapping[int, tuple[str, str]]) -> pa.Table:
    nothing = (None, None)
    return from_rows([dict(zip(_FATE.names, found.get(n, nothing), strict=True)) for n in range(rows)], _FATE)


def _unique(run: RunContext, options: ExpandOptions, seeds: Sequence[Shard], drafts: Sequence[Shard]) -> list[Shard]:
    """Return which drafts repeat a seed, a problem of an earlier version, or another draft."""
    prior = [find(run.home, label) for label in options.against]
    versions = [version.data_digests() for version in prior]
    contents = [[shard.content for shard in shards] for shards in (seeds, drafts)]
    key = UNIQUE.key(contents, versions, options.max_similarity)

    def make() -> Iterator[tuple[pa.Table, ShardStats]]:
        found = new_problems.repeats(
            partial(_texts, run, drafts), partial(_known, run, seeds, prior), options.max_similarity
        )
        places: dict[int, dict[int, tuple[str, str]]] = {}
        for name, other in found.items():
            _, number, place = name.split("/")
            places.setdefault(int(number), {})[int(place)] = "near_duplicate", other.partition("/")[0]
        for index, draft in enumerate(drafts):
            yield _fates(draft.rows, places.get(index, {})), {}

    return run.store.once_each(UNIQUE, [draft.name for draft in drafts], key, make)


def _texts(run: RunContext, drafts: Sequence[Shard]) -> Iterator[tuple[str, str, bool]]:
    """Yield name and text of every draft that is still there, and whether it was meant to be rewritten."""
    for number, draft in enumerate(drafts):
        for place, row in _left(run, draft, ()):
            if operators.OPERATORS[row["operator"]].tests:
                continue  # its text is its seed's on purpose
            yield f"new {row['id']}/{number}/{place}", row["prompt"], operators.OPERATORS[row["operator"]].rewrites


def _known(run: RunContext, seeds: Sequence[Shard], prior: Sequence[Version]) -> Iterator[tuple[str, str]]:
    """Yield name and text of every problem that must not come again."""
    for shard in seeds:
        for row in run.store.read(shard, ["id", "prompt"]).to_pylist():
            yield f"seed {row['id']}", row["prompt"]
    for version in prior:
        for path in version.files("problems"):
            for table in batches(path, ["id", "prompt"]):
                yield from ((f"{version.label} {row['id']}", row["prompt"]) for row in table.to_pylist())


def _clean(run: RunContext, draft: Shard, unique: Shard) -> Shard:
    """Return which drafts overlap with a benchmark, by the same filter as all problems."""
    filter_, options = CONTAMINATED_PROBLEMS, run.recipe.options(CONTAMINATED_PROBLEMS)
    assert filter_.shared is not None  # noqa: S101 (narrowing for the type checker)
    shared = shared_file(run, filter_.shared, options)
    key = CLEAN.key(draft.content, unique.content, filter_.key(options, shared.content))

    def make() -> tuple[pa.Table, ShardStats]:
        left = _left(run, draft, [unique])
        marked = filter_.annotate([row for _, row in left], {}, options, run.store.path(shared))
        found = {
            place: ("contaminated", f"{columns['contaminated_by']}: {columns['contaminated_span']}")
            for (place, _), columns in zip(left, marked, strict=True)
            if columns.get("contaminated_by")
        }
        return _fates(draft.rows, found), {}

    return run.store.once(CLEAN, draft.name, key, make)


def _judgements(
    run: RunContext, options: ExpandOptions, drafts: Sequence[tuple[Shard, Shard, Shard]], budget: Budget
) -> dict[str, list[Shard]]:
    """Return a model's answers about what is left, by shard of drafts; nothing where none judges."""
    plan, judge = run.models.problem_judge, options.judge
    if plan is None or judge is None:
        return {}

    def tasks(draft: Shard, fates: Sequence[Shard]) -> list[Task]:
        rows = [row for _, row in _left(run, draft, fates) if operators.OPERATORS[row["operator"]].reworded]
        forms = [{"json_schema": schema} if options.structured else {} for schema in JUDGE_SCHEMAS]
        return [
            Task((row["id"],), number, prompt, own)
            for row in rows
            for number, (prompt, own) in enumerate(zip(new_problems.judge_prompts(row["prompt"]), forms, strict=True))
        ]

    params = {"temperature": judge.temperature, "top_p": 1.0, "max_tokens": judge.max_tokens}
    jobs = [Job(draft.name, partial(tasks, draft, fates)) for draft, *fates in drafts]
    return Asker(run, plan, params).ask(JUDGED, jobs, budget, "new problems judged")


def _expanded(run: RunContext, draft: Shard, fates: Sequence[Shard], asked: Sequence[Shard], *, judge: bool) -> Shard:
    """Return the drafts of one shard with the reason why each is left out, if it is."""

    def make() -> tuple[pa.Table, ShardStats]:
        rows = run.store.read(draft).to_pylist()
        for fate in fates:
            for row, found in zip(rows, run.store.read(fate).to_pylist(), strict=True):
                if not row["drop_reason"]:
                    row |= found if found["drop_reason"] else {}
        replies: dict[str, list[Row]] = {}
        for shard in asked:
            for reply in run.store.read(shard).to_pylist():
                replies.setdefault(reply["about"][0], []).append(reply)
        for row in rows if judge else ():
            if not row["drop_reason"] and operators.OPERATORS[row["operator"]].reworded:
                row |= _judged(row, replies.get(row["id"], ()))
        return from_rows(rows, _DRAFTS), {}

    key = EXPANDED.key(draft.content, [fate.content for fate in fates], [shard.content for shard in asked], judge)
    return run.store.once(EXPANDED, draft.name, key, make)


def _judged(row: Row, replies: Sequence[Row]) -> Row:
    tokens = row["completion_tokens"] + sum(reply["completion_tokens"] for reply in replies)
    if len(replies) < len(JUDGE_SCHEMAS):
        return {"drop_reason": "unfunded", "completion_tokens": tokens}
    reason = new_problems.judged((reply["text"], reply["finish_reason"]) for reply in replies)
    return {"drop_reason": reason, "completion_tokens": tokens}


# --- shards of new problems, and what became of them ---------------------------------------------------------------


def _new_shards(run: RunContext, expanded: Shard) -> Iterator[ProblemShard]:
    """Yield the problems that are left as shards, to be sampled like all others; they stay beside their seeds."""
    left = sorted((row for _, row in _left(run, expanded, ())), key=lambda row: str(row["id"]))
    samples, _ = samples_per_problem(run.recipe)
    each = max(1, MAX_SHARD_ROWS // samples)
    # Apart, since the band of pass rates is for problems that are new.
    tested = [row for row in left if operators.OPERATORS[row["operator"]].tests]
    groups = ([row for row in left if not operators.OPERATORS[row["operator"]].tests], tested)
    starts = [(rows, start) for rows in groups for start in range(0, len(rows), each)]
    for number, (rows, start) in enumerate(starts):
        part, name = from_rows(rows[start : start + each], _NEW_PROBLEMS), f"{expanded.name}-x{number:04d}"
        stats: ShardStats = {"from_sources": 0, "domains": dict(Counter(part["domain"].to_pylist()))}
        key = NEW_PROBLEMS.key(expanded.content, number, each)
        problems = run.store.once(NEW_PROBLEMS, name, key, partial(tuple, (part, stats)))
        recorded = run.store.once(RECORDED, name, digest(key, name), lambda: (SHARD_TRACES.empty_table(), {}))
        yield ProblemShard(problems, recorded)


def _without_tested(run: RunContext, problems: RunProblems, expanded: Sequence[Shard]) -> RunProblems:
    """Return the problems without those that got new tests, which are sampled with these only.

    None of them has recorded samples: these would keep it (`Writer.testable`).
    """
    gone: set[str] = set()
    for shard in expanded:
        rows = (row for _, row in _left(run, shard, ()) if operators.OPERATORS[row["operator"]].tests)
        gone.update(row["parents"][0] for row in rows)
    return leave_out(run, problems, gone, TESTED) if gone else problems


def seed_shard(name: str) -> str:
    """Return the name of the shard whose seeds a shard of new problems was made of; of another shard, its own."""
    return name.partition("-x")[0]


@dataclass
class ExpansionLedger:
    """What became of everything that was written, by operator.

    Attributes:
        run: the run.
        candidates: what was written, by shard of seeds; taken out once their samples are judged.
        counts: by operator: reasons, None for problems that were kept.
        tokens: by operator: completion tokens that writing and judging took.
    """

    run: RunContext
    candidates: dict[str, Shard]
    counts: dict[str, Counter[str | None]] = field(default_factory=dict)
    tokens: Counter[str] = field(default_factory=Counter)

    def table(self, name: str, fates: Mapping[str, str | None]) -> pa.Table:
        """Return the rows of `expansion` that belong to a shard of seeds, and count them.

        Args:
            name: of the shard.
            fates: by problem that was sampled: why it is left out, None where it is kept.
        """
        shard = self.candidates.pop(name, None)
        rows = self.run.store.read(shard).to_pylist() if shard else []
        for row in rows:
            row["drop_reason"] = row["drop_reason"] or fates.get(row["id"], "no_agreement")
            self.counts.setdefault(row["operator"], Counter())[row["drop_reason"]] += 1
            self.tokens[row["operator"]] += row["completion_tokens"]
        return from_rows(rows, EXPANSION)

    def ledger(self) -> Row:
        """Return the ledger of all operators together."""
        counts = sum(self.counts.values(), Counter[str | None]())
        dropped = {reason: counts[reason] for reason in EXPANSION_REASONS if counts[reason]}
        return {"in": counts.total(), "kept": counts[None], "dropped": dropped}

    def to_json(self) -> list[Row]:
        """Return the funnel of each operator as the manifest has it, in the order of the recipe."""
        return [
            {
                "operator": name,
                "written": counts.total(),
                "kept": (kept := counts[None]),
                "dropped": {reason: counts[reason] for reason in EXPANSION_REASONS if counts[reason]},
                "tokens": self.tokens[name],
                "tokens_per_kept": round(self.tokens[name] / kept, 1) if kept else None,
            }
            for name in operators.OPERATORS
            if (counts := self.counts.get(name))
        ]
