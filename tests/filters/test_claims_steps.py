"""How a text is split into steps."""

from __future__ import annotations

import pytest

from proofmill.filters.claims.check import split_steps

CASES = [
    ("One line.\nAnother line.", ["One line.", "Another line."]),
    ("First this. Then that.", ["First this.", "Then that."]),
    ("1. First this\n2. Then that", ["1. First this", "2. Then that"]),
    ("She has 3.5 apples. He has 2.", ["She has 3.5 apples.", "He has 2."]),
    ("At 6 a.m. they left. Then it rained.", ["At 6 a.m. they left.", "Then it rained."]),
    ("Look:\n\\[ a = 1 \\\\\n b = 2 \\]\nDone.", ["Look:", "\\[ a = 1 \\\\\n b = 2 \\]", "Done."]),
    ("\\begin{align*} x &= 3 + 4 \\\\\n &= 7 \\end{align*}", None),
    ("```python\nx = 1\n\ny = 2\n```\nend", ["```python\nx = 1\n\ny = 2\n```", "end"]),
    ("total = 3 + 4\n= 7", ["total = 3 + 4\n= 7"]),
    ("", []),
    (" \n\n ", []),
]


@pytest.mark.parametrize(("text", "expected"), CASES)
def test_steps(text: str, expected: list[str] | None) -> None:
    steps = [text[start:end].strip() for start, end in split_steps(text)]
    assert steps == ([text] if expected is None else expected)


def test_a_line_that_ends_in_an_operator_goes_on_in_the_next() -> None:
    text = "The share is 1 - \n300/400 = 0.25.\nNext line.\n---\nLast."
    assert [text[start:end].strip() for start, end in split_steps(text)] == [
        "The share is 1 - \n300/400 = 0.25.",
        "Next line.",
        "---",
        "Last.",
    ]
