"""Evaluating a model on a suite: a run's own sampler, store, jail and verdicts, and what they measure.

An evaluation of a model is a run whose recipe the suite makes (`Suite.recipes`), named after the suite: problems are
read once for all models, samples are recorded under HOME/samples as those of any run, and a second evaluation draws
nothing. Only the filters that judge are asked; selection and publishing are no part of it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from proofmill.data.errors import InputError
from proofmill.data.model_versions import find_model, question_digest
from proofmill.data.rows_io import HUB
from proofmill.data.run import Shard, ShardStats, Step
from proofmill.data.samples import FAILED, FILTERED, QUARANTINED, REFUSED
from proofmill.data.sections import Engine, ReplayEngine, portable_name
from proofmill.data.tables import from_rows, read_table
from proofmill.filters.claim_checks import CLAIM_CHECKS
from proofmill.filters.evaluation import Difference, ProblemResult, Score, by, difference, score
from proofmill.filters.guessing import guess_rate
from proofmill.filters.reliability import RELIABILITY
from proofmill.filters.verdicts import CORRECT, NO_GOLD, UNPARSED, is_counted
from proofmill.filters.verification import TRUNCATED, VERDICTS, problem_of
from proofmill.flows import dry_run
from proofmill.flows.context import RunContext, RunRequest, open_run
from proofmill.flows.display import Progress
from proofmill.flows.ingest import RunProblems, ingest_problems
from proofmill.flows.model_filters import add_reliability
from proofmill.flows.models import server_named
from proofmill.flows.pipeline import annotate_shard
from proofmill.flows.recipe.suite import Suite
from proofmill.flows.sampling import Pair, SamplingStep, stream_with_backpressure
from proofmill.flows.shard_records import ShardRecord, columns, problem_rows
from proofmill.flows.voting import elections

EVALUATED = Step(
    "evaluated",
    1,
    ("math-verify", "mpmath"),
    pa.schema(
        {
            "id": pa.string(),
            "group": pa.string(),
            "domain": pa.string(),
            "question": pa.string(),
            "n": pa.int32(),
            "correct": pa.int32(),
            "truncated": pa.int32(),
            "unparsed": pa.int32(),
            "errors": pa.int32(),
            "tokens": pa.int64(),
            "guess": pa.float64(),
            "vote": pa.list_(pa.struct({"k": pa.int32(), "right": pa.float64()})),
            "reliable_vote": pa.list_(pa.struct({"k": pa.int32(), "right": pa.float64()})),
        }
    ),
)
_NO_ANSWER = (FAILED, QUARANTINED, REFUSED, FILTERED)
_ROWS = re.compile(r"\.(?:jsonl(?:\.gz|\.zst)?|parquet)$")
_SHOWN = 12  # problems that flipped, of each pair of models


@dataclass(frozen=True)
class EvaluatedModel:
    """A model as it was named, and what answers for it.

    Attributes:
        label: how results call it.
        engine: what draws its samples; recorded answers are replayed.
        model: as a recipe names it.
        trained_on: digests of the questions in its lineage.
        lineage: the data versions of its lineage.
    """

    label: str
    engine: Engine
    model: str
    trained_on: frozenset[str] = frozenset()
    lineage: tuple[str, ...] = ()


def model_named(name: str, home: Path, suite: Suite) -> EvaluatedModel:
    """Return the model that a name means: recorded answers, a server, a trained model, or one of a recipe's.

    Raises:
        UsageError: a server without the name of what it serves; NAME@vN that is not there.
    """
    if name.startswith(HUB) or _ROWS.search(name):
        return EvaluatedModel(portable_name(name), ReplayEngine(files=(name,), model=portable_name(name)), "bundled")
    if server := server_named(name):
        return EvaluatedModel(name, *server)
    if not Path(name).expanduser().is_dir() and (trained := find_model(home, name)):
        lineage = tuple(data.label for data in trained.manifest.data)
        seen = frozenset(trained.questions())
        return EvaluatedModel(trained.label, suite.engine, str(trained.folder), seen, lineage)
    return EvaluatedModel(name, suite.engine, name)


@dataclass(frozen=True)
class Evaluation:
    """A model's results on a suite.

    Attributes:
        model: whose.
        results: of every problem.
        questions: digest of each problem's question, by problem id.
        shards: files of problems, samples and verdicts, to read examples from.
        seconds: of sampling; of recorded samples, those of the run that drew them.
    """

    model: EvaluatedModel
    results: tuple[ProblemResult, ...]
    questions: Mapping[str, str]
    shards: tuple[tuple[Path, Path, Path], ...] = field(repr=False)
    seconds: float = 0.0

    @property
    def seen(self) -> set[str]:
        """Ids of the problems that the model was trained on."""
        return {name for name, question in self.questions.items() if question in self.model.trained_on}

    def without(self, ids: set[str]) -> tuple[ProblemResult, ...]:
        """The results but for some problems."""
        return tuple(result for result in self.results if result.id not in ids)

    def answers(self, ids: set[str]) -> dict[str, dict[str, Any]]:
        """By problem id: prompt, gold, and the model's responses with their verdicts."""
        found: dict[str, dict[str, Any]] = {}
        for problems, samples, verdicts in self.shards:
            for row in read_table(problems, ["id", "prompt", "answer"]).to_pylist():
                if row["id"] in ids:
                    found[row["id"]] = row | {"responses": []}
            said = read_table(samples, ["problem_id", "response"]).to_pylist()
            for trace, verdict in zip(said, read_table(verdicts, ["verdict"])["verdict"].to_pylist(), strict=True):
                if trace["problem_id"] in found:
                    found[trace["problem_id"]]["responses"].append((verdict, trace["response"]))
        return found


def evaluate(
    suite: Suite, model: EvaluatedModel, home: Path, progress: Progress, *, limit: int | None = None
) -> Evaluation:
    """Evaluate one model: what is recorded is not drawn again.

    Args:
        suite: what it is measured on, without sets that are absent.
        model: which one.
        home: HOME.
        progress: the caller's display.
        limit: the first so many problems only.

    Raises:
        InputError: there is no problem, or the model was trained on all of them.
        ProofmillError: as a run.
    """
    results: list[ProblemResult] = []
    questions: dict[str, str] = {}
    files: list[tuple[Path, Path, Path]] = []
    seconds = 0.0
    for recipe in suite.recipes(model.engine, model.model):
        with open_run(RunRequest(recipe, home, limit), progress) as opened:
            run = _judging(opened)
            problems = ingest_problems(run, published=False)
            _check_unseen(run, problems, model)
            for record in _records(run, problems):
                rows = run.store.read(_evaluated(run, record)).to_pylist()
                questions |= {row["id"]: row.pop("question") for row in rows}
                results += [_result(row) for row in rows]
                shards = (record.problems, record.samples, record.outputs[VERDICTS.name])
                files.append((run.store.path(shards[0]), run.store.path(shards[1]), run.store.path(shards[2])))
                seconds += record.samples.stats.get("took", 0.0)
            if run.models.plans:
                dry_run.remember_rate(run, progress)
    return Evaluation(model, tuple(results), questions, tuple(files), seconds)


def undrawn(suite: Suite, model: EvaluatedModel, home: Path, *, limit: int | None = None) -> Iterator[str]:
    """What an evaluation would draw, in lines; nothing is sampled."""
    for recipe in suite.recipes(model.engine, model.model):
        with open_run(RunRequest(recipe, home, limit, dry_run=True)) as run:
            problems = ingest_problems(run, published=False)
            done = SamplingStep(run, problems.shards).done
            pending = [shard for shard in problems.shards if not done[shard.problems.name]]
            count = problems.stats["problems"]["kept"]
            for plan in run.models.plans:
                first = dry_run.open_samples(run, plan, pending)
                yield f"{model.label}: {count:,} problems"
                yield from dry_run.sampler_cost(run, plan, first, problems.shards, pending)
            if not run.models.plans:
                yield f"{model.label}: {count:,} problems, recorded answers"


def _judging(run: RunContext) -> RunContext:
    """The run with nothing but the filters that judge."""
    names = {VERDICTS.name} | ({CLAIM_CHECKS.name, RELIABILITY.name} if run.models.claim_judge else set())
    return replace(run, filters=tuple(active for active in run.filters if active.filter.name in names))


def _check_unseen(run: RunContext, problems: RunProblems, model: EvaluatedModel) -> None:
    """Refuse, before anything is drawn, a suite that is what the model was trained on."""
    if not model.trained_on:
        return
    tables = [run.store.read(shard.problems, ["prompt"])["prompt"].to_pylist() for shard in problems.shards]
    prompts = [prompt for table in tables for prompt in table]
    if all(question_digest(prompt) in model.trained_on for prompt in prompts):
        raise InputError(
            f"{model.label} was trained on all {len(prompts)} problems of this suite.",
            where=f"its data: {', '.join(model.lineage) or 'unknown'}",
            remedy="evaluate it on other problems; the bundled suite held-out shares none with any source",
        )


def _records(run: RunContext, problems: RunProblems) -> list[ShardRecord]:
    """All shards, sampled and judged."""
    step = SamplingStep(run, problems.shards)
    run.progress.expect("shards judged", len(problems.shards))
    with ThreadPoolExecutor(2) as pool:
        pairs: Iterator[Pair] = step.finished_shards()
        found = stream_with_backpressure(run, pairs, lambda *pair: pool.submit(annotate_shard, run, *pair))
    records = sorted(found, key=lambda record: record.name)
    if run.models.claim_judge:
        records = add_reliability(run, records)
    return records


def _evaluated(run: RunContext, record: ShardRecord) -> Shard:
    outputs = {name: output.content for name, output in record.outputs.items()}
    key = EVALUATED.key(record.problems.content, record.samples.content, outputs)
    return run.store.once(EVALUATED, record.name, key, lambda: _count(run, record))


def _count(run: RunContext, record: ShardRecord) -> tuple[pa.Table, ShardStats]:
    votes: dict[str, dict[str, Any]] = {}
    for problem, election in elections(run, record, None):
        curves = election.by_k() if problem["answer"] is not None else {}
        votes[problem["id"]] = {
            ours: [{"k": k, "right": rates[theirs]} for k, rates in curves.items() if theirs in rates]
            for ours, theirs in (("vote", "maj_k"), ("reliable_vote", "clr_k"))
        }
    counts: dict[str, Counter[str]] = {}
    names = ["problem_id", "finish_reason", "completion_tokens", "verdict", "verdict_detail"]
    for row in columns(run, record, names).to_pylist():
        count = counts.setdefault(row["problem_id"], Counter())
        if row["finish_reason"] in _NO_ANSWER or _says_nothing(row):
            count["errors"] += 1
            continue
        cut = row["verdict"] == UNPARSED and row["verdict_detail"] == TRUNCATED
        right, unparsed = row["verdict"] == CORRECT, row["verdict"] == UNPARSED
        count.update(n=1, correct=int(right), unparsed=int(unparsed), truncated=int(cut))  # a first bool would stay one
        count["tokens"] += row["completion_tokens"] or 0
    zero = dict.fromkeys(("n", "correct", "truncated", "unparsed", "errors", "tokens"), 0)
    rows = [
        zero
        | counts.get(problem["id"], {})
        | votes.get(problem["id"], {})
        | {"id": problem["id"], "group": problem["source"], "domain": problem["domain"]}
        | {"question": question_digest(problem["prompt"]), "guess": guess_rate(problem_of(problem))}
        for problem in problem_rows(run, record)
    ]
    assert EVALUATED.schema is not None  # noqa: S101 (narrowing for the type checker)
    return from_rows(rows, EVALUATED.schema), {}


def _result(row: dict[str, Any]) -> ProblemResult:
    for name in ("vote", "reliable_vote"):
        row[name] = {point["k"]: point["right"] for point in row[name] or ()}
    return ProblemResult(**row)


# --- what is said of evaluations -------------------------------------------------------------------------


@dataclass(frozen=True)
class PairedComparison:
    """Two models on the same problems.

    Attributes:
        first, second: their labels.
        overall: on all problems.
        by_set, by_domain: on those of each.
        flipped: problems on which they differ most, with an answer of each.
    """

    first: str
    second: str
    overall: Difference
    by_set: Mapping[str, Difference]
    by_domain: Mapping[str, Difference]
    flipped: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Results:
    """All that one command measured.

    Attributes:
        suite: the suite.
        scores: by model, by group (`overall`, `set NAME`, `domain NAME`), the score.
        comparisons: of each pair of models, in the order in which they were named.
        left_out: by model, how many problems of the suite it was trained on; left out for all models.
        lineage: by model, the data versions that these come from.
        absent: sets whose files are not there.
        seconds: by model, that sampling took.
    """

    suite: Suite
    scores: Mapping[str, Mapping[str, Score]]
    comparisons: Sequence[PairedComparison]
    left_out: Mapping[str, int]
    lineage: Mapping[str, Sequence[str]]
    absent: Sequence[str] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As JSON-like data, from which the page is made."""
        return {
            "suite": self.suite.model_dump(mode="json", include={"name", "about", "seed", "repeats", "sampling"}),
            "models": [
                {
                    "model": label,
                    "scores": {name: found.to_json() for name, found in scores.items()},
                    "left_out": self.left_out.get(label, 0),
                    "trained_on": list(self.lineage.get(label, ())),
                    "sampling_seconds": round(self.seconds.get(label, 0.0), 1),
                }
                for label, scores in self.scores.items()
            ],
            "comparisons": [
                {
                    "first": pair.first,
                    "second": pair.second,
                    "overall": pair.overall.to_json(),
                    "by_set": {name: found.to_json() for name, found in pair.by_set.items()},
                    "by_domain": {name: found.to_json() for name, found in pair.by_domain.items()},
                    "flipped": list(pair.flipped),
                }
                for pair in self.comparisons
            ],
            "absent": list(self.absent),
        }


def results_of(suite: Suite, evaluations: Sequence[Evaluation], absent: Sequence[str] = ()) -> Results:
    """Return scores and comparisons over the problems that no model was trained on.

    Raises:
        InputError: not one problem is left, or not one answer of a model could be judged.
    """
    seen = set().union(*(one.seen for one in evaluations))
    scores: dict[str, dict[str, Score]] = {}
    for one in evaluations:
        measured = dict(_scores(one.without(seen)))
        if "overall" not in measured:
            raise InputError(
                f"Not one answer of {one.model.label} could be judged.",
                where=f"{len(one.results)} problems, {len(seen)} of them left out as trained on",
                remedy="look at the run's log; see the shares of errors with `proofmill inspect`",
            )
        scores[one.model.label] = measured
    pairs = [(a, b) for number, a in enumerate(evaluations) for b in evaluations[number + 1 :]]
    compared = [found for a, b in pairs if (found := _compared(a, b, seen))]
    return Results(
        suite,
        scores,
        compared,
        {one.model.label: len(one.seen) for one in evaluations if one.seen},
        {one.model.label: one.model.lineage for one in evaluations if one.model.lineage},
        absent,
        {one.model.label: one.seconds for one in evaluations},
    )


def _scores(results: Sequence[ProblemResult]) -> Iterator[tuple[str, Score]]:
    if found := score(results):
        yield "overall", found
    for kind, name in (("set", "group"), ("domain", "domain")):
        for group, part in sorted(by(results, name).items()):
            if found := score(part):
                yield f"{kind} {group}", found


def _compared(a: Evaluation, b: Evaluation, seen: set[str]) -> PairedComparison | None:
    first, second = a.without(seen), b.without(seen)
    overall = difference(first, second)
    if overall is None:
        return None
    parts: dict[str, dict[str, Difference]] = {}
    for name in ("group", "domain"):
        theirs = by(second, name)
        both = {group: difference(part, theirs.get(group, ())) for group, part in sorted(by(first, name).items())}
        parts[name] = {group: found for group, found in both.items() if found}
    flipped = _flipped(a, b, first, second)
    return PairedComparison(a.model.label, b.model.label, overall, parts["group"], parts["domain"], flipped)


def _flipped(
    a: Evaluation, b: Evaluation, first: Sequence[ProblemResult], second: Sequence[ProblemResult]
) -> list[dict[str, Any]]:
    """The problems with the largest differences to either side, with an answer of each model that shows it."""
    others = {result.id: result for result in second if result.n}
    pairs = [(result, others[result.id]) for result in first if result.n and result.id in others]
    gains = sorted(((two.rate - one.rate, one, two) for one, two in pairs), key=lambda item: (item[0], item[1].id))
    chosen = [item for item in gains[: _SHOWN // 2] if item[0] < 0]
    chosen += [item for item in reversed(gains[-_SHOWN // 2 :]) if item[0] > 0]
    ids = {one.id for _, one, _ in chosen}
    said = {one.model.label: one.answers(ids) for one in (a, b)}
    return [
        {
            "set": one.group,
            "prompt": said[a.model.label][one.id]["prompt"],
            "answer": said[a.model.label][one.id]["answer"],
            "rates": [one.rate, two.rate],
            "responses": [
                _example(said[a.model.label][one.id]["responses"], right=gain < 0),
                _example(said[b.model.label][one.id]["responses"], right=gain > 0),
            ],
        }
        for gain, one, two in chosen
    ]


def _example(responses: Sequence[tuple[str, str]], *, right: bool) -> str:
    """A response that is right, or one that is not, where there is one."""
    fitting = [text for verdict, text in responses if (verdict == CORRECT) is right]
    return (fitting or [text for _, text in responses] or [""])[0]


def _says_nothing(row: Mapping[str, Any]) -> bool:
    """Return whether a sample has an `error` that says nothing of it, but for a missing gold, which no sample can pass.

    What a program brings about itself counts as not passed, as it does in pass rates.
    """
    return row["verdict_detail"] != NO_GOLD and not is_counted(row["verdict"], row["verdict_detail"])
