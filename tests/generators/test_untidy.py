"""Problems as people type them: another text, the same question."""

from __future__ import annotations

import re

import pytest

from proofmill.generators.problems.untidy import KINDS, Untidiness, untidied

LETTERS = 'How many times does the letter "r" appear in the text: "strawberry tart"?'
SUM = "Calculate 17 + 28."
LOGIC = "1. All birds are tall\n2. Some birds are red\n\nDoes it logically follow that:\nSome tall birds are red?"
TEX = "Find $\\frac{1}{2} + x$ in `solve(x)` where {a} is 3."


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("prompt", [LETTERS, SUM, LOGIC, TEX])
def test_what_the_question_is_about_stays(kind: Untidiness, prompt: str) -> None:
    """Quotes, mathematics, code, numbers in their order, and words that occur more than once."""
    asked = untidied(prompt, kind)
    assert asked != prompt
    assert asked == untidied(prompt, kind)
    for kept in re.findall(r'"[^"]*"|\$[^$]*\$|`[^`]*`|\{a\}|\d+ \+ \d+', prompt):
        assert kept in asked
    for word in ("birds", "tall"):
        assert asked.count(word) == prompt.count(word)


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_without_a_word_to_change_is_no_fault(kind: Untidiness) -> None:
    assert "2 + 2 = ?" in untidied("2 + 2 = ?", kind)
