"""The selection keeps or drops each trace for one reason, so that the ledger always balances."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofmill.data.sections import Section
from proofmill.filters.caps import CANDIDATES, CapOptions, caps
from proofmill.filters.catalog import FILTERS, reasons
from proofmill.filters.claim_checks import ClaimOptions, ModelVerifier
from proofmill.filters.curriculum import CAPPED, BroadToHard, LongToShort
from proofmill.filters.learning_potential import LOW_POTENTIAL, NLL_OUTLIER, TOO_SHORT
from proofmill.filters.repetition import QualityOptions
from proofmill.filters.selection import (
    SELECTION,
    SelectOptions,
    add_ledgers,
    apply_run_caps,
    ledger,
    pass_rates,
    preselect,
    problem_rates,
)
from proofmill.filters.verdicts import CORRECT, ERROR, VERDICTS

REASONS = reasons()
DETAILS = (
    "truncated",
    "empty",
    "no_answer",
    "no_gold",
    "pseudo_label",
    "too_long",
    "not_judged",
    "unsupported_language",
)
SCHEMA = {
    "id": pl.String,
    "problem_id": pl.String,
    "sampler": pl.String,
    "first_round": pl.Boolean,
    "verdict": pl.String,
    "verdict_detail": pl.String,
    "final_start": pl.Int32,
    "claims_refuted": pl.Int32,
    "refuted_final": pl.Boolean,
    "repetition": pl.Float32,
    "quality_detail": pl.String,
    "domain": pl.String,
    "potential_reason": pl.String,
    "preferred": pl.Boolean,
    "contaminated_by": pl.String,
    "duplicate_of": pl.String,
    "in_previous": pl.Boolean,
    "claim_score": pl.Float32,
    "clr_score": pl.Float32,
    "luck": pl.Float32,
    "completion_tokens": pl.Int32,
    "length": pl.Int32,
}
GOOD: dict[str, Any] = {
    "problem_id": "p",
    "sampler": "self",
    "first_round": None,
    "verdict": CORRECT,
    "verdict_detail": "boxed",
    "final_start": 5,
    "claims_refuted": None,
    "refuted_final": None,
    "repetition": 0.0,
    "quality_detail": None,
    "domain": "math",
    "potential_reason": None,
    "preferred": None,
    "contaminated_by": None,
    "duplicate_of": None,
    "in_previous": None,
    "claim_score": None,
    "clr_score": None,
    "luck": None,
    "completion_tokens": None,
}


def table(rows: list[dict[str, Any]]) -> pl.DataFrame:
    full = [GOOD | {"id": f"t{place}", "length": 100 + place} | row for place, row in enumerate(rows)]
    return pl.DataFrame(full, schema=SCHEMA)


def select(
    traces: pl.DataFrame,
    options: SelectOptions = SelectOptions(),  # noqa: B008 (frozen)
    curriculum: LongToShort | BroadToHard = LongToShort(),  # noqa: B008 (frozen)
    **sections: Section,
) -> pl.DataFrame:
    """The selection under the rules of all filters; their sections by name, else the defaults."""
    asked = [(sections.get(one.section) or one.options(), one.rules) for one in FILTERS]
    rules = [(rule.reason, rule.when(section)) for section, of_one in asked for rule in of_one]
    return preselect(traces, rules, options, curriculum)


random_row = st.fixed_dictionaries(
    {
        "problem_id": st.sampled_from(["p", "q", "r"]),
        "sampler": st.sampled_from(["a", "b"]),
        "first_round": st.sampled_from([None, True, False]),
        "verdict": st.sampled_from([*VERDICTS, CORRECT, CORRECT]),
        "verdict_detail": st.sampled_from([None, "boxed", *DETAILS]) | st.text(max_size=8),
        "final_start": st.none() | st.integers(0, 50),
        "claims_refuted": st.none() | st.integers(0, 3),
        "refuted_final": st.sampled_from([None, False, True]),
        "repetition": st.none() | st.floats(0, 1, width=32),
        "quality_detail": st.sampled_from([None, None, "loop: x", "empty_reasoning"]),
        "domain": st.sampled_from(["math", "code"]),
        "potential_reason": st.sampled_from([None, None, None, NLL_OUTLIER, TOO_SHORT, LOW_POTENTIAL]),
        "preferred": st.sampled_from([None, False, True]),
        "contaminated_by": st.sampled_from([None, None, None, "exam/1"]),
        "duplicate_of": st.sampled_from([None, None, "t0"]),
        "in_previous": st.sampled_from([None, False, True]),
        "claim_score": st.none() | st.floats(0, 1, width=32),
        "clr_score": st.none() | st.floats(0, 1, width=32),
        "luck": st.none() | st.floats(0, 1, width=32),
        "completion_tokens": st.none() | st.integers(0, 9000),
        "length": st.integers(0, 9000),
    }
)
random_options = st.fixed_dictionaries(
    {
        "options": st.builds(
            SelectOptions,
            max_per_problem=st.integers(1, 4),
            max_trace_tokens=st.none() | st.integers(1, 9000),
            pass_rate=st.sampled_from([(0.0, 1.0), (0.1, 0.6)]),
        ),
        "curriculum": st.builds(LongToShort) | st.builds(BroadToHard, reference=st.sampled_from([None, "a"])),
        "quality": st.builds(QualityOptions, max_repetition=st.floats(0, 1)),
        "claims": st.builds(
            ClaimOptions,
            drop=st.sampled_from(["final", "any", "none"]),
            model=st.just(ModelVerifier()),
            min_reliability=st.none() | st.floats(0, 1),
        ),
    }
)
Asked = dict[str, Any]


@given(st.lists(random_row, max_size=25), random_options)
def test_the_ledger_balances_whatever_the_columns(rows: list[dict[str, Any]], options: Asked) -> None:
    traces = table(rows)
    chosen = select(traces, **options)
    assert chosen["id"].to_list() == traces["id"].to_list()
    balance = ledger(chosen["drop_reason"].to_list(), REASONS)
    assert balance["in"] == balance["kept"] + sum(balance["dropped"].values()) == len(rows)
    assert list(balance["dropped"]) == [reason for reason in REASONS if reason in balance["dropped"]]
    assert chosen.to_arrow().cast(SELECTION).num_rows == len(rows)

    both = traces.hstack(chosen.drop("id", "domain"))
    kept = both.filter(pl.col("drop_reason").is_null())
    assert set(kept["verdict"]) <= {CORRECT}
    assert kept["contaminated_by"].null_count() == kept.height
    assert kept["duplicate_of"].null_count() == kept.height
    assert set(kept["quality_detail"].drop_nulls()) <= {"empty_reasoning"}
    assert not both.filter(pl.col("in_stage1"))["quality_detail"].is_not_null().any()
    placed = pl.col("in_stage1") | pl.col("short_form").is_not_null()
    assert both.filter(placed)["id"].to_list() == kept["id"].to_list(), "kept means that a stage has it"
    assert (both.filter(pl.col("in_stage1"))["stage"] == 1).all()
    caps = both.filter(pl.col("in_stage1")).group_by("problem_id").len()["len"]
    assert all(count <= options["options"].max_per_problem for count in caps)
    if options["curriculum"].strategy == "long_to_short":
        shorts = both.filter(pl.col("short_form") == "sample")
        assert not shorts["in_stage1"].any()
        for problem, length in shorts.select("problem_id", "length").iter_rows():
            long = both.filter((pl.col("problem_id") == problem) & pl.col("in_stage1"))["length"]
            assert all(2 * length <= other for other in long)


limits = st.builds(
    CapOptions,
    mix=st.sampled_from([(), (("code", 0.5), ("math", 0.5)), (("math", 0.2),)]),
    max_total_tokens=st.none() | st.integers(0, 9000),
)


@pytest.mark.slow
@given(st.lists(random_row, max_size=25), random_options, limits)
def test_caps_of_the_whole_run_leave_the_ledger_balanced(
    rows: list[dict[str, Any]], options: Asked, over: CapOptions
) -> None:
    traces = table(rows)
    offered = select(traces, **options)
    kept = offered.filter(pl.col("drop_reason").is_null())
    found = caps([lambda: kept.select(CANDIDATES.names)], over)
    chosen = pl.concat([apply_run_caps(offered[:9], found), apply_run_caps(offered[9:], found)])
    balance = ledger(chosen["drop_reason"].to_list(), REASONS)
    assert balance["in"] == balance["kept"] + sum(balance["dropped"].values()) == len(rows)
    assert chosen.to_arrow().cast(SELECTION).num_rows == len(rows)
    stays = chosen.filter(pl.col("drop_reason").is_null())
    assert set(stays["id"]) <= set(kept["id"])
    gone = chosen.filter(pl.col("drop_reason").is_not_null())
    assert not gone["in_stage1"].any()
    assert gone["stage"].null_count() == gone["short_form"].null_count() == gone.height
    before = offered.filter(pl.col("drop_reason").is_not_null()).select("id", "drop_reason")
    assert before.equals(chosen.select("id", "drop_reason").filter(pl.col("id").is_in(before["id"].to_list())))
    assert over.max_total_tokens is None or stays["tokens"].sum() <= over.max_total_tokens


@given(st.lists(random_row, max_size=20), random_options, st.randoms())
def test_the_order_of_rows_decides_nothing(rows: list[dict[str, Any]], options: Asked, rng) -> None:  # type: ignore[no-untyped-def]
    traces = table(rows)
    turned = traces[rng.sample(range(len(rows)), len(rows))] if rows else traces
    assert select(turned, **options).sort("id").equals(select(traces, **options).sort("id"))
    assert pass_rates(turned).equals(pass_rates(traces))


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({}, None),
        ({"verdict": "wrong"}, "wrong"),
        ({"verdict": "timeout"}, "timeout"),
        ({"verdict": "error"}, "error"),
        ({"verdict": "unparsed", "verdict_detail": "no_answer"}, "unparsed"),
        ({"verdict": "unparsed", "verdict_detail": None}, "unparsed"),
        ({"verdict": "unparsed", "verdict_detail": "truncated"}, "truncated"),
        ({"claims_refuted": 1, "refuted_final": True}, "refuted_claim"),
        ({"claims_refuted": 1, "refuted_final": False}, None),
        ({"claims_refuted": 1, "refuted_final": True, "verdict": "wrong"}, "wrong"),
        ({"claims_refuted": 1, "refuted_final": True, "repetition": 0.9}, "refuted_claim"),
        ({"repetition": 0.51}, "repetition"),
        ({"repetition": 0.5}, None),
        ({"repetition": None}, None),
        ({"quality_detail": "loop"}, "degenerate"),
        ({"duplicate_of": "t9"}, "near_duplicate"),
        ({"potential_reason": "nll_outlier", "contaminated_by": "exam/1"}, "nll_outlier"),
        ({"contaminated_by": "exam/1", "duplicate_of": "t9"}, "contaminated"),
        ({"contaminated_by": "exam/1", "quality_detail": "loop"}, "degenerate"),
        ({"in_previous": True}, "in_previous"),
        ({"completion_tokens": 1001}, "too_long"),
        ({"completion_tokens": 1000}, None),
        ({"verdict": "wrong", "repetition": 0.9, "duplicate_of": "t9"}, "wrong"),
        ({"repetition": 0.9, "quality_detail": "loop", "duplicate_of": "t9"}, "repetition"),
    ],
)
def test_each_dropped_trace_has_its_first_reason(row: dict[str, Any], reason: str | None) -> None:
    chosen = select(table([row]), SelectOptions(max_trace_tokens=1000))
    assert chosen["drop_reason"].to_list() == [reason]


RELIABLE = ClaimOptions(model=ModelVerifier(), min_reliability=0.5)
BREAKS: dict[str, dict[str, Any]] = {
    "wrong": {"verdict": "wrong"},
    "truncated": {"verdict": "unparsed", "verdict_detail": "truncated"},
    "refuted_claim": {"refuted_final": True},
    "lucky": {"luck": 0.9},
    "unreliable": {"clr_score": 0.1},
    "repetition": {"repetition": 0.9},
    "degenerate": {"quality_detail": "loop"},
    "too_short": {"potential_reason": "too_short"},
    "nll_outlier": {"potential_reason": "nll_outlier"},
    "low_potential": {"potential_reason": "low_potential"},
    "contaminated": {"contaminated_by": "exam/1"},
    "in_previous": {"in_previous": True},
    "near_duplicate": {"duplicate_of": "t9"},
    "too_long": {"completion_tokens": 1001},
}


@pytest.mark.parametrize(("first", "second"), list(combinations(BREAKS, 2)))
def test_of_two_reasons_the_one_that_the_funnel_shows_first_is_given(first: str, second: str) -> None:
    both = {**BREAKS[second], **BREAKS[first]}
    earlier = min((name for name in (first, second) if BREAKS[name].items() <= both.items()), key=REASONS.index)
    chosen = select(table([both]), SelectOptions(max_trace_tokens=1000), claims=RELIABLE)
    assert chosen["drop_reason"].to_list() == [earlier]


def test_problems_outside_the_band_go_and_its_ends_belong_to_it() -> None:
    rows = [{}, {"verdict": "wrong"}] + [{"problem_id": "easy"}] * 2
    for band, expected in (((0.5, 1.0), [None, None]), ((0.0, 0.5), [None, "capped_pass_rate"])):
        chosen = select(table(rows), SelectOptions(pass_rate=band), BroadToHard())
        assert [chosen["drop_reason"][0], chosen["drop_reason"][2]] == expected


def test_what_teaches_more_is_taken_first() -> None:
    rows = [
        {"length": 400, "preferred": False},
        {"length": 300, "preferred": True},
        {"length": 200, "claim_score": 0.5},
    ]
    chosen = select(table(rows), SelectOptions(max_per_problem=1), BroadToHard())
    assert chosen["drop_reason"].to_list() == [CAPPED, None, CAPPED]


def test_traces_over_the_cap_say_so() -> None:
    rows = [{"length": length} for length in (400, 390, 380, 370)]
    chosen = select(table(rows), SelectOptions(max_per_problem=2), LongToShort(short_forms=()))
    assert chosen["drop_reason"].to_list() == [None, None, CAPPED, CAPPED]
    assert chosen["stage"].to_list() == [1, 1, None, None]


def test_a_pass_rate_is_correct_over_all_but_errors() -> None:
    verdicts = ["correct", "wrong", "unparsed", "timeout", "error", "error"]
    rows = [{"verdict": verdict, "sampler": "a"} for verdict in verdicts]
    rows += [{"verdict": "unparsed", "verdict_detail": "truncated", "sampler": "b"}, {"verdict": ERROR, "sampler": "c"}]
    rates = pass_rates(table(rows))
    counts = rates.select("sampler", "n", "correct", "truncated", "pass_rate").rows()
    assert counts == [("a", 4, 1, 0, 0.25), ("b", 1, 0, 1, 0.0), ("c", 0, 0, 0, None)]
    assert problem_rates(rates, None) == {"p": (0.2, 5)}
    assert problem_rates(rates, "a") == {"p": (0.25, 4)}
    assert problem_rates(rates, "c") == {}


def test_later_rounds_are_counted_apart() -> None:
    """A problem that is sampled until it succeeds must not look easier for it."""
    rows: list[dict[str, Any]] = [{"verdict": "wrong", "first_round": True}] * 3 + [{"first_round": True}]
    later = [{"first_round": False}] * 5 + [{"verdict": ERROR, "first_round": False}]
    rates = pass_rates(table(rows + later)).row(0, named=True)
    assert (rates["n"], rates["correct"], rates["pass_rate"]) == (4, 1, 0.25)
    assert (rates["later_n"], rates["later_correct"]) == (5, 5)
    assert problem_rates(pass_rates(table(rows + later)), None) == problem_rates(pass_rates(table(rows)), None)


def test_the_reference_sampler_decides_what_is_hard() -> None:
    rows = [{"sampler": "strong", "length": 6000}, {"sampler": "weak", "verdict": "wrong"}]
    for reference, stages in (("strong", [None, None]), ("weak", ["sample", None]), (None, [None, None])):
        chosen = select(table(rows), curriculum=BroadToHard(reference=reference))
        assert chosen["short_form"].to_list() == stages


def test_ledgers_add_up_in_the_order_of_the_reasons() -> None:
    first = {"in": 3, "kept": 1, "dropped": {"unparsed": 1, "wrong": 1}}
    second = {"in": 4, "kept": 2, "dropped": {"unheard_of": 1, "wrong": 1}}
    total = add_ledgers([first, second], REASONS)
    assert total == {"in": 7, "kept": 3, "dropped": {"wrong": 2, "unparsed": 1, "unheard_of": 1}}
    assert list(total["dropped"]) == ["wrong", "unparsed", "unheard_of"]
    assert add_ledgers([], REASONS) == {"in": 0, "kept": 0, "dropped": {}}


@pytest.mark.parametrize(("policy", "kept"), [("final", 2), ("any", 1), ("none", 3)])
def test_the_claims_policy_is_a_threshold_like_any_other(policy: str, kept: int) -> None:
    rows = [{}, {"claims_refuted": 1, "refuted_final": False}, {"claims_refuted": 2, "refuted_final": True}]
    traces = table([row | {"problem_id": f"p{place}"} for place, row in enumerate(rows)])
    chosen = select(traces, claims=ClaimOptions.model_validate({"drop": policy}))
    assert chosen["drop_reason"].null_count() == kept


def test_a_bare_answer_is_a_short_one_and_never_a_long_one() -> None:
    bare = {"quality_detail": "empty_reasoning: 5", "length": 10}
    alone = select(table([bare]))
    assert alone.select("stage", "short_form", "drop_reason").row(0) == (2, "sample", None)
    beside = select(table([bare, {"length": 90}, bare | {"length": 11}]))
    assert beside["stage"].to_list() == [2, 1, None]
    assert beside["drop_reason"].to_list() == [None, None, "degenerate"]
    assert select(table([bare]), curriculum=BroadToHard())["drop_reason"].to_list() == ["degenerate"]
