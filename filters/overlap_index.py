"""An index of benchmark items' word runs, in one file that is mapped into memory.

What stands in the index, and so may match:

- every run of n words (10 by default) of an item that has at least `MIN_DIFFERENT` different words
  and isn't mere counting (numbers that follow each other by at most two different steps);
- except boilerplate: runs that stand in three or more different surroundings (word before, word
  behind), and runs in three or more different items and more than 2 % of those of a benchmark;
- an item of `MIN_SHORT` to n - 1 words, `MIN_INFORMATIVE` of them informative (three letters or more
  and no common word), as a whole;
- an item of which these rules leave nothing matches only a text that consists of exactly its words.

The file holds a magic number, the length of a JSON header, the header, and the arrays it describes.
The same items in any order give the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from proofmill.data.errors import InputError, StoreError
from proofmill.data.files import atomic
from proofmill.filters.rolling_hash import I64, U64, Lines, blocks, fold_words

DEFAULT_N = 10  # VibeThinker-3B's report, section on data; GPT-3 (Brown et al. 2020) used 13
MIN_DIFFERENT = 4
MIN_INFORMATIVE = 3
MIN_SHORT = 5
BOILERPLATE_SURROUNDINGS = 3
BOILERPLATE_ITEMS = 3
BOILERPLATE_SHARE = 0.02

Item: TypeAlias = tuple[str, str, str]
"""Benchmark, the item's id, its text."""

_MAGIC = b"PMOVLP01"
_ALIGNMENT = 64
_ODD = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F), np.uint64(0x165667B19E3779F9))
_RUN = np.dtype([("hash", "<u8"), ("item", "<u4"), ("position", "<u4"), ("size", "<u4")])
_FOUND = np.dtype([*_RUN.descr, ("telling", "?"), ("around", "<u8")])


@dataclass(frozen=True, slots=True)
class Strings:
    """Many strings in one buffer; `ends` are the offsets behind them."""

    text: NDArray[np.uint8]
    ends: I64

    def __getitem__(self, number: int) -> str:
        start = int(self.ends[number - 1]) if number else 0
        return bytes(self.text[start : int(self.ends[number])]).decode()


@dataclass(frozen=True)
class OverlapIndex:
    """Word runs of benchmark items, open for look-up.

    Attributes:
        n: words of a run.
        digest: SHA-256 of the indexed content and the rules, hexadecimal.
        runs: what matches anywhere in a text: hash, item, position of its first word in the item,
            size in words; sorted by hash, each hash once.
        wholes: the same for what matches a whole text only.
        names: benchmark and id of every item, as JSON.
        words: normalised words of every item.
        meanings: direction of every item, shape (items, dimensions), where it was built with an encoder.
        texts: every item as it stands in its benchmark, where it was built with an encoder.
    """

    n: int
    digest: str
    runs: NDArray[Any]
    wholes: NDArray[Any]
    names: Strings
    words: Strings
    meanings: NDArray[np.float32] | None = None
    texts: Strings | None = None

    @cached_property
    def sizes(self) -> list[int]:
        """The lengths of run that are indexed, in words."""
        return [int(size) for size in np.unique(self.runs["size"])]

    def name(self, item: int) -> tuple[str, str]:
        """Return the benchmark and id of an item."""
        benchmark, item_id = json.loads(self.names[item])
        return benchmark, item_id


def build(
    items: Iterable[Item],
    path: Path,
    n: int = DEFAULT_N,
    encode: Callable[[Sequence[str]], NDArray[np.float32]] | None = None,
) -> None:
    """Index benchmark items and save the index.

    Args:
        items: benchmark, item's id and text; all held in memory.
        path: the file to write.
        n: words of a run, at least `MIN_SHORT`.
        encode: makes the directions of texts; None: items are found by words alone.

    Raises:
        InputError: n is too small.
    """
    if n < MIN_SHORT:
        raise InputError(
            f"runs of {n} words match by chance",
            where="decontamination",
            remedy=f"choose runs of {MIN_SHORT} words or more",
        )
    ordered = sorted(set(items))
    names = [json.dumps(item[:2]).encode() for item in ordered]
    words: list[bytes] = []
    found: list[NDArray[Any]] = [np.empty(0, _FOUND)]
    wholes: list[U64] = [np.empty(0, np.uint64)]
    for part in blocks([text for _, _, text in ordered]):
        lines = word_lines(part)
        found.append(_runs_of(lines, n, first_item=len(words)))
        wholes.append(lines.whole_hashes())
        words += lines.text.tobytes().splitlines()
    whole = np.concatenate(wholes)
    evidence = _evidence(np.concatenate(found), whole, [benchmark for benchmark, _, _ in ordered], n)
    arrays = {
        "runs": _by_hash(evidence),
        "wholes": _by_hash(_left_over(evidence, whole, words)),
        **_string_arrays("names", names),
        **_string_arrays("words", words),
    }
    if encode:
        arrays["meanings"] = encode([text for _, _, text in ordered]).astype("<f4").ravel()
        arrays |= _string_arrays("texts", [text.encode("utf-8", "replace") for _, _, text in ordered])
    _save(path, arrays, n)


def load(path: Path) -> OverlapIndex:
    """Return a saved index; its arrays are mapped, not read.

    Raises:
        InputError: the file is not an index, or was built by other rules.
        StoreError: it is damaged.
    """
    header, start = _header(path)
    if header["rules"] != _rules():
        raise InputError("this overlap index follows other rules", where=str(path), remedy="build it again")
    mapped = np.memmap(path, np.uint8, "r", offset=start)
    if len(mapped) != header["bytes"]:
        raise StoreError("this overlap index is cut short", where=str(path), remedy="build it again")
    arrays = {}
    for name, (kind, begin, count) in header["arrays"].items():
        dtype = _RUN if kind == "run" else np.dtype(kind)
        arrays[name] = mapped[begin : begin + count * dtype.itemsize].view(dtype)
    return OverlapIndex(
        header["n"],
        header["digest"],
        arrays["runs"],
        arrays["wholes"],
        Strings(arrays["names.text"], arrays["names.ends"]),
        Strings(arrays["words.text"], arrays["words.ends"]),
        _rows(arrays.get("meanings"), len(arrays["names.ends"])),
        Strings(arrays["texts.text"], arrays["texts.ends"]) if "texts.text" in arrays else None,
    )


def _rows(flat: NDArray[np.float32] | None, count: int) -> NDArray[np.float32] | None:
    return flat.reshape(count, -1) if flat is not None and count else None


def _runs_of(lines: Lines, n: int, first_item: int) -> NDArray[Any]:
    """Return all runs of n words (a shorter line is one run), with what decides whether they are evidence."""
    head, tail, counts = lines.windows(n)
    hashes = word_hashes(lines)
    line = np.repeat(np.arange(len(counts)), counts)
    first = lines.first_units
    edged = np.concatenate([_ODD[:1], hashes, _ODD[1:2]])  # shifted by one: the word before unit i is at i
    before = np.where(head == first[line], _ODD[0], edged[head])
    behind = np.where(tail + 1 == (first + lines.units)[line], _ODD[1], edged[tail + 2])
    found = np.empty(len(head), _FOUND)
    found["hash"] = lines.hashes(head, tail)
    found["item"] = first_item + line
    found["position"] = head - first[line]
    found["size"] = tail - head + 1
    found["telling"] = _telling(lines, hashes, head, tail, n)
    found["around"] = before * _ODD[2] + behind
    return found


def _telling(lines: Lines, hashes: U64, head: I64, tail: I64, n: int) -> NDArray[np.bool_]:
    """Return which runs are more than counting or repetition; a line shorter than n needs informative words."""
    size = tail - head + 1
    telling: NDArray[np.bool_] = (size == n) & (different_words(hashes, head, tail, n) >= MIN_DIFFERENT)
    for at in np.flatnonzero(telling & ~letters_inside(lines, head, tail)).tolist():
        telling[at] = not is_counting(lines.words(int(head[at]), int(tail[at])))
    for at in np.flatnonzero((size < n) & (size >= MIN_SHORT)).tolist():
        telling[at] = informative(lines.words(int(head[at]), int(tail[at]))) >= MIN_INFORMATIVE
    return telling


def _evidence(found: NDArray[Any], whole: U64, benchmarks: list[str], n: int) -> NDArray[Any]:
    """Return the runs that say where they come from; see the module's docstring for the rules."""
    found = found[found["telling"]]
    full = found[found["size"] == n]
    _, number, items = np.unique(benchmarks, return_inverse=True, return_counts=True)
    benchmark = number[full["item"]] if len(full) else np.empty(0, np.int64)
    surroundings = _different(full["hash"], full["around"])
    within = full["hash"] * _ODD[0] + benchmark.astype(np.uint64) * _ODD[1]
    holders = _different(within, whole[full["item"]])
    common = (holders >= BOILERPLATE_ITEMS) & (holders > BOILERPLATE_SHARE * items[benchmark])
    common_hashes = np.unique(full["hash"][common | (surroundings >= BOILERPLATE_SURROUNDINGS)])
    return np.concatenate([full[~np.isin(full["hash"], common_hashes)], found[found["size"] < n]])


def _different(group: U64, member: U64) -> I64:
    """Return for every element how many different members its group has."""
    order = np.lexsort((member, group))
    group, member = group[order], member[order]
    opens = np.ones(len(group), bool)
    opens[1:] = group[1:] != group[:-1]
    fresh = opens.copy()
    fresh[1:] |= member[1:] != member[:-1]
    number = opens.cumsum() - 1
    result = np.empty(len(group), np.int64)
    result[order] = np.bincount(number, weights=fresh)[number] if len(group) else 0
    return result


def _left_over(evidence: NDArray[Any], whole: U64, words: list[bytes]) -> NDArray[Any]:
    """Return the items without evidence, as whole texts."""
    has_words = np.array([bool(line) for line in words], bool)
    has_words[evidence["item"]] = False
    items = np.flatnonzero(has_words)
    left = np.zeros(len(items), _RUN)
    left["hash"], left["item"] = whole[items], items
    left["size"] = [words[item].count(b" ") + 1 for item in items]
    return left


def _by_hash(runs: NDArray[Any]) -> NDArray[Any]:
    """Return the runs sorted by hash; of equal hashes the first item's comes first."""
    order = np.lexsort((runs["position"], runs["item"], runs["hash"]))
    ordered = runs[order]
    keep = np.ones(len(ordered), bool)
    keep[1:] = ordered["hash"][1:] != ordered["hash"][:-1]
    result = np.empty(int(keep.sum()), _RUN)
    for name in _RUN.names or ():
        result[name] = ordered[name][keep]
    return result


def _string_arrays(name: str, values: list[bytes]) -> dict[str, NDArray[Any]]:
    ends = np.array([len(value) for value in values], np.int64).cumsum()
    return {f"{name}.text": np.frombuffer(b"".join(values), np.uint8), f"{name}.ends": ends}


def _rules() -> list[Any]:
    """Return everything that decides the index of given items; it is written into the header."""
    common = (BOILERPLATE_SURROUNDINGS, BOILERPLATE_ITEMS, BOILERPLATE_SHARE)
    return [VERSION, MIN_DIFFERENT, MIN_INFORMATIVE, MIN_SHORT, *common]


def _save(path: Path, arrays: Mapping[str, NDArray[Any]], n: int) -> None:
    described: dict[str, tuple[str, int, int]] = {}
    size = 0
    for name, array in arrays.items():
        described[name] = ("run" if array.dtype == _RUN else array.dtype.str, size, len(array))
        size += len(_padded(array))
    total = hashlib.sha256(json.dumps([n, _rules()]).encode())
    for array in arrays.values():
        total.update(_padded(array))
    header = {"n": n, "rules": _rules(), "digest": total.hexdigest(), "bytes": size, "arrays": described}
    encoded = json.dumps(header).encode()
    encoded += b" " * (-(len(encoded) + 16) % _ALIGNMENT)
    with atomic(path) as temporary, temporary.open("wb") as file:
        file.write(_MAGIC + len(encoded).to_bytes(8, "little") + encoded)
        file.writelines(_padded(array) for array in arrays.values())


def _padded(array: NDArray[Any]) -> bytes:
    raw = array.tobytes()
    return raw + bytes(-len(raw) % _ALIGNMENT)


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """Return the header and the place of the first array."""
    with path.open("rb") as file:
        if file.read(8) != _MAGIC:
            raise InputError("this is no overlap index", where=str(path), remedy="build it with `build_index`")
        length = int.from_bytes(file.read(8), "little")
        try:
            return json.loads(file.read(length)), 16 + length
        except ValueError as error:
            raise StoreError("this overlap index is damaged", where=str(path), remedy="build it again") from error


# --- Text as benchmarks are compared: words alone, and where they stand in the original ---

VERSION = 2
"""Raised when the words of a text, or which of them inform, would change."""

_TABLE = bytes(ord(chr(i).lower()) if chr(i).isalnum() else 0x20 for i in range(128)) + bytes(range(128, 256))
# Scripts written without spaces between words: each character counts as a word.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+")
_SIGNS = r"[0-9A-Za-z\x80-\U0010ffff]+"  # no ASCII sign can be part of a word

# Commas, and what LaTeX writes for them, that part the thousands of a number.
_THOUSANDS = r"(?:,(?<=[0-9],)|\{,\}(?<=[0-9]\{,\})|\\,(?<=[0-9]\\,))(?=[0-9]{3}(?![0-9]))"
_GROUPED = re.compile(_THOUSANDS)
_STRETCH = re.compile(rf"{_SIGNS}(?:{_THOUSANDS}{_SIGNS})*")

# Commands of LaTeX for which plain text has a sign or nothing; others, as \sin and \pi, it spells out.
_LAYOUT = re.compile(
    r"\\(?:[dtc]?frac|left|right|[Bb]igg?[lrm]?|text(?:bf|it|rm|tt)?|math(?:bb|bf|cal|frak|it|rm|sf|scr)|operatorname"
    r"|boxed|displaystyle|[cdl]?dots?|times|div|pm|leq?|geq?|neq?|[lr](?:floor|ceil|angle|brace|vert|Vert)|q?quad"
    r"|over(?:line|rightarrow)|underline|limits)(?![A-Za-z])"
)

_LONG_NUMBER = 19  # digits; longer ones are no counting

# Of English, of program text, of LaTeX.
_COMMON = """
    all also and any are but can did does each every for from had has have her him his how its let may more
    must nor not off one our out per she should some such than that the their them then there these they this
    those two was were what when where which while who whom whose why will with would you your
    append class def dict elif else false import int len list none print range return self str true
    begin cdot cdots dots end frac geq ldots left leq mathbb mathrm quad right sqrt text times
"""
_COMMON_WORDS = frozenset(_COMMON.split())


def words_of(text: str) -> list[str]:
    """Return the words of a text: NFKC, case folded; signs and LaTeX's layout left out."""
    return _words(_plain(text))


def word_lines(texts: Sequence[str]) -> Lines:
    """Return `words_of` many texts at once, one line for each text."""
    return Lines.of_words(fold_words(list(map(_plain, texts)), _TABLE, lambda text: " ".join(_words(text))))


def _plain(text: str) -> str:
    """Return the text without commands of layout, and with numbers in one piece."""
    text = _GROUPED.sub("", text) if "," in text else text
    return _LAYOUT.sub(" ", text) if "\\" in text else text


def _words(text: str) -> list[str]:
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def word_spans(text: str) -> list[tuple[int, int]]:
    """Begin and end in `text` of each of its words.

    Words that only normalisation parts, as those of one compatibility character, share a span.
    """
    spans = []
    text = _LAYOUT.sub(lambda command: " " * len(command[0]), text)  # every other character keeps its place
    for stretch in _STRETCH.finditer(text):
        count = len(words_of(stretch.group()))
        exact = [match.span() for match in _WORD.finditer(text, *stretch.span())]
        spans += exact if len(exact) == count else [stretch.span()] * count
    return spans


def word_hashes(lines: Lines) -> U64:
    """Hash of every word, uint64 (units,)."""
    every = np.arange(len(lines.begins))
    return lines.hashes(every, every)


def informative(words: Iterable[str]) -> int:
    """Number of different words that tell something: three letters or more, and not a common word."""
    return sum(
        not word.isascii() or (len(word) >= 3 and word.isalpha() and word not in _COMMON_WORDS) for word in set(words)
    )


def is_counting(words: Sequence[str]) -> bool:
    """Return whether numbers follow each other by at most two different steps, as in 1 2 3 4 1 2 3 4."""
    if not all(word.isdecimal() and len(word) < _LONG_NUMBER for word in words):
        return False
    numbers = [int(word) for word in words]
    return len({after - before for before, after in pairwise(numbers)}) <= 2


def different_words(hashes: U64, head: I64, tail: I64, size: int) -> I64:
    """Number of different words in each run of at most `size` words."""
    members = hashes[np.minimum(head[:, None] + np.arange(size), tail[:, None])]
    members.sort(axis=1)
    count: I64 = 1 + (members[:, 1:] != members[:, :-1]).sum(axis=1)
    return count


def letters_inside(lines: Lines, head: I64, tail: I64) -> NDArray[np.bool_]:
    """Return whether a run has a letter in it (or any character beyond ASCII)."""
    total = np.concatenate(([0], (lines.text >= 0x61).cumsum()))
    found: NDArray[np.bool_] = total[lines.ends[tail]] > total[lines.begins[head]]
    return found
