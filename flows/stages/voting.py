"""What the samples of a problem agree on: `maj@k` and `clr@k` where there is gold, a pseudo-label where there is none.

A pseudo-label is an answer that enough samples agree on, never called gold: the problem says how it came by it, and
the verdicts that rest on it say `pseudo_label`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from prefect import task
from prefect.cache_policies import NO_CACHE

from proofmill.data.run import Facts, Shard
from proofmill.data.schemas import VERDICTS as VERDICTS_SCHEMA
from proofmill.data.schemas import VOTES as VOTES_SCHEMA
from proofmill.data.tables import from_rows
from proofmill.filters.agreement import Ballot, can_vote, totals, vote_at_k, votes_by_k, winners
from proofmill.filters.verdicts import CORRECT, ERROR, NO_GOLD, PSEUDO_LABEL, WRONG
from proofmill.filters.workers import Fault
from proofmill.flows.recipe.schema import PseudoLabels
from proofmill.flows.run.session import Session
from proofmill.flows.stages import reliability
from proofmill.flows.stages.keys import LABELLED, LABELS, VOTES

if TYPE_CHECKING:
    from proofmill.flows.stages.tasks import Judged

Row = dict[str, Any]


@task(cache_policy=NO_CACHE)
def agreed(session: Session, judged: Sequence[Judged]) -> list[Judged]:
    """Each shard with the votes on its problems, and with pseudo-labels where the recipe allows them.

    Where neither is asked for, the shards are as they were.
    """
    options, labels = session.recipe.claims.model, session.recipe.problems.pseudo_labels
    if labels is None and (options is None or options.scope != "all"):
        return list(judged)
    k = options.k if options else None
    counted = [replace(shard, votes=_votes(session, shard, k)) for shard in judged]
    return [_labelled(session, shard, labels) for shard in counted] if labels else counted


_RATES = ("pass_1", "maj_k", "clr_k")


def at_k(judged: Sequence[Judged]) -> dict[str, Any] | None:
    """Mean pass@1, maj@k and clr@k over the problems with gold; None where nobody voted. For the manifest.

    `by_k` has maj@k and clr@k for each k, powers of 2 and the recipe's own, that all these problems have samples for.
    """
    sums: Counter[str] = Counter()
    curves: dict[str, Counter[str]] = {}
    for shard in judged:
        if shard.votes:
            sums.update({name: shard.votes.facts[name] for name in ("problems", *_RATES) if name in shard.votes.facts})
            for k, rates in shard.votes.facts["by_k"].items():
                curves.setdefault(k, Counter()).update(rates)
    if not sums["problems"]:
        return None
    whole = {k: curves[k] for k in sorted(curves, key=int) if curves[k]["problems"] == sums["problems"]}
    return _means(sums) | {"by_k": {k: _means(rates) for k, rates in whole.items()}}


def _means(sums: Counter[str]) -> dict[str, float]:
    """A number of problems, and the means over them."""
    rates = {name: round(sums[name] / sums["problems"], 4) for name in _RATES if name in sums}
    return {"problems": sums["problems"]} | rates


def _votes(session: Session, shard: Judged, k: int | None) -> Shard:
    key = VOTES.key(shard.problems.content, shard.verdicts.key, shard.clr and shard.clr.key, k)
    return session.run.once(VOTES, shard.samples.name, key, lambda: _count(session, shard, k))


def _count(session: Session, shard: Judged, k: int | None) -> tuple[pa.Table, Facts]:
    problems = {row["id"]: row for row in session.run.read(shard.problems).to_pylist()}
    groups = [(problems[name], rows) for name, rows in _samples(session, shard, k) if rows]
    custom = session.recipe.verify.verifiers
    groups = [(problem, rows) for problem, rows in groups if can_vote(problem["domain"], custom)]
    items = [(problem, [row["extracted"] for row in rows if row["extracted"]], custom) for problem, rows in groups]
    found = session.pools.agreement.map(items)
    table = []
    curves: dict[str, Counter[str]] = {}
    for (problem, rows), (_, answers, _), result in zip(groups, items, found, strict=True):
        # Answers too costly to compare are compared as they stand.
        numbers = [answers.index(answer) for answer in answers] if isinstance(result, Fault) else result
        election = _Election(rows, numbers, k, model=shard.clr is not None)
        table.append(election.row(problem))
        if problem["answer"] is not None:
            for size, rates in election.by_k().items():
                curves.setdefault(str(size), Counter()).update({"problems": 1} | rates)
    with_gold = [row for row in table if "pass_1" in row]
    facts: Facts = {"problems": len(with_gold), "by_k": {size: dict(rates) for size, rates in curves.items()}}
    for name in _RATES:
        if name != "clr_k" or shard.clr:
            facts[name] = sum(row[name] for row in with_gold)
    return from_rows(table, VOTES_SCHEMA), facts


def _samples(session: Session, shard: Judged, k: int | None) -> Iterator[tuple[str, list[Row]]]:
    """By problem: its first k samples of each sampler, those left out that the verifier could not judge."""
    columns = session.run.read(shard.samples, ["problem_id", "sample_index"])
    for name in ("verdict", "verdict_detail", "extracted"):
        columns = columns.append_column(name, session.run.read(shard.verdicts, [name])[name])
    columns = columns.append_column("clr_score", reliability.columns(session, shard)["clr_score"])
    rows = [row | {"row": place} for place, row in enumerate(columns.to_pylist())]
    for name, group in groupby(rows, key=lambda row: str(row["problem_id"])):
        judged = (row for row in group if row["verdict"] != ERROR or row["verdict_detail"] == NO_GOLD)
        yield name, [row for row in judged if k is None or row["sample_index"] < k]


@dataclass
class _Election:
    """The votes of one problem's samples, plain and weighed by reliability."""

    rows: Sequence[Row]
    numbers: Sequence[int]
    k: int | None
    model: bool

    def row(self, problem: Mapping[str, Any]) -> Row:
        """A row of schema VOTES."""
        n, plain, weighed = len(self.rows), self._plain, self._weighed
        row: Row = {"problem_id": problem["id"], "n": n} | self._outcome("majority", plain, n)
        if weighed is not None:
            row |= self._outcome("clr", weighed, sum(totals(weighed).values()))
        if problem["answer"] is not None:
            row |= {"pass_1": sum(b.correct for b in plain) / n, "maj_k": vote_at_k(plain, self._most)}
            row |= {} if weighed is None else {"clr_k": vote_at_k(weighed, self._most)}
        return row

    def by_k(self) -> dict[int, dict[str, float]]:
        """By size of the vote, powers of 2 and the largest: how often a plain one is right, and one by reliability."""
        sizes = sorted({2**power for power in range(self._most.bit_length())} | {self._most})
        votes = {"maj_k": votes_by_k(self._plain, sizes)}
        if self._weighed is not None:
            votes["clr_k"] = votes_by_k(self._weighed, sizes)
        return {k: {name: rates[k] for name, rates in votes.items()} for k in sizes}

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
        """Reliabilities; a trace that could not be judged counts as the mean of the others, never as doubted."""
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
        """The one winner, with the shortest of its forms; nothing at a tie or where all weights are 0."""
        best = winners(ballots)
        if len(best) != 1 or not whole:
            return {}
        mine = [row for row, ballot in zip(self.rows, ballots, strict=True) if ballot.cluster == best[0]]
        return {
            name: min((row["extracted"] for row in mine), key=lambda text: (len(text), text)),
            f"{name}_votes": len(mine),
            f"{name}_share": totals(ballots)[best[0]] / whole,
            f"{name}_rows": [row["row"] for row in mine],
        }


def _labelled(session: Session, shard: Judged, options: PseudoLabels) -> Judged:
    if shard.votes is None:
        return shard
    key = LABELS.key(shard.votes.key, options.model_dump(exclude={"rl"}))
    name = shard.samples.name
    labels = _labels(session, shard, options)
    problems = session.run.once(LABELLED, name, key, lambda: (_with_labels(session, shard, labels), {}))
    verdicts = session.run.once(LABELS, name, key, lambda: _verdicts(session, shard, labels))
    return replace(shard, problems=problems, verdicts=verdicts)


def _labels(session: Session, shard: Judged, options: PseudoLabels) -> dict[str, Row]:
    """Problem id to label, how it came about, and the rows that agree."""
    if shard.votes is None:
        return {}
    answers = session.run.read(shard.problems, ["id", "answer"]).to_pylist()
    without = {row["id"] for row in answers if row["answer"] is None}
    found = {}
    for row in session.run.read(shard.votes).to_pylist():
        share, votes = row[f"{options.by}_share"], row[f"{options.by}_votes"]
        if row["problem_id"] in without and share is not None and share >= options.min_share:
            if votes < options.min_votes:
                continue
            how = f"{options.by}: {votes} of {row['n']} samples, share {share:.2f}"
            found[row["problem_id"]] = {"answer": row[options.by], "how": how, "rows": set(row[f"{options.by}_rows"])}
    return found


def _with_labels(session: Session, shard: Judged, labels: Mapping[str, Row]) -> pa.Table:
    table = session.run.read(shard.problems)
    rows = [
        row | {"answer": labels[row["id"]]["answer"], "pseudo_label": labels[row["id"]]["how"]}
        if row["id"] in labels
        else row
        for row in table.to_pylist()
    ]
    return from_rows(rows, table.schema.append(pa.field("pseudo_label", pa.string())))


def _verdicts(session: Session, shard: Judged, labels: Mapping[str, Row]) -> tuple[pa.Table, Facts]:
    """The verdicts, those on answers without gold by whether they agree with the label."""
    owners = session.run.read(shard.samples, ["problem_id"])["problem_id"].to_pylist()
    rows = session.run.read(shard.verdicts).to_pylist()
    for place, (owner, row) in enumerate(zip(owners, rows, strict=True)):
        if owner in labels and row["verdict_detail"] == NO_GOLD:
            agrees = place in labels[owner]["rows"]
            row |= {"verdict": CORRECT if agrees else WRONG, "verdict_detail": PSEUDO_LABEL}
    counts = dict(Counter(row["verdict"] for row in rows))
    return from_rows(rows, VERDICTS_SCHEMA), shard.verdicts.facts | {"verdicts": counts}
