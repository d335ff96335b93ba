"""Where the reasoning block ends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofmill.filters.reasoning import split_final, split_think

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
    ("in a string of code", 's.replace("<think>", "")', "", 's.replace("<think>", "")', True),
    ("closing in a string of code", "<think>a</think>s.split('</think>')", "a", "s.split('</think>')", True),
    ("quotes that belong to the text", '<think>"a"</think>"b"', '"a"', '"b"', True),
    ("other tags", "[THINK]a[/THINK]b", "a", "b", True),
    ("tags of OpenThoughts", "<|begin_of_thought|>a<|end_of_thought|>b", "a", "b", True),
    ("reasoning", "<reasoning>a</reasoning>b", "a", "b", True),
    ("thought", "<thought>a</thought>b", "a", "b", True),
    ("scratchpad", "<scratchpad>a</scratchpad>b", "a", "b", True),
    ("capitals", "<THINK>a</THINK>b", "a", "b", True),
    ("Kimi", "◁think▷a◁/think▷b", "a", "b", True),
    ("closed by LaTeX", "<think>a\\end{think}b", "a", "b", True),
    ("Seed", "<seed:think>a</seed:think>b", "a", "b", True),
    (
        "gpt-oss",
        "<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>b<|return|>",
        "a<|end|>",
        "b",
        True,
    ),
    (
        "gpt-oss, several channels",
        "<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>commentary<|message|>c<|end|>"
        "<|start|>assistant<|channel|>final<|message|>b",
        "a<|end|><|start|>assistant<|channel|>commentary<|message|>c<|end|>",
        "b",
        True,
    ),
    ("gpt-oss, cut", "<|channel|>analysis<|message|>a", "a", "", False),
    ("gpt-oss, final only", "<|channel|>final<|message|>b", "", "b", True),
    (
        "gpt-oss, tokens dropped",
        "analysisWe add. 5?assistantfinalThe answer is 5.",
        "We add. 5?",
        "The answer is 5.",
        True,
    ),
    ("a word", "analysis shows that it is 5.", "", "analysis shows that it is 5.", True),
    ("Gemma", "<|channel>thought\na<channel|>b<turn|>", "\na", "b", True),
    ("Gemma, cut", "<|channel>thought\na", "\na", "", False),
    ("end of a turn", "5<|im_end|>", "", "5", True),
    ("end of a turn behind a block", "<think>a</think>5<|eot_id|>\n", "a", "5", True),
    ("several ends", "5 <eoa></s>\n", "", "5 ", True),
    ("another turn", "5<|im_end|>\n<|im_start|>user\nthanks, 6", "", "5", True),
    ("text that goes on", "5.<EOS_TOKEN>\nSo 5.<EOS_TOKEN>", "", "5.", True),
    ("DeepSeek", "5<\uff5cend\u2581of\u2581sentence\uff5c>", "", "5", True),
    ("struck out", "<s>4</s> 5", "", "<s>4</s> 5", True),
    ("a mention of a token", "The token <|im_end|> ends it.", "", "The token <|im_end|> ends it.", True),
    ("end of an explanation only", "x <eoe>\n5", "", "x <eoe>\n5", True),
    ("a token before the text", "<|start_header_id|>5", "", "<|start_header_id|>5", True),
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
    assert response[think.rest_start :] == think.rest  # nothing here ends a turn
    assert think.reasoning in response
    assert think.closed or not think.rest


def test_tags_of_ones_own() -> None:
    assert split_think("<plan>6</plan>5") == ("", "<plan>6</plan>5", 0, True)
    assert split_think("<plan>6</plan>5", tags=["plan"]) == ("6", "5", 14, True)
    assert split_think("<plan>6", tags=["<plan>"]).closed is False
    assert split_final("<plan>6</plan>5", 14, ["plan"]) == ("6", "5")


@given(
    st.lists(st.sampled_from(["<|im_end|>", "</s>", "<eoa>", "a", " ", "\n", "<|", "<think>", "</think>"])).map("".join)
)
def test_the_end_of_a_turn_is_a_prefix_without_an_ending(response: str) -> None:
    think = split_think(response)
    assert response[think.rest_start :].startswith(think.rest)
    again = split_think(think.rest)
    begins_with_one = think.rest.lstrip().startswith("<")
    assert not again.closed or begins_with_one or "think>" in think.rest or again.rest == think.rest
