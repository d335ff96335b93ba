"""Preference pairs: what may be rejected beside what, and that no wrong trace is lost from the count."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proofmill.filters.pairs import PairOptions, pairs_of_problem, same_but_for_form

Row = dict[str, Any]
GOOD: Row = {"verdict": "correct", "extracted": "42", "drop_reason": None, "stage": 1}
BAD: Row = {"verdict": "wrong", "extracted": "41", "drop_reason": "wrong", "stage": None}


def trace(name: str, kind: Row, **columns: Any) -> Row:
    usual = {
        "id": name, "sampler": "self", "response": f"text of {name}", "length": 100, "verdict_detail": "boxed",
        "finish_reason": "stop", "quality_detail": None, "contaminated_by": None,
    }  # fmt: skip
    return usual | kind | columns


def paired(*traces: Row, gold: str = "42", **options: Any) -> tuple[list[tuple[str, str]], Row]:
    pairs, left_out = pairs_of_problem(traces, gold, PairOptions(**options))
    return [(pair.chosen, pair.rejected) for pair in pairs], dict(left_out)


def test_a_kept_trace_stands_beside_a_proven_wrong_one() -> None:
    assert paired(trace("g", GOOD), trace("b", BAD)) == ([("g", "b")], {})


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"finish_reason": "length"}, "not_finished"),
        ({"verdict_detail": "model_judge"}, "not_proven"),
        ({"quality_detail": "loop"}, "unsound"),
        ({"contaminated_by": "aime/3"}, "unsound"),
        ({"extracted": "42 apples"}, "format_only"),
        ({"extracted": "B", "verdict_detail": "no_option"}, "format_only"),
        ({"response": "Text of g!"}, "repeated"),
        ({"length": 151}, "no_partner"),
        ({"length": 66}, "no_partner"),
        ({"sampler": "other"}, "no_partner"),
    ],
)
def test_what_a_student_could_tell_by_something_else_is_not_rejected(columns: Row, reason: str) -> None:
    assert paired(trace("g", GOOD), trace("b", BAD, **columns)) == ([], {reason: 1})


@pytest.mark.parametrize("verdict", ["unparsed", "timeout", "error"])
def test_only_wrong_answers_are_rejected(verdict: str) -> None:
    assert paired(trace("g", GOOD), trace("b", BAD, verdict=verdict, drop_reason=verdict)) == ([], {})


@pytest.mark.parametrize("columns", [{"drop_reason": "refuted_claim"}, {"stage": None}])
def test_only_kept_traces_are_chosen(columns: Row) -> None:
    assert paired(trace("g", GOOD, **columns), trace("b", BAD)) == ([], {"no_chosen": 1})


def test_what_was_asked_for_is_paired() -> None:
    form = trace("b", BAD, extracted="42 apples")
    assert paired(trace("g", GOOD), form, format_only=True)[0] == [("g", "b")]
    assert paired(trace("g", GOOD), trace("b", BAD, sampler="other"), across_samplers=True)[0] == [("g", "b")]
    assert paired(trace("g", GOOD), trace("b", BAD, length=300), max_length_ratio=3.0)[0] == [("g", "b")]


def test_common_mistakes_come_first_and_the_cap_counts() -> None:
    good = [trace(f"g{n}", GOOD) for n in range(4)]
    bad = [trace("rare", BAD, extracted="7"), *(trace(f"often{n}", BAD, extracted="41") for n in range(2))]
    pairs, left_out = paired(*good, *bad)
    assert ({rejected for _, rejected in pairs}, left_out) == ({"often0", "often1"}, {"capped_problem": 1})
    assert len({chosen for chosen, _ in pairs}) == 2


TRACES = st.lists(
    st.builds(
        lambda kind, extracted, length, finish, sampler: {
            "kind": kind, "extracted": extracted, "length": length, "finish_reason": finish, "sampler": sampler,
        },
        st.sampled_from([GOOD, BAD]), st.sampled_from(["42", "41", "41.0", "7", None]), st.integers(0, 400),
        st.sampled_from(["stop", "length", None]), st.sampled_from(["a", "b"]),
    ),
    max_size=12,
)  # fmt: skip


@settings(max_examples=60)
@given(TRACES, st.integers(1, 4), st.randoms(use_true_random=False))
def test_every_wrong_trace_is_counted_once_in_any_order(drawn: list[Row], cap: int, random: Any) -> None:
    traces = [
        trace(f"t{n}", row["kind"], **{k: v for k, v in row.items() if k != "kind"}) for n, row in enumerate(drawn)
    ]
    pairs, left_out = paired(*traces, max_per_problem=cap)
    assert len(pairs) + sum(left_out.values()) == sum(row["verdict"] == "wrong" for row in traces)
    assert len({name for pair in pairs for name in pair}) == 2 * len(pairs) <= 2 * cap
    random.shuffle(traces)
    assert paired(*traces, max_per_problem=cap) == (pairs, left_out)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("42", "42 apples"), ("1/2", "0.5"), (r"\frac{1}{2}", "1/2"), ("50%", "0.5"), ("A", "(A) Paris"),
        ("1,000", "1000"), ("3.14", "3.1416"), ("x = 5", "5"), ("yes", "Yes."), ("(1, 2)", "1,2"),
    ],
)  # fmt: skip
def test_other_forms_of_the_same(one: str, other: str) -> None:
    assert same_but_for_form(one, other)
    assert same_but_for_form(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (r"\sqrt{2}", "2"), ("2x", "2"), ("5", "6"), ("50", "0.5"), ("A", "(B) Rome"), ("-3", "3"), ("100", "101"),
        (None, "1"), ("12", "1, 2"), ("x + 1", "x - 1"), ("", ""),
    ],
)  # fmt: skip
def test_other_answers(one: str | None, other: str) -> None:
    assert not same_but_for_form(one, other)
    assert not same_but_for_form(other, one)
