"""What a guess is worth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofmill.filters.base import GatherContext
from proofmill.filters.guessing import LUCK, guess_rate, known_share, luck
from proofmill.filters.repetition import MAX_LUCK
from proofmill.filters.verdicts import Problem


@pytest.mark.parametrize(
    ("domain", "prompt", "answer", "info", "rate"),
    [
        ("choice", "Which?", "B", {"options": ["a", "b", "c", "d"]}, 0.25),
        ("choice", "Which?", "B", {"options": {"A": "x", "B": "y"}}, 0.5),
        ("choice", "Which?", "B", {}, 0.0),
        ("choice", "Which?", "A", {"options": ["only"]}, 0.0),
        ("logic", "Does it follow?", "Yes", {}, 0.5),
        ("logic", "Does it follow?", "true", {}, 0.5),
        ("logic", "How many?", "7", {}, 0.0),
        ("logic", "", None, {}, 0.0),
        ("math", "Is 7 prime? Answer yes or no.", "yes", {}, 0.5),
        ("math", "Name the variable.", "no", {}, 0.0),
        ("math", "How much is 3 + 4?", "7", {}, 0.0),
        ("code", "Write it.", None, {"tests": ["assert f() == 1"]}, 0.0),
    ],
)
def test_guess_rate(domain: str, prompt: str, answer: str | None, info: dict[str, Any], rate: float) -> None:
    assert guess_rate(Problem(domain, prompt, answer, info)) == rate


def lucks(rates: list[float | None], guesses: list[float]) -> list[float | None]:
    table = pl.DataFrame({"p": rates, "g": guesses}, schema={"p": pl.Float64, "g": pl.Float64})
    return table.select(found=luck(pl.col("p"), pl.col("g")))["found"].to_list()


def test_by_hand() -> None:
    # p = 0.5, g = 0.25: known 1/3, so a third of the right answers was luck; at p = g all of it, at p = 1 none
    found = lucks([0.5, 0.25, 1.0, 0.1, 0.0, None, 0.5], [0.25, 0.25, 0.25, 0.25, 0.25, 0.25, 0.0])
    assert found[:4] == pytest.approx([1 / 3, 1.0, 0.0, 1.0])
    assert found[4:6] == [None, None]
    assert found[6] == 0.0


@given(st.floats(0.001, 1), st.floats(0, 0.9))
def test_luck_is_the_share_of_right_answers_that_were_guessed(known: float, guess: float) -> None:
    """Who knows a share and guesses the rest gets it back."""
    rate = known + (1 - known) * guess
    assert lucks([rate], [guess])[0] == pytest.approx(1 - known / rate, abs=1e-9)
    table = pl.DataFrame({"p": [rate], "g": [guess]})
    assert table.select(known_share(pl.col("p"), pl.col("g"))).item() == pytest.approx(known, abs=1e-9)


@given(st.floats(0.01, 1), st.floats(0.01, 1), st.floats(0, 0.9))
def test_the_more_a_problem_is_solved_the_less_luck_it_took(a: float, b: float, guess: float) -> None:
    low, high = sorted((a, b))
    first, second = lucks([low, high], [guess, guess])
    assert first is not None
    assert second is not None
    assert first >= second - 1e-12


def test_the_default_threshold_means_half() -> None:
    guesses = [0.5, 0.25, 0.1]
    limits = [2 * guess / (1 + guess) for guess in guesses]
    assert lucks([*limits], guesses) == pytest.approx([MAX_LUCK] * 3)


def test_right_answers_alone_have_luck_by_sampler() -> None:
    """Four options: one of four right is a guess, four of four are known; a later round and an error don't count."""
    rows = [
        ("p", "a", True, "correct"),
        *[("p", "a", True, "wrong")] * 3,
        ("p", "a", False, "correct"),
        ("p", "a", True, "error"),
        *[("p", "b", True, "correct")] * 2,
        ("q", "a", None, "correct"),
    ]
    names = ["problem_id", "sampler", "first_round", "verdict"]
    info = {"p": '{"options": ["w", "x", "y", "z"]}', "q": None}
    said = pl.DataFrame(rows, schema=names, orient="row").with_columns(
        verdict_detail=pl.lit(None, pl.String), domain=pl.lit("choice"), prompt=pl.lit("Which?"), answer=pl.lit("B")
    )
    table = said.with_columns(info=pl.col("problem_id").replace_strict(info)).to_arrow()
    (found,) = LUCK.gather([lambda: table], LUCK.options(), GatherContext(Path()))
    assert found["luck"].to_pylist() == [1.0, None, None, None, 1.0, None, 0.0, 0.0, 0.0]
    assert LUCK.tally(found) == {"guessable": 2, "guesses": 2}
    kept = pl.DataFrame(found).filter(~LUCK.rules[0].when(LUCK.options()).fill_null(False))
    assert kept["luck"].max() == 0.0
