"""The model as its own verifier, after the judges: two questions a trace to one engine, then the reliability r.

First the model names the claims of each trace, then it judges each of them in a fresh context. Both kinds of answer
are recorded as they are; reading them, and letting exact checks overrule them, is a stage of its own without a model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from prefect import task
from prefect.cache_policies import NO_CACHE

from proofmill.data.files import digest
from proofmill.data.run import Facts, Shard, Stage
from proofmill.data.samples import FAILED
from proofmill.data.schemas import ANSWERS
from proofmill.data.schemas import CLR as CLR_SCHEMA
from proofmill.data.tables import conform, from_rows
from proofmill.filters import reliability as clr
from proofmill.filters.verdicts import CORRECT
from proofmill.filters.workers import Fault
from proofmill.flows.recipe.engines import Asked
from proofmill.flows.recipe.schema import ModelVerifier
from proofmill.flows.run.session import Session
from proofmill.flows.stages.keys import CLR, CLR_JUDGED, CLR_NAMED
from proofmill.flows.stages.phases import Answers, Part, ask, question, whole
from proofmill.generators.engines.base import Completion, Request
from proofmill.generators.sample_plan import SamplePlan, sample_seed

if TYPE_CHECKING:
    from proofmill.flows.stages.tasks import Judged

_ASKED = ("calls", "prompt_tokens", "completion_tokens")
Questions = Iterator[tuple[int, int, str]]  # row of the shard's samples, number of the question, prompt


@task(cache_policy=NO_CACHE)
def reliability(session: Session, judged: Sequence[Judged]) -> list[Judged]:
    """Each shard with the reliability of its traces; as they were, where no model judges claims."""
    plan, options = session.claim_judge, session.recipe.claims.model
    if plan is None or options is None:
        return list(judged)
    shards = [_Asked(session, plan, options, shard) for shard in judged]
    named = ask(session, CLR_NAMED, plan, [shard.naming() for shard in shards], "claims named")
    pairs = list(zip(shards, named, strict=True))
    answers = ask(session, CLR_JUDGED, plan, [shard.judging(names) for shard, names in pairs], "claims judged")
    return [
        replace(shard.judged, clr=shard.scored(names, said))
        for (shard, names), said in zip(pairs, answers, strict=True)
    ]


def columns(session: Session, shard: Judged) -> pa.Table:
    """What the model says of a shard's traces (schema CLR), nulls where it was not asked."""
    if shard.clr is None:
        return conform(pa.table({"row": pa.nulls(shard.samples.rows)}), CLR_SCHEMA)
    return session.run.read(shard.clr)


def open_questions(session: Session, plan: SamplePlan, options: ModelVerifier, shard: Judged) -> tuple[int, int]:
    """Traces of a shard whose claims are not named yet, and claims that are named and not judged; at most.

    Args:
        session: the run.
        plan: whose model judges.
        options: how.
        shard: with samples; without a file of verdicts every sample that may be asked about counts.
    """
    if not shard.verdicts.file:
        indices = session.run.read(shard.samples, ["sample_index"])["sample_index"].to_pylist()
        return sum(options.k is None or index < options.k for index in indices), 0
    asked = _Asked(session, plan, options, shard)
    named = whole(session, CLR_NAMED, asked.naming())
    if named is None:
        return asked.naming().open(), 0
    if whole(session, CLR_JUDGED, asked.judging(named)):
        return 0, 0
    return 0, sum(len(found.claims) for found in asked.named(named).values())


@dataclass
class _Asked:
    """One shard, and what is asked about its traces."""

    session: Session
    plan: SamplePlan
    options: ModelVerifier
    judged: Judged

    def naming(self) -> Part:
        """What are the claims of each trace?"""
        key = CLR_NAMED.key(self._identity, self.judged.samples.content, self.wanted())
        return self._part(CLR_NAMED, key, _Stream(self, clr.claims_schema(self.options.m), self._traces))

    def judging(self, named: Shard) -> Part:
        """Is this claim false?"""
        claims = [(row, found.claims) for row, found in self.named(named).items()]
        key = CLR_JUDGED.key(self._identity, self.judged.samples.content, claims)
        return self._part(CLR_JUDGED, key, _Stream(self, clr.JUDGEMENT_SCHEMA, lambda: self._claims(named)))

    def scored(self, named: Shard, said: Shard) -> Shard:
        """The reliability of each trace."""
        key = CLR.key(named.content, said.content, self.judged.claims.key, self.options.m)
        return self.session.run.once(CLR, self.judged.samples.name, key, lambda: self._score(named, said))

    def _part(self, stage: Stage, key: str, stream: _Stream) -> Part:
        return Part(self.judged.samples.name, key, stream.requests, stream.table, lambda: self._before(stage))

    def _before(self, stage: Stage) -> dict[str, Completion]:
        """What this model was asked about the shard with another k or scope, or under other verdicts; by question."""
        run, found = self.session.run, {}
        for shard in run.earlier(stage):
            mine = shard.name == self.judged.samples.name and shard.facts.get("by") == self.by
            for row in run.read(shard).to_pylist() if mine and run.find(stage, shard.key) else ():
                if row["finish_reason"] == FAILED:
                    continue
                found[row["question"]] = Completion("", row["text"], row["finish_reason"], row["completion_tokens"])
        return found

    @property
    def by(self) -> str:
        """Digest of `_identity`."""
        return digest("asked", self._identity)

    @property
    def _identity(self) -> dict[str, Any]:
        """All that decides an answer besides its question."""
        return {
            "weights": self.plan.model.digest,
            "chat_template": self.plan.renderer.template_digest,
            "chat_template_args": dict(self.plan.style.chat_template_args),
            "engine": self.plan.engine_identity(),
            "options": self.options.model_dump(mode="json", exclude={*Asked.model_fields, "scope", "k"}),
            "prompts": clr.prompts_digest(),
            "seed": self.plan.seed,
        }

    def _problems(self) -> dict[str, dict[str, Any]]:
        return {row["id"]: row for row in self.session.run.read(self.judged.problems).to_pylist()}

    def wanted(self) -> list[int]:
        """Rows of the traces that came to an answer; one that has none can neither be kept nor vote."""
        read = self.session.run.read
        indices = read(self.judged.samples, ["sample_index"])["sample_index"].to_pylist()
        verdicts = read(self.judged.verdicts, ["verdict", "extracted"]).to_pylist()
        k, accepted = self.options.k, self.options.scope == "accepted"
        return [
            row
            for row, (index, found) in enumerate(zip(indices, verdicts, strict=True))
            if (k is None or index < k)
            and (found["verdict"] == CORRECT or (not accepted and found["extracted"] is not None))
        ]

    def _traces(self) -> Questions:
        problems = self._problems()
        wanted = self.wanted()
        traces = self.session.run.read(self.judged.samples, ["problem_id", "response"]).take(wanted)
        for row, trace in zip(wanted, traces.to_pylist(), strict=True):
            problem = problems[trace["problem_id"]]
            yield row, 0, clr.claims_prompt(problem["prompt"], trace["response"], self.options.m)

    def _claims(self, named: Shard) -> Questions:
        problems = self._problems()
        owners = self.session.run.read(self.judged.samples, ["problem_id"])["problem_id"].to_pylist()
        for row, found in self.named(named).items():
            prompt = problems[owners[row]]["prompt"]
            for number, claim in enumerate(found.claims):
                yield row, number, clr.judgement_prompt(prompt, claim)

    def named(self, named: Shard) -> dict[int, clr.Named]:
        return {
            row["row"]: clr.read_claims(row["text"], row["finish_reason"], self.options.m)
            for row in self.session.run.read(named).to_pylist()
        }

    def _score(self, named: Shard, said: Shard) -> tuple[pa.Table, Facts]:
        claims = self.named(named)
        verdicts = {
            (row["row"], row["number"]): clr.read_judgement(row["text"], row["finish_reason"])
            for row in self.session.run.read(said).to_pylist()
        }
        exact = self._exact(claims)
        rows: list[dict[str, Any]] = [{} for _ in range(self.judged.samples.rows)]
        counts: Counter[str] = Counter()
        for row, found in claims.items():
            judged = [
                clr.overruled(claim, exact.get((row, number), ())) or verdicts[row, number]
                for number, claim in enumerate(found.claims)
            ]
            listed = [
                {"text": claim, "status": item.status, "evidence": item.evidence}
                for claim, item in zip(found.claims, judged, strict=True)
            ]
            score = clr.reliability(judged, self.options.m)
            rows[row] = {"clr_score": score, "clr_fault": found.fault, "clr_claims": listed}
            counts.update(item.status for item in judged)
            counts[found.fault or "named"] += 1
            counts["scored"] += score is not None
        asked = {name: named.facts[name] + said.facts[name] for name in _ASKED}
        return from_rows(rows, CLR_SCHEMA), {"counts": dict(sorted(counts.items())), "asked": asked}

    def _exact(self, claims: Mapping[int, clr.Named]) -> dict[tuple[int, int], list[dict[str, Any]]]:
        """What exact checks say of each claim that the model named: in its trace, and by itself."""
        problems = self._problems()
        owners = self.session.run.read(self.judged.samples, ["problem_id"])["problem_id"].to_pylist()
        in_trace = self.session.run.read(self.judged.claims, ["claims"])["claims"].to_pylist()
        places = [(row, number) for row, found in claims.items() for number in range(len(found.claims))]
        items = [(problems[owners[row]], claims[row].claims[number], None) for row, number in places]
        exact = {}
        for place, result in zip(places, self.session.pools.claims.map(items), strict=True):
            alone = [] if isinstance(result, Fault) else result["claims"]
            exact[place] = [*(in_trace[place[0]] or ()), *alone]
        return exact


@dataclass
class _Stream:
    """The questions of one shard as requests, and the answers as a table."""

    asked: _Asked
    schema: dict[str, Any]
    questions: Callable[[], Questions]
    about: dict[str, tuple[str, int]] = field(default_factory=dict)  # question and tokens of each request

    def requests(self) -> Iterator[Request]:
        options, plan = self.asked.options, self.asked.plan
        params = {
            "temperature": options.temperature,
            "top_p": options.top_p,
            "max_tokens": options.max_tokens,
            **options.extra,
            "json_schema": self.schema,
        }
        for row, number, prompt in self.questions():
            message = [{"role": "user", "content": prompt}]
            text = plan.renderer.text(message, plan.style.chat_template_args)
            tokens = tuple(plan.renderer.tokens(text))
            name = f"{row}/{number}"
            seed = sample_seed(plan.seed, digest("asked", text), number)
            request = Request(name, tokens, seed, params, messages=message)
            self.about[name] = question(request), len(tokens)
            yield request

    def table(self, answers: Answers) -> tuple[pa.Table, Facts]:
        rows: list[dict[str, Any]] = []
        for name, answer in answers.items():
            row, _, number = name.partition("/")
            asked, length = self.about[name]
            rows.append(
                {
                    "row": int(row),
                    "number": int(number),
                    "question": asked,
                    "text": answer.text,
                    "finish_reason": answer.finish_reason,
                    "prompt_tokens": length,
                    "completion_tokens": answer.completion_tokens,
                }
            )
        rows.sort(key=lambda item: (item["row"], item["number"]))
        tokens = {name: sum(item[name] for item in rows) for name in _ASKED[1:]}
        return from_rows(rows, ANSWERS), {"calls": len(rows), "by": self.asked.by, **tokens}
