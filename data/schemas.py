"""The tables that proofmill writes, as explicit Arrow schemas whose fields carry their descriptions.

Each filter declares the columns that it adds to traces and problems (`filters/catalog.py` puts them together).
"""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

SCHEMA_VERSION = 3

STRING, I8, I32, I64, F32, BOOL = pa.string(), pa.int8(), pa.int32(), pa.int64(), pa.float32(), pa.bool_()
MESSAGES_TYPE = pa.list_(pa.struct([("role", STRING), ("content", STRING)]))
_DESCRIPTION = b"description"


def column(name: str, kind: pa.DataType, description: str) -> pa.Field:
    """Return a field with its description, which the reference pages show; files hold no descriptions."""
    return pa.field(name, kind, metadata={_DESCRIPTION: description.encode()})


def description(field: pa.Field) -> str:
    """Return the description of a field; empty where there is none."""
    metadata: Mapping[bytes, bytes] = field.metadata or {}
    return metadata.get(_DESCRIPTION, b"").decode()


def _schema(*fields: tuple[str, pa.DataType, str]) -> pa.Schema:
    return pa.schema([column(*field) for field in fields])


# --- problems and samples, before any filter has seen them -------------------------------------------

LINEAGE = (
    ("parents", pa.list_(STRING), "problems that it was made of; null: it came from a source"),
    ("operator", STRING, "how it was made of them; null as above"),
    ("model", STRING, "who wrote it; null: no model did"),
)
"""Where a problem comes from that no source gave."""

PROBLEMS = _schema(
    ("id", STRING, "digest of the content"),
    ("domain", STRING, "math, code, logic, choice, instruction, or a user's own"),
    ("system", STRING, "a system message that came with the problem"),
    ("prompt", STRING, "the problem"),
    ("answer", STRING, "gold answer; null where the domain judges by `info` alone"),
    ("info", STRING, "JSON: what the domain needs to judge: scorer entry, tests, options, constraints"),
    ("verifier", STRING, "name of the verifier: the domain's, or a user's own"),
    ("source", STRING, "where the problem comes from"),
    ("license", STRING, "licence of the source, as stated"),
    ("split", STRING, "train or validation"),
    ("pseudo_label", STRING, "how `answer` came about where the source gave none; null: the source's own gold"),
    *LINEAGE,
    ("topic", STRING, "label of `problems.topics` that a model gave it; null: none, or it was not asked"),
)

SHARD_TRACES = _schema(
    ("id", STRING, "digest of problem, sampler, index and response"),
    ("problem_id", STRING, "the problem that it answers"),
    ("sampler", STRING, "who wrote it"),
    ("sample_index", I32, "number of the sample, from 0"),
    ("first_round", BOOL, "whether it counts in the pass rate; null where nothing is known of rounds: it does"),
    ("domain", STRING, "of the problem"),
    ("system", STRING, "system message that the model saw"),
    ("prompt_digest", STRING, "digest of the rendered prompt"),
    ("response", STRING, "all that the model wrote"),
    ("prompt_tokens", I32, "tokens of the rendered prompt, by the sampler's tokenizer; null where nobody counted them"),
    ("completion_tokens", I32, "tokens of the response, by the sampler's tokenizer"),
    (
        "finish_reason",
        STRING,
        "stop, length; else prompt_too_long, quarantined, failed, content_filter, refused_by_server",
    ),
    ("model", STRING, "the sampler's model"),
    ("model_revision", STRING, "its revision"),
    ("seed", I64, "seed of this sample"),
)
"""A shard's traces as they were sampled."""

SPLIT_RESPONSE = _schema(
    ("reasoning", STRING, "the response's think block, else the text before the statement of the answer"),
    ("final", STRING, "the rest: the statement of the answer"),
)
SPLIT_COLUMNS = (*SPLIT_RESPONSE.names, "reasoning_closed")
"""What a filter may read of a response that was cut at its reasoning; the last is false where that never closes."""
FATE = _schema(
    ("stage", I8, "1 or 2: the stage of training that the trace as sampled stands in; null where none"),
    ("drop_reason", STRING, "why the trace is not used; null: kept"),
)
"""What the selection decides on a trace."""

# --- what a published version holds beside traces and problems -----------------------------------------


def sft(render: str) -> pa.Schema:
    """Return the schema of `sft_stage1` and `sft_stage2`; prompt and completion are messages or rendered text."""
    text = MESSAGES_TYPE if render == "messages" else STRING
    return _schema(
        ("id", STRING, "of the trace; with the form behind it where that is not `sample`"),
        ("problem_id", STRING, "of the problem"),
        ("domain", STRING, "of the problem"),
        ("stage", I8, "1: long chain of thought; 2: short answers, or the hard subset"),
        ("prompt", text, "what the student is given"),
        ("completion", text, "what the student learns to write"),
        (
            "form",
            STRING,
            "what stands in the completion: sample, rewritten (condensed by a model), final or answer",
        ),
        ("answer", STRING, "gold answer"),
        ("pass_rate", F32, "of the problem: correct / judged samples of the first round"),
        ("n_samples", I32, "samples that the pass rate is of"),
        ("completion_tokens", I32, "tokens of the completion, by the student's tokenizer"),
        ("total_tokens", I32, "tokens of prompt and completion"),
        ("claim_score", F32, "verified / (verified + refuted) claims; null where none was checked"),
        ("weight", F32, "weight in training: claim score times reliability, where known"),
        ("model", STRING, "who wrote it"),
        ("model_revision", STRING, "its revision"),
        ("verifier", STRING, "what proved it"),
        ("source", STRING, "of the problem"),
        ("license", STRING, "of the problem"),
    )


MESSAGES = _schema(
    ("id", STRING, "as in sft_stage1 and sft_stage2"),
    ("problem_id", STRING, "of the problem"),
    ("domain", STRING, "of the problem"),
    ("stage", I8, "1 or 2"),
    ("messages", MESSAGES_TYPE, "prompt and completion as one list"),
    ("source", STRING, "of the problem"),
    ("license", STRING, "of the problem"),
)


def pairs(render: str) -> pa.Schema:
    """Return the schema of `pairs`; prompt, chosen and rejected are messages or rendered text."""
    text = MESSAGES_TYPE if render == "messages" else STRING
    return _schema(
        ("prompt", text, "what the student is given"),
        ("chosen", text, "a kept trace"),
        ("rejected", text, "a wrong trace of the same problem and of like length"),
        ("problem_id", STRING, "of the problem"),
        ("domain", STRING, "of the problem"),
        ("chosen_id", STRING, "of the kept trace"),
        ("rejected_id", STRING, "of the wrong trace"),
        ("answer", STRING, "gold answer"),
        ("rejected_answer", STRING, "answer of the wrong trace"),
        ("chosen_tokens", I32, "tokens of `chosen`, by the student's tokenizer"),
        ("rejected_tokens", I32, "tokens of `rejected`"),
        ("pass_rate", F32, "of the problem; rows stand in its order, hard problems first"),
        (
            "rejected_share",
            F32,
            "of the problem's wrong traces, those with this wrong answer; null: it has none",
        ),
        ("model", STRING, "who wrote `chosen`"),
        ("rejected_model", STRING, "who wrote `rejected`"),
        ("verifier", STRING, "what proved `chosen`; `rejected` is always proven wrong"),
        ("source", STRING, "of the problem"),
        ("license", STRING, "of the problem"),
    )


STEP_LABELS = _schema(
    ("prompt", STRING, "the problem and the trace up to the steps, as text"),
    ("completions", pa.list_(STRING), "steps that follow one another, all of them decided"),
    ("labels", pa.list_(BOOL), "whether each step is right"),
    ("id", STRING, "of the trace, with the number of the first step behind it"),
    ("trace_id", STRING, "of the trace"),
    ("problem_id", STRING, "of the problem"),
    ("domain", STRING, "of the problem"),
    ("first_step", I32, "number of the first of these steps in the trace, from 0"),
    ("decided_by", pa.list_(STRING), "what decided each step: exact (a checked claim), verdict (the answer), model"),
    ("verdict", STRING, "of the trace"),
    ("model", STRING, "who wrote it"),
    ("source", STRING, "of the problem"),
    ("license", STRING, "of the problem"),
)

RL = _schema(
    ("id", STRING, "of the problem"),
    ("domain", STRING, "of the problem"),
    ("prompt", MESSAGES_TYPE, "what the student is given"),
    ("answer", STRING, "gold answer"),
    ("info", STRING, "JSON: what the reward function needs besides"),
    ("verifier", STRING, "the reward's verifier"),
    ("pass_rate", F32, "of the problem under the starting model, strictly between 0 and 1"),
    ("guess_rate", F32, "share of right answers that chance alone gives, 0 to 1"),
    ("initial_weight", F32, "MGPO weight exp(-KL(p || 0.5)) at that pass rate"),
    ("source", STRING, "of the problem"),
    ("license", STRING, "of the problem"),
)

PASS_RATES = _schema(
    ("problem_id", STRING, "of the problem"),
    ("sampler", STRING, "who sampled"),
    ("model", STRING, "its model"),
    ("revision", STRING, "the model's revision"),
    ("n", I32, "samples of the first round, those judged `error` left out"),
    ("correct", I32, "of them, judged `correct`"),
    ("truncated", I32, "of them, cut by length or with an open think block"),
    ("later_n", I32, "the same of later, adaptive rounds, which the pass rate leaves out"),
    ("later_correct", I32, "of those, judged `correct`"),
    ("later_truncated", I32, "of those, cut"),
)

_TRIED = pa.struct(
    [
        ("sampler", STRING),
        ("n", I32),
        ("correct", I32),
        ("pass_rate", F32),
        ("tokens", I64),  # of completions
        ("prompt_tokens", I64),
        ("cost", pa.float64()),
    ]
)

ROUTES = _schema(
    ("problem_id", STRING, "of the problem"),
    ("domain", STRING, "of the problem"),
    ("route", STRING, "the sampler that answers it; null: none proved it"),
    (
        "why",
        STRING,
        "proven: by the small model; else why it went on: large_only (its domain), unproven, below (its pass rate), "
        "untried; teacher_unavailable: it waits for a teacher that could not be asked",
    ),
    ("tried", pa.list_(_TRIED), "what each sampler did that was asked, in order"),
    ("cost", pa.float64(), "money for all samples of it, at the recipe's prices"),
    ("source", STRING, "of the problem"),
    ("license", STRING, "of the problem"),
)

EXPANSION = _schema(
    ("id", STRING, "of the problem; null where no problem could be read"),
    ("operator", STRING, "how it was made"),
    ("parents", pa.list_(STRING), "problems that it was made of"),
    ("domain", STRING, "of its parents"),
    ("prompt", STRING, "the new problem"),
    ("reply", STRING, "what the model wrote, where no problem could be read in it"),
    ("drop_reason", STRING, "why it is left out; null: it is one of the problems"),
    ("detail", STRING, "evidence of the reason: what is wrong, or what it repeats"),
    ("completion_tokens", I32, "tokens that writing and judging it took"),
    ("model", STRING, "who wrote it; null: no model did"),
    ("source", STRING, "of its parents"),
    ("license", STRING, "of its parents"),
)

CLAIMS = _schema(
    ("trace_id", STRING, "of the trace"),
    ("problem_id", STRING, "of its problem"),
    ("step", I32, "step of the trace, from 0; null for claims that a model named"),
    ("kind", STRING, "kind of the claim; `clr`: named and judged by a model"),
    ("text", STRING, "the claim as it stands in the trace"),
    ("status", STRING, "verified, refuted, unsupported, jump, retracted, not_checkable; of a model: upheld, doubted"),
    ("evidence", STRING, "what the check found"),
    ("in_final", BOOL, "whether it stands in the statement of the answer"),
)
CLAIM = pa.struct([field.remove_metadata() for field in CLAIMS if not field.name.endswith("_id")])
"""One claim, as the filters keep it with its trace."""

# --- what HOME/samples keeps ----------------------------------------------------------------------------

SAMPLES = pa.schema(
    {
        "prompt_digest": STRING,
        "sample_index": I32,
        "seed": I64,
        "response": STRING,
        "finish_reason": STRING,  # as in SHARD_TRACES
        "prompt_tokens": I32,
        "completion_tokens": I32,
    }
)

# --- answers of a model to questions about a shard ----------------------------------------------------------

ANSWERS = pa.schema(
    {
        "row": I32,  # of the shard's samples
        "number": I32,  # of the question about it
        "question": STRING,  # digest of what was asked, and with which seed and parameters
        "text": STRING,
        "finish_reason": STRING,
        "prompt_tokens": I32,
        "completion_tokens": I32,
    }
)
