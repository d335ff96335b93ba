"""Overlap with benchmarks: planted copies are found in every disguise, ordinary text is left alone."""

import gzip
import json
import pickle
import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proofmill.data.errors import InputError, StoreError
from proofmill.filters import overlap_index as overlap_words
from proofmill.filters.contamination import Index, build_index
from proofmill.filters.overlap_index import is_counting, word_lines, word_spans, words_of

DATA = Path(__file__).parents[2].parent / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.exists(), reason=f"no folder of shared inputs at {DATA}")

GARDEN = (
    "A gardener plants $17$ rows of tulips, each row holding twice as many bulbs as the row before it. "
    "If the first row holds three bulbs, how many bulbs does the gardener plant in all?"
)
CIRCLE = "Let $\\omega$ be a circle with radius 13 with chord AB of length 24; find its distance from the centre."
FILLER = "We begin with an unrelated sentence about trains that leave two stations at different speeds."


@pytest.fixture
def index(tmp_path):
    return build_index([("garden", "g1", GARDEN), ("circles", "c1", CIRCLE)], tmp_path / "overlap")


def mixed_case(text: str) -> str:
    return "".join(sign.upper() if place % 2 else sign.lower() for place, sign in enumerate(text))


@pytest.mark.parametrize(
    "disguise",
    [
        lambda text: text,
        str.upper,
        mixed_case,
        lambda text: text.replace(" ", "\n\t "),
        lambda text: text.replace(" ", " -- ").replace("$", ""),
        lambda text: "**" + text.replace(",", ";").replace(".", "!") + "**",
        lambda text: text.replace("a", "\uff41").replace("1", "\uff11"),  # full-width letters
        lambda text: text.replace("twice", "thrice").replace("three", "four"),
        lambda text: " ".join(text.split()[3:15]),
    ],
)
def test_a_planted_item_is_found_in_every_disguise(index, disguise):
    text = f"{FILLER} {disguise(GARDEN)} {FILLER}"
    match = index.find(text)
    assert (match.benchmark, match.item_id) == ("garden", "g1")
    assert text[match.start : match.end] == match.span
    assert match.words == len(words_of(match.span)) >= 10


def test_the_span_is_the_longest_common_run_as_it_stands():
    words = [f"w{number}" for number in range(30)]
    text = "before; W5, W6 (w7) w8 w9 w10 w11 w12 w13 w14? W15! afterwards"
    match = one_item_index(" ".join(words)).find(text)
    assert match.span == "W5, W6 (w7) w8 w9 w10 w11 w12 w13 w14? W15"
    assert match.words == 11


def one_item_index(text: str, n: int = 10) -> Index:
    with tempfile.TemporaryDirectory() as folder:  # the index stays mapped when its file is gone
        return build_index([("benchmark", "item", text)], Path(folder) / "overlap", n)


def test_of_several_overlaps_the_longest_is_named(index):
    part = " ".join(GARDEN.split()[:11])
    match = index.find(f"{part}. {FILLER} {CIRCLE}")
    assert match.item_id == "c1"


def test_runs_shorter_than_n_are_no_match(tmp_path):
    words = GARDEN.split()
    nine, ten = " ".join(words[:9]), " ".join(words[:10])
    ten_words = one_item_index(GARDEN)
    assert ten_words.find(f"{nine} and so on") is None
    assert ten_words.find(f"{ten} and so on") is not None
    assert one_item_index(GARDEN, n=9).find(f"{nine} and so on") is not None


@pytest.mark.parametrize(
    ("item", "text", "found"),
    [
        # five to nine words, three of them informative: anywhere in a text
        (
            "Compute the trace of the Hilbert matrix",
            "now COMPUTE the trace of the Hilbert matrix!",
            True,
        ),
        (
            "Compute the trace of the Hilbert matrix",
            "compute the trace of a Hilbert matrix",
            False,
        ),
        # fewer words, or too few that tell something: only as the whole text
        ("What is $2+2$?", "what is 2 + 2", True),
        ("What is $2+2$?", "I ask: what is 2 + 2", False),
        ("What is 3 + 4 + 5 + 6 + 7?", "what is 3+4+5+6+7", True),
        ("What is 3 + 4 + 5 + 6 + 7?", "so what is 3+4+5+6+7 then", False),
        ("Factorise 91", "factorise 91.", True),
        ("???", "!!!", False),
    ],
)
def test_short_items(item, text, found):
    assert (one_item_index(item).find(text) is not None) == found


def test_counting_is_no_evidence():
    counting = "Sort the list 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13 by the remainder on division by four"
    index = one_item_index(counting)
    assert index.find("I count: 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, done") is None
    assert index.find("the remainder on division by four. " + counting) is not None


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("1 2 3 4 5 6 7 8 9 10", True),
        ("10 20 30 40 50", True),
        ("1 2 3 1 2 3 1 2 3 1", True),
        ("3 1 4 1 5 9 2 6 5 3", False),
        ("1 2 x 4 5", False),
        ("9" * 5000 + " 1", False),
    ],
)
def test_what_counting_is(words, expected):
    assert is_counting(words.split()) == expected


def test_boilerplate_shared_by_items_is_no_evidence(tmp_path):
    phrase = "where m and n are relatively prime positive integers and the answer is the sum"
    items = [("b", str(n), f"{word} {word} {phrase} {word}") for n, word in enumerate(("oak", "elm", "ash", "fir"))]
    template = "Solve the following problem with care and give only the final number at the end"
    items += [("t", str(n), f"{template}: {GARDEN.replace('tulips', str(n))}") for n in range(5)]
    index = build_index(items, tmp_path / "overlap")
    assert index.find(f"the result is p over q {phrase}") is None
    assert index.find(template) is None
    assert index.find(f"elm elm {phrase} elm") is not None
    assert index.find(GARDEN.replace("tulips", "3")) is not None


def test_the_same_item_in_several_benchmarks_is_no_boilerplate(tmp_path):
    items = [(f"copy {n}", "1", GARDEN) for n in range(6)]
    assert build_index(items, tmp_path / "overlap").find(FILLER + GARDEN).benchmark == "copy 0"


def test_the_file_depends_on_the_items_alone(tmp_path):
    items = [("a", str(n), f"{GARDEN} {n}") for n in range(20)] + [("b", "1", CIRCLE)]
    first = build_index(items, tmp_path / "first")
    second = build_index(reversed(items + items[:3]), tmp_path / "second")
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()
    assert first.digest == second.digest
    assert build_index(items[1:], tmp_path / "third").digest != first.digest
    assert build_index(items, tmp_path / "fourth", n=9).digest != first.digest


def test_a_saved_index_opens_as_it_was(index):
    elsewhere = pickle.loads(pickle.dumps(index))  # noqa: S301 what a worker process gets
    for again in (Index.open(index.path), elsewhere):
        assert (again.digest, again.n, len(again)) == (index.digest, 10, 2)
        assert again.find(GARDEN) == index.find(GARDEN)


def test_an_index_of_nothing_finds_nothing(tmp_path):
    index = build_index([], tmp_path / "overlap")
    assert len(index) == 0
    assert index.find_many([GARDEN, ""]) == [None, None]


def test_files_that_are_no_index_are_refused(index, tmp_path):
    with pytest.raises(InputError, match="no overlap index"):
        Index.open(Path(__file__))
    whole = index.path.read_bytes()
    (tmp_path / "cut").write_bytes(whole[:-64])
    with pytest.raises(StoreError, match="cut short"):
        Index.open(tmp_path / "cut")
    with pytest.raises(InputError, match="by chance"):
        build_index([], tmp_path / "small", n=2)


def test_an_index_of_other_rules_is_refused(index, monkeypatch):
    monkeypatch.setattr(overlap_words, "VERSION", -1)
    with pytest.raises(InputError, match="other rules"):
        Index.open(index.path)


@pytest.mark.parametrize(
    ("latex", "plain"),
    [
        (
            r"What is $\frac{1}{2} + \dfrac{1}{3}$ of $\left(a - \tfrac{c}{d}\right)$?",
            "What is 1/2 + 1/3 of (a – c/d)?",
        ),
        (
            r"It costs \$1{,}250{,}000 for 3,400 lamps and 1\,200 benches",
            "It costs $1250000 for 3400 lamps and 1200 benches",
        ),
        (r"$x \text{ mod } 7 \leq 3, x \in \mathbb{Z}$, $\sin x \cdot \pi$", "x mod 7 <= 3, x \\in Z, sin x * pi"),
        ("Janet’s “ducks” lay １６ eggs", "janet's ducks lay 16 eggs"),
        ("a well‑known twenty–four", "a well-known twenty-four"),
    ],
)
def test_ways_to_write_the_same_words(latex, plain):
    assert words_of(latex) == words_of(plain)


def test_numbers_of_a_list_stay_apart():
    assert words_of("1,2,34 and 1,2345 and 12,34") == ["1", "2", "34", "and", "1", "2345", "and", "12", "34"]


_PIECES = st.sampled_from(
    ["1", "12", "345", "000", ",", "{,}", "\\,", "\\frac", "\\text", "\\", "x", "é", " ", "{", "ﬁ"]
)


@given(st.lists(_PIECES, max_size=12).map("".join))
def test_every_word_of_latex_has_its_place(text):
    spans = word_spans(text)
    assert len(spans) == len(words_of(text))
    assert all(begin < end <= len(text) for begin, end in spans)
    assert word_lines([text]).line(0) == (words_of(text) or [""])


@settings(max_examples=200)
@given(st.text())
def test_every_word_has_its_place(text):
    words, spans = words_of(text), word_spans(text)
    assert len(words) == len(spans)
    assert all(0 <= start < end <= len(text) for start, end in spans)
    assert word_lines([text, "x"]).line(0) == (words or [""])


@settings(max_examples=50)
@given(st.text(max_size=60), st.text(max_size=60), st.integers(0, 20), st.integers(10, 15))
def test_any_run_of_ten_words_is_found_whatever_stands_around(before, after, start, count):
    words = [f"word{number}" for number in range(36)]
    text = f"{before} {' '.join(words[start : start + count])} {after}"
    match = ONE_ITEM.find(text)
    assert match is not None
    assert match.words >= count
    assert text[match.start : match.end] == match.span


ONE_ITEM = one_item_index(" ".join(f"word{number}" for number in range(36)))


def test_many_texts_give_what_each_gives_alone(index):
    texts = [FILLER, GARDEN, "", CIRCLE + "é", FILLER * 3 + GARDEN] * 40
    assert index.find_many(texts) == [index.find(text) for text in texts]


@pytest.fixture(scope="module")
def benchmarks() -> list[tuple[str, str, str]]:
    with (DATA / "benchmarks_math.jsonl").open() as file:
        items = [(row["benchmark"], str(n), row["problem"]) for n, row in enumerate(map(json.loads, file))]
    with gzip.open(DATA / "HumanEval.jsonl.gz", "rt") as file:
        return items + [("humaneval", row["task_id"], row["prompt"]) for row in map(json.loads, file)]


@pytest.fixture(scope="module")
def real_index(benchmarks, tmp_path_factory):
    return build_index(benchmarks, tmp_path_factory.mktemp("index") / "overlap")


@needs_data
def test_real_problems_and_solutions_hardly_match(real_index):
    rows = [json.loads(line) for line in (DATA / "gsm8k_train.jsonl").open()]
    texts = [row[key] for row in rows for key in ("question", "answer")]
    matches = [match for match in real_index.find_many(texts) if match]
    assert len(matches) <= 0.001 * len(texts), matches


@needs_data
@pytest.mark.parametrize("change", [None, str.swapcase, "punctuation", "words"])
def test_real_items_planted_in_real_text_are_found(benchmarks, real_index, change):
    rng = random.Random(11)
    hosts = [json.loads(line)["answer"] for line in (DATA / "gsm8k_train.jsonl").open()][:300]
    planted = found = 0
    for _ in range(800):
        *_, text = rng.choice(benchmarks)
        copy = disguised(text, change, rng)
        if not keeps_a_run(text, copy):
            continue
        host = rng.choice(hosts)
        cut = rng.randrange(len(host))
        planted += 1
        found += real_index.find(f"{host[:cut]} {copy} {host[cut:]}") is not None
    assert planted > 500
    assert found >= 0.99 * planted


def disguised(text: str, change, rng: random.Random) -> str:
    if callable(change):
        return change(text)
    words = text.split(" ")
    for place in range(rng.randrange(12, 16), len(words), rng.randrange(12, 16)) if change == "words" else ():
        words[place] = "changed"
    if change == "punctuation":
        words = [word + rng.choice(["", ",", " --", "!", ";"]) for word in words]
    return " ".join(words)


def keeps_a_run(text: str, copy: str) -> bool:
    words, kept = words_of(text), words_of(copy)
    runs = {tuple(words[at : at + 10]) for at in range(len(words) - 9)}
    return any(tuple(kept[at : at + 10]) in runs for at in range(len(kept) - 9))
