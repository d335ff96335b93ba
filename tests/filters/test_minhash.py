"""Signatures: equal to datasketch's for every kind of shingle and text, and tied to their options."""

import pytest
from datasketch import LeanMinHash, MinHash, MinHashLSH
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from proofmill.filters import rolling_hash as windows
from proofmill.filters.near_duplicates import minhash
from proofmill.filters.near_duplicates.minhash import (
    SEED,
    DedupOptions,
    shingle_bytes,
    shingle_hash,
    signature_matrix,
    signatures,
)
from proofmill.filters.rolling_hash import to_numpy

AWKWARD = [
    "",
    " ",
    "\n\t\n",
    "a",
    "A  b",
    "  led by  and followed by spaces  ",
    "one two three four five six seven",
    "one two three four five six seven".upper(),
    "a\x1cb\x1dc\x00d\x0be",
    "café Straße İstanbul \u2028 next\u3000line",
    "日本語のテキストは空白がない",
    "x=3+4, \\frac{1}{2} and foo_bar[17]",
    "again and again " * 50,
    "half a surrogate \ud800 in the middle of it",
]
KINDS = [(kind, size) for kind in ("words", "chars", "tokens") for size in (1, 2, 5)]


def datasketch_values(text: str, options: DedupOptions) -> list[int]:
    reference = MinHash(options.permutations, seed=SEED, hashfunc=shingle_hash)
    for shingle in shingle_bytes(text, options):
        reference.update(shingle)
    return reference.hashvalues.tolist()


@pytest.mark.parametrize(("kind", "size"), KINDS)
def test_signatures_are_datasketch_values(kind, size):
    options = DedupOptions(shingle=kind, shingle_size=size, permutations=32)
    rows = signature_matrix(AWKWARD, options).tolist()
    assert rows == [datasketch_values(text, options) for text in AWKWARD]


@settings(max_examples=60)
@given(st.lists(st.text(), max_size=6), st.sampled_from(KINDS))
def test_any_texts_give_datasketch_values_and_the_sorted_set(texts, kind):
    options = DedupOptions(shingle=kind[0], shingle_size=kind[1], permutations=8)
    table = signatures(texts, options)
    assert signature_matrix(texts, options).tolist() == [datasketch_values(t, options) for t in texts]
    assert table["shingles"].to_pylist() == [
        sorted({shingle_hash(s) for s in shingle_bytes(t, options)}) for t in texts
    ]


def test_a_text_has_the_same_signature_alone_and_in_any_block(monkeypatch):
    texts = [text * 3 for text in AWKWARD] * 3
    whole = signatures(texts)
    monkeypatch.setattr(windows, "BLOCK_BYTES", 40)
    assert signatures(texts).equals(whole)
    assert [signature_matrix([text])[0].tobytes() for text in texts] == whole["signature"].to_pylist()


def test_case_and_white_space_never_matter():
    first, second = signature_matrix(["Then  x\nIs 3,\tso y is Straße", "then x is 3, so Y is STRASSE "])
    assert (first == second).all()


def test_tokens_part_words_digits_and_symbols():
    options = DedupOptions(shingle="tokens", shingle_size=1)
    assert shingle_bytes("2x+\\Frac{10}{3}", options) == {
        b"2",
        b"x",
        b"+",
        b"\\",
        b"frac",
        b"{",
        b"10",
        b"}",
        b"3",
    }


def test_a_text_shorter_than_a_shingle_is_one_shingle():
    for kind in ("words", "chars", "tokens"):
        assert shingle_bytes("A b", DedupOptions(shingle=kind, shingle_size=9)) == {b"a b"}


def test_signature_works_in_datasketchs_index():
    texts = [
        " ".join(f"w{i}" for i in range(100)),
        " ".join(f"w{i}" for i in range(1, 101)),
        "something else",
    ]
    first, second, third = (LeanMinHash(scheme="affine32", seed=1, hashvalues=row) for row in signature_matrix(texts))
    index = MinHashLSH(threshold=0.8, num_perm=128)
    index.insert("first", first)
    assert index.query(second) == ["first"]
    assert index.query(third) == []
    assert first.jaccard(second) == pytest.approx(95 / 97, abs=0.1)


def test_table_holds_the_matrix_and_names_its_options():
    options = DedupOptions(permutations=16)
    table = signatures(["one text", "another text"], options)
    stored = b"".join(table["signature"].to_pylist())
    assert stored == signature_matrix(["one text", "another text"], options).tobytes()
    assert table.schema.metadata[minhash.METADATA_KEY] == options.signature_key()
    assert table["shingles"].null_count == 0
    assert to_numpy(table["shingles"].combine_chunks().flatten()).dtype == "uint32"


def test_only_what_decides_a_signature_is_in_its_key():
    base = DedupOptions()
    assert DedupOptions(threshold_within=0.5, threshold_across=0.9).signature_key() == base.signature_key()
    others = [DedupOptions(shingle="chars"), DedupOptions(permutations=64), DedupOptions(shingle_size=3)]
    assert len({option.signature_key() for option in (base, *others)}) == 4


@pytest.mark.parametrize(
    "wrong",
    [
        {"threshold_within": 0.0},
        {"threshold_across": 1.01},
        {"threshold_across": float("nan")},
        {"shingle": "lines"},
        {"shingle_size": 0},
        {"permutations": 0},
    ],
)
def test_options_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValidationError):
        DedupOptions(**wrong)
