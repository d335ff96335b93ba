"""The manifest of a version: every field of its `manifest.json`, typed.

`manifest.json` is written last, so a version without one does not exist. A manifest of an older program lacks fields,
which then have the defaults given here; one of a newer program has more, which are kept as they are.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from proofmill.data.errors import StoreError
from proofmill.data.files import sha256

Model = TypeVar("Model", bound=BaseModel)

MANIFEST = "manifest.json"
REPORT = "report.html"


class Record(BaseModel):
    """A part of a manifest. Unknown fields are kept; fields that were not set are not written."""

    model_config = ConfigDict(frozen=True, extra="allow", populate_by_name=True)

    def to_json(self) -> dict[str, Any]:
        """Return the fields that were set, under their names in `manifest.json`."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)


class FileEntry(Record):
    """One file of a version."""

    path: str = Field(description="Path in the version's folder.")
    rows: int | None = Field(None, description="Rows of a Parquet file; null for the card and the report.")
    bytes: int = Field(description="Size.")
    sha256: str = Field(description="SHA-256 of the content, hexadecimal.")

    @property
    def config(self) -> str:
        """The config that the file belongs to; empty for the card and the report."""
        return self.path.rpartition("/")[0]

    @classmethod
    def of(cls, folder: Path, path: Path, rows: int | None) -> Self:
        """Return the entry of a file that was written under a version's folder."""
        return cls(path=path.relative_to(folder).as_posix(), rows=rows, bytes=path.stat().st_size, sha256=sha256(path))


class Ledger(Record):
    """Where the rows of one step went: `in` = `kept` + the sum of `dropped`."""

    entered: int = Field(alias="in", description="Rows that came in.")
    kept: int = Field(description="Rows that went on.")
    dropped: dict[str, int] = Field({}, description="The others by reason.")
    rows: dict[str, int] = Field({}, description="Published rows by config (step `publish` only).")


class CodeVersion(Record):
    """Which program made the version."""

    proofmill: str = Field("", description="Version of the package.")
    steps: dict[str, int] = Field({}, description="Version of each step: raised whenever its output may change.")


class Inputs(Record):
    """The inputs of the run, identified by content and never by path."""

    files: list[tuple[str, str]] = Field([], description="Name and SHA-256 of every file of the sources and replays.")
    hubs: list[dict[str, str]] = Field([], description="SHA-256 by path of each source that is a data-set folder.")
    verifiers: dict[str, str] = Field({}, description="Digest of the source of each custom verifier, by domain.")
    filters: dict[str, str] = Field({}, description="Digest of the source of each filter of the user's own.")
    resampled: int = Field(0, description="How often the run was told to sample anew.")


class ModelRecord(Record):
    """A model that wrote samples or scored them."""

    sampler: str = Field(description="Name in the recipe.")
    model: str = Field(description="Hub id or folder name.")
    revision: str | None = Field(None, description="Commit of the hub, or what stands for it.")
    weights: str | None = Field(None, description="Digest of the weights.")
    license: str | None = Field(None, description="Licence of the model, where it is known.")
    samples: str | None = Field(None, description="The folder under HOME/samples: KEY of the recorded samples.")


class VerifierTokens(Record):
    """What a model that judges claims has read and written."""

    calls: int = Field(0, description="Questions that it answered.")
    prompt_tokens: int = Field(0, description="Tokens read.")
    completion_tokens: int = Field(0, description="Tokens written.")


class Tokens(Record):
    """Token counts."""

    sampled: int = Field(0, description="Completion tokens of all traces.")
    longest_row: int = Field(
        0, description="Tokens of the longest SFT row by the student's tokenizer: a trainer's `max_length`."
    )
    longest_pair: int = Field(0, description="Tokens of the longest prompt with either text of `pairs`.")
    verifier: VerifierTokens = Field(
        default_factory=VerifierTokens, description="Of the model that judges claims; zero where none did."
    )


class SamplingRounds(Record):
    """How a sampler's problems ended that were sampled in several rounds or under a token budget."""

    outcomes: dict[str, int] = Field({}, description="Problems by why no further round was drawn.")
    later: int = Field(0, description="Samples of later rounds, which pass rates leave out.")
    tokens: int = Field(0, description="Completion tokens.")


class ClaimBucket(Record):
    """What the claims policy costs among right answers of one range of lengths."""

    start: int = Field(alias="from", description="Completion tokens at which the range begins.")
    accepted: int = Field(0, description="Traces with a right answer.")
    refuted: int = Field(0, description="Of them, those with a refuted claim.")
    dropped: int = Field(0, description="Of them, those that the policy dropped.")
    drop_rate: float = Field(0.0, description="`dropped` / `accepted`.")
    coverage: float = Field(0.0, description="Mean share of steps that hold a checkable claim.")


class AskedModel(Record):
    """A model that a filter asks."""

    model: str = Field(description="Hub id or folder name.")
    revision: str | None = Field(None, description="Commit of the hub.")
    weights: str | None = Field(None, description="Digest of the weights.")


class ClaimJudge(AskedModel):
    """The model that judged claims (claim-level reliability), and how it was asked."""

    k: int | None = Field(None, description="Traces a problem that are judged.")
    m: int | None = Field(None, description="Claims a trace.")
    scope: str = Field("", description="Which traces are judged.")
    prompts: str = Field("", description="Digest of the questions' wording.")
    counts: dict[str, int] = Field({}, description="Traces by what came of the question.")


class AnswerJudge(AskedModel):
    """The model that judged answers which rules neither proved equal nor different."""

    prompts: str = Field("", description="Digest of the questions' wording.")
    counts: dict[str, int] = Field({}, description="Verdicts that it gave.")
    calls: int = Field(0, description="Questions that it answered.")
    share: float = Field(0.0, description="Its verdicts over all verdicts.")


class NearItemJudge(AskedModel):
    """The model that compared problems with benchmark items near them."""

    prompts: str = Field("", description="Digest of the questions' wording.")
    counts: dict[str, int] = Field({}, description="Problems: the `same` as an item, `other`, `not_judged`.")
    calls: int = Field(0, description="Questions that it answered.")


class Rewritings(AskedModel):
    """The model that condensed proven traces, and what came of it."""

    prompts: str = Field("", description="Digest of the question's wording.")
    traces: int = Field(0, description="Traces that it was shown.")
    used: int = Field(0, description="Of them, those of which it wrote a short solution that is sound.")
    tries: Ledger = Field(description="Short solutions: `kept` are right and sound, the others by the reason why not.")
    completion_tokens: int = Field(0, description="Tokens written.")


class TopicNamer(AskedModel):
    """The model that named topics of problems."""

    prompts: str = Field("", description="Digest of the question's wording.")
    counts: dict[str, int] = Field({}, description="Problems by topic; `not_named`: its reply was none of the labels.")
    calls: int = Field(0, description="Questions that it answered.")


class VoteRates(Record):
    """Means over the problems with gold whose answers were voted on."""

    problems: int = Field(0, description="How many problems.")
    pass_1: float | None = Field(None, description="Mean pass@1.")
    maj_k: float | None = Field(None, description="Share in which the most frequent answer is right.")
    clr_k: float | None = Field(None, description="The same, each vote weighed by its trace's reliability.")


class VotesByK(VoteRates):
    """Vote rates, and their course over k."""

    by_k: dict[str, VoteRates] = Field({}, description="The same for votes of k samples, by k.")


class RoutedModel(Record):
    """One model of a route."""

    sampler: str = Field(description="Its name in the recipe.")
    price: float = Field(0.0, description="Money for a million of its completion tokens.")
    prompt_price: float = Field(0.0, description="Money for a million of its prompt tokens.")
    tried: int = Field(0, description="Problems that it sampled.")
    answers: int = Field(0, description="Problems whose answer is its.")
    tokens: int = Field(0, description="Completion tokens of those samples.")
    prompt_tokens: int = Field(0, description="Prompt tokens of them, each sample's anew.")
    cost: float = Field(0.0, description="Money for them.")
    waiting: int = Field(0, description="Problems that it should have got, and could not be asked about.")


class Routing(Record):
    """What went on from the small model to teachers, and what it cost."""

    problems: int = Field(0, description="Problems that were sampled.")
    proven: int = Field(0, description="Of them, those with a proven sample.")
    reasons: dict[str, int] = Field({}, description="Problems by `why` of the config `routes`.")
    models: list[RoutedModel] = Field([], description="The small model, then the teachers in order.")
    cost: float = Field(0.0, description="Money for all samples.")
    large_alone: float | None = Field(
        None,
        description="Money for the dearest teacher alone, had it sampled every problem at its mean cost and proven as "
        "many; null where it sampled none.",
    )

    @property
    def waiting(self) -> str:
        """How many problems wait for which teachers, in words; empty where none does."""
        return ", ".join(f"{model.waiting:,} for {model.sampler}" for model in self.models if model.waiting)


class OperatorFunnel(Record):
    """What became of the new problems that one operator of `problems.expand` made."""

    operator: str = Field(description="Its name.")
    written: int = Field(0, description="Texts that were written.")
    kept: int = Field(0, description="Of them, problems that are kept, with a label and a pass rate of use.")
    dropped: dict[str, int] = Field({}, description="The others by reason, as in the config `expansion`.")
    tokens: int = Field(0, description="Completion tokens that writing and judging took.")
    tokens_per_kept: float | None = Field(None, description="`tokens` / `kept`; null where none was kept.")


class Benchmarks(Record):
    """The benchmarks that prompts and traces were compared with."""

    digest: str = Field("", description="Digest of the index of their n-grams.")
    n: int = Field(0, description="Words of an n-gram.")
    items: dict[str, int] = Field({}, description="Items by benchmark.")
    sources: list[dict[str, Any]] = Field([], description="Where each was read from, with the digest of a file.")


class FilterRecord(Record):
    """A filter that judged the traces: what `diff`, `show` and the report need to know of it."""

    name: str = Field(description="Name of the filter.")
    version: int = Field(0, description="Raised whenever the filter's output may change.")
    adds: list[str] = Field([], description="Columns of `traces` that it wrote.")
    reasons: dict[str, list[str]] = Field(
        {}, description="Its drop reasons in the order in which they are tried, each with the columns that show why."
    )
    shown_as: str = Field("", description="Step of the report's funnel at which its dropped rows fall off.")


_ANSWER = ["extracted", "verdict_detail"]
EARLIER_FILTERS = [
    FilterRecord(
        name="verdicts",
        shown_as="right answer",
        adds=["verdict", "verdict_detail", "extracted", "tests_passed", "tests_total"],
        reasons=dict.fromkeys(("wrong", "unparsed", "truncated", "timeout", "error"), _ANSWER),
    ),
    FilterRecord(
        name="claims",
        adds=["claims_checked", "claims_refuted", "first_refuted_step", "claim_score", "claim_coverage"],
        reasons={"refuted_claim": ["claims_refuted", "claim_score"]},
    ),
    FilterRecord(name="clr", adds=["clr_score"], reasons={"unreliable": ["clr_score"]}),
    FilterRecord(
        name="quality",
        adds=["repetition", "quality_detail"],
        reasons={"repetition": ["repetition", "quality_detail"], "degenerate": ["quality_detail"]},
    ),
    FilterRecord(
        name="contamination",
        shown_as="new",
        adds=["contaminated_by"],
        reasons={"contaminated": ["contaminated_by", "contaminated_span"]},
    ),
    FilterRecord(
        name="near_duplicates",
        shown_as="new",
        adds=["duplicate_of"],
        reasons={reason: ["duplicate_of"] for reason in ("in_previous", "near_duplicate")},
    ),
    FilterRecord(name="nll", adds=["nll"]),
    FilterRecord(
        name="potential",
        shown_as="kept",
        reasons={reason: ["nll"] for reason in ("too_short", "nll_outlier", "low_potential")},
    ),
]
"""The filters of versions whose manifest does not name theirs."""


class Manifest(Record):
    """Everything that is known of how a version was made, and its files."""

    name: str = Field(description="Name of the data set.")
    version: int | None = Field(None, description="Number of the version: 1, 2, …")
    parent: int | None = Field(None, description="Number of the version before it; null for the first.")
    created: str = Field("", description="Time of publishing, ISO 8601 in UTC.")
    schema_version: int = Field(1, description="Version of the columns; raised when their meaning changes.")
    recipe: dict[str, Any] = Field({}, description="The resolved recipe: every key, defaults included.")
    recipe_digest: str = Field("", description="Digest of the resolved recipe.")
    limit: int | None = Field(None, description="`--limit` of the run; null where there was none.")
    code_version: CodeVersion = Field(default_factory=CodeVersion, description="Which program made it.")
    inputs: Inputs = Field(default_factory=Inputs, description="What came from outside.")
    seconds: dict[str, float] = Field(
        {}, description="Seconds that each stage took, in this run or an earlier one; stages overlap."
    )
    models: list[ModelRecord] = Field([], description="The models that were sampled.")
    engines: dict[str, Any] = Field({}, description="What each sampler's engine said of itself when it last ran.")
    libraries: dict[str, str] = Field({}, description="Versions of the libraries that decide results.")
    filters: list[FilterRecord] = Field(
        EARLIER_FILTERS, description="The filters that judged the traces, in their order."
    )
    stages: dict[str, Ledger] = Field(
        {},
        description="The funnel, a ledger each: `problems`, `expansion` where asked for, `samples`, `verdicts`, "
        "`selection`, `publish`.",
    )
    licenses: list[str | None] = Field([], description="Licences of the problems and samples; null is unknown.")
    sources: list[tuple[str, str | None]] = Field([], description="Sources of the problems, each with its licence.")
    terms: list[tuple[str, str, str | None, int]] = Field(
        [], description="Published rows by config, source and licence."
    )
    recorded_models: list[str] = Field([], description="Models named by recorded samples that were replayed.")
    tokens: Tokens = Field(default_factory=Tokens, description="Token counts.")
    rounds: dict[str, SamplingRounds] = Field({}, description="By sampler with adaptive rounds: how they went.")
    pairs: Ledger | None = Field(
        None,
        description="Wrong traces: `kept` stand in `pairs`, the others by the reason why not; null: not asked for.",
    )
    expansion: list[OperatorFunnel] = Field([], description="The funnel of new problems, by operator.")
    route: Routing | None = Field(None, description="How problems were routed; null where they were not.")
    duplicates: int = Field(0, description="Traces marked as near-duplicates.")
    luck: dict[str, float] = Field(
        {}, description="`guessable`: right answers that chance gives too; `guesses`: of them, as many as were luck."
    )
    claims_by_length: list[ClaimBucket] = Field([], description="What the claims policy costs, by length.")
    clr: ClaimJudge | None = Field(None, description="The model that judged claims; null where none did.")
    answer_judge: AnswerJudge | None = Field(
        None, description="The model that judged answers which rules could not decide; null where none did."
    )
    near_judge: NearItemJudge | None = Field(
        None, description="The model that compared problems with benchmark items near them; null where none did."
    )
    rewritings: Rewritings | None = Field(
        None, description="The model that condensed proven traces into short solutions; null where none did."
    )
    topics: TopicNamer | None = Field(None, description="The model that named topics of problems; null: none did.")
    at_k: VotesByK | None = Field(None, description="How often votes are right; null where nothing was voted on.")
    right_answer_refuted_step: int = Field(0, description="Traces with a right answer and a refuted claim.")
    benchmarks: Benchmarks | None = Field(None, description="What prompts and traces were compared with.")
    learning_student: ModelRecord | None = Field(None, description="The model whose NLL ranks traces, if one does.")
    held_out_problems: int = Field(0, description="Problems of the validation split.")
    files: list[FileEntry] = Field([], description="Every file but the manifest itself.")

    @classmethod
    def parse(cls, data: bytes, where: str) -> Self:
        """Return the manifest that a file's text holds.

        Raises:
            StoreError: the text is not a manifest; the error names the first fault.
        """
        return parsed(cls, data, where, "A version's manifest")

    def replaced(self, **fields: Any) -> Self:
        """Return a copy of the manifest with other values of some fields."""
        return self.model_validate(self.to_json() | fields)

    def files_of(self, config: str) -> list[FileEntry]:
        """Return the Parquet files of one config."""
        return [file for file in self.files if file.config == config]

    def rows_of(self, config: str) -> int:
        """Return how many rows a config has."""
        return sum(file.rows or 0 for file in self.files_of(config))

    @property
    def shown_recipe(self) -> dict[str, Any]:
        """The resolved recipe as a reader should see it: a replay drew nothing, so it has no model and no sampling."""
        samplers = [
            {key: value for key, value in sampler.items() if key not in ("model", "sampling")}
            if sampler.get("engine", {}).get("kind") == "replay"
            else sampler
            for sampler in self.recipe.get("samplers", [])
        ]
        return self.recipe | ({"samplers": samplers} if samplers else {})

    @property
    def selection(self) -> Ledger:
        """Where every trace went."""
        return self.stages["selection"]

    @property
    def published_rows(self) -> dict[str, int]:
        """Published rows by config."""
        return self.stages["publish"].rows


def parsed(model: type[Model], data: bytes, where: str, what: str) -> Model:
    """Return the typed record that a file's JSON holds.

    Raises:
        StoreError: it doesn't; the error calls it `what` and names the first fault.
    """
    try:
        return model.model_validate(orjson.loads(data))
    except (orjson.JSONDecodeError, ValidationError) as error:
        raise StoreError(
            f"{what} can't be read.",
            where=f"{where}: {_first_fault(error)}",
            remedy="restore it from a copy, or move this version's folder away",
        ) from error


def _first_fault(error: Exception) -> str:
    if isinstance(error, ValidationError):
        fault = error.errors()[0]
        return f"{'.'.join(map(str, fault['loc'])) or 'the file'}: {fault['msg']}"
    return str(error)
