"""Where the reasoning block ends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofmill.filters.reasoning import split_think

CASES = [
    ("no block", "The answer is 5.", "", "The answer is 5.", True),
    ("empty", "", "", "", True),
    ("block", "<think>1+1</think>\n2", "1+1", "\n2", True),
    ("empty block", "<think>\n\n</think>2", "\n\n", "2", True),
    ("opening in the prompt", "1+1</think>2", "1+1", "2", True),
    ("unclosed", "<think>The answer is 5", "The answer is 5", "", False),
    ("unclosed after a preamble", "Sure. <think>5", "5", "", False),
    ("preamble", "Sure. <think>a</think>b", "a", "b", True),
    ("two blocks", "<think>a</think>b<think>c</think>d", "a</think>b<think>c", "d", True),
    ("opened again", "<think>a</think>5 <think>wait", "a</think>5 <think>wait", "", False),
    ("opening written twice", "<think><think>a</think>b", "<think>a", "b", True),
    ("stray closing tag", "<think>a</think>b</think>c", "a", "b</think>c", True),
    ("mention in the block", "<think>a `</think>` tag</think>b", "a `</think>` tag", "b", True),
    ("mention in the answer", "<think>a</think>use `<think>`", "a", "use `<think>`", True),
    ("quotes that belong to the text", '<think>"a"</think>"b"', '"a"', '"b"', True),
    ("other tags", "[THINK]a[/THINK]b", "a", "b", True),
    ("tags of OpenThoughts", "<|begin_of_thought|>a<|end_of_thought|>b", "a", "b", True),
]


@pytest.mark.parametrize(("response", "reasoning", "rest", "closed"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_split(response: str, reasoning: str, rest: str, closed: bool) -> None:
    think = split_think(response)
    assert (think.reasoning, think.rest, think.closed) == (reasoning, rest, closed)


@pytest.mark.parametrize(
    ("response", "reasoning", "rest", "closed"),
    [
        ("still thinking", "still thinking", "", False),
        ("a</think>b", "a", "b", True),
        ("\n<think>a</think>b", "a", "b", True),
    ],
)
def test_prompt_opened_the_block(response: str, reasoning: str, rest: str, closed: bool) -> None:
    think = split_think(response, opened=True)
    assert (think.reasoning, think.rest, think.closed) == (reasoning, rest, closed)


@given(st.lists(st.sampled_from(["<think>", "</think>", "a", " ", "`", "\n"])).map("".join), st.booleans())
def test_laws(response: str, opened: bool) -> None:
    think = split_think(response, opened=opened)
    assert response[think.rest_start :] == think.rest
    assert think.reasoning in response
    assert think.closed or not think.rest
