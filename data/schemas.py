"""Every table proofmill writes, as explicit Arrow schemas. The one place that says which columns exist."""

from __future__ import annotations

import pyarrow as pa

SCHEMA_VERSION = 2

_string, _i32, _i64, _f32, _bool = pa.string(), pa.int32(), pa.int64(), pa.float32(), pa.bool_()
MESSAGES_TYPE = pa.list_(pa.struct([("role", _string), ("content", _string)]))

# --- what a published version holds ---------------------------------------------------------------

PROBLEMS = pa.schema(
    {
        "id": _string,  # digest of the content
        "domain": _string,
        "system": _string,  # a system message that came with the problem
        "prompt": _string,
        "answer": _string,
        "info": _string,  # JSON: what the domain needs to judge: scorer entry, tests, options, constraints
        "verifier": _string,
        "source": _string,
        "license": _string,
        "split": _string,
        "pseudo_label": _string,  # how `answer` came about where the source gave none; null = the source's own gold
        "gold_suspect": _bool,
        "gold_evidence": _string,  # why, in words
        "weak_tests": _bool,
        "contaminated_by": _string,
        "contaminated_span": _string,
    }
)

TRACES = pa.schema(
    {
        "id": _string,
        "problem_id": _string,
        "sampler": _string,
        "sample_index": _i32,
        "first_round": _bool,  # whether it counts in the pass rate; null where nothing is known of rounds: it does
        "domain": _string,
        "system": _string,
        "prompt_digest": _string,
        "response": _string,
        "reasoning": _string,
        "final": _string,
        "extracted": _string,
        "verdict": _string,
        "verdict_detail": _string,
        "tests_passed": _i32,
        "tests_total": _i32,
        "claims_checked": _i32,
        "claims_refuted": _i32,
        "first_refuted_step": _i32,
        "claim_score": _f32,
        "claim_coverage": _f32,  # steps that hold a checkable claim / steps
        "clr_score": _f32,
        "repetition": _f32,
        "quality_detail": _string,
        "contaminated_by": _string,  # benchmark/item that the prompt or the response overlaps with
        "contaminated_span": _string,  # the common words as they stand there
        "duplicate_of": _string,
        "nll": _f32,
        "completion_tokens": _i32,
        "finish_reason": _string,
        "model": _string,
        "model_revision": _string,
        "seed": _i64,
        "stage": pa.int8(),
        "drop_reason": _string,
    }
)


def sft(render: str) -> pa.Schema:
    """Schema of `sft_stage1` and `sft_stage2`; prompt and completion are messages or rendered text."""
    text = MESSAGES_TYPE if render == "messages" else _string
    return pa.schema(
        {
            "id": _string,
            "problem_id": _string,
            "domain": _string,
            "stage": pa.int8(),
            "prompt": text,
            "completion": text,
            "form": _string,  # sample | final | answer: what stands in the completion
            "answer": _string,
            "pass_rate": _f32,
            "n_samples": _i32,
            "completion_tokens": _i32,
            "total_tokens": _i32,
            "claim_score": _f32,
            "weight": _f32,
            "model": _string,
            "model_revision": _string,
            "verifier": _string,
            "source": _string,
            "license": _string,
        }
    )


MESSAGES = pa.schema(
    {
        "id": _string,
        "problem_id": _string,
        "domain": _string,
        "stage": pa.int8(),
        "messages": MESSAGES_TYPE,
        "source": _string,
        "license": _string,
    }
)

RL = pa.schema(
    {
        "id": _string,
        "domain": _string,
        "prompt": MESSAGES_TYPE,
        "answer": _string,
        "info": _string,
        "verifier": _string,
        "pass_rate": _f32,
        "initial_weight": _f32,
        "source": _string,
        "license": _string,
    }
)

PASS_RATES = pa.schema(
    {
        "problem_id": _string,
        "sampler": _string,
        "model": _string,
        "revision": _string,
        "n": _i32,  # samples of the first round, those judged `error` left out
        "correct": _i32,
        "truncated": _i32,
        "later_n": _i32,  # the same of later, adaptive rounds, which the pass rate leaves out
        "later_correct": _i32,
        "later_truncated": _i32,
    }
)

CLAIMS = pa.schema(
    {
        "trace_id": _string,
        "problem_id": _string,
        "step": _i32,
        "kind": _string,
        "text": _string,
        "status": _string,  # verified | refuted | unsupported | jump | retracted | not_checkable
        "evidence": _string,
        "in_final": _bool,
    }
)

# --- what HOME/samples keeps ----------------------------------------------------------------------

SAMPLES = pa.schema(
    {
        "prompt_digest": _string,
        "sample_index": _i32,
        "seed": _i64,
        "response": _string,
        "finish_reason": _string,  # stop | length | prompt_too_long | quarantined | failed
        "prompt_tokens": _i32,
        "completion_tokens": _i32,
    }
)

# --- what a run's stages add, row-aligned with the shard's samples ---------------------------------

SHARD_TRACES = pa.schema(
    [
        TRACES.field(name)
        for name in (
            "id",
            "problem_id",
            "sampler",
            "sample_index",
            "first_round",
            "domain",
            "system",
            "prompt_digest",
            "response",
            "completion_tokens",
            "finish_reason",
            "model",
            "model_revision",
            "seed",
        )
    ]
)

VERDICTS = pa.schema(
    [
        *(TRACES.field(n) for n in ("extracted", "verdict", "verdict_detail", "tests_passed", "tests_total")),
        pa.field("verify_seconds", _f32),
        pa.field("final_start", _i32),  # offset in the response where the statement of the answer begins
    ]
)

CLAIM = pa.struct([CLAIMS.field(n) for n in ("step", "kind", "text", "status", "evidence", "in_final")])
CLAIM_COLUMNS = pa.schema(
    [
        *(TRACES.field(n) for n in ("claims_checked", "claims_refuted", "first_refuted_step", "claim_score")),
        TRACES.field("claim_coverage"),
        pa.field("refuted_final", _bool),  # whether a refuted claim stands in the final part
        pa.field("claims", pa.list_(CLAIM)),
    ]
)

QUALITY = pa.schema([TRACES.field("repetition"), TRACES.field("quality_detail")])

# --- what a stage says of some rows only: by id, not row-aligned ------------------------------------

CONTAMINATION = pa.schema(
    [
        pa.field("found_in", _string),  # prompt | response
        pa.field("id", _string),  # of the problem or the trace
        TRACES.field("contaminated_by"),
        TRACES.field("contaminated_span"),
    ]
)

# --- what a model was asked about a shard, and what came of it ---------------------------------------

ANSWERS = pa.schema(
    {
        "row": _i32,  # of the shard's samples
        "number": _i32,  # of the question about it
        "question": _string,  # digest of what was asked, and with which seed and parameters
        "text": _string,
        "finish_reason": _string,
        "prompt_tokens": _i32,
        "completion_tokens": _i32,
    }
)

CLR = pa.schema(
    [
        TRACES.field("clr_score"),
        pa.field("clr_fault", _string),  # why a trace that was asked about has no claims
        pa.field("clr_claims", pa.list_(pa.struct([CLAIMS.field(n) for n in ("text", "status", "evidence")]))),
    ]
)

VOTES = pa.schema(
    {
        "problem_id": _string,
        "n": _i32,  # samples that were counted, those without an answer too
        "pass_1": _f32,  # null where the problem has no gold
        "maj_k": _f32,
        "clr_k": _f32,
        "majority": _string,  # the answer with the most votes, null at a tie
        "majority_votes": _i32,
        "majority_share": _f32,  # of the votes
        "majority_rows": pa.list_(_i32),  # samples of the shard that gave it
        "clr": _string,  # the same by the sum of reliabilities
        "clr_votes": _i32,
        "clr_share": _f32,
        "clr_rows": pa.list_(_i32),
    }
)

NLL = pa.schema(
    [
        TRACES.field("id"),
        TRACES.field("domain"),
        pa.field("tokens", _i32),  # of the response, by the student's tokenizer
        TRACES.field("nll"),  # null where the student can't hold the text
    ]
)
