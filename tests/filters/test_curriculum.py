"""Stage 1 teaches to reason at length, stage 2 what comes after; no trace is in both, whatever the numbers."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from proofmill.filters.curriculum import (
    ANSWER,
    FINAL,
    REWRITTEN,
    SAMPLE,
    BroadToHard,
    Candidate,
    CurriculumOptions,
    LongToShort,
    StageRow,
    place,
)

candidates = st.lists(
    st.builds(
        Candidate,
        id=st.uuids().map(str),
        length=st.integers(0, 3000),
        score=st.sampled_from([0.0, 0.5, 1.0]),
        has_reasoning=st.booleans(),
        has_final=st.booleans(),
        rewritten=st.booleans(),
    ),
    max_size=10,
    unique_by=lambda candidate: candidate.id,
)
forms = st.lists(st.sampled_from([SAMPLE, REWRITTEN, FINAL]), unique=True).flatmap(
    lambda names: st.sampled_from([tuple(names), (*names, ANSWER)])
)
with_a_ratio = forms.filter(lambda names: SAMPLE in names or REWRITTEN in names)
long_to_short = st.builds(LongToShort, short_forms=forms) | st.builds(
    LongToShort, short_forms=with_a_ratio, max_short_ratio=st.floats(0, 1)
)


def found(places: list[StageRow], given: list[Candidate], stage: int, form: str | None = None) -> list[Candidate]:
    return [given[spot.trace] for spot in places if spot.stage == stage and form in (None, spot.form)]


@given(candidates, long_to_short, st.integers(1, 5))
def test_the_laws_of_long_to_short(given: list[Candidate], options: LongToShort, cap: int) -> None:
    places = place(given, options, cap, 0.5)
    long, short = found(places, given, 1), found(places, given, 2)
    assert len(long) == min(cap, len(given) - len(found(places, given, 2, SAMPLE)))
    assert len(short) <= 1
    assert all(spot.form in options.short_forms for spot in places if spot.stage == 2)
    for sample in found(places, given, 2, SAMPLE):
        assert sample not in long
        assert all(sample.length <= options.max_short_ratio * other.length for other in long)
    for condensed in found(places, given, 2, REWRITTEN):
        assert condensed.rewritten
        assert condensed in long
        assert all(condensed.length <= other.length for other in long)
    for ending in found(places, given, 2, FINAL):
        assert ending.has_final
        assert ending.has_reasoning
    if given and ANSWER in options.short_forms:
        assert short, "an answer line is always to be had"


@given(candidates, long_to_short, st.integers(1, 5), st.randoms())
def test_the_order_of_the_traces_decides_nothing(given: list[Candidate], options: LongToShort, cap: int, rng) -> None:  # type: ignore[no-untyped-def]
    turned = rng.sample(given, len(given))
    for chosen in (options, BroadToHard(min_tokens=500)):
        first = {(given[spot.trace].id, spot.stage, spot.form) for spot in place(given, chosen, cap, 0.8)}
        second = {(turned[spot.trace].id, spot.stage, spot.form) for spot in place(turned, chosen, cap, 0.8)}
        assert first == second


@given(candidates, st.integers(1, 5), st.none() | st.floats(0, 1), st.floats(0, 1), st.integers(0, 3000))
def test_the_laws_of_broad_to_hard(
    given: list[Candidate], cap: int, error_rate: float | None, bound: float, tokens: int
) -> None:
    options = BroadToHard(min_tokens=tokens, min_error_rate=bound)
    places = place(given, options, cap, error_rate)
    broad, hard = found(places, given, 1), found(places, given, 2)
    assert len(broad) == min(cap, len(given))
    assert all(spot.form == SAMPLE for spot in places)
    is_hard = error_rate is not None and error_rate >= bound
    assert hard == [trace for trace in broad if is_hard and trace.length >= tokens]


@pytest.mark.parametrize(
    ("length", "error_rate", "stages"), [(5000, 0.75, {1, 2}), (4999, 0.75, {1}), (5000, 0.74, {1}), (9999, None, {1})]
)
def test_the_thresholds_of_the_report_are_inclusive(length: int, error_rate: float | None, stages: set[int]) -> None:
    places = place([Candidate("a", length)], BroadToHard(), 4, error_rate)
    assert {spot.stage for spot in places} == stages


def lengths(*numbers: int, **more: bool) -> list[Candidate]:
    return [Candidate(f"t{number}", number, **more) for number in numbers]


@pytest.mark.parametrize(
    ("numbers", "cap", "long", "short"),
    [
        ((400, 300, 100), 4, [400, 300], 100),
        ((400, 300, 150), 4, [400, 300], 150),
        ((400, 300, 151), 4, [400, 300, 151], None),
        ((400, 300, 120, 100), 2, [400, 300], 100),  # 120 is over the cap, so it needs not be twice as long
        ((400, 100), 1, [400], 100),
        ((100, 100), 4, [100, 100], None),
        ((100,), 4, [100], None),
        ((0, 0), 4, [0], 0),
    ],
)
def test_the_shortest_sample_goes_to_stage_2_where_it_is_short_enough(
    numbers: tuple[int, ...], cap: int, long: list[int], short: int | None
) -> None:
    given = [Candidate(f"t{place}", number) for place, number in enumerate(numbers)]
    places = place(given, LongToShort(short_forms=(SAMPLE,)), cap, None)
    assert [trace.length for trace in found(places, given, 1)] == long
    assert [trace.length for trace in found(places, given, 2)] == ([] if short is None else [short])


@pytest.mark.parametrize(
    ("forms", "more", "form"),
    [
        ((SAMPLE, FINAL, ANSWER), {}, FINAL),
        ((SAMPLE, FINAL, ANSWER), {"has_final": False}, ANSWER),
        ((SAMPLE, FINAL, ANSWER), {"has_reasoning": False}, ANSWER),
        ((FINAL,), {"has_final": False}, None),
        ((SAMPLE,), {}, None),
        ((), {}, None),
    ],
)
def test_the_next_best_form_stands_in(forms: tuple[str, ...], more: dict[str, bool], form: str | None) -> None:
    places = place(lengths(100, 90, **more), LongToShort.model_validate({"short_forms": forms}), 4, None)
    assert [spot.form for spot in places if spot.stage == 2] == ([] if form is None else [form])


def test_the_best_claims_come_first() -> None:
    given = [Candidate("long", 900, 0.5), Candidate("sure", 300, 1.0)]
    assert found(place(given, LongToShort(short_forms=()), 1, None), given, 1) == [given[1]]


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ({}, LongToShort()),
        (
            {"short_forms": ["sample"], "max_short_ratio": 0.25},
            LongToShort(short_forms=(SAMPLE,), max_short_ratio=0.25),
        ),
        ({"strategy": "broad_to_hard", "reference": "a"}, BroadToHard(reference="a")),
    ],
)
def test_options_come_from_the_recipe_and_are_those_of_its_strategy(
    section: dict[str, Any], expected: LongToShort | BroadToHard
) -> None:
    options: TypeAdapter[LongToShort | BroadToHard] = TypeAdapter(CurriculumOptions)
    assert options.validate_python(section) == expected
    with pytest.raises(ValidationError):
        options.validate_python(section | {"min_tokens": 1, "short_forms": []})
