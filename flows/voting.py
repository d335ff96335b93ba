"""Votes of a problem's samples: `maj@k` and `clr@k` where there is gold, a pseudo-label where there is none.

A pseudo-label is an answer that enough samples agree on. It is never called gold: the problem's `pseudo_label` says how
the label came about, and verdicts that depend on it have the detail `pseudo_label`.

Rates are those of a problem's first round. Later samples are drawn because of what the earlier ones were, so that rates
over all of them would say more of the rule that drew them than of the model. For a label every sample votes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from typing import Any

import pyarrow as pa

from proofmill.data.run import Shard, ShardStats, Step
from proofmill.data.schemas import F32, I32, PROBLEMS, STRING
from proofmill.data.tables import from_rows
from proofmill.filters.agreement import Ballot, can_vote, totals, vote_at_k, votes_by_k, winners
from proofmill.filters.reliability import RELIABILITY
from proofmill.filters.verdicts import CORRECT, ERROR, NO_GOLD, PSEUDO_LABEL, WRONG
from proofmill.filters.verification import VERDICTS, problem_of
from proofmill.flows.context import RunContext
from proofmill.flows.recipe.schema import PseudoLabels
from proofmill.flows.shard_records import ShardRecord, columns, problem_rows

_VOTES = pa.schema(
    {
        "problem_id": STRING,
        "n": I32,  # samples that were counted, those without an answer too
        "pass_1": F32,  # of the first round, as the two below; null where the problem has no gold
        "maj_k": F32,
        "clr_k": F32,
        "majority": STRING,  # the answer with the most votes, null at a tie
        "majority_votes": I32,
        "majority_share": F32,  # of the votes
        "majority_rows": pa.list_(I32),  # samples of the shard that gave it
        "clr": STRING,  # the same by the sum of reliabilities
        "clr_votes": I32,
        "clr_share": F32,
        "clr_rows": pa.list_(I32),
    }
)
VOTES = Step("votes", 2, ("math-verify", "mpmath"), _VOTES)
LABELS = Step("labels", 1, schema=VERDICTS.schema)
LABELLED = Step("labelled_problems", 1, schema=PROBLEMS)
_RATES = ("pass_1", "maj_k", "clr_k")
Row = dict[str, Any]


def add_votes(run: RunContext, records: Sequence[ShardRecord]) -> list[ShardRecord]:
    """Return the records with the votes on their problems, and with pseudo-labels where the recipe allows them.

    Where neither is asked for, the shards are as they were.
    """
    options, labels = run.recipe.options(RELIABILITY).model, run.recipe.problems.pseudo_labels
    if labels is None and (options is None or options.scope != "all"):
        return list(records)
    k = options.k if options else None
    counted = [record.with_output(VOTES.name, _votes(run, record, k)) for record in records]
    return [_labelled(run, record, labels) for record in counted] if labels else counted


def at_k(records: Sequence[ShardRecord]) -> dict[str, Any] | None:
    """Return mean pass@1, maj@k and clr@k over the problems with gold, for the manifest; None without votes.

    `by_k` has maj@k and clr@k for each k, powers of 2 and the recipe's own, that all these problems have samples for.
    """
    sums: Counter[str] = Counter()
    curves: dict[str, Counter[str]] = {}
    for record in records:
        if votes := record.outputs.get(VOTES.name):
            known: dict[str, Any] = {**votes.stats}
            sums.update({name: known[name] for name in ("problems", *_RATES) if name in known})
            for k, rates in votes.stats["by_k"].items():
                curves.setdefault(k, Counter()).update(rates)
    if not sums["problems"]:
        return None
    # A k that some problems have too few samples for would compare means over different problems.
    comparable = {k: curves[k] for k in sorted(curves, key=int) if curves[k]["problems"] == sums["problems"]}
    return _means(sums) | {"by_k": {k: _means(rates) for k, rates in comparable.items()}}


def _means(sums: Counter[str]) -> dict[str, float]:
    """Return a number of problems, and the means over them."""
    rates = {name: round(sums[name] / sums["problems"], 4) for name in _RATES if name in sums}
    return {"problems": sums["problems"]} | rates


def _votes(run: RunContext, record: ShardRecord, k: int | None) -> Shard:
    clr = record.outputs.get(RELIABILITY.name)
    judged = record.outputs["verdicts"].content
    key = VOTES.key(record.problems.content, record.samples.content, judged, clr and clr.content, k)
    return run.store.once(VOTES, record.name, key, lambda: _count(run, record, k))


def _count(run: RunContext, record: ShardRecord, k: int | None) -> tuple[pa.Table, ShardStats]:
    judged_by_model = RELIABILITY.name in record.outputs
    table = []
    curves: dict[str, Counter[str]] = {}
    for problem, election in elections(run, record, k):
        table.append(election.row(problem))
        if problem["answer"] is not None:
            for size, rates in election.by_k().items():
                curves.setdefault(str(size), Counter()).update({"problems": 1} | rates)
    with_gold = [row for row in table if "pass_1" in row]
    stats: ShardStats = {
        "problems": len(with_gold),
        "by_k": {size: dict(rates) for size, rates in curves.items()},
        "pass_1": sum(row["pass_1"] for row in with_gold),
        "maj_k": sum(row["maj_k"] for row in with_gold),
    }
    if judged_by_model:
        stats["clr_k"] = sum(row["clr_k"] for row in with_gold)
    return from_rows(table, _VOTES), stats


def elections(run: RunContext, record: ShardRecord, k: int | None) -> Iterator[tuple[Row, Election]]:
    """Yield each problem whose answers can vote, with the votes of its first k samples (None: of all)."""
    problems = {row["id"]: row for row in problem_rows(run, record)}
    groups = [(problems[name], rows) for name, rows in _samples(run, record, k) if rows]
    custom = run.recipe.options(VERDICTS).verifiers
    groups = [(problem, rows) for problem, rows in groups if can_vote(problem["domain"], custom)]
    asked = [(problem_of(problem), [row["extracted"] for row in rows if row["extracted"]]) for problem, rows in groups]
    for (problem, rows), numbers in zip(groups, run.workers.clusters(asked), strict=True):
        yield problem, Election(rows, numbers, k, model=RELIABILITY.name in record.outputs)


def _samples(run: RunContext, record: ShardRecord, k: int | None) -> Iterator[tuple[str, list[Row]]]:
    """Yield each problem with the first k samples of each sampler, without those that the verifier could not judge."""
    names = ["problem_id", "sample_index", "first_round", "verdict", "verdict_detail", "extracted", "clr_score"]
    rows = [row | {"row": place} for place, row in enumerate(columns(run, record, names).to_pylist())]
    for name, group in groupby(rows, key=lambda row: str(row["problem_id"])):
        judged = (row for row in group if row["verdict"] != ERROR or row["verdict_detail"] == NO_GOLD)
        yield name, [row for row in judged if k is None or row["sample_index"] < k]


@dataclass
class Election:
    """The votes of one problem's samples, plain and weighed by reliability."""

    rows: Sequence[Row]
    numbers: Sequence[int]
    k: int | None
    model: bool

    def row(self, problem: Mapping[str, Any]) -> Row:
        """Return a row of the table of votes."""
        n, plain, weighed = len(self.rows), self._plain, self._weighed
        row: Row = {"problem_id": problem["id"], "n": n} | self._outcome("majority", plain, n)
        if weighed is not None:
            row |= self._outcome("clr", weighed, sum(totals(weighed).values()))
        return row | (self._rates() if problem["answer"] is not None else {})

    def _rates(self) -> Row:
        """Return how often a sample, and a vote of k, of the first round is right; empty if none could be judged."""
        first = self._first
        if not first.rows:
            return {}
        right = sum(ballot.correct for ballot in first._plain)
        rates = {"pass_1": right / len(first.rows), "maj_k": vote_at_k(first._plain, first._most)}
        return rates if first._weighed is None else rates | {"clr_k": vote_at_k(first._weighed, first._most)}

    def by_k(self) -> dict[int, dict[str, float]]:
        """Return the rates of plain and reliability-weighted votes of the first round by size of the vote: powers of 2
        and the largest.
        """
        first = self._first
        if not first.rows:
            return {}
        sizes = sorted({2**power for power in range(first._most.bit_length())} | {first._most})
        votes = {"maj_k": votes_by_k(first._plain, sizes)}
        if first._weighed is not None:
            votes["clr_k"] = votes_by_k(first._weighed, sizes)
        return {k: {name: rates[k] for name, rates in votes.items()} for k in sizes}

    @cached_property
    def _first(self) -> Election:
        """The votes of the samples whose number was fixed beforehand; where nothing is known of rounds, of all."""
        numbers = iter(self.numbers)
        numbered = [(row, next(numbers) if row["extracted"] else None) for row in self.rows]
        kept = [(row, number) for row, number in numbered if row["first_round"] is not False]
        return replace(self, rows=[row for row, _ in kept], numbers=[n for _, n in kept if n is not None])

    @property
    def _most(self) -> int:
        return min(self.k or len(self.rows), len(self.rows))

    @cached_property
    def _plain(self) -> list[Ballot]:
        return self._ballots([1.0] * len(self.rows))

    @cached_property
    def _weighed(self) -> list[Ballot] | None:
        return self._ballots(self._weights()) if self.model else None

    def _weights(self) -> list[float]:
        """Return the reliabilities; a trace that could not be judged counts as the mean of the others, never as
        doubted.
        """
        known = [row["clr_score"] for row in self.rows if row["clr_score"] is not None]
        neutral = sum(sorted(known)) / len(known) if known else 1.0
        return [neutral if row["clr_score"] is None else row["clr_score"] for row in self.rows]

    def _ballots(self, weights: Sequence[float]) -> list[Ballot]:
        numbers = iter(self.numbers)
        return [
            Ballot(next(numbers) if row["extracted"] else None, weight, row["verdict"] == CORRECT)
            for row, weight in zip(self.rows, weights, strict=True)
        ]

    def _outcome(self, name: str, ballots: Sequence[Ballot], whole: float) -> Row:
        """Return the only winner, with the shortest of its forms; empty at a tie or where all weights are 0."""
        best = winners(ballots)
        if len(best) != 1 or not whole:
            return {}
        agreeing = [row for row, ballot in zip(self.rows, ballots, strict=True) if ballot.cluster == best[0]]
        return {
            name: min((row["extracted"] for row in agreeing), key=lambda text: (len(text), text)),
            f"{name}_votes": len(agreeing),
            f"{name}_share": totals(ballots)[best[0]] / whole,
            f"{name}_rows": [row["row"] for row in agreeing],
        }


def _labelled(run: RunContext, record: ShardRecord, options: PseudoLabels) -> ShardRecord:
    key = LABELS.key(
        record.outputs[VOTES.name].content,
        record.outputs["verdicts"].content,
        record.problems.content,
        options.model_dump(exclude={"rl"}),
    )
    labels = _labels(run, record, options)
    problems = run.store.once(LABELLED, record.name, key, lambda: (_with_labels(run, record, labels), {}))
    verdicts = run.store.once(LABELS, record.name, key, lambda: _verdicts(run, record, labels))
    return replace(record.with_output("verdicts", verdicts), problems=problems)


def _labels(run: RunContext, record: ShardRecord, options: PseudoLabels) -> dict[str, Row]:
    """Return by problem id its label, how it came about, and the rows that agree."""
    answers = run.store.read(record.problems, ["id", "answer"]).to_pylist()
    without = {row["id"] for row in answers if row["answer"] is None}
    labels = {}
    for row in run.store.read(record.outputs[VOTES.name]).to_pylist():
        share, votes = row[f"{options.by}_share"], row[f"{options.by}_votes"]
        if row["problem_id"] in without and share is not None and share >= options.min_share:
            if votes < options.min_votes:
                continue
            how = f"{options.by}: {votes} of {row['n']} samples, share {share:.2f}"
            labels[row["problem_id"]] = {"answer": row[options.by], "how": how, "rows": set(row[f"{options.by}_rows"])}
    return labels


def _with_labels(run: RunContext, record: ShardRecord, labels: Mapping[str, Row]) -> pa.Table:
    table = run.store.read(record.problems)
    rows = [
        row | {"answer": labels[row["id"]]["answer"], "pseudo_label": labels[row["id"]]["how"]}
        if row["id"] in labels
        else row
        for row in table.to_pylist()
    ]
    return from_rows(rows, table.schema.append(pa.field("pseudo_label", pa.string())))


def _verdicts(run: RunContext, record: ShardRecord, labels: Mapping[str, Row]) -> tuple[pa.Table, ShardStats]:
    """Return the verdicts; answers without gold are judged by whether they agree with the label."""
    judged = record.outputs["verdicts"]
    owners = run.store.read(record.samples, ["problem_id"])["problem_id"].to_pylist()
    rows = run.store.read(judged).to_pylist()
    for place, (owner, row) in enumerate(zip(owners, rows, strict=True)):
        if owner in labels and row["verdict_detail"] == NO_GOLD:
            agrees = place in labels[owner]["rows"]
            row |= {"verdict": CORRECT if agrees else WRONG, "verdict_detail": PSEUDO_LABEL}
    counts = dict(Counter(row["verdict"] for row in rows))
    stats: ShardStats = {"verdicts": counts, "seconds": judged.stats.get("seconds", 0.0)}
    return from_rows(rows, VERDICTS.schema), stats
